"""A picture of a recommendation: the product in its backgrounds, with reasons, and what each signal contributed."""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from backdrop.gateway.v1 import gateway_pb2 as pb
from backdrop.gateway.v1 import gateway_pb2_grpc

COLUMNS = 3
CELL = (420, 420)
TEXT_HEIGHT = 146
MARGIN = 24
INK, SOFT, PAPER = "#1c1c1c", "#6a6a6a", "#ffffff"
TITLE_SIZE, TEXT_SIZE, LEGEND_SIZE = 18, 15, 13
BAR_HEIGHT = 7
SIGNALS = {
    pb.SIGNAL_TEXT: ("caption", "#4c78a8"),
    pb.SIGNAL_IMAGE: ("picture", "#f58518"),
    pb.SIGNAL_PHOTO: ("likeness", "#e45756"),
    pb.SIGNAL_COLOR: ("colours", "#72b7b2"),
    pb.SIGNAL_SPACE: ("calm place", "#54a24b"),
    pb.SIGNAL_KEYWORDS: ("keywords", "#b279a2"),
    pb.SIGNAL_FEEDBACK: ("liked before", "#9d755d"),
}
"""What a merchant would call each signal, and its colour."""


@dataclass(frozen=True)
class Cell:
    """A picture with its heading, its text, and, of a background, its score's parts."""

    picture: Image.Image
    heading: str
    text: str
    signals: Sequence[pb.SignalPart] = ()


def write(
    stub: gateway_pb2_grpc.GatewayServiceStub, photo: bytes, title: str, response: pb.RecommendResponse, path: Path
) -> None:
    """Draws the product, and up to five backgrounds with the product in them, in two rows; writes it to `path`.

    A background without a preview is drawn as it is.
    """
    previews = {each.background: each.image for each in response.previews}
    cells = [Cell(_open(photo), title, _product_text(response))]
    for rank, each in enumerate(response.recommendations[:5], start=1):
        name = each.background.name
        picture = previews.get(name) or stub.GetBackgroundImage(pb.GetBackgroundImageRequest(name=name)).image
        heading = f"{rank}. {name.rsplit('/', 1)[1]}  {each.score:.2f}"
        cells.append(Cell(_open(picture), heading, each.reason, each.signals))
    path.parent.mkdir(parents=True, exist_ok=True)
    _draw(cells).save(path)


def _draw(cells: list[Cell]) -> Image.Image:
    step_x, step_y = CELL[0] + MARGIN, CELL[1] + TEXT_HEIGHT + MARGIN
    rows = -(-len(cells) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * step_x + MARGIN, rows * step_y + 2 * MARGIN), PAPER)
    for index, cell in enumerate(cells):
        left = MARGIN + index % COLUMNS * step_x
        top = MARGIN + index // COLUMNS * step_y
        _draw_cell(sheet, left, top, cell, whole=index == 0)
    _draw_legend(sheet, {part.signal for cell in cells for part in _shown(cell.signals)})
    return sheet


def _draw_cell(sheet: Image.Image, left: int, top: int, cell: Cell, *, whole: bool) -> None:
    """One picture with its heading, its score as a bar, and its text; `whole` shows all of it, otherwise it fills."""
    fitted = ImageOps.pad(cell.picture, CELL, color=PAPER) if whole else ImageOps.fit(cell.picture, CELL)
    sheet.paste(fitted, (left, top))
    draw = ImageDraw.Draw(sheet)
    draw.text((left, top + CELL[1] + 8), cell.heading, INK, ImageFont.load_default(TITLE_SIZE))
    if cell.signals:
        _draw_bar(draw, left, top + CELL[1] + 38, cell.signals)
    wrapped = textwrap.fill(cell.text, 58, max_lines=4, placeholder=" …")
    draw.multiline_text((left, top + CELL[1] + 54), wrapped, SOFT, ImageFont.load_default(TEXT_SIZE), spacing=5)


def _draw_bar(draw: ImageDraw.ImageDraw, left: float, top: int, signals: Sequence[pb.SignalPart]) -> None:
    """The parts of the score side by side; a score of one would fill the cell."""
    draw.rectangle((left, top, left + CELL[0], top + BAR_HEIGHT), "#ececec")
    for part in _shown(signals):
        width = part.similarity * part.weight * CELL[0]
        draw.rectangle((left, top, left + width, top + BAR_HEIGHT), SIGNALS[part.signal][1])
        left += width


def _draw_legend(sheet: Image.Image, signals: set[pb.Signal.ValueType]) -> None:
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(LEGEND_SIZE)
    left, top = float(MARGIN), sheet.height - 1.5 * MARGIN
    for signal, (name, color) in SIGNALS.items():
        if signal in signals:
            draw.rectangle((left, top + 3, left + 10, top + 13), color)
            draw.text((left + 16, top), name, SOFT, font)
            left += 16 + draw.textlength(name, font) + MARGIN


def _shown(signals: Sequence[pb.SignalPart]) -> list[pb.SignalPart]:
    """The parts that can be seen; what speaks against a background cannot be drawn as a part of its score."""
    return [part for part in signals if part.similarity * part.weight * CELL[0] >= 1]


def _product_text(response: pb.RecommendResponse) -> str:
    used = next((each for each in response.candidates if each.verdict == pb.VERDICT_USED), None)
    labels = ", ".join(label.name for feature in response.features for label in feature.labels[:2])
    return f"{used.translation.caption or used.caption} [{labels}]" if used else labels


def _open(image: bytes) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(io.BytesIO(image))).convert("RGB")
