"""ExportBackgrounds, and ImportBackgrounds with what it gave: a copy of a library that nothing was captioned for."""

from collections.abc import Iterator

import grpc
from addresses import GATEWAY

from backdrop.gateway.v1 import gateway_pb2 as pb
from backdrop.gateway.v1 import gateway_pb2_grpc

# Pictures may be larger than the 4 MiB that a client takes by default.
OPTIONS = [("grpc.max_receive_message_length", 64 * 1024 * 1024)]


def requests(stub: gateway_pb2_grpc.GatewayServiceStub) -> Iterator[pb.ImportBackgroundsRequest]:
    """One request for each background of the library `examples`, as it comes."""
    for exported in stub.ExportBackgrounds(pb.ExportBackgroundsRequest(parent="libraries/examples")):
        background = exported.background
        if exported.HasField("error"):
            print("not exported", background.name, exported.error.message)
            continue
        yield pb.ImportBackgroundsRequest(
            name=background.name.replace("libraries/examples/", "libraries/examples-copy/"),
            image=exported.image,
            record=exported.record,
            title=background.title,
            keywords=background.keywords,
            attributes=background.attributes,
            expire_time=background.expire_time if background.HasField("expire_time") else None,
        )


with grpc.insecure_channel(GATEWAY, OPTIONS) as channel:
    stub = gateway_pb2_grpc.GatewayServiceStub(channel)
    for outcome in stub.ImportBackgrounds(requests(stub)):
        print(pb.Outcome.Name(outcome.outcome), outcome.name, outcome.error.message)
