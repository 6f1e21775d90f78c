"""Surface textures synthesised with numpy: tileable maps of colour, roughness and height.

They are images rather than shader nodes because a path tracer looks at them millions of times: a lookup is about ten
times cheaper than the noise it replaces. All noise is filtered white noise, so every map repeats without a seam.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy import fft

N = 1280
"""Pixels on a side of every map; a preview sets it lower."""
Array = np.ndarray


@dataclass
class Maps:
    """Colour as sRGB [N, N, 3] in 0..1; roughness [N, N] or one value; height in metres, or None where it is flat."""

    color: Array
    rough: Array | float
    height: Array | None = None
    span: float = 1.2
    """Metres that the maps cover."""


def rgb(color: str) -> Array:
    """A hex colour as three numbers in 0..1."""
    return np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)], np.float32)


def blend(factor: Array, a: Array | str, b: Array | str) -> Array:
    """Between two colours (or colour maps) by a factor that is clipped to 0..1."""
    a, b = (rgb(c) if isinstance(c, str) else c for c in (a, b))
    f = np.clip(factor, 0, 1)[..., None].astype(np.float32)
    return a * (1 - f) + b * f


def ramp(values: Array, low: float, high: float) -> Array:
    """Smooth step from 0 at `low` to 1 at `high`."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


class Noise:
    """Seamless noise over `span` metres."""

    def __init__(self, span: float, seed: int) -> None:
        self.span, self.rng = span, np.random.default_rng(seed)
        self._fx = fft.rfftfreq(N, span / N).astype(np.float32)[None, :]
        self._fy = fft.fftfreq(N, span / N).astype(np.float32)[:, None]

    def cloud(self, slope: float, low: float, high: float = 1e9, stretch: tuple[float, float] = (1, 1)) -> Array:
        """Unit-variance noise with a spectrum f**-slope between `low` and `high` cycles a metre.

        `stretch` makes it longer along x or y by that factor.
        """
        f = np.hypot(self._fx * stretch[0], self._fy * stretch[1])
        gain = np.where(f > 0, np.maximum(f, low) ** -slope, 0) / (1 + (f / high) ** 8)
        gain *= 1 / (1 + (low * 0.5 / np.maximum(f, low * 0.01)) ** 6)
        white = self.rng.standard_normal((N, N), dtype=np.float32)
        field = fft.irfft2(fft.rfft2(white, workers=2) * gain, s=(N, N), workers=2)
        return ((field - field.mean()) / field.std()).astype(np.float32)

    def grid(self) -> tuple[Array, Array]:
        """Where each pixel is: x and y in metres."""
        line = np.arange(N, dtype=np.float32) * (self.span / N)
        return line[None, :], line[:, None]


def fitted(span: float, size: float) -> int:
    """How many pieces of about `size` go into `span`."""
    return max(1, round(span / size))


@dataclass
class Laid:
    """A surface laid of pieces: which piece each pixel is in, and how far it is from the joint, in metres."""

    piece: Array
    edge: Array


def laid(noise: Noise, size: Sequence[float], offset: float, wobble: float = 0.0) -> Laid:
    """Rows of pieces of `size` metres; each row is shifted by `offset` of a piece, or at random if negative."""
    x, y = noise.grid()
    columns, rows = fitted(noise.span, size[0]), fitted(noise.span, size[1])
    bend = noise.cloud(1.0, 10, 90) * wobble if wobble else 0.0
    v = (y + bend) / noise.span * rows
    row = np.floor(v).astype(int) % rows
    shift = noise.rng.random(rows)[row] if offset < 0 else (row % 2) * offset
    u = (x + bend) / noise.span * columns + shift
    column = np.floor(u).astype(int) % columns
    from_side = np.minimum(u % 1, 1 - u % 1) * noise.span / columns
    from_row = np.minimum(v % 1, 1 - v % 1) * noise.span / rows
    return Laid(row * columns + column, np.minimum(from_side, from_row).astype(np.float32))


def each(noise: Noise, pieces: Laid) -> Array:
    """A random value in 0..1 for each piece."""
    return noise.rng.random(int(pieces.piece.max()) + 1).astype(np.float32)[pieces.piece]


