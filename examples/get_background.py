"""GetBackground and GetBackgroundImage: what is known of a background, and its picture."""

import grpc
from addresses import GATEWAY

from backdrop.gateway.v1 import gateway_pb2 as pb
from backdrop.gateway.v1 import gateway_pb2_grpc

# Pictures may be larger than the 4 MiB that a client takes by default.
OPTIONS = [("grpc.max_receive_message_length", 64 * 1024 * 1024)]

with grpc.insecure_channel(GATEWAY, OPTIONS) as channel:
    stub = gateway_pb2_grpc.GatewayServiceStub(channel)
    first = stub.ListBackgrounds(pb.ListBackgroundsRequest(parent="libraries/examples", page_size=1)).backgrounds[0]
    background = stub.GetBackground(pb.GetBackgroundRequest(name=first.name)).background
    picture = stub.GetBackgroundImage(pb.GetBackgroundImageRequest(name=first.name))
    print(background)
    print(picture.content_type, len(picture.image), "bytes")
