"""ListBackgrounds: a library page by page."""

import grpc
from addresses import GATEWAY

from backdrop.gateway.v1 import gateway_pb2 as pb
from backdrop.gateway.v1 import gateway_pb2_grpc

with grpc.insecure_channel(GATEWAY) as channel:
    stub = gateway_pb2_grpc.GatewayServiceStub(channel)
    request = pb.ListBackgroundsRequest(parent="libraries/examples", page_size=2)
    while True:
        page = stub.ListBackgrounds(request)
        for background in page.backgrounds:
            print(background.name, background.captions[0].text)
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