def own(noise: Noise, pieces: Laid, fields: Sequence[Array]) -> list[Array]:
    """The same fields cut from another place for each piece, as boards are sawn from different trees."""
    count = int(pieces.piece.max()) + 1
    dx, dy = noise.rng.integers(0, N, count)[pieces.piece], noise.rng.integers(0, N, count)[pieces.piece]
    x, y = (np.arange(N)[None, :] + dx) % N, (np.arange(N)[:, None] + dy) % N
    return [field[y, x] for field in fields]


def plaster(color: str = "#dddddd", other: str = "", rough: float = 0.85, bump: float = 0.0025) -> Maps:
    """A painted or limewashed wall: cloudy tone, trowel marks."""
    n = Noise(2.4, 11)
    clouds, marks = n.cloud(1.6, 1), n.cloud(1.5, 5, 300, (1.6, 1))
    tone = blend(0.5 + 0.35 * clouds, color, other or color) * (1 + 0.012 * clouds[..., None])
    return Maps(tone, rough, (0.5 * clouds + marks) * bump * 0.16, 2.4)


def wood(
    light: str = "#c89f6d",
    dark: str = "#8f6239",
    plank: float = 0.12,
    length: float = 1.6,
    rough: float = 0.45,
    joint: float = 0.0012,
    contrast: float = 0.5,
    span: float = 1.2,
) -> Maps:
    """Boards along x with growth rings cut lengthwise, fibres, pores, and a tone for each board."""
    n = Noise(max(span, min(length, 2.4)), 5)
    boards = laid(n, (length, plank), -1)
    fields = (n.cloud(1.9, 1.2, 60, (9, 1)), n.cloud(0.55, 20, 900, (28, 1)), n.cloud(0.2, 150, 900, (10, 1)))
    rings, fibre, pores = own(n, boards, fields)
    phase = (rings * 2.6) % 1.0
    bands = np.where(phase < 0.8, phase / 0.8, (1 - phase) / 0.2) ** 1.6
    dark_share = 0.22 + 0.42 * bands + 0.13 * fibre
    color = blend(dark_share, light, dark)
    tone = 1 + (each(n, boards) - 0.5)[..., None] * 0.45 * contrast
    color = color * tone * (1 - 0.3 * ramp(pores, 1.5, 2.6)[..., None])
    seam = 1 - ramp(boards.edge, joint * 0.4, joint * 1.3)
    color = blend(seam * 0.88, color, "#120c08")
    height = 0.00006 * fibre - 0.0001 * ramp(pores, 1.5, 2.6) - np.minimum(joint * 1.2, 0.002) * seam
    return Maps(color, rough + 0.05 * fibre.clip(-2, 2) + 0.3 * seam, height, n.span)


def stump(light: str = "#d8b284", dark: str = "#9a6b3f") -> Maps:
    """The sawn face of a log; the rings' centre is the middle of the map."""
    n = Noise(0.8, 21)
    x, y = n.grid()
    bend, fine, grime = n.cloud(2.0, 2, 40), n.cloud(0.6, 60), n.cloud(1.5, 4)
    x, y = x - 0.4, y - 0.4
    angle = np.arctan2(y, x)
    radius = np.hypot(x, y) * (1 + 0.035 * np.sin(2 * angle + 0.5) + 0.02 * np.sin(5 * angle)) + 0.004 * bend
    phase = (radius * 105 + 1.2 * np.sin(radius * 60)) % 1.0
    bands = phase**2.2
    cracks = ramp(np.abs(np.sin(angle * 3.5 + 0.6 + 1.5 * radius + 0.04 * bend)), 0.0, 0.016) + (radius < 0.05)
    color = blend(0.2 + 0.55 * bands + 0.1 * fine, light, dark)
    color = blend(0.35 * ramp(grime, 0.2, 1.8) + 0.5 * ramp(radius, 0.28, 0.36), color, "#6e4a2c")
    color = blend(1 - cracks.clip(0, 1), color, "#2a1a0e")
    height = 0.0003 * bands + 0.0001 * fine - 0.002 * (1 - cracks.clip(0, 1))
    return Maps(color, 0.7, height, 0.8)


