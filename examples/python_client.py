"""The client for Python: an import, a recommendation and feedback on it."""

from pathlib import Path

from addresses import GATEWAY

from backdrop.client import BackdropError, Client, background

SAMPLES = Path(__file__).parent.parent / "samples"
PICTURES = sorted((SAMPLES / "library").glob("*.jpg"))[:4]

with Client(GATEWAY) as client:
    items = (background("client-example", each.stem, each.read_bytes()) for each in PICTURES)
    for outcome in client.import_backgrounds(items):
        print("imported", outcome.name)
    photo = (SAMPLES / "products" / "coffee-mug.jpg").read_bytes()
    answer = client.recommend("client-example", photo, limit=3)
    for each in answer.recommendations:
        print(f"{each.score:.2f} {each.background.name}: {each.reason}")
    client.record_feedback(
        "client-example", answer.recommendation_id, chosen=[answer.recommendations[0].background.name]
    )
    try:
        client.recommend("client-example", photo, filters={"mood": ["no such mood"]}, limit=1000)
    except BackdropError as error:
        print(error.reason, [each.field for each in error.violations])
