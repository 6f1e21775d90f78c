"""Builds a product on a light studio sweep. One function a product; heights in metres, the front faces -y."""

# fmt: off  (profiles are tables of numbers, kept a few to a line)
from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bmesh
import bpy
import stage
from materials import make
from mathutils import Matrix, Vector
from shapes import ball, box, branch, cove, lathe, mesh, place, prism, rounded, soften, tube

Recipe = dict[str, Any]
Material = bpy.types.Material


def build(recipe: Recipe, maps: Path) -> None:
    """Fills an empty scene with the sweep, the studio lights and the product."""
    stage.clear()
    size = recipe["height"]
    stage.camera(recipe["camera"])
    sweep = {"kind": "paper", "color": recipe.get("sweep", "#f3f3f2")}
    floor = cove(20, 5 * size, 12, 2.5 * size, make(sweep))
    floor.name = "sweep"
    floor.location.z = -0.0005
    stage.surroundings({"map": "studio", "column": 0.2, "light": recipe.get("studio", 0.35), "view": 1.0}, maps)
    _lights(size, recipe.get("key", 1.0))
    PRODUCTS[recipe["build"]](recipe)


def _lights(size: float, key: float) -> None:
    """A large key light from the upper left, a fill from the right, a rim from behind."""
    area = size * size
    stage.lamp([-2.2 * size, -1.8 * size, 3.2 * size], 2.2 * size, 95 * area * key, aim=(0, 0, size * 0.4))
    stage.lamp([2.8 * size, -1.6 * size, 1.6 * size], 2.0 * size, 26 * area, aim=(0, 0, size * 0.4))
    stage.lamp([1.2 * size, 2.4 * size, 3.0 * size], 2.0 * size, 60 * area, aim=(0, 0.5 * size, size * 0.2))


def _paint(recipe: Recipe, name: str, fallback: str, rough: float = 0.4, **more: Any) -> Material:
    return make({"kind": "plain", "color": recipe.get(name, fallback), "rough": rough, **more})


def _turn(degrees: float, *, x: float = 0, y: float = 0) -> None:
    """Turns the whole product about the vertical axis (and tilts it), leaving the set as it is."""
    pivot = bpy.data.objects.new("pivot", None)
    bpy.context.scene.collection.objects.link(pivot)
    for thing in bpy.context.scene.objects:
        if thing.type in {"MESH", "CURVE"} and thing.parent is None and thing.name != "sweep":
            thing.parent = pivot
    pivot.rotation_euler = (math.radians(x), math.radians(y), math.radians(degrees))


def coffee_mug(recipe: Recipe) -> None:
    """A straight mug with an ear, full of coffee."""
    glaze = _paint(recipe, "color", "#1f5f8b", 0.12, Coat_Weight=0.5)
    body = [
        (0, 0.0),
        (0, 0.0),
        (0.030, 0.0),
        (0.034, 0.002),
        (0.0415, 0.004),
        (0.0415, 0.02),
        (0.0415, 0.09),
        (0.0415, 0.096),
        (0.0395, 0.097),
        (0.038, 0.096),
        (0.038, 0.09),
        (0.038, 0.01),
        (0.034, 0.006),
        (0, 0.006),
        (0, 0.006),
    ]
    lathe(body, glaze)
    lathe(
        [(0, 0.084), (0, 0.084), (0.0381, 0.084), (0.0381, 0.084)],
        make({"kind": "plain", "color": "#24120a", "rough": 0.08}),
    )
    handle = [
        (0.038, 0, 0.08),
        (0.052, 0, 0.084),
        (0.072, 0, 0.078),
        (0.074, 0, 0.048),
        (0.066, 0, 0.024),
        (0.05, 0, 0.018),
        (0.038, 0, 0.022),
    ]
    tube(handle, 0.0058, glaze, squash=1.3)
    _turn(recipe.get("turn", -25))


def _taper(points: list[tuple[float, float, float]], radii: list[float], material: Material) -> None:
    """A tube whose radius changes along the way."""
    curve = bpy.data.curves.new("taper", "CURVE")
    curve.dimensions, curve.bevel_depth, curve.bevel_resolution, curve.resolution_u = "3D", 1.0, 8, 20
    spline = curve.splines.new("NURBS")
    spline.points.add(len(points) - 1)
    for target, point, radius in zip(spline.points, points, radii, strict=True):
        target.co, target.radius = (*point, 1), radius
    spline.order_u, spline.use_endpoint_u = 4, True
    place(curve, material)