def marble(
    base: str = "#eeece8",
    vein: str = "#7d7f86",
    second: str = "",
    scale: float = 2.2,
    rough: float = 0.12,
    width: float = 0.035,
    seed: int = 31,
) -> Maps:
    """Polished marble: a cloudy ground, soft wide veins and sharp thin ones that come and go."""
    n = Noise(2.4, seed)
    second = second or vein
    clouds, where = n.cloud(1.9, scale * 0.5, 300), n.cloud(2.0, scale * 0.4, 40)
    color = blend(0.1 + 0.09 * clouds, base, second)
    for slope, low, thick, strength in (
        (1.75, scale * 0.55, 2.2, 0.5),
        (1.7, scale * 0.8, 0.7, 0.85),
        (1.55, scale * 1.6, 0.3, 0.55),
    ):
        ridge = np.abs(n.cloud(slope, low, 700, (1.0, 1.9)))
        present = ramp(where + 0.5 * n.cloud(1.5, scale), -0.9, 0.9)
        thickness = width * thick * (0.4 + present)
        line = np.exp(-((ridge / thickness) ** 1.3)) * present * strength
        color = blend(line, color, vein if thick > 0.5 else second)
    return Maps(color, rough, None, 2.4)


def terrazzo(
    base: str = "#ece7df",
    chips: Sequence[str] = ("#c98f76", "#7d8f86", "#3f4448", "#d9b68c"),
    scale: float = 42,
    rough: float = 0.22,
) -> Maps:
    """Polished cement with angular stone chips of many sizes."""
    n = Noise(1.0, 41)
    picture = Image.new("RGB", (N, N), base)
    draw = ImageDraw.Draw(picture)
    for size, count in ((1.0, 900), (0.5, 2600), (0.22, 6000)):
        for _ in range(int(count * (scale / 42) ** 2)):
            r = size * N / scale * 0.42 * n.rng.uniform(0.6, 1.3)
            _chip(draw, n.rng, r, chips[n.rng.integers(len(chips))])
    color = np.asarray(picture, np.float32) / 255
    return Maps(color * (1 + 0.02 * n.cloud(0.8, 20)[..., None]), rough, None, 1.0)


def _chip(draw: ImageDraw.ImageDraw, rng: np.random.Generator, r: float, color: str) -> None:
    """An angular chip, drawn again over the borders so that the map still tiles."""
    cx, cy = rng.uniform(0, N, 2)
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(5, 8)))
    reach = r * rng.uniform(0.7, 1.1, len(angles))
    squash = rng.uniform(0.55, 1.0)
    points = np.stack([np.cos(angles) * reach, np.sin(angles) * reach * squash], axis=1)
    shade = tuple(int(v) for v in np.clip(rgb(color) * 255 * rng.uniform(0.9, 1.08), 0, 255))
    for ox in (0, -N if cx > N / 2 else N):
        for oy in (0, -N if cy > N / 2 else N):
            draw.polygon([(cx + ox + x, cy + oy + y) for x, y in points], fill=shade)


def fabric(color: str = "#d9cfbd", thread: float = 0.0011, slub: float = 0.25) -> Maps:
    """Plain weave of uneven threads (linen, cotton, canvas)."""
    span = thread * 400
    n = Noise(span, 51)
    x, y = n.grid()
    wander = n.cloud(1.2, 4 / span, 60 / span) * thread * 0.25
    warp, weft = np.pi * (x + wander) / thread, np.pi * (y + wander) / thread
    over = np.sign(np.sin(warp) * np.sin(weft))
    along, across = n.cloud(0.4, 8 / span, 300 / span, (25, 1)), n.cloud(0.4, 8 / span, 300 / span, (1, 25))
    height = np.where(over > 0, np.abs(np.sin(weft)) * (1 + 0.25 * along), np.abs(np.sin(warp)) * (1 + 0.25 * across))
    uneven = np.where(over > 0, along, across)
    shade = 1 - slub * 0.32 * uneven - 0.22 * (1 - np.clip(height, 0, 1)) + 0.02 * n.cloud(1.5, 2 / span)
    return Maps(rgb(color) * shade[..., None].clip(0.3, 1.2), 0.95, height * thread * 0.3, span)


def velvet(color: str = "#5a1226") -> Maps:
    """Pile that has been brushed this way and that."""
    n = Noise(1.2, 61)
    nap, fine = n.cloud(1.7, 2, 60), n.cloud(0.3, 200)
    return Maps(rgb(color) * (0.9 + 0.07 * nap + 0.06 * fine)[..., None].clip(0.25, 1.3), 0.85, 0.00005 * fine, 1.2)


