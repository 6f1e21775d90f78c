"""Both RPCs of the compositor: a preview of a product before a background, and the product alone."""

import tempfile
from pathlib import Path

import grpc
from addresses import COMPOSITOR

from backdrop.compositor.v1 import compositor_pb2 as pb
from backdrop.compositor.v1 import compositor_pb2_grpc

SAMPLES = Path(__file__).parent.parent / "samples"
PHOTO = (SAMPLES / "products" / "coffee-mug.jpg").read_bytes()
BACKGROUND = (SAMPLES / "library" / "oak-table-sunny-apartment.jpg").read_bytes()

folder = Path(tempfile.mkdtemp())
with grpc.insecure_channel(COMPOSITOR) as channel:
    stub = compositor_pb2_grpc.CompositorServiceStub(channel)
    for preset in (pb.PRESET_PORTRAIT, pb.PRESET_MARKETPLACE):
        request = pb.RenderPreviewRequest(
            image=PHOTO, background_image=BACKGROUND, preset=preset, size=1200, format=pb.FORMAT_WEBP
        )
        preview = stub.RenderPreview(request)
        path = folder / f"{pb.Preset.Name(preset).lower()}.webp"
        path.write_bytes(preview.image)
        print(
            f"{path}: {preview.width} x {preview.height}, the product at {preview.product.left}, {preview.product.top}"
        )

    alone = stub.CutOutProduct(pb.CutOutProductRequest(image=PHOTO))
    (folder / "mug.png").write_bytes(alone.image)
    print(f"{folder / 'mug.png'}: cut out with a confidence of {alone.cut_out.confidence:.0%}")
    if alone.cut_out.rough:
        print("look at it first:", alone.cut_out.reason)
