"""Translates between the contract and the compositor."""

from typing import TYPE_CHECKING, Any

import grpc

from backdrop.compositor.v1 import compositor_pb2 as pb
from backdrop.compositor.v1.compositor_pb2_grpc import CompositorServiceServicer
from chassis.durations import to_duration
from services.compositor.compositor import Compositor, FoundCutOut
from services.compositor.cut_out import Box, CutOut, Source
from services.compositor.encoding import Format
from services.compositor.placement import Preset

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["CompositorService"].full_name

DEFAULT_SIZE_PX = 1024

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]
else:  # generic in the type stubs only
    Context = grpc.aio.ServicerContext

_PRESETS = {
    pb.PRESET_UNSPECIFIED: Preset.SQUARE,
    pb.PRESET_SQUARE: Preset.SQUARE,
    pb.PRESET_PORTRAIT: Preset.PORTRAIT,
    pb.PRESET_LANDSCAPE: Preset.LANDSCAPE,
    pb.PRESET_MARKETPLACE: Preset.MARKETPLACE,
}
_FORMATS = {
    pb.FORMAT_UNSPECIFIED: Format.JPEG,
    pb.FORMAT_JPEG: Format.JPEG,
    pb.FORMAT_WEBP: Format.WEBP,
    pb.FORMAT_PNG: Format.PNG,
}
_SOURCES = {
    Source.ALPHA_CHANNEL: pb.CutOut.SOURCE_ALPHA_CHANNEL,
    Source.SEGMENTED: pb.CutOut.SOURCE_SEGMENTED,
}


class CompositorServicer(CompositorServiceServicer):
    """Serves a `Compositor`. A call whose client has gone is dropped before its turn."""

    def __init__(self, compositor: Compositor) -> None:
        self._compositor = compositor

    async def RenderPreview(self, request: pb.RenderPreviewRequest, context: Context) -> pb.RenderPreviewResponse:
        """See the contract."""
        form = _FORMATS[request.format]
        rendered = await self._compositor.render(
            request.image,
            request.background_image,
            _PRESETS[request.preset],
            request.size or DEFAULT_SIZE_PX,
            form,
            context.time_remaining(),
        )
        height, width = rendered.preview.pixels.shape[:2]
        return pb.RenderPreviewResponse(
            image=rendered.encoded,
            content_type=form.value,
            width=width,
            height=height,
            cut_out=_cut_out_message(rendered.found.cut_out),
            product=_box_message(rendered.preview.box),
            product_scale=rendered.preview.scale,
            processing=_processing(rendered.found, rendered.took_s),
        )

    async def CutOutProduct(self, request: pb.CutOutProductRequest, context: Context) -> pb.CutOutProductResponse:
        """See the contract."""
        found, encoded = await self._compositor.cut_out(request.image, context.time_remaining())
        height, width = found.cut_out.alpha.shape
        return pb.CutOutProductResponse(
            image=encoded,
            content_type=Format.PNG.value,
            width=width,
            height=height,
            cut_out=_cut_out_message(found.cut_out),
            product=_box_message(found.cut_out.box),
            processing=_processing(found, None),
        )


def _cut_out_message(cut_out: CutOut) -> pb.CutOut:
    quality = cut_out.quality
    return pb.CutOut(
        source=_SOURCES[cut_out.source],
        confidence=quality.confidence,
        rough=quality.rough,
        reason=quality.reason,
    )


def _box_message(box: Box) -> pb.BoundingBox:
    return pb.BoundingBox(left=box.left, top=box.top, width=box.width, height=box.height)


def _processing(found: FoundCutOut, render_s: float | None) -> pb.Processing:
    return pb.Processing(
        cut_out_duration=to_duration(found.took_s),
        render_duration=None if render_s is None else to_duration(render_s),
        cut_out_cached=found.cached,
    )