def wine_bottle(recipe: Recipe) -> None:
    """A Bordeaux bottle with paper labels."""
    body = [
        (0, 0.012),
        (0.02, 0.008),
        (0.033, 0.0),
        (0.0375, 0.004),
        (0.0375, 0.02),
        (0.0375, 0.18),
        (0.0375, 0.2),
        (0.03, 0.222),
        (0.0165, 0.24),
        (0.0145, 0.25),
        (0.0142, 0.29),
        (0.0142, 0.29),
    ]
    lathe(body, make({"kind": "plain", "color": "#0c1a0e", "rough": 0.06, "Coat_Weight": 1.0}))
    lathe(
        [
            (0.0148, 0.235),
            (0.0148, 0.243),
            (0.0148, 0.302),
            (0.0148, 0.306),
            (0.013, 0.307),
            (0, 0.307),
            (0, 0.307),
        ],
        _paint(recipe, "color", "#6a1220", 0.35),
    )
    _label(0.0379, 0.06, 0.155, "#efe6d0")
    _label(0.0381, 0.085, 0.1, "#7a1a24")
    _label(0.0381, 0.128, 0.131, "#b08d4a")


def _label(radius: float, low: float, high: float, color: str, span: float = 2.2) -> None:
    """Paper on the front of a bottle."""
    steps = 40
    angles = [-math.pi / 2 + span * (i / steps - 0.5) for i in range(steps + 1)]
    vertices = [(radius * math.cos(a), radius * math.sin(a), z) for z in (low, high) for a in angles]
    faces = [(i, i + 1, steps + 2 + i, steps + 1 + i) for i in range(steps)]
    place(mesh(vertices, faces), make({"kind": "plain", "color": color, "rough": 0.7}))


def table_lamp(recipe: Recipe) -> None:
    """A ceramic foot under a lit fabric shade."""
    lathe(
        [
            (0, 0),
            (0, 0),
            (0.075, 0),
            (0.078, 0.004),
            (0.075, 0.012),
            (0.03, 0.018),
            (0.02, 0.03),
            (0.05, 0.07),
            (0.075, 0.12),
            (0.06, 0.17),
            (0.022, 0.205),
            (0.012, 0.22),
            (0.012, 0.24),
            (0.008, 0.245),
            (0.008, 0.3),
        ],
        _paint(recipe, "color", "#1f6f78", 0.14, Coat_Weight=0.5),
    )
    lathe(
        [(0.0125, 0.218), (0.016, 0.222), (0.016, 0.236), (0.0125, 0.24)],
        make({"kind": "metal", "color": "#c9a04e"}),
    )
    shade = make({"kind": "fabric", "color": recipe.get("shade", "#f0e3c8"), "thread": 0.0012})
    surface = next(n for n in shade.node_tree.nodes if n.type == "BSDF_PRINCIPLED")
    surface.inputs["Emission Color"].default_value = (1.0, 0.72, 0.42, 1)
    surface.inputs["Emission Strength"].default_value = 0.28
    lathe([(0.155, 0.235), (0.155, 0.235), (0.1, 0.42), (0.1, 0.42)], shade)
    for z, r in ((0.236, 0.1548), (0.418, 0.1008)):
        lathe(
            [(r, z - 0.003), (r + 0.002, z), (r, z + 0.003)],
            make({"kind": "plain", "color": "#d9c7a2", "rough": 0.8}),
        )


