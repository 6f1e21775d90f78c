"""The compositor as a real server: its contract."""

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest
from PIL import Image

from backdrop.compositor.v1 import compositor_pb2 as pb
from backdrop.compositor.v1 import compositor_pb2_grpc
from chassis import server
from chassis.channels import open_channel
from chassis.errors import reason_of, retry_after_s_of, status_of, violations_of
from services.compositor.application import open_application
from services.compositor.config import CompositorConfig
from services.compositor.servicer import SERVICE_NAME
from tests.hostile import hostile_images

# The class is in the type stubs only.
Compositor: TypeAlias = "compositor_pb2_grpc.CompositorServiceAsyncStub"

SAMPLES = Path(__file__).parent.parent.parent / "samples"
MUG = (SAMPLES / "products" / "coffee-mug.jpg").read_bytes()
OAK = (SAMPLES / "library" / "oak-table-sunny-apartment.jpg").read_bytes()


@pytest.fixture
async def compositor(request: pytest.FixtureRequest) -> AsyncIterator[Compositor]:
    config = CompositorConfig(port=0, drain_s=1, **getattr(request, "param", {}))
    async with (
        open_application(config) as application,
        server.start(config, application) as running,
        open_channel(f"127.0.0.1:{running.port}", SERVICE_NAME) as channel,
    ):
        yield compositor_pb2_grpc.CompositorServiceStub(channel)


def a_request(**fields: Any) -> pb.RenderPreviewRequest:
    return pb.RenderPreviewRequest(**{"image": MUG, "background_image": OAK, "size": 320, **fields})


async def error_of(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


@pytest.mark.parametrize(
    ("preset", "size"),
    [
        (pb.PRESET_UNSPECIFIED, (320, 320)),
        (pb.PRESET_PORTRAIT, (256, 320)),
        (pb.PRESET_LANDSCAPE, (320, 180)),
        (pb.PRESET_MARKETPLACE, (320, 320)),
    ],
)
async def test_a_preview_has_the_shape_that_is_asked_for(
    compositor: Compositor, preset: pb.Preset.ValueType, size: tuple[int, int]
) -> None:
    response = await compositor.RenderPreview(a_request(preset=preset))
    image = Image.open(io.BytesIO(response.image))
    assert image.size == (response.width, response.height) == size
    assert (image.format, response.content_type) == ("JPEG", "image/jpeg")
    assert (response.cut_out.source, response.cut_out.rough) == (pb.CutOut.SOURCE_SEGMENTED, False)
    assert response.product.width > 50


async def test_a_preview_is_encoded_as_is_asked_for(compositor: Compositor) -> None:
    for form, name in ((pb.FORMAT_WEBP, "WEBP"), (pb.FORMAT_PNG, "PNG")):
        response = await compositor.RenderPreview(a_request(format=form))
        assert Image.open(io.BytesIO(response.image)).format == name


async def test_a_photo_is_cut_out_once(compositor: Compositor) -> None:
    first, second = await asyncio.gather(*(compositor.RenderPreview(a_request(preset=each)) for each in (1, 2)))
    third = await compositor.RenderPreview(a_request(preset=3))
    assert [first.processing.cut_out_cached, second.processing.cut_out_cached].count(True) == 1
    assert third.processing.cut_out_cached


async def test_a_cut_out_is_a_png_with_a_soft_edge(compositor: Compositor) -> None:
    response = await compositor.CutOutProduct(pb.CutOutProductRequest(image=MUG))
    image = Image.open(io.BytesIO(response.image))
    assert (image.format, image.mode, image.size) == ("PNG", "RGBA", (response.width, response.height))
    shades = set(image.getchannel("A").tobytes())
    assert {0, 255} < shades
    again = await compositor.RenderPreview(a_request(image=response.image))
    assert (again.cut_out.source, again.cut_out.confidence) == (pb.CutOut.SOURCE_ALPHA_CHANNEL, 1)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"image": b""}, "image"),
        ({"image": b"no photo"}, "image"),
        ({"image": MUG[:4000]}, "image"),
        ({"background_image": b"no photo"}, "background_image"),
        ({"size": 100}, "size"),
        ({"size": 4096}, "size"),
        ({"preset": 9}, "preset"),
        ({"format": 9}, "format"),
    ],
)
async def test_what_is_wrong_is_named_by_its_field(compositor: Compositor, fields: dict[str, Any], field: str) -> None:
    error = await error_of(compositor.RenderPreview(a_request(**fields)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [each.field for each in violations_of(status_of(error))] == [field]


async def test_a_scene_without_a_background_says_what_to_do(compositor: Compositor) -> None:
    error = await error_of(compositor.RenderPreview(a_request(background_image=b"")))
    assert "send a background_image, or ask for PRESET_MARKETPLACE" in error.details()


async def test_a_photo_of_nothing_says_what_to_send(compositor: Compositor) -> None:
    plain = io.BytesIO()
    Image.new("RGB", (300, 200), "white").save(plain, "PNG")
    error = await error_of(compositor.RenderPreview(a_request(image=plain.getvalue())))
    assert reason_of(status_of(error)) == "CUT_OUT_FAILED"
    assert "plain background of another colour" in error.details()


@pytest.mark.parametrize("compositor", [{"max_pending": 1}], indirect=True)
async def test_more_than_it_takes_is_refused_with_a_hint(compositor: Compositor) -> None:
    calls = [compositor.RenderPreview(a_request(size=1024)) for _ in range(6)]
    ended = await asyncio.gather(*calls, return_exceptions=True)
    refused = [each for each in ended if isinstance(each, grpc.aio.AioRpcError)]
    assert 0 < len(refused) < 6
    assert {reason_of(status_of(each)) for each in refused} == {"QUEUE_FULL"}
    assert all(retry_after_s_of(status_of(each)) for each in refused)


async def test_a_deadline_that_passes_is_told(compositor: Compositor) -> None:
    error = await error_of(compositor.RenderPreview(a_request(), timeout=0.02))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_no_image_makes_it_fail(compositor: Compositor) -> None:
    codes = set()
    for number, image in enumerate(hostile_images(120, seed=5)):
        fields = {"image": image} if number % 2 else {"background_image": image}
        call = compositor.RenderPreview(a_request(size=256, **fields))
        codes.add(await call.code())
    assert codes == {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}
    assert (await compositor.RenderPreview(a_request())).width == 320
