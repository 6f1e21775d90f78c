"""Meshes and curves made from numbers: lathed profiles, tubes, rounded boxes, sheets with relief, leaves."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence

import bpy
from mathutils import Vector, noise

Point2 = tuple[float, float]
Point3 = tuple[float, float, float]
Material = bpy.types.Material


def place(
    data: bpy.types.ID, material: Material | None, at: Point3 = (0, 0, 0), name: str = "part"
) -> bpy.types.Object:
    """Puts mesh or curve data into the scene."""
    thing = bpy.data.objects.new(name, data)
    if material is not None:
        data.materials.append(material)
    thing.location = at
    bpy.context.scene.collection.objects.link(thing)
    return thing


def mesh(vertices: Sequence[Point3], faces: Sequence[Sequence[int]], smooth: bool = True) -> bpy.types.Mesh:
    """Mesh data from vertices and faces."""
    data = bpy.data.meshes.new("mesh")
    data.from_pydata([tuple(v) for v in vertices], [], [tuple(f) for f in faces])
    data.update()
    if smooth:
        data.shade_smooth()
    return data


def rounded(points: Sequence[Point2], times: int = 3, closed: bool = False) -> list[Point2]:
    """Chaikin's corner cutting; a point given twice stays a corner."""
    for _ in range(times):
        pairs = list(itertools.pairwise(points)) + ([(points[-1], points[0])] if closed else [])
        cut = [] if closed else [points[0]]
        for (ax, ay), (bx, by) in pairs:
            cut += [
                (ax * 0.75 + bx * 0.25, ay * 0.75 + by * 0.25),
                (ax * 0.25 + bx * 0.75, ay * 0.25 + by * 0.75),
            ]
        points = cut if closed else [*cut, points[-1]]
    return list(points)


def lathe(
    profile: Sequence[Point2], material: Material, at: Point3 = (0, 0, 0), segments: int = 96, times: int = 3
) -> bpy.types.Object:
    """Turns a profile of (radius, height) points about the z axis."""
    points = rounded(profile, times)
    vertices = [
        (r * math.cos(2 * math.pi * s / segments), r * math.sin(2 * math.pi * s / segments), z)
        for r, z in points
        for s in range(segments)
    ]
    faces = [
        (
            p * segments + s,
            p * segments + (s + 1) % segments,
            (p + 1) * segments + (s + 1) % segments,
            (p + 1) * segments + s,
        )
        for p in range(len(points) - 1)
        for s in range(segments)
    ]
    return place(mesh(vertices, faces), material, at)


def tube(
    points: Sequence[Point3],
    radius: float,
    material: Material,
    at: Point3 = (0, 0, 0),
    closed: bool = False,
    squash: float = 1.0,
) -> bpy.types.Object:
    """A smooth tube through control points; `squash` flattens its section."""
    curve = bpy.data.curves.new("tube", "CURVE")
    curve.dimensions, curve.resolution_u, curve.use_fill_caps = "3D", 16, True
    if squash == 1.0:
        curve.bevel_depth, curve.bevel_resolution = radius, 6
    else:
        curve.bevel_mode, curve.bevel_object = "OBJECT", _ellipse(radius, radius * squash)
    spline = curve.splines.new("NURBS")
    spline.points.add(len(points) - 1)
    for target, point in zip(spline.points, points, strict=True):
        target.co = (*point, 1)
    spline.order_u, spline.use_endpoint_u, spline.use_cyclic_u = min(4, len(points)), not closed, closed
    return place(curve, material, at)


def _ellipse(a: float, b: float) -> bpy.types.Object:
    curve = bpy.data.curves.new("section", "CURVE")
    spline = curve.splines.new("POLY")
    spline.points.add(31)
    for i, point in enumerate(spline.points):
        point.co = (a * math.cos(i * math.pi / 16), b * math.sin(i * math.pi / 16), 0, 1)
    spline.use_cyclic_u = True
    return place(curve, None)


def box(
    size: Point3,
    material: Material,
    at: Point3 = (0, 0, 0),
    bevel: float = 0.003,
    turn: Point3 = (0, 0, 0),
    segments: int = 4,
) -> bpy.types.Object:
    """A box with rounded edges; `at` is the middle of its base."""
    x, y, z = size[0] / 2, size[1] / 2, size[2]
    corners = [(sx * x, sy * y, h) for h in (0, z) for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    sides = [(3, 2, 1, 0), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7)]
    thing = place(mesh(corners, sides, smooth=bevel > 0), material, at)
    thing.rotation_euler = [math.radians(a) for a in turn]
    if bevel > 0:
        soften(thing, bevel, segments)
    return thing


