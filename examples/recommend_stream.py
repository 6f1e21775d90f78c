"""RecommendStream: the same answer as Recommend, stage by stage, as a page would show it."""

from pathlib import Path

import grpc
from addresses import GATEWAY

from backdrop.gateway.v1 import gateway_pb2 as pb
from backdrop.gateway.v1 import gateway_pb2_grpc

PHOTO = Path(__file__).parent.parent / "samples" / "products" / "coffee-mug.jpg"

answer = pb.RecommendResponse()
with grpc.insecure_channel(GATEWAY) as channel:
    stub = gateway_pb2_grpc.GatewayServiceStub(channel)
    request = pb.RecommendRequest(parent="libraries/examples", image=PHOTO.read_bytes(), limit=3)
    for step in stub.RecommendStream(pb.RecommendStreamRequest(request=request), timeout=10):
        answer.MergeFrom(step.response)
        print(f"{step.stage}: {len(answer.features)} features, {len(answer.candidates)} captions, "
              f"{len(answer.recommendations)} backgrounds")  # fmt: skip