def candle(recipe: Recipe) -> None:
    """A jar candle, burning."""
    glass = make({"kind": "glass", "color": recipe.get("color", "#ffffff")})
    lathe(
        [
            (0, 0),
            (0, 0),
            (0.038, 0),
            (0.041, 0.003),
            (0.041, 0.01),
            (0.041, 0.1),
            (0.041, 0.1),
            (0.0385, 0.1),
            (0.0385, 0.1),
            (0.0385, 0.01),
            (0.036, 0.008),
            (0, 0.008),
            (0, 0.008),
        ],
        glass,
    ).visible_shadow = False
    wax = make(
        {
            "kind": "plain",
            "color": recipe.get("wax", "#f3e2c4"),
            "rough": 0.45,
            "Subsurface_Weight": 0.4,
            "Subsurface_Scale": 0.02,
        }
    )
    lathe(
        [
            (0, 0.0087),
            (0, 0.0087),
            (0.0375, 0.0107),
            (0.0375, 0.0107),
            (0.0375, 0.066),
            (0.037, 0.064),
            (0.012, 0.0625),
            (0, 0.0625),
            (0, 0.0625),
        ],
        wax,
    )
    tube(
        [(0, 0, 0.06), (0, 0, 0.07), (0.0008, 0, 0.076)],
        0.0009,
        make({"kind": "plain", "color": "#1a1410", "rough": 0.9}),
    )
    flame = make({"kind": "glow", "color": "#ff9a2e", "power": 9})
    lathe(
        [(0, 0.072), (0.0015, 0.072), (0.0048, 0.08), (0.0035, 0.092), (0.001, 0.101), (0, 0.104)],
        flame,
        (0.0008, 0, 0.002),
        32,
    )
    core = make({"kind": "glow", "color": "#ffe2a0", "power": 22})
    lathe([(0, 0.076), (0.0025, 0.08), (0.002, 0.089), (0, 0.094)], core, (0.0008, -0.003, 0.002), 32)


def sunglasses(recipe: Recipe) -> None:
    """Wayfarers standing on their rims and arms."""
    frame = _paint(recipe, "color", "#17110d", 0.12, Coat_Weight=0.5)
    lens = make({"kind": "plain", "color": "#06080a", "rough": 0.03, "Coat_Weight": 1.0})
    for side in (-1, 1):
        shape = [
            (side * (0.034 + x), 0.006 + z)
            for x, z in (
                (-0.027, 0.019),
                (0.002, 0.024),
                (0.032, 0.024),
                (0.031, 0.002),
                (0.021, -0.026),
                (-0.006, -0.03),
                (-0.024, -0.018),
            )
        ]
        outline = rounded(shape, 3, closed=True)
        loop = [(x, 0.02 * (abs(x) / 0.066) ** 2, z) for x, z in outline]
        tube(loop, 0.0031, frame, closed=True)
        glass = prism(outline[::-1] if side > 0 else outline, 0.0016, lens, bevel=0)
        for vertex in glass.data.vertices:
            vertex.co.y += 0.02 * (abs(vertex.co.x) / 0.066) ** 2
        arm = [
            (side * 0.064, 0.019, 0.022),
            (side * 0.0705, 0.026, 0.022),
            (side * 0.0715, 0.05, 0.022),
            (side * 0.07, 0.1, 0.02),
            (side * 0.068, 0.13, 0.012),
            (side * 0.066, 0.148, -0.008),
        ]
        tube(arm, 0.0024, frame, squash=1.7)
    tube(
        [(-0.0095, 0.0005, 0.016), (-0.004, -0.001, 0.02), (0.004, -0.001, 0.02), (0.0095, 0.0005, 0.016)],
        0.0028,
        frame,
    )
    _turn(recipe.get("turn", 28), x=recipe.get("tilt", 4))
    bpy.data.objects["pivot"].location.z = 0.0275


def soap_dispenser(recipe: Recipe) -> None:
    """A bottle with a steel pump."""
    glaze = _paint(recipe, "color", "#c9745a", 0.28, Coat_Weight=0.3)
    lathe(
        [
            (0, 0),
            (0, 0),
            (0.036, 0),
            (0.038, 0.002),
            (0.038, 0.01),
            (0.038, 0.115),
            (0.037, 0.125),
            (0.02, 0.133),
            (0.015, 0.136),
            (0.015, 0.14),
            (0, 0.14),
        ],
        glaze,
    )
    steel = make({"kind": "metal", "color": recipe.get("pump", "#c9ccd0"), "rough": 0.16})
    lathe(
        [
            (0.0165, 0.136),
            (0.0165, 0.136),
            (0.0165, 0.15),
            (0.0165, 0.15),
            (0.006, 0.153),
            (0.0045, 0.156),
            (0.0045, 0.178),
        ],
        steel,
    )
    lathe([(0, 0.176), (0.011, 0.176), (0.012, 0.179), (0.011, 0.187), (0.004, 0.19), (0, 0.19)], steel)
    _taper(
        [(0, 0, 0.183), (-0.02, 0, 0.184), (-0.04, 0, 0.184), (-0.05, 0, 0.179), (-0.053, 0, 0.172)],
        [0.006, 0.0052, 0.0046, 0.0042, 0.004],
        steel,
    )
    _turn(recipe.get("turn", 25))


