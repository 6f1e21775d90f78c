"""All of the captioner's RPCs: what a photo shows, by own labels too, and which texts fit it."""

from pathlib import Path

import grpc
from addresses import CAPTIONER

from backdrop.captioner.v1 import captioner_pb2 as pb
from backdrop.captioner.v1 import captioner_pb2_grpc

PHOTO = Path(__file__).parent.parent / "samples" / "products" / "coffee-mug.jpg"

with grpc.insecure_channel(CAPTIONER) as channel:
    stub = captioner_pb2_grpc.CaptionerServiceStub(channel)
    for taxonomy in stub.ListTaxonomies(pb.ListTaxonomiesRequest()).taxonomies:
        print(taxonomy.name, [f"{each.name}: {len(each.labels)} labels" for each in taxonomy.categories])

    room = pb.CustomCategory(name="room", labels=["kitchen", "bathroom", "garage"], templates=["a thing for the {}"])
    request = pb.ExtractFeaturesRequest(image=PHOTO.read_bytes(), taxonomy="product", categories=[room])
    seen = stub.ExtractFeatures(request)
    for feature in seen.features:
        print(feature.category, [f"{label.name} {label.confidence:.0%}" for label in feature.labels] or "unsure")

    texts = ["a coffee mug", "a garden chair"]
    scored = stub.ScoreTexts(pb.ScoreTextsRequest(embedding=seen.embedding, texts=texts))
    print(dict(zip(texts, scored.scores, strict=True)))

    # For a vector store: photos by their `search_embedding`, and texts to search them by.
    embedded = stub.EmbedTexts(pb.EmbedTextsRequest(texts=texts))
    print(
        f"{len(embedded.embeddings[0].values)} values a text, as many as a photo's {len(seen.search_embedding.values)}"
    )