def sand(light: str = "#e2cba0", dark: str = "#b8935f") -> Maps:
    """Loose grains, some dark and some pale, over whatever relief the mesh has."""
    n = Noise(0.9, 71)
    drift, grain = n.cloud(1.4, 3), n.cloud(0.25, 250)
    speck = n.rng.random((N, N), dtype=np.float32)
    color = blend(0.35 + 0.22 * drift + 0.14 * grain, light, dark)
    color = blend(0.55 * (speck > 0.975), color, "#5f452b")
    color = blend(0.5 * (speck < 0.03), color, "#fff6e2")
    return Maps(color, 0.92, 0.00028 * grain + 0.0006 * drift, 0.9)


def soil(light: str = "#5d4a35", dark: str = "#2b2117", bump: float = 0.012) -> Maps:
    """Forest floor: crumbs and clods."""
    n = Noise(1.2, 81)
    clods = n.cloud(1.0, 10, 500)
    return Maps(blend(0.5 + 0.3 * n.cloud(0.8, 12), dark, light), 0.95, clods * bump * 0.2, 1.2)


def tiles(
    color: str = "#f1efea",
    other: str = "",
    joint_color: str = "#b9b4aa",
    size: Sequence[float] = (0.1, 0.1),
    offset: float = 0.0,
    rough: float = 0.1,
    joint: float = 0.003,
    handmade: float = 0.35,
) -> Maps:
    """Glazed tiles; `handmade` makes each glaze uneven in tone and lie."""
    span = max(1.0, size[0] * 8)
    span = round(span / size[0]) * size[0]
    n = Noise(span, 91)
    pieces = laid(n, size, offset, wobble=0.0004 * handmade)
    clouds, wobble = n.cloud(1.6, 4, 200), n.cloud(2.2, 5, 60)
    cloud, lie = own(n, pieces, (clouds, wobble))
    tone = blend(each(n, pieces) + 0.2 * handmade * cloud, color, other or color)
    tone = tone * (1 + (0.10 * handmade * (each(n, pieces) - 0.5) + 0.05 * handmade * cloud))[..., None]
    face = ramp(pieces.edge, joint * 0.45, joint * 0.6)
    rounding = ramp(pieces.edge, joint * 0.4, joint * 1.6)
    grout = rgb(joint_color) * (1 + 0.05 * n.cloud(0.8, 20))[..., None]
    height = 0.0012 * rounding + 0.0007 * handmade * lie * face
    return Maps(blend(face, grout, tone), rough + 0.75 * (1 - face), height, span)


def brickwork(color: str = "#8d4a35", other: str = "#6b3527", joint_color: str = "#9c9184") -> Maps:
    """A wall of rough bricks."""
    n = Noise(1.76, 101)
    pieces = laid(n, (0.22, 0.0733), 0.5, wobble=0.0016)
    worn, grit, dirt = n.cloud(1.1, 8), n.cloud(0.7, 40), n.cloud(1.6, 1)
    tone = blend(each(n, pieces), color, other) * (0.9 + 0.25 * each(n, pieces) + 0.06 * grit)[..., None]
    tone = blend(0.3 * ramp(worn, 0.6, 2.2), tone, joint_color)
    face = ramp(pieces.edge + 0.0012 * worn, 0.004, 0.0075)
    mortar = rgb(joint_color) * (0.92 + 0.09 * grit)[..., None]
    color_map = blend(face, mortar, tone) * (1 + 0.06 * dirt)[..., None]
    return Maps(color_map, 0.9, 0.006 * face + 0.0007 * worn + 0.0004 * grit, 1.76)


def concrete(
    light: str = "#b4b1ac",
    dark: str = "#85827d",
    rough: float = 0.7,
    bump: float = 0.0012,
    pores: float = 0.5,
) -> Maps:
    """Cast concrete: stains, grit, and the pores that air bubbles leave."""
    n = Noise(1.8, 111)
    stains, grit = n.cloud(1.45, 1.2), n.cloud(0.35, 60)
    picture = Image.new("L", (N, N), 0)
    draw = ImageDraw.Draw(picture)
    for _ in range(int(1500 * pores)):
        (x, y), r = n.rng.uniform(0, N, 2), n.rng.exponential(1.0) + 0.8
        draw.ellipse([x - r, y - r * 0.9, x + r, y + r * 0.9], fill=255)
    holes = np.asarray(picture, np.float32) / 255
    color = blend(0.5 - 0.28 * stains - 0.05 * grit, light, dark) * (1 - 0.45 * holes)[..., None]
    height = bump * (0.12 * n.cloud(1.3, 6, 200) + 0.05 * grit) - 0.0015 * holes
    return Maps(color, (rough + 0.08 * stains).clip(0.15, 1), height, 1.8)