def dumbbell(recipe: Recipe) -> None:
    """A hexagonal dumbbell, lying."""
    iron = make({"kind": "plain", "color": recipe.get("color", "#1c1d20"), "rough": 0.45})
    chrome = make({"kind": "metal", "color": "#d5d7da", "rough": 0.14})
    bar = [(0, -0.09), (0.013, -0.09), (0.013, -0.06), (0.0165, 0.0), (0.013, 0.06), (0.013, 0.09), (0, 0.09)]
    parts = [lathe(bar, chrome)]
    for side in (-1, 1):
        parts += [_hexagon(0.052, 0.08, iron, side * 0.1)]
        ring = [(0.013, side * 0.059), (0.024, side * 0.059), (0.024, side * 0.064), (0.013, side * 0.064)]
        parts += [lathe(ring, chrome, times=1)]
    for part in parts:
        part.matrix_world = (
            Matrix.Translation((0, 0, 0.052)) @ Matrix.Rotation(math.pi / 2, 4, "Y") @ Matrix.Rotation(0, 4, "Z")
        )
    _turn(recipe.get("turn", -32))


def _hexagon(radius: float, width: float, material: Material, at: float) -> bpy.types.Object:
    """The head of a hexagonal dumbbell about the z axis, its sides flat to the floor."""
    scale = radius / math.cos(math.pi / 6)
    profile = [(0.55, -0.5), (0.8, -0.48), (1.0, -0.3), (1.0, 0.3), (0.8, 0.48), (0.55, 0.5)]
    vertices = [
        (r * scale * math.cos(a), r * scale * math.sin(a), at + z * width)
        for r, z in profile
        for a in (math.pi * (k / 3 + 1 / 6) for k in range(6))
    ]
    faces = [tuple(range(5, -1, -1)), tuple(range(30, 36))]
    faces += [
        (6 * p + k, 6 * p + (k + 1) % 6, 6 * p + 6 + (k + 1) % 6, 6 * p + 6 + k) for p in range(5) for k in range(6)
    ]
    thing = place(mesh(vertices, faces), material)
    soften(thing, 0.006, 4)
    return thing


def lipstick(recipe: Recipe) -> None:
    """A cut stick in its case, the cap beside it."""
    black, gold = (
        _paint(recipe, "case", "#111113", 0.12, Coat_Weight=0.6),
        make({"kind": "metal", "color": "#dcb56a", "rough": 0.14}),
    )
    lathe([(0, 0), (0.0098, 0), (0.0098, 0), (0.0098, 0.034), (0.0098, 0.034), (0.008, 0.0345)], black)
    lathe(
        [(0.0082, 0.034), (0.0082, 0.034), (0.0082, 0.05), (0.0082, 0.05), (0.0062, 0.0505), (0.006, 0.047)],
        gold,
    )
    wax = make(
        {
            "kind": "plain",
            "color": recipe.get("color", "#b3122d"),
            "rough": 0.25,
            "Subsurface_Weight": 0.1,
            "Subsurface_Scale": 0.002,
        }
    )
    stick = lathe(
        [
            (0, 0.045),
            (0.006, 0.045),
            (0.006, 0.06),
            (0.006, 0.069),
            (0.0055, 0.0735),
            (0.003, 0.076),
            (0, 0.0765),
        ],
        wax,
    )
    for vertex in stick.data.vertices:
        if vertex.co.z > 0.056:
            vertex.co.z = min(vertex.co.z, 0.0685 + vertex.co.x * 1.05)
    cap = lathe(
        [(0, 0), (0.0103, 0), (0.0103, 0), (0.0103, 0.04), (0.0095, 0.0412), (0, 0.0412), (0, 0.0412)],
        black,
        (0.026, 0.004, 0),
    )
    cap.rotation_euler = (0, 0, 0)
    lathe([(0.0104, 0.001), (0.0106, 0.002), (0.0106, 0.004), (0.0104, 0.005)], gold, (0.026, 0.004, 0))