def soften(thing: bpy.types.Object, width: float, segments: int = 4) -> None:
    """Rounds the edges of a mesh and keeps its flat sides flat."""
    modifier = thing.modifiers.new("bevel", "BEVEL")
    modifier.width, modifier.segments, modifier.harden_normals = width, segments, True
    modifier.limit_method = "ANGLE"


def prism(
    outline: Sequence[Point2], depth: float, material: Material, at: Point3 = (0, 0, 0), bevel: float = 0.002
) -> bpy.types.Object:
    """An outline in x and z, thickened along y."""
    n = len(outline)
    vertices = [(x, y, z) for y in (-depth / 2, depth / 2) for x, z in outline]
    sides = [(i, (i + 1) % n, n + (i + 1) % n, n + i) for i in range(n)]
    thing = place(mesh(vertices, [tuple(range(n))[::-1], tuple(range(n, 2 * n)), *sides]), material, at)
    if bevel > 0:
        soften(thing, bevel)
    return thing


def arch_outline(width: float, height: float) -> list[Point2]:
    """A doorway: straight sides, a half circle on top."""
    r = width / 2
    turn = [(-r * math.cos(a * math.pi / 40), height - r + r * math.sin(a * math.pi / 40)) for a in range(41)]
    return [(r, 0), (-r, 0), *turn][::-1]


def ball(radius: float, material: Material, at: Point3) -> bpy.types.Object:
    """A sphere."""
    profile = [(radius * math.sin(a * math.pi / 32), -radius * math.cos(a * math.pi / 32)) for a in range(33)]
    return lathe(profile, material, at, 64, times=0)


def sheet(
    size: Point2,
    material: Material,
    at: Point3 = (0, 0, 0),
    cells: int = 4,
    height: Callable[[float, float], float] | None = None,
) -> bpy.types.Object:
    """A level rectangle centred on `at`, raised by `height(x, y)`."""
    xs = [(i / cells - 0.5) * size[0] for i in range(cells + 1)]
    ys = [(i / cells - 0.5) * size[1] for i in range(cells + 1)]
    vertices = [(x, y, height(x, y) if height else 0.0) for y in ys for x in xs]
    row = cells + 1
    faces = [
        (j * row + i, j * row + i + 1, (j + 1) * row + i + 1, (j + 1) * row + i)
        for j in range(cells)
        for i in range(cells)
    ]
    return place(mesh(vertices, faces), material, at)


def cove(width: float, depth: float, height: float, radius: float, material: Material) -> bpy.types.Object:
    """A seamless sweep: floor from the camera to `depth`, a curve of `radius`, and a wall of `height`."""
    bend = [
        (depth - radius + radius * math.sin(a * math.pi / 48), radius - radius * math.cos(a * math.pi / 48))
        for a in range(25)
    ]
    path = [(-4.0, 0.0), *bend, (depth, height)]
    vertices = [(x, y, z) for y, z in path for x in (-width / 2, width / 2)]
    faces = [(2 * i, 2 * i + 1, 2 * i + 3, 2 * i + 2) for i in range(len(path) - 1)]
    return place(mesh(vertices, faces), material)


def ripples(height: float, scale: float, seed: int) -> Callable[[float, float], float]:
    """Wind ripples in sand: sharp on one side, wandering."""

    def at(x: float, y: float) -> float:
        bend = noise.noise(Vector((x * 1.7, y * 1.7, seed))) * 1.6 + noise.noise(Vector((x * 6, y * 6, seed))) * 0.25
        phase = (y * scale + x * scale * 0.25 + bend) % 1.0
        strength = 0.55 + 0.45 * noise.noise(Vector((x * 2.5, y * 2.5, seed + 9)))
        dune = 0.6 * noise.noise(Vector((x * 1.2, y * 1.2, seed + 4)))
        return height * (strength * (phase / 0.65 if phase < 0.65 else (1 - phase) / 0.35) + dune)

    return at


def folds(height: float, scale: float, seed: int) -> Callable[[float, float], float]:
    """Cloth laid down by hand: a few soft ridges running across, flat between them."""

    def at(x: float, y: float) -> float:
        total = 0.0
        for k in range(3):
            bend = noise.noise(Vector((x * scale * 0.7, y * scale * 0.7, seed + 3 * k))) * 1.1
            across = (x * math.cos(0.5 + k * 0.8) + y * math.sin(0.5 + k * 0.8)) * scale + bend
            ridge = 1 - abs(noise.noise(Vector((across * 0.8, k * 7.7, seed))))
            total += (
                max(0.0, ridge - 0.72) ** 1.6
                / 0.28**1.6
                * (0.55 + 0.45 * noise.noise(Vector((x * 2, y * 2, seed + k))))
            )
        return height * total

    return at


