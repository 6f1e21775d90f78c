"""ImportBackgrounds: sends pictures as a stream; each outcome comes as soon as it is done."""

from collections.abc import Iterator
from pathlib import Path

import grpc
from addresses import GATEWAY

from backdrop.gateway.v1 import gateway_pb2 as pb
from backdrop.gateway.v1 import gateway_pb2_grpc

PICTURES = sorted(Path(__file__).parent.parent.glob("samples/library/*.jpg"))[:4]


def requests() -> Iterator[pb.ImportBackgroundsRequest]:
    """One request for each picture; titles and keywords are optional."""
    for path in PICTURES:
        name = f"libraries/examples/backgrounds/{path.stem}"
        yield pb.ImportBackgroundsRequest(name=name, image=path.read_bytes(), title=path.stem.replace("-", " "))


with grpc.insecure_channel(GATEWAY) as channel:
    stub = gateway_pb2_grpc.GatewayServiceStub(channel)
    for outcome in stub.ImportBackgrounds(requests()):
        print(pb.Outcome.Name(outcome.outcome), outcome.name, outcome.error.message)
