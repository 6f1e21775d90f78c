"""Recommend: the backgrounds of a library in which a product would look best, and how to read an error."""

import sys
from pathlib import Path

import grpc
from addresses import GATEWAY

from backdrop.gateway.v1 import gateway_pb2 as pb
from backdrop.gateway.v1 import gateway_pb2_grpc
from chassis.errors import reason_of, status_of

PHOTO = Path(__file__).parent.parent / "samples" / "products" / "coffee-mug.jpg"

with grpc.insecure_channel(GATEWAY) as channel:
    stub = gateway_pb2_grpc.GatewayServiceStub(channel)
    request = pb.RecommendRequest(parent="libraries/examples", image=PHOTO.read_bytes(), limit=3)
    try:
        response = stub.Recommend(request, timeout=10)
    except grpc.RpcError as error:
        sys.exit(f"{reason_of(status_of(error))}: {error.details()}")

for each in response.degraded:
    print(f"degraded: {each.stage}, {each.message}")
for each in response.recommendations:
    print(f"{each.score:.2f} {each.background.name}: {each.reason}")
