"""The compositor."""

import grpc

from backdrop.compositor.v1 import compositor_pb2, compositor_pb2_grpc
from gateway.domain import Box, CutOut, Preview, PreviewForm
from gateway.peers.peer import Peer


class Compositor(Peer):
    """Shows products in backgrounds."""

    name = "compositor"
    service = compositor_pb2.DESCRIPTOR.services_by_name["CompositorService"].full_name

    def __init__(self, channel: grpc.aio.Channel) -> None:
        super().__init__(channel)
        self._stub = compositor_pb2_grpc.CompositorServiceStub(channel)

    async def render(
        self, image: bytes, background: str, background_image: bytes, form: PreviewForm, timeout_s: float
    ) -> Preview:
        """A product photo's product in the picture of the background of that name; neither is needed on white."""
        request = compositor_pb2.RenderPreviewRequest(
            image=image,
            background_image=background_image,
            preset=compositor_pb2.Preset.Value(f"PRESET_{form.preset.name}"),
            size=form.size,
            format=compositor_pb2.Format.Value(f"FORMAT_{form.format.name}"),
        )
        return _preview(background, await self._call(self._stub.RenderPreview, request, timeout_s))


def _preview(background: str, response: compositor_pb2.RenderPreviewResponse) -> Preview:
    cut_out, box = response.cut_out, response.product
    return Preview(
        background=background,
        image=response.image,
        content_type=response.content_type,
        width=response.width,
        height=response.height,
        cut_out=CutOut(
            from_alpha=cut_out.source == compositor_pb2.CutOut.SOURCE_ALPHA_CHANNEL,
            confidence=cut_out.confidence,
            rough=cut_out.rough,
            reason=cut_out.reason,
        ),
        product=Box(box.left, box.top, box.width, box.height),
        product_scale=response.product_scale,
    )
