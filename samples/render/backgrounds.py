"""Builds a background from its recipe: a surface with empty room in the middle, what is behind it, and its light."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import bpy
import shapes
import stage
from materials import make

Recipe = dict[str, Any]


def build(recipe: Recipe, maps: Path) -> None:
    """Fills an empty scene."""
    stage.clear()
    stage.camera(recipe["camera"])
    if "place" in recipe:
        stage.surroundings(recipe["place"], maps)
    else:
        ambient = recipe.get("ambient", {})
        stage.ambient(ambient.get("color", "#ffffff"), ambient.get("power", 0.35))
    SURFACES[recipe["surface"]["form"]](recipe["surface"])
    if wall := recipe.get("wall"):
        _wall(wall)
    for i, prop in enumerate(recipe.get("props", [])):
        PROPS[prop["kind"]](prop, i)
    for light in recipe.get("lamps", []):
        stage.lamp(**light)
    if sun := recipe.get("sun"):
        stage.sun(**sun)


def _relief(recipe: Recipe) -> Any:
    relief = recipe.get("relief")
    return shapes.RELIEFS[relief["kind"]](relief["height"], relief["scale"], relief.get("seed", 3)) if relief else None


def _floor(recipe: Recipe) -> None:
    """Ground to the horizon, or a cloth: as large as `size`, fine where it has relief."""
    size = recipe.get("size", (12, 12))
    cells = recipe.get("cells", 420) if "relief" in recipe else 4
    at = (0, recipe.get("shift", 0.0), recipe.get("z", 0.0))
    ground = shapes.sheet(size, make(recipe["material"]), at, cells, _relief(recipe))
    if grass := recipe.get("grass"):
        _grass(ground, grass)


def _table(recipe: Recipe) -> None:
    """A table top whose far edge is in the picture."""
    depth = recipe.get("behind", 0.4)
    thick = recipe.get("thick", 0.04)
    size = (recipe.get("width", 3.0), depth + 2.0, thick)
    shapes.box(size, make(recipe["material"]), (0, depth - size[1] / 2, -thick), recipe.get("bevel", 0.006))


def _cove(recipe: Recipe) -> None:
    """Seamless sweep."""
    shapes.cove(8, recipe.get("depth", 0.9), 4, recipe.get("radius", 0.35), make(recipe["material"]))


SURFACES = {"floor": _floor, "table": _table, "cove": _cove}


def _wall(recipe: Recipe) -> None:
    """A wall across the picture `distance` metres behind the product, or a curtain."""
    distance, material = recipe.get("distance", 0.8), make(recipe["material"])
    if "folds" in recipe:
        shapes.drape(
            5,
            3,
            material,
            (0, distance, recipe.get("z", -0.05)),
            recipe["folds"],
            recipe.get("depth", 0.03),
            5,
        )
        return
    wall = shapes.box((8, 0.1, 5), material, (0, distance + 0.05, recipe.get("z", -1.0)), bevel=0)
    wall.rotation_euler = (0, 0, math.radians(recipe.get("turn", 0)))
    if skirting := recipe.get("skirting"):
        shapes.box((8, 0.015, 0.09), make(skirting), (0, distance - 0.0075, 0), 0.004)


def _grass(ground: bpy.types.Object, recipe: Recipe) -> None:
    """Blades (or moss) as hair on the ground, only where the camera looks."""
    patch = ground
    patch.data.materials.append(make(recipe["material"]))
    patch.modifiers.new("grass", "PARTICLE_SYSTEM")
    settings = patch.particle_systems[0].settings
    settings.type, settings.count, settings.hair_step = "HAIR", recipe["count"], 4
    settings.hair_length = recipe["length"]
    settings.brownian_factor = recipe.get("unruly", 0.02)
    settings.child_type, settings.rendered_child_count = "INTERPOLATED", recipe.get("children", 12)
    settings.child_length, settings.clump_factor = 1.0, recipe.get("clump", 0.2)
    settings.roughness_1, settings.roughness_2 = recipe.get("unruly", 0.02), recipe.get("unruly", 0.02)
    settings.root_radius, settings.tip_radius, settings.radius_scale = 1.0, 0.15, recipe["width"]
    settings.material = 2


def _podium(prop: Recipe, _: int) -> None:
    """A round podium."""
    r, h, bevel = prop["radius"], prop["height"], prop.get("bevel", 0.004)
    profile = [
        (0, 0),
        (0, 0),
        (r, 0),
        (r, 0),
        (r, h - bevel),
        (r, h - bevel),
        (r - bevel * 0.3, h - bevel * 0.3),
        (r - bevel, h),
        (r - bevel, h),
        (0, h),
        (0, h),
    ]
    shapes.lathe(profile, make(prop["material"]), tuple(prop.get("at", (0, 0, 0))), 160, times=2)


def _box(prop: Recipe, _: int) -> None:
    shapes.box(
        tuple(prop["size"]),
        make(prop["material"]),
        tuple(prop["at"]),
        prop.get("bevel", 0.003),
        tuple(prop.get("turn", (0, 0, 0))),
    )


def _arch(prop: Recipe, _: int) -> None:
    """A flat arch that stands on the floor."""
    outline = shapes.arch_outline(prop["width"], prop["height"])
    shapes.prism(outline, prop.get("depth", 0.06), make(prop["material"]), tuple(prop["at"]), 0.003)


def _ball(prop: Recipe, _: int) -> None:
    shapes.ball(prop["radius"], make(prop["material"]), tuple(prop["at"]))


def _stone(prop: Recipe, index: int) -> None:
    shapes.stone(
        prop["radius"],
        make(prop["material"]),
        tuple(prop["at"]),
        prop.get("seed", index),
        prop.get("flat", 0.6),
        prop.get("rough", 0.18),
    )


def _scatter(prop: Recipe, index: int) -> None:
    """Pebbles or baubles strewn around the edges of the picture, the middle left empty."""
    rng = random.Random(index + prop.get("seed", 0))
    materials = [make(m) for m in prop["materials"]]
    for i in range(prop["count"]):
        x, y = rng.uniform(-1, 1) * prop["reach"], rng.uniform(prop.get("near", -0.4), prop.get("far", 0.6))
        if abs(x) < prop.get("clear", 0.25):
            continue
        r = rng.uniform(*prop["radius"])
        if prop.get("round"):
            shapes.ball(r, rng.choice(materials), (x, y, r))
        else:
            shapes.stone(r, rng.choice(materials), (x, y, r * 0.35), i, rng.uniform(0.5, 0.8))


def _branches(prop: Recipe, index: int) -> None:
    """Leafy twigs that reach into the picture."""
    leaf, bark = (
        make(prop.get("leaf", {"kind": "foliage"})),
        make({"kind": "plain", "color": "#4a3826", "rough": 0.8}),
    )
    for i, (at, turn) in enumerate(prop["at"]):
        shapes.branch(
            prop["length"],
            prop["leaves"],
            tuple(prop["size"]),
            leaf,
            tuple(at),
            tuple(turn),
            index * 10 + i,
            bark,
        )


def _grasses(prop: Recipe, index: int) -> None:
    """Dry grass stems, standing in a bunch."""
    rng = random.Random(index)
    straw = make(prop["material"])
    x, y, z = prop["at"]
    for _ in range(prop["count"]):
        lean, height, a = (
            rng.uniform(0.03, 0.22),
            prop["height"] * rng.uniform(0.7, 1.1),
            rng.uniform(0, 6.28),
        )
        dx, dy = math.cos(a) * lean, math.sin(a) * lean
        path = [
            (x + dx * 0.1, y + dy * 0.1, z),
            (x + dx * 0.3, y + dy * 0.3, z + height * 0.6),
            (x + dx, y + dy, z + height),
        ]
        shapes.tube(path, prop.get("radius", 0.0012), straw)


JARS = [
    [
        (0, 0),
        (0, 0),
        (0.045, 0),
        (0.05, 0.01),
        (0.05, 0.1),
        (0.05, 0.1),
        (0.035, 0.12),
        (0.035, 0.14),
        (0.035, 0.14),
        (0, 0.14),
    ],
    [(0, 0), (0, 0), (0.03, 0), (0.06, 0.02), (0.075, 0.06), (0.075, 0.06), (0, 0.055)],
    [
        (0, 0),
        (0, 0),
        (0.04, 0),
        (0.045, 0.02),
        (0.045, 0.15),
        (0.018, 0.2),
        (0.018, 0.26),
        (0.018, 0.26),
        (0, 0.26),
    ],
    [(0, 0), (0, 0), (0.06, 0), (0.065, 0.02), (0.065, 0.12), (0.065, 0.12), (0, 0.12)],
]


def _shelf(prop: Recipe, index: int) -> None:
    """A board on the wall with jars, bottles and bowls: a kitchen, once it is out of focus."""
    rng = random.Random(index + prop.get("seed", 0))
    x, y, z = prop["at"]
    if board := prop.get("board"):
        shapes.box((prop["width"], 0.2, 0.03), make(board), (x, y, z - 0.03))
    materials = [make(m) for m in prop["materials"]]
    left = -prop["width"] / 2 + 0.08
    while left < prop["width"] / 2 - 0.05:
        jar = shapes.lathe(rng.choice(JARS), rng.choice(materials), (x + left, y + rng.uniform(-0.04, 0.04), z), 40)
        jar.scale = (rng.uniform(0.8, 1.2),) * 3
        left += rng.uniform(0.11, 0.24)


def _books(prop: Recipe, index: int) -> None:
    """A row of books standing, or a stack lying."""
    rng = random.Random(index + prop.get("seed", 0))
    x, y, z = prop["at"]
    materials = [make({"kind": "plain", "color": c, "rough": 0.6}) for c in prop["colors"]]
    along = 0.0
    for i in range(prop["count"]):
        thick, tall = rng.uniform(0.018, 0.04), rng.uniform(0.19, 0.26)
        if prop.get("lying"):
            shapes.box(
                (tall, 0.17, thick),
                materials[i % len(materials)],
                (x, y, z + along),
                0.002,
                (0, 0, rng.uniform(-8, 8)),
            )
        else:
            shapes.box((thick, 0.16, tall), materials[i % len(materials)], (x + along, y, z), 0.002)
        along += thick + 0.001


PROPS = {
    "podium": _podium,
    "box": _box,
    "arch": _arch,
    "ball": _ball,
    "stone": _stone,
    "scatter": _scatter,
    "branches": _branches,
    "grasses": _grasses,
    "shelf": _shelf,
    "books": _books,
}
