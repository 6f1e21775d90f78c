"""`make bench-compositor`: what a preview takes; `--sheet FILE` draws all sample products in backgrounds."""

import argparse
import asyncio
import io
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from rich.table import Table

from backdrop.gateway.v1 import gateway_pb2 as pb
from benchmarks.samples import LIBRARY, PRODUCTS, Stack, read_grades, read_products, running_stack
from chassis.images.decoding import Limits, decode
from gateway.cli.console import out, stdout
from services.compositor.application import open_compositor
from services.compositor.compositor import Compositor
from services.compositor.config import CompositorConfig
from services.compositor.encoding import Format, encode
from services.compositor.placement import Preset

SIZE_PX = 1024
AT_ONCE = 6
LIMITS = Limits(32 * 2**20, 100_000_000)
SHEET_COLUMNS, SHEET_CELL_PX = 4, 384


def best_backgrounds(product: str, count: int) -> list[bytes]:
    """Pictures of the backgrounds that the stylist graded best for a product."""
    grades = read_grades()[product]
    names = sorted(grades, key=lambda each: -grades[each])[:count]
    return [(LIBRARY / f"{name}.jpg").read_bytes() for name in names]


async def render_ms(compositor: Compositor, photo: bytes, backgrounds: Sequence[bytes]) -> float:
    """Milliseconds that previews in all of the backgrounds take, asked for at once."""
    started = time.perf_counter()
    renders = (compositor.render(photo, each, Preset.SQUARE, SIZE_PX, Format.JPEG) for each in backgrounds)
    await asyncio.gather(*renders)
    return (time.perf_counter() - started) * 1000


async def measure(compositor: Compositor) -> dict[str, list[float]]:
    """Milliseconds a preview, by what is measured, one for each product."""
    measured: dict[str, list[float]] = {
        "bare: background decoded, scaled, encoded": [],
        "first preview of a photo": [],
        "a further one": [],
        f"each of {AT_ONCE} at once": [],
    }
    bare, first, further, at_once = measured.values()
    for product in read_products():
        photo = (PRODUCTS / product.file).read_bytes()
        backgrounds = best_backgrounds(product.file, AT_ONCE)
        bare.append(bare_ms(backgrounds[0]))
        first.append(await render_ms(compositor, photo, backgrounds[:1]))
        further.append(await render_ms(compositor, photo, backgrounds[1:2]))
        at_once.append(await render_ms(compositor, photo, backgrounds) / len(backgrounds))
    return measured


def bare_ms(background: bytes) -> float:
    """What the background alone takes: the least that any preview could."""
    started = time.perf_counter()
    pixels = np.asarray(decode(background, LIMITS, SIZE_PX, field="background_image").image)
    encode(cv2.resize(pixels, (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_AREA).astype(np.uint8), Format.JPEG)
    return (time.perf_counter() - started) * 1000


def show(measured: dict[str, list[float]]) -> None:
    """The figures as a table."""
    table = Table(f"{SIZE_PX} x {SIZE_PX} JPEG", "median ms", "worst ms", box=None)
    for what, took_ms in measured.items():
        table.add_row(what, f"{statistics.median(took_ms):.0f}", f"{max(took_ms):.0f}")
    stdout.print(table)


def draw_sheet(stack: Stack, path: Path) -> None:
    """Each sample product's photo, and it in the three backgrounds that are recommended for it."""
    pictures: list[bytes] = []
    for product in read_products():
        photo = (PRODUCTS / product.file).read_bytes()
        request = pb.RecommendRequest(
            parent="libraries/samples", image=photo, limit=SHEET_COLUMNS - 1, preview=pb.PreviewOptions(size=768)
        )
        response = stack.stub.Recommend(request, timeout=60)
        rough = [each.cut_out.reason for each in response.previews if each.cut_out.rough]
        out(f"{product.file}: {'rough. ' + rough[0] if rough else 'fine'}")
        pictures += [photo, *(each.image for each in response.previews)]
    grid(pictures).save(path, quality=85)


def grid(pictures: Sequence[bytes]) -> Image.Image:
    """The pictures row by row, each in a square."""
    cell = SHEET_CELL_PX
    sheet = Image.new("RGB", (SHEET_COLUMNS * cell, -(-len(pictures) // SHEET_COLUMNS) * cell), "white")
    for number, each in enumerate(pictures):
        picture = Image.open(io.BytesIO(each)).convert("RGB")
        picture.thumbnail((cell, cell))
        sheet.paste(picture, (number % SHEET_COLUMNS * cell, number // SHEET_COLUMNS * cell))
    return sheet


async def main(sheet: Path | None) -> None:
    """Measures, and draws where that is asked for."""
    async with open_compositor(CompositorConfig()) as compositor:
        await compositor.render(
            (PRODUCTS / read_products()[0].file).read_bytes() + b" ", b"", Preset.MARKETPLACE, SIZE_PX, Format.JPEG
        )
        show(await measure(compositor))
    if sheet:
        with running_stack() as stack:
            stack.import_samples("samples", use_manifest=True)
            draw_sheet(stack, sheet)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sheet", type=Path, help="write a picture of all sample products in backgrounds")
    asyncio.run(main(parser.parse_args().sheet))
