"""GetLibrary and UpdateLibrary: what every recommendation of a library obeys is said once."""

from pathlib import Path

import grpc
from addresses import GATEWAY

from backdrop.gateway.v1 import gateway_pb2 as pb
from backdrop.gateway.v1 import gateway_pb2_grpc

LIBRARY = "libraries/examples"
photo = (Path(__file__).parent.parent / "samples" / "products" / "coffee-mug.jpg").read_bytes()

with grpc.insecure_channel(GATEWAY) as channel:
    stub = gateway_pb2_grpc.GatewayServiceStub(channel)
    before = stub.GetLibrary(pb.GetLibraryRequest(name=LIBRARY)).rules
    print("rules", len(before))

    never_upright = pb.Filter(key="orientation", any_of=["portrait"], exclude=True)
    updated = stub.UpdateLibrary(pb.UpdateLibraryRequest(name=LIBRARY, rules=[*before, never_upright]))
    # A key that nothing has is either misspelt, or backgrounds that have it are still to come.
    print("rules", len(updated.rules), "unknown keys", list(updated.unknown_keys))

    answer = stub.Recommend(pb.RecommendRequest(parent=LIBRARY, image=photo), timeout=30)
    print("applied", [rule.key for rule in answer.applied_rules])
    for each in answer.recommendations:
        print(each.background.name, f"{each.background.width}x{each.background.height}")
    if answer.empty_reason:
        print(answer.empty_reason)

    stub.UpdateLibrary(pb.UpdateLibraryRequest(name=LIBRARY, rules=before))