def slate(light: str = "#4a4e52", dark: str = "#23262a", rough: float = 0.5, bump: float = 0.006) -> Maps:
    """Riven stone: stepped layers and a soft sheen."""
    n = Noise(1.2, 121)
    layers, fine, tone = n.cloud(1.75, 2, 400), n.cloud(0.9, 30), n.cloud(1.2, 5)
    stepped = layers * 3.0
    stairs = np.floor(stepped) + ramp(stepped % 1, 0.75, 1.0)
    color = blend(0.5 + 0.2 * tone + 0.1 * fine + 0.03 * stairs, dark, light)
    height = bump * (0.06 * stairs + 0.05 * layers + 0.025 * fine)
    return Maps(color, (rough + 0.07 * tone).clip(0.1, 1), height, 1.2)


def asphalt(light: str = "#6a6a6b", dark: str = "#252627", wet: float = 0.0) -> Maps:
    """Bound gravel, with puddles when wet."""
    n = Noise(1.6, 131)
    stones, tone, patches = n.cloud(0.2, 70, 160), n.cloud(0.3, 60, 300), n.cloud(1.6, 1.5, 40)
    puddle = ramp(patches, -0.1, 0.5) * wet
    color = blend(0.4 + 0.4 * tone + 0.04 * patches, dark, light)
    color = blend(puddle * 0.85, color, "#0a0b0d")
    return Maps(color, 0.85 - 0.8 * puddle, 0.00025 * np.abs(stones) * (1 - puddle), 1.6)


def rubber(base: str = "#1b1c1e", fleck: str = "#8a959d", share: float = 0.1) -> Maps:
    """Gym flooring: black granules with some light ones."""
    n = Noise(1.0, 141)
    grains, pick = n.cloud(0.2, 150, 400), n.cloud(0.2, 130, 280)
    color = blend(0.1 + 0.06 * grains, base, "#45484c")
    return Maps(blend(0.85 * ramp(pick, 1.75, 1.95), color, fleck), 0.75, 0.00035 * grains, 1.0)


def leather(color: str = "#6b3f24", dark: str = "#3d2113", rough: float = 0.42) -> Maps:
    """Grained leather, darker where it was handled."""
    n = Noise(0.5, 151)
    grain, tone = n.cloud(0.3, 220, 600), n.cloud(1.5, 3)
    pebbles = 1 - np.exp(-np.abs(grain) * 2.2)
    return Maps(blend(0.4 + 0.25 * tone - 0.3 * (pebbles - 0.6), color, dark), rough, 0.00045 * pebbles, 0.5)


def brushed(color: str = "#c9cbce", rough: float = 0.28) -> Maps:
    """Metal brushed along x."""
    n = Noise(0.8, 161)
    lines, tone = n.cloud(0.25, 25, 1100, (500, 1)), n.cloud(1.5, 2)
    shade = (1 + 0.015 * lines + 0.02 * tone)[..., None]
    return Maps(rgb(color) * shade.clip(0.6, 1.2), (rough + 0.035 * lines).clip(0.08, 0.7), None, 0.8)


def water(color: str = "#7fb4c4", ripple: float = 0.006) -> Maps:
    """Ripples of a pool over a coloured ground."""
    n = Noise(2.0, 171)
    swell = n.cloud(2.2, 3, 14) + 0.35 * n.cloud(2.0, 9, 30)
    return Maps(rgb(color) * (1 + 0.05 * swell)[..., None], 0.03, ripple * 0.4 * swell, 2.0)


def snow(color: str = "#f4f7fb") -> Maps:
    """Fresh snow: soft drifts under a crystalline skin."""
    n = Noise(1.4, 181)
    return Maps(
        np.broadcast_to(rgb(color), (N, N, 3)),
        0.6,
        0.0016 * n.cloud(1.6, 6) + 0.0002 * n.cloud(0.2, 200),
        1.4,
    )
