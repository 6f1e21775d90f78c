"""`python -m benchmarks.captioner.decoding FOLDER...`: what scaled decoding saves, and what it does to the embedding.

Each photo is enlarged to common sizes and encoded. It is embedded by the model that the captioner's settings name, from
full decoding and from decoding at least as large as a multiple of the model's input; the cosine distance of the two
embeddings is the change.
"""

import io
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from chassis.images.decoding import Limits, decode
from services.captioner.config import CaptionerConfig
from services.captioner.image_text_model import Embedding, ImageTextModel
from services.captioner.model_loading import load_model

MULTIPLES = (1.0, 1.25, 1.5, 2.0)
SIZES = ((800, 800), (3000, 2000))
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "HEIF")
# Formats that cannot be decoded at a fraction only need a few photos to show it.
PHOTOS_OF_SLOW_FORMATS = 4
UNSCALED = 1_000_000


def input_side_px(model: ImageTextModel) -> int:
    """The longer side of the model's input."""
    return max(model.card.image_input.width, model.card.image_input.height)


def embed(model: ImageTextModel, image: Image.Image) -> Embedding:
    """A unit row."""
    row: Embedding = model.encode_images(model.card.image_input.prepare(image)[None])[0]
    return row


def encode(photo: Path, form: str, size: tuple[int, int]) -> bytes:
    """The photo at `size`, encoded."""
    encoded = io.BytesIO()
    Image.open(photo).convert("RGB").resize(size, Image.Resampling.BICUBIC).save(encoded, form, quality=90)
    return encoded.getvalue()


def timed_decode(data: bytes, side_px: int) -> tuple[float, Image.Image]:
    """Milliseconds of this thread, and the image."""
    started = time.thread_time()
    photo = decode(data, Limits(), side_px)
    return (time.thread_time() - started) * 1000, photo.image


def measure(photos: list[Path], form: str, size: tuple[int, int], model: ImageTextModel) -> Iterator[str]:
    """A line for each multiple."""
    times: dict[float, list[float]] = {multiple: [] for multiple in (0.0, *MULTIPLES)}
    changes: dict[float, list[float]] = {multiple: [] for multiple in MULTIPLES}
    for photo in photos:
        data = encode(photo, form, size)
        full_ms, full = timed_decode(data, UNSCALED)
        times[0.0].append(full_ms)
        expected = embed(model, full)
        for multiple in MULTIPLES:
            scaled_ms, scaled = timed_decode(data, round(multiple * input_side_px(model)))
            times[multiple].append(scaled_ms)
            changes[multiple].append(float(1 - expected @ embed(model, scaled)))
    full_ms = statistics.median(times[0.0])
    for multiple in MULTIPLES:
        scaled_ms, change = statistics.median(times[multiple]), changes[multiple]
        yield (
            f"{form:5} {size[0]:4}x{size[1]:<4} {multiple:8} {full_ms:8.1f} {scaled_ms:9.1f} "
            f"{scaled_ms / full_ms:6.2f} {statistics.median(change):10.5f} {max(change):9.5f}"
        )


def main() -> None:
    """Measures the JPEGs of the folders that are named on the command line, and prints."""
    photos = sorted(path for folder in sys.argv[1:] for path in Path(folder).glob("*.jpg"))
    model = load_model(CaptionerConfig())
    print(f"{len(photos)} photos; {model.card.name}, {model.card.runtime}")
    print(f"side: multiples of {input_side_px(model)} px; ms: of one thread, medians")
    print("format size       side   full ms scaled ms  ratio  median change  max")
    for form in FORMATS:
        chosen = photos if form == "JPEG" else photos[:: max(1, len(photos) // PHOTOS_OF_SLOW_FORMATS)]
        for size in SIZES:
            print(*measure(chosen, form, size, model), sep="\n", flush=True)


if __name__ == "__main__":
    main()
