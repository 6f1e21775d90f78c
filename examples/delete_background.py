"""DeleteBackground: forgets a background and its picture."""

import grpc
from addresses import GATEWAY

from backdrop.gateway.v1 import gateway_pb2 as pb
from backdrop.gateway.v1 import gateway_pb2_grpc

with grpc.insecure_channel(GATEWAY) as channel:
    stub = gateway_pb2_grpc.GatewayServiceStub(channel)
    first = stub.ListBackgrounds(pb.ListBackgroundsRequest(parent="libraries/examples", page_size=1)).backgrounds[0]
    stub.DeleteBackground(pb.DeleteBackgroundRequest(name=first.name))
    print("deleted", first.name)
