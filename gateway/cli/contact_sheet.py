"""A picture of a recommendation: the product beside its backgrounds, captions and reasons underneath."""

import io
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from backdrop.gateway.v1 import gateway_pb2 as pb
from backdrop.gateway.v1 import gateway_pb2_grpc

COLUMNS = 3
CELL = (420, 315)
TEXT_HEIGHT = 128
MARGIN = 24
INK, SOFT, PAPER = "#1c1c1c", "#6a6a6a", "#ffffff"
TITLE_SIZE, TEXT_SIZE = 18, 15


def write(
    stub: gateway_pb2_grpc.GatewayServiceStub, photo: bytes, title: str, response: pb.RecommendResponse, path: Path
) -> None:
    """Draws the product and up to five backgrounds in two rows, and writes the picture to `path`."""
    cells = [(_open(photo), title, _product_text(response))]
    for rank, each in enumerate(response.recommendations[:5], start=1):
        request = pb.GetBackgroundImageRequest(name=each.background.name)
        heading = f"{rank}. {each.background.name.rsplit('/', 1)[1]}  {each.score:.2f}"
        cells.append((_open(stub.GetBackgroundImage(request).image), heading, each.reason))
    path.parent.mkdir(parents=True, exist_ok=True)
    _draw(cells).save(path)


def _draw(cells: list[tuple[Image.Image, str, str]]) -> Image.Image:
    step_x, step_y = CELL[0] + MARGIN, CELL[1] + TEXT_HEIGHT + MARGIN
    rows = -(-len(cells) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * step_x + MARGIN, rows * step_y + MARGIN), PAPER)
    for index, cell in enumerate(cells):
        left = MARGIN + index % COLUMNS * step_x
        top = MARGIN + index // COLUMNS * step_y
        _draw_cell(sheet, left, top, cell, whole=index == 0)
    return sheet


def _draw_cell(sheet: Image.Image, left: int, top: int, cell: tuple[Image.Image, str, str], *, whole: bool) -> None:
    """One picture with its heading and text; `whole` shows all of it, otherwise it fills the cell."""
    picture, heading, text = cell
    fitted = ImageOps.pad(picture, CELL, color=PAPER) if whole else ImageOps.fit(picture, CELL)
    sheet.paste(fitted, (left, top))
    draw = ImageDraw.Draw(sheet)
    draw.text((left, top + CELL[1] + 8), heading, INK, ImageFont.load_default(TITLE_SIZE))
    wrapped = textwrap.fill(text, 58, max_lines=4, placeholder=" …")
    draw.multiline_text((left, top + CELL[1] + 36), wrapped, SOFT, ImageFont.load_default(TEXT_SIZE), spacing=5)


def _product_text(response: pb.RecommendResponse) -> str:
    used = next((each for each in response.candidates if each.verdict == pb.VERDICT_USED), None)
    labels = ", ".join(label.name for feature in response.features for label in feature.labels[:2])
    return f"{used.translation.caption or used.caption} [{labels}]" if used else labels


def _open(image: bytes) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(io.BytesIO(image))).convert("RGB")