def bumps(height: float, scale: float, seed: int) -> Callable[[float, float], float]:
    """Uneven ground: moss cushions, snow, rock."""

    def at(x: float, y: float) -> float:
        return height * noise.fractal(Vector((x * scale, y * scale, seed)), 0.9, 2.1, 5)

    return at


RELIEFS = {"ripples": ripples, "folds": folds, "bumps": bumps}


def drape(
    width: float, height: float, material: Material, at: Point3, folds_a_metre: float, depth: float, seed: int
) -> None:
    """A hanging curtain with uneven vertical folds."""
    across, down = 500, 12
    vertices = []
    for j in range(down + 1):
        for i in range(across + 1):
            x, z = (i / across - 0.5) * width, j / down * height
            phase = x * folds_a_metre * 2 * math.pi + 2.2 * noise.noise(Vector((x * 2.5, z * 0.35, seed)))
            y = depth * (math.sin(phase) + 0.5 * noise.noise(Vector((x * 9, z * 0.8, seed))))
            vertices.append((x, y, z))
    row = across + 1
    faces = [
        (j * row + i, j * row + i + 1, (j + 1) * row + i + 1, (j + 1) * row + i)
        for j in range(down)
        for i in range(across)
    ]
    place(mesh(vertices, faces), material, at)


def leaf_mesh(length: float, width: float, curl: float) -> bpy.types.Mesh:
    """A pointed leaf along x, folded on its rib and drooping at the tip."""
    steps = 14
    vertices: list[Point3] = []
    for i in range(steps + 1):
        t = i / steps
        half = width / 2 * math.sin(math.pi * t**0.8) ** 0.9 if 0 < t < 1 else 0.0
        droop = -curl * length * t * t
        vertices += [
            (length * t, -half, droop + half * 0.35),
            (length * t, 0, droop),
            (length * t, half, droop + half * 0.35),
        ]
    faces = [(3 * i + k, 3 * i + k + 1, 3 * i + k + 4, 3 * i + k + 3) for i in range(steps) for k in range(2)]
    return mesh(vertices, faces)


def branch(
    length: float,
    leaves: int,
    leaf: Point2,
    material: Material,
    at: Point3,
    turn: Point3,
    seed: int,
    bark: Material | None = None,
) -> list[bpy.types.Object]:
    """A twig along x with leaves on both sides; returns its parts, the twig first, the leaves its children."""
    rng = random.Random(seed)
    bend = rng.uniform(0.08, 0.2) * length
    twig = tube([(0, 0, 0), (length * 0.5, 0, bend), (length, 0, bend * 0.6)], length * 0.006, bark or material)
    twig.location, twig.rotation_euler = at, [math.radians(a) for a in turn]
    shape = leaf_mesh(leaf[0], leaf[1], 0.25)
    shape.materials.append(material)
    parts = [twig]
    for i in range(leaves):
        t = (i + 0.6) / leaves
        side = 1 if i % 2 else -1
        blade = place(shape, None, (length * t, 0, bend * math.sin(math.pi * t * 0.75)))
        blade.parent = twig
        blade.rotation_euler = (
            rng.uniform(-0.6, 0.6),
            rng.uniform(-0.5, 0.2),
            side * rng.uniform(0.55, 1.05),
        )
        blade.scale = (rng.uniform(0.75, 1.1) * (1.1 - 0.45 * t),) * 3
        parts.append(blade)
    return parts


def stone(
    radius: float, material: Material, at: Point3, seed: int, flat: float = 0.6, rough: float = 0.18
) -> bpy.types.Object:
    """A pebble (low `rough`) or a rock."""
    rings, segments = 48, 64
    vertices = []
    for i in range(rings + 1):
        for s in range(segments):
            a, b = math.pi * i / rings, 2 * math.pi * s / segments
            d = Vector((math.sin(a) * math.cos(b), math.sin(a) * math.sin(b), -math.cos(a)))
            swell = 1 + rough * 1.6 * noise.noise(d * 0.9 + Vector((seed, 0, 0)))
            swell += rough * 0.35 * noise.fractal(d * 3 + Vector((0, seed, 0)), 1.0, 2.0, 4)
            vertices.append((d.x * swell * radius, d.y * swell * radius, d.z * swell * radius * flat))
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
    return place(mesh(vertices, faces), material, at)
