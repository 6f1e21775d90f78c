"""RenderPreview: a product in one background, large, and on white for a marketplace; and previews beside an answer."""

import tempfile
from pathlib import Path

import grpc
from addresses import GATEWAY

from backdrop.gateway.v1 import gateway_pb2 as pb
from backdrop.gateway.v1 import gateway_pb2_grpc

PHOTO = (Path(__file__).parent.parent / "samples" / "products" / "coffee-mug.jpg").read_bytes()
LIBRARY = "libraries/examples"
folder = Path(tempfile.mkdtemp())

# Answers with pictures may be larger than the 4 MiB that gRPC takes by default.
with grpc.insecure_channel(GATEWAY, options=[("grpc.max_receive_message_length", 72 * 2**20)]) as channel:
    stub = gateway_pb2_grpc.GatewayServiceStub(channel)
    options = pb.PreviewOptions(count=2, preset=pb.PRESET_PORTRAIT, size=768)
    answer = stub.Recommend(pb.RecommendRequest(parent=LIBRARY, image=PHOTO, limit=5, preview=options), timeout=30)
    for each in answer.previews:
        box = each.product
        print(f"{each.background}: {each.width} x {each.height}, the product at {box.left}, {box.top}")
        if each.cut_out.rough:
            print("look closely:", each.cut_out.reason)

    best = answer.recommendations[0].background.name.rsplit("/", 1)[1]
    large = pb.RenderPreviewRequest(parent=LIBRARY, image=PHOTO, background=best, size=2048, format=pb.FORMAT_WEBP)
    on_white = pb.RenderPreviewRequest(parent=LIBRARY, image=PHOTO, preset=pb.PRESET_MARKETPLACE, format=pb.FORMAT_PNG)
    for name, request in (("large.webp", large), ("marketplace.png", on_white)):
        preview = stub.RenderPreview(request, timeout=30).preview
        (folder / name).write_bytes(preview.image)
        print(f"{folder / name}: {preview.width} x {preview.height}")