def frying_pan(recipe: Recipe) -> None:
    """A pan with a riveted wooden handle."""
    outside = make({"kind": "plain", "color": recipe.get("color", "#1a1a1c"), "rough": 0.32})
    lathe(
        [
            (0, 0),
            (0, 0),
            (0.1, 0),
            (0.108, 0.003),
            (0.135, 0.046),
            (0.138, 0.05),
            (0.136, 0.051),
            (0.132, 0.047),
            (0.106, 0.006),
            (0.1, 0.004),
            (0, 0.004),
            (0, 0.004),
        ],
        outside,
        segments=160,
    )
    steel = make({"kind": "brushed", "color": "#c8cacd"})
    tube([(0.128, 0, 0.038), (0.16, 0, 0.05), (0.19, 0, 0.056)], 0.008, steel, squash=0.5)
    grip = make({"kind": "wood", "light": "#8a5a34", "dark": "#4d2e17", "plank": 1.0})
    _taper(
        [(0.185, 0, 0.0555), (0.22, 0, 0.06), (0.28, 0, 0.068), (0.33, 0, 0.07), (0.345, 0, 0.07)],
        [0.009, 0.011, 0.0125, 0.0115, 0.004],
        grip,
    )
    for a in (-0.18, 0.18):
        ball(0.0045, steel, (0.128 * math.cos(a), 0.128 * math.sin(a), 0.036))
    _turn(recipe.get("turn", -35))
    bpy.data.objects["pivot"].location.x = recipe.get("shift", -0.06)


def cowboy_hat(recipe: Recipe) -> None:
    """A pinched crown, a curled brim, a leather band."""
    felt = make({"kind": "velvet", "color": recipe.get("color", "#7a5230"), "sheen": 0.4})
    rings, segments = 60, 120
    vertices = []
    for i in range(rings + 1):
        for s in range(segments):
            a = 2 * math.pi * s / segments
            vertices.append(_hat_point(i / rings, a))
    faces = [
        (
            i * segments + s,
            i * segments + (s + 1) % segments,
            (i + 1) * segments + (s + 1) % segments,
            (i + 1) * segments + s,
        )
        for i in range(rings)
        for s in range(segments)
    ]
    hat = place(mesh(vertices, faces), felt)
    thick = hat.modifiers.new("thick", "SOLIDIFY")
    thick.thickness = 0.0035
    band = make({"kind": "leather", "color": "#2a1810", "dark": "#1a0f0a"})
    loops = [
        [_hat_point(t, 2 * math.pi * s / segments, 0.0035) for s in range(segments)] for t in (0.445, 0.47, 0.5, 0.525)
    ]
    strip = [p for loop in loops for p in loop]
    place(
        mesh(
            strip,
            [
                (
                    i * segments + s,
                    i * segments + (s + 1) % segments,
                    (i + 1) * segments + (s + 1) % segments,
                    (i + 1) * segments + s,
                )
                for i in range(3)
                for s in range(segments)
            ],
        ),
        band,
    )
    _turn(recipe.get("turn", 55))


def _hat_point(t: float, a: float, out: float = 0.0) -> tuple[float, float, float]:
    """From the rim (t = 0) over the brim and up the crown to its pinched top (t = 1); the front is +x."""
    if t < 0.42:
        u = t / 0.42
        r = 0.21 - (0.21 - 0.1) * u
        curl = max(0.0, (r - 0.115) / 0.095)
        lift = 0.085 * abs(math.sin(a)) ** 2.2 * curl**1.7 - 0.02 * abs(math.cos(a)) ** 3 * curl
        squeeze = 1 - 0.22 * abs(math.sin(a)) ** 2 * curl
        return (r * 1.08 * math.cos(a), r * squeeze * math.sin(a), 0.035 + lift)
    u = (t - 0.42) / 0.58
    r = (0.1 - 0.022 * u) if u < 0.72 else 0.084 * math.sqrt(max(0.0, 1 - ((u - 0.72) / 0.28) ** 2.2))
    z = (
        0.035
        + 0.12 * min(1.0, u / 0.72) ** 0.9
        + (0.012 * math.sin(math.pi / 2 * (u - 0.72) / 0.28) if u > 0.72 else 0)
    )
    x, y = (r + out) * 1.12 * math.cos(a), (r + out) * 0.88 * math.sin(a)
    top = max(0.0, (u - 0.35) / 0.65)
    crease = 0.045 * math.exp(-((y / 0.028) ** 2)) * top**1.5
    pinch = 1 - 0.3 * top * max(0.0, x / 0.1) ** 1.5
    tall = 0.012 * (x / 0.1) * top
    return (x, y * pinch, z - crease + tall)


