"""`backdrop preview`, and the previews of `backdrop recommend`: what is asked for, and files of what came."""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path

from backdrop.gateway.v1 import gateway_pb2 as pb
from gateway.cli.console import fail, out, warn
from gateway.domain import Preset

FORMATS = {".jpg": pb.FORMAT_JPEG, ".jpeg": pb.FORMAT_JPEG, ".webp": pb.FORMAT_WEBP, ".png": pb.FORMAT_PNG}


class ScenePreset(StrEnum):
    """Shapes of a product in a background."""

    SQUARE = "square"
    PORTRAIT = "portrait"
    LANDSCAPE = "landscape"


def options(preset: ScenePreset) -> pb.PreviewOptions:
    """Previews of all backgrounds that may have one."""
    return pb.PreviewOptions(preset=_number(preset))


def request(
    photo: bytes, library: str, background: str, preset: Preset, size: int, output: Path
) -> pb.RenderPreviewRequest:
    """A request for one preview, encoded as the name of the output file says."""
    if output.suffix.lower() not in FORMATS:
        fail(f"--output {output}: name a file that ends in {', '.join(FORMATS)}.")
    return pb.RenderPreviewRequest(
        parent=f"libraries/{library}",
        image=photo,
        background=background,
        preset=_number(preset),
        size=size,
        format=FORMATS[output.suffix.lower()],
    )


def write_one(preview: pb.Preview, path: Path) -> None:
    """Writes a preview, and says where to look twice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(preview.image)
    out(f"Wrote {path}, {preview.width} x {preview.height}")
    if preview.cut_out.rough:
        warn(f"Look closely at it. {preview.cut_out.reason}")


def write_all(previews: Iterable[pb.Preview], folder: Path) -> Iterator[Path]:
    """Writes each preview under the id of its background; gives the paths as it goes."""
    folder.mkdir(parents=True, exist_ok=True)
    for each in previews:
        path = folder / f"{each.background.rsplit('/', 1)[1]}.jpg"
        path.write_bytes(each.image)
        yield path
        if each.cut_out.rough:
            warn(f"Look closely at {path.name}. {each.cut_out.reason}")


def _number(preset: ScenePreset | Preset) -> pb.Preset.ValueType:
    return pb.Preset.Value(f"PRESET_{preset.name}")
