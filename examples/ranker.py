"""All calls of the ranker: backgrounds are stored, read back, ranked under a rule, chosen, exported and deleted."""

import grpc
from addresses import RANKER

from backdrop.ranker.v1 import ranker_pb2 as pb
from backdrop.ranker.v1 import ranker_pb2_grpc

# What the embedded captioner calls its image-text model.
IMAGE_MODEL = "conse-efficientnet-lite2-minilm-l6-v2"
LIBRARY = "libraries/ranker-example"
CAPTIONS = {"oak": "An oak table in a bright kitchen.", "sand": "Rippled sand on a sunny beach."}

with grpc.insecure_channel(RANKER) as channel:
    stub = ranker_pb2_grpc.RankerServiceStub(channel)
    upserts = (
        pb.UpsertBackgroundsRequest(
            background=pb.Background(
                name=f"{LIBRARY}/backgrounds/{background}",
                captions=[caption],
                attributes=[pb.Attribute(key="surface", values=[background])],
            )
        )
        for background, caption in CAPTIONS.items()
    )
    for answer in stub.UpsertBackgrounds(upserts):
        print("stored", answer.name)

    print(stub.GetBackground(pb.GetBackgroundRequest(name=f"{LIBRARY}/backgrounds/oak")).background.captions)
    rule = pb.Filter(key="surface", any_of=["marble"], exclude=True)
    stub.UpdateLibrary(pb.UpdateLibraryRequest(name=LIBRARY, rules=[rule]))
    library = stub.GetLibrary(pb.GetLibraryRequest(name=LIBRARY))
    print("state", library.etag, "rules", [each.key for each in library.rules])
    page = stub.ListBackgrounds(pb.ListBackgroundsRequest(parent=LIBRARY))
    names = [each.name for each in page.backgrounds]

    ranked = stub.RankBackgrounds(
        pb.RankBackgroundsRequest(
            parent=LIBRARY,
            texts=[pb.WeightedText(text="a wooden table at home", weight=1)],
            filters=[pb.Filter(key="surface", any_of=["glass"], exclude=True)],
            limit=2,
            diversity=0.2,
            product=pb.Product(embedding=pb.ImageTextEmbedding(values=[1.0] * 384, model=IMAGE_MODEL)),
        )
    )
    for hit in ranked.hits:
        print(f"{hit.score:.2f} {hit.background.name}: {hit.matched_caption}")
        for part in hit.signals:
            print(f"  {pb.Signal.Name(part.signal)}: {part.similarity:.2f} at a weight of {part.weight:.2f}")
    for unused in ranked.unused:
        print(f"not used: {pb.Signal.Name(unused.signal)}. {unused.reason}")

    stub.RecordFeedback(
        pb.RecordFeedbackRequest(
            parent=LIBRARY, recommendation_id=ranked.recommendation_id, chosen=[ranked.hits[0].background.name]
        )
    )
    for feedback in stub.ListFeedback(pb.ListFeedbackRequest(parent=LIBRARY)).feedback:
        print("chosen", list(feedback.chosen), "of", list(feedback.shown))
    print("feedback forgotten:", stub.ResetFeedback(pb.ResetFeedbackRequest(parent=LIBRARY)).count)

    print("rules applied:", len(ranked.applied_rules))
    stub.UpdateLibrary(pb.UpdateLibraryRequest(name=LIBRARY))

    for exported in stub.ExportBackgrounds(pb.ExportBackgroundsRequest(parent=LIBRARY)):
        print("exported", exported.background.name)

    for name in names:
        stub.DeleteBackground(pb.DeleteBackgroundRequest(name=name))
    print("deleted", names)
