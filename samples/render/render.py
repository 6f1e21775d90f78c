"""Renders the sample library: `python render.py --help`.

What is already there is skipped, so an interrupted run continues where it stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import backgrounds
import environments
import products
import stage
import textures
import yaml
from PIL import Image

HERE = Path(__file__).resolve().parent
SAMPLES = HERE.parent
MAX_BYTES = 195_000
BRIGHTER = 0.35
"""Stops by which backgrounds are exposed above the neutral setting."""
PRODUCT_KEYS = ("type", "synonyms", "description", "parts", "colors", "materials")
LANDSCAPE, PORTRAIT, SQUARE = (1200, 900), (900, 1200), (1000, 1000)


def main() -> None:
    """Renders what is asked for and missing, then writes the metadata."""
    args = _arguments()
    if args.preview:
        textures.N = 1024
    maps = environments.fetch(args.cache)
    done = 0
    for kind, name, recipe in _jobs(args.only):
        path = (args.out / ("library" if kind == "background" else "products") / name).with_suffix(".jpg")
        if path.exists() and not args.again:
            continue
        started = time.monotonic()
        _render(kind, name, recipe, path, maps, args)
        done += 1
        print(f"{name}: {time.monotonic() - started:.1f} s, {path.stat().st_size // 1024} KiB", flush=True)
    _write_metadata(args.out)
    print(f"{done} pictures rendered")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", help="names of the pictures to render (default: all)")
    parser.add_argument("--samples", type=int, default=6, help="paths a pixel, at most")
    parser.add_argument("--scale", type=int, default=75, help="percent of the size to render at; the rest is enlarged")
    parser.add_argument("--preview", action="store_true", help="a quarter of the size, few samples")
    parser.add_argument("--again", action="store_true", help="render also what is there")
    parser.add_argument("--out", type=Path, default=SAMPLES, help="folder that holds library/ and products/")
    cache = Path(tempfile.gettempdir()) / "backdrop-samples"
    parser.add_argument("--cache", type=Path, default=cache, help="where the environment maps are kept")
    return parser.parse_args()


def _recipes(kind: str) -> dict[str, dict[str, Any]]:
    return yaml.safe_load((HERE / f"{kind}s.yaml").read_text())


def _jobs(only: list[str] | None) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for kind in ("background", "product"):
        for name, recipe in _recipes(kind).items():
            if not only or name in only:
                yield kind, name, recipe


def _render(kind: str, name: str, recipe: dict[str, Any], path: Path, maps: Path, args: argparse.Namespace) -> None:
    """Builds the scene, renders it to a lossless file, and compresses that."""
    size = SQUARE if kind == "product" else PORTRAIT if recipe.get("portrait") else LANDSCAPE
    samples = args.samples
    full = size = (size[0] // 4, size[1] // 4) if args.preview else size
    size = size if args.preview else tuple(side * args.scale // 100 for side in size)
    look = recipe.get("look", "AgX - Medium High Contrast")
    with tempfile.TemporaryDirectory() as folder, _quiet():
        if kind == "background":
            backgrounds.build(recipe, maps)
            stage.setup(size, int(samples * recipe.get("effort", 1)), recipe.get("exposure", 0.0) + BRIGHTER, look)
        else:
            products.build(recipe, maps)
            stage.setup(size, int(samples * recipe.get("effort", 1)), recipe.get("exposure", 0.0), "None", "Standard")
        lossless = Path(folder) / f"{name}.png"
        stage.render(lossless)
        _compress(lossless, path, full)


def _compress(source: Path, target: Path, size: tuple[int, int]) -> None:
    """The best progressive JPEG of `size` pixels under the size limit."""
    image = Image.open(source).convert("RGB").resize(size, Image.Resampling.LANCZOS)
    target.parent.mkdir(parents=True, exist_ok=True)
    for quality in range(92, 40, -3):
        data = io.BytesIO()
        image.save(data, "JPEG", quality=quality, optimize=True, progressive=True)
        if data.tell() <= MAX_BYTES:
            break
    target.write_bytes(data.getvalue())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Sends Blender's own chatter, which ignores sys.stdout, to nowhere."""
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _write_metadata(out: Path) -> None:
    """manifest.jsonl and products.jsonl, from the recipes."""
    for kind, path, keys in (
        ("background", out / "library" / "manifest.jsonl", ("title", "keywords")),
        ("product", out / "products" / "products.jsonl", PRODUCT_KEYS),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({"file": f"{name}.jpg"} | {k: r[k] for k in keys}) for name, r in _recipes(kind).items()]
        path.write_text("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main()
