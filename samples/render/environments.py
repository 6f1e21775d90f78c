"""Environment maps: fetched by name from npm, decoded, and blurred as a lens would blur them.

The maps are the CC0 ones of the npm package `@pmndrs/assets`. The package ships each as a
JavaScript module that exports a base64 data URL, so no JavaScript needs to run to read them.
"""

from __future__ import annotations

import base64
import re
import subprocess
import tarfile
from pathlib import Path

import bpy
import numpy as np
from PIL import Image

PACKAGE = "@pmndrs/assets@1.7.0"
_WIDTH, _HEIGHT = 2048, 1024


def fetch(cache: Path) -> Path:
    """Downloads and unpacks the maps into `cache` unless they are there; returns the folder of `.exr` files."""
    folder = cache / "hdri"
    if folder.exists():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    subprocess.run(["npm", "pack", PACKAGE], cwd=cache, check=True, capture_output=True)
    archive = next(cache.glob("pmndrs-assets-*.tgz"))
    unpacked = cache / "hdri.part"
    unpacked.mkdir(exist_ok=True)
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            if re.fullmatch(r"package/hdri/\w+\.exr\.js", member.name):
                module = tar.extractfile(member).read().decode()
                (unpacked / Path(member.name).stem).write_bytes(_decode(module))
    return unpacked.rename(folder)


def _decode(module: str) -> bytes:
    """The bytes of the base64 data URL that a JavaScript module exports."""
    return base64.b64decode(re.search(r"base64,([A-Za-z0-9+/=]+)", module).group(1))


def load(folder: Path, name: str) -> bpy.types.Image:
    """The sharp map, as it lights a scene."""
    return bpy.data.images.load(str(folder / f"{name}.exr"), check_existing=True)


def load_blurred(folder: Path, name: str, radius_deg: float) -> bpy.types.Image:
    """The map as a camera focused on something near would see it: each point a disc of `radius_deg` degrees.

    The blur is done on linear light, so that lamps become bright discs instead of grey smears.
    """
    key = f"{name}-blurred-{radius_deg:g}"
    if key in bpy.data.images:
        return bpy.data.images[key]
    return _upload(key, _disc_blur(_enlarged(_pixels(load(folder, name))), radius_deg))


def _upload(key: str, pixels: np.ndarray) -> bpy.types.Image:
    image = bpy.data.images.new(key, _WIDTH, _HEIGHT, float_buffer=True, is_data=False)
    image.colorspace_settings.name = "Linear Rec.709"
    alpha = np.ones((_HEIGHT, _WIDTH, 1), np.float32)
    image.pixels.foreach_set(np.concatenate([pixels.astype(np.float32), alpha], axis=2).ravel())
    image.pack()
    return image


def bokeh(recipe: dict) -> bpy.types.Image:
    """A made-up night: out-of-focus lamps as soft discs around the horizon, on a dark ground that fades upwards."""
    key = f"bokeh-blurred-{abs(hash(str(recipe)))}"
    if key in bpy.data.images:
        return bpy.data.images[key]
    rng = np.random.default_rng(recipe.get("seed", 1))
    horizon = recipe.get("horizon", 4)
    y = np.arange(_HEIGHT)[:, None] * 180 / _HEIGHT - 90
    fade = np.exp(-(((y - horizon) / 16) ** 2))[..., None]
    sky = np.array(recipe.get("dark", (0.004, 0.004, 0.008))) + fade * np.array(recipe.get("haze", (0.03, 0.02, 0.015)))
    pixels = np.repeat(sky, _WIDTH, axis=1)
    for _ in range(recipe["count"]):
        color = recipe["colors"][rng.integers(len(recipe["colors"]))]
        light = np.array(color) * rng.uniform(0.25, 1.2) * recipe.get("power", 1)
        at = (rng.uniform(3, 357), horizon + rng.normal(0, recipe.get("spread", 5)))
        _add_disc(pixels, at, recipe.get("radius", 1.1) * rng.uniform(0.55, 1.15), light)
    return _upload(key, pixels)


def _add_disc(pixels: np.ndarray, at_deg: tuple[float, float], radius_deg: float, light: np.ndarray) -> None:
    """Adds one soft-edged disc, a little brighter at its rim, as lenses draw them."""
    scale = _WIDTH / 360
    x, y, r = at_deg[0] * scale, (at_deg[1] + 90) * scale, int(radius_deg * scale) + 2
    left, low = int(x) - r, int(y) - r
    v, u = np.mgrid[low : low + 2 * r, left : left + 2 * r]
    reach = np.hypot(u - x, v - y) / (radius_deg * scale)
    disc = np.clip((1 - reach) * radius_deg * scale + 0.5, 0, 1) * (0.75 + 0.25 * np.clip(reach, 0, 1) ** 4)
    window = pixels[low : low + 2 * r, max(left, 0) : left + 2 * r]
    window += (disc[..., None] * light)[: window.shape[0], -window.shape[1] :]


def _pixels(image: bpy.types.Image) -> np.ndarray:
    """The map as float32 [height, width, 3], rows from the bottom, its burnt-out pixels made finite."""
    width, height = image.size
    flat = np.empty(width * height * image.channels, np.float32)
    image.pixels.foreach_get(flat)
    rgb = flat.reshape(height, width, image.channels)[..., :3]
    return np.clip(np.nan_to_num(rgb, nan=60.0, posinf=60.0), 0.0, 60.0)


def _enlarged(rgb: np.ndarray) -> np.ndarray:
    """Bicubic enlargement to the size at which the discs of the blur are round."""
    channels = [Image.fromarray(rgb[..., c]).resize((_WIDTH, _HEIGHT), Image.Resampling.BICUBIC) for c in range(3)]
    return np.clip(np.stack([np.asarray(c) for c in channels], axis=2), 0.0, None)


def _disc_blur(rgb: np.ndarray, radius_deg: float) -> np.ndarray:
    """Convolution with a soft-edged disc, through the Fourier transform (which wraps around, as the map does)."""
    radius = radius_deg * _WIDTH / 360
    y, x = np.meshgrid(np.fft.fftfreq(_HEIGHT, 1 / _HEIGHT), np.fft.fftfreq(_WIDTH, 1 / _WIDTH), indexing="ij")
    disc = np.clip(radius + 1.5 - np.hypot(x, y), 0, 3)
    kernel = np.fft.rfft2(disc / disc.sum())
    blurred = [np.fft.irfft2(np.fft.rfft2(rgb[..., c]) * kernel, s=(_HEIGHT, _WIDTH)) for c in range(3)]
    return np.clip(np.stack(blurred, axis=2), 0, None).astype(np.float32)