def sofa(recipe: Recipe) -> None:
    """Two seats, two arms, four legs, one cushion."""
    cloth = make({"kind": "fabric", "color": recipe.get("color", "#3c6e71"), "thread": 0.004, "slub": 0.15})
    leg = make({"kind": "wood", "light": "#a8743f", "dark": "#6b4522", "plank": 1.0})
    box((2.0, 0.85, 0.2), cloth, (0, 0, 0.16), 0.04)
    for side in (-1, 1):
        box((0.2, 0.88, 0.46), cloth, (side * 0.94, 0, 0.16), 0.07, segments=8)
        _cushion((0.84, 0.68, 0.19), cloth, (side * 0.42, -0.09, 0.34))
        back = _cushion((0.84, 0.22, 0.46), cloth, (side * 0.42, 0.25, 0.5))
        back.rotation_euler = (math.radians(-11), 0, 0)
        for y in (-0.34, 0.34):
            lathe([(0, 0), (0.018, 0), (0.03, 0.17), (0, 0.17)], leg, (side * 0.9, y, 0), 24, times=1)
    box((2.0, 0.16, 0.68), cloth, (0, 0.38, 0.16), 0.07, segments=8)
    accent = make({"kind": "fabric", "color": recipe.get("accent", "#d99a3a"), "thread": 0.004})
    pillow = _cushion((0.44, 0.16, 0.42), accent, (-0.62, 0.06, 0.54))
    pillow.rotation_euler = (math.radians(-20), math.radians(6), math.radians(14))
    _turn(recipe.get("turn", -20))


def _cushion(size: tuple[float, float, float], material: Material, at: tuple[float, float, float]) -> bpy.types.Object:
    """A soft box, fuller in the middle."""
    thing = box(size, material, at, bevel=min(size) * 0.32, segments=8)
    thing.modifiers.clear()
    divide = thing.modifiers.new("divide", "SUBSURF")
    divide.levels = divide.render_levels = 5
    solid = bmesh.new()
    solid.from_mesh(thing.data)
    bmesh.ops.subdivide_edges(solid, edges=list(solid.edges), cuts=6, use_grid_fill=True)
    x, y, z = size
    for v in solid.verts:
        v.co.z -= z / 2
        nx, ny, nz = (abs(v.co.x) * 2 / x) ** 2, (abs(v.co.y) * 2 / y) ** 2, (abs(v.co.z) * 2 / z) ** 2
        swell = Vector((1 + 0.035 * (1 - ny) * (1 - nz), 1 + 0.1 * (1 - nx) * (1 - nz), 1 + 0.12 * (1 - nx) * (1 - ny)))
        v.co = Vector((v.co.x * swell.x, v.co.y * swell.y, v.co.z * swell.z + z / 2))
    solid.to_mesh(thing.data)
    solid.free()
    return thing


def loudspeaker(recipe: Recipe) -> None:
    """A two-way bookshelf speaker."""
    case = make(
        {
            "kind": "wood",
            "light": recipe.get("color", "#8a5a34"),
            "dark": "#54321a",
            "plank": 2.0,
            "length": 3.0,
            "turn": 1.5708,
        }
    )
    box((0.2, 0.22, 0.34), case, (0, 0, 0.0), 0.006)
    black = make({"kind": "plain", "color": "#17181a", "rough": 0.5})
    box((0.184, 0.006, 0.324), black, (0, -0.112, 0.008), 0.002)
    for z, r in ((0.118, 0.074), (0.26, 0.036)):
        _driver(r, z, black)
    port = lathe([(0.012, 0.0), (0.016, 0.002), (0.018, 0.0)], black)
    port.matrix_world = Matrix.Translation((0, -0.115, 0.03)) @ Matrix.Rotation(math.pi / 2, 4, "X")
    _turn(recipe.get("turn", 24))


