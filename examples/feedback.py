"""RecordFeedback, ListFeedback and ResetFeedback: the library learns what is chosen."""

from pathlib import Path

import grpc
from addresses import GATEWAY

from backdrop.gateway.v1 import gateway_pb2 as pb
from backdrop.gateway.v1 import gateway_pb2_grpc

LIBRARY = "libraries/examples"
photo = (Path(__file__).parent.parent / "samples" / "products" / "coffee-mug.jpg").read_bytes()

with grpc.insecure_channel(GATEWAY) as channel:
    stub = gateway_pb2_grpc.GatewayServiceStub(channel)
    answer = stub.Recommend(pb.RecommendRequest(parent=LIBRARY, image=photo), timeout=30)
    shown = [each.background.name for each in answer.recommendations]
    print("shown", shown)

    # Keep the id beside what you show; it holds all that feedback needs, however late it comes.
    stub.RecordFeedback(
        pb.RecordFeedbackRequest(parent=LIBRARY, recommendation_id=answer.recommendation_id, chosen=shown[-1:])
    )
    again = stub.Recommend(pb.RecommendRequest(parent=LIBRARY, image=photo), timeout=30)
    for each in again.recommendations:
        learned = [part.similarity for part in each.signals if part.signal == pb.SIGNAL_FEEDBACK]
        print(each.background.name, f"{each.score:.3f}", "by feedback:", *learned)

    for feedback in stub.ListFeedback(pb.ListFeedbackRequest(parent=LIBRARY)).feedback:
        print("chosen", list(feedback.chosen), "of", list(feedback.shown))
    print("forgotten:", stub.ResetFeedback(pb.ResetFeedbackRequest(parent=LIBRARY)).count)