def _driver(radius: float, z: float, black: Material) -> None:
    """A cone in its surround and ring, facing the front."""
    steel = make({"kind": "metal", "color": "#9a9da1", "rough": 0.3})
    cone = make({"kind": "plain", "color": "#2a2b2e", "rough": 0.7})
    rubber = make({"kind": "plain", "color": "#0e0e0f", "rough": 0.55})
    parts = [
        lathe([(radius * 1.02, 0), (radius * 1.02, 0.004), (radius * 1.16, 0.004), (radius * 1.16, 0)], steel),
        lathe(
            [(radius * 0.8, -0.004), (radius * 0.84, 0.006), (radius * 0.93, 0.009), (radius * 1.03, 0.001)],
            rubber,
        ),
        lathe(
            [
                (radius * 0.3, -0.026 * radius / 0.07),
                (radius * 0.55, -0.016 * radius / 0.07),
                (radius * 0.82, -0.003),
            ],
            cone,
        ),
        lathe(
            [(radius * 0.33, -0.022 * radius / 0.07), (radius * 0.25, -0.006 * radius / 0.07), (0, 0.002)],
            rubber,
        ),
        lathe([(radius * 1.0, -0.03), (0, -0.03)], black),
    ]
    for part in parts:
        part.matrix_world = Matrix.Translation((0, -0.115, z)) @ Matrix.Rotation(math.pi / 2, 4, "X")


def flowerpot(recipe: Recipe) -> None:
    """Leafy stems in a clay pot."""
    clay = make(
        {
            "kind": "concrete",
            "light": recipe.get("color", "#c4744a"),
            "dark": "#a3572f",
            "rough": 0.8,
            "pores": 0.0,
        }
    )
    lathe(
        [
            (0, 0),
            (0, 0),
            (0.05, 0),
            (0.052, 0.002),
            (0.072, 0.1),
            (0.072, 0.1),
            (0.08, 0.1),
            (0.08, 0.1),
            (0.083, 0.128),
            (0.083, 0.13),
            (0.076, 0.13),
            (0.075, 0.128),
            (0.072, 0.11),
        ],
        clay,
    )
    lathe([(0, 0.115), (0.074, 0.115)], make({"kind": "soil"}))
    leaf = make({"kind": "foliage", "color": "#2f6b2c", "tip": "#6fa548"})
    rng = random.Random(4)
    for i in range(recipe.get("stems", 11)):
        a = i * 2.4
        lean = -82 + 46 * (i / 11)
        branch(
            rng.uniform(0.13, 0.2),
            7,
            (0.062, 0.03),
            leaf,
            (0.03 * math.cos(a), 0.03 * math.sin(a), 0.112),
            (0, lean, math.degrees(a)),
            i,
        )


def basketball(recipe: Recipe) -> None:
    """A ball with its eight panels marked."""
    skin = make({"kind": "leather", "color": recipe.get("color", "#c8622a"), "dark": "#b04f1e", "rough": 0.55})
    ball(0.12, skin, (0, 0, 0.12))
    black = make({"kind": "plain", "color": "#120d0a", "rough": 0.6})
    circle = [2 * math.pi * i / 96 for i in range(96)]
    r = 0.1203
    seams = [
        [(r * math.cos(a), r * math.sin(a), 0) for a in circle],
        [(0, r * math.cos(a), r * math.sin(a)) for a in circle],
    ]
    for side in (-1, 1):
        curve = [
            Vector((math.cos(a) * 0.66, math.sin(a) * 0.95, side * (0.62 + 0.28 * math.cos(2 * a)))) for a in circle
        ]
        seams.append([tuple((p.yzx).normalized() * r) for p in curve])
    for seam in seams:
        thing = tube(seam, 0.0017, black, (0, 0, 0.12), closed=True)
        thing.rotation_euler = (0.35, -0.3, 0.5)


PRODUCTS: dict[str, Callable[[Recipe], None]] = {
    f.__name__: f
    for f in (
        coffee_mug,
        wine_bottle,
        table_lamp,
        candle,
        sunglasses,
        dumbbell,
        lipstick,
        soap_dispenser,
        frying_pan,
        cowboy_hat,
        sofa,
        loudspeaker,
        flowerpot,
        basketball,
    )
}
