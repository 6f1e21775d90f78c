"""The studio: an empty scene, camera, lamps, sun with gobos, the world around, and the renderer."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import bpy
import environments
import shapes
from materials import Graph, linear, make
from mathutils import Vector

Recipe = dict[str, Any]


def clear() -> bpy.types.Scene:
    """Removes everything of the scene before, and all images but the environment maps."""
    for collection in (
        bpy.data.objects,
        bpy.data.meshes,
        bpy.data.curves,
        bpy.data.materials,
        bpy.data.lights,
        bpy.data.cameras,
        bpy.data.worlds,
        bpy.data.particles,
    ):
        for item in list(collection):
            collection.remove(item)
    for image in list(bpy.data.images):
        if image.users == 0 and "blurred" not in image.name:
            bpy.data.images.remove(image)
    return bpy.context.scene


def setup(size: tuple[int, int], samples: int, exposure: float, look: str, transform: str = "AgX") -> None:
    """Cycles on the CPU with a denoiser and few bounces."""
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = *size, 100
    scene.render.threads_mode, scene.render.threads = "FIXED", 2
    scene.render.use_persistent_data = False
    cycles = scene.cycles
    cycles.device, cycles.samples, cycles.use_adaptive_sampling = "CPU", samples, True
    cycles.adaptive_threshold = 0.02
    cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
    cycles.denoising_quality, cycles.denoising_prefilter = "BALANCED", "FAST"
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 8, 1, 2
    cycles.transmission_bounces, cycles.transparent_max_bounces = 8, 8
    cycles.sample_clamp_indirect, cycles.blur_glossy = 4.0, 0.6
    cycles.caustics_reflective = cycles.caustics_refractive = False
    view = scene.view_settings
    view.view_transform, view.exposure = transform, exposure
    view.look = look


def camera(recipe: Recipe) -> bpy.types.Object:
    """Looks along +y at a point over the origin; `aperture` is the lens opening's radius in metres."""
    data = bpy.data.cameras.new("camera")
    eye = bpy.data.objects.new("camera", data)
    bpy.context.scene.collection.objects.link(eye)
    bpy.context.scene.camera = eye
    side = recipe.get("side", 0.0)
    eye.location = (side, -recipe["distance"], recipe["height"])
    target = Vector((recipe.get("aim_x", 0.0), recipe.get("aim_y", 0.0), recipe.get("aim", 0.1)))
    eye.rotation_euler = (target - eye.location).to_track_quat("-Z", "Y").to_euler()
    data.lens = recipe.get("lens", 50)
    data.clip_start = 0.01
    if aperture := recipe.get("aperture", 0.0):
        data.dof.use_dof = True
        data.dof.focus_distance = recipe.get("focus", (target - eye.location).length)
        data.dof.aperture_fstop = data.lens * 1e-3 / (2 * aperture)
    return eye


def ambient(color: str, power: float) -> None:
    """Even light from all around, for sets without a place."""
    g = _world()
    background = g.add("ShaderNodeBackground", {"Color": color, "Strength": power})
    g.add("ShaderNodeOutputWorld", {"Surface": background.outputs[0]})


def surroundings(recipe: Recipe, maps: Path) -> None:
    """A real place all around: the sharp map gives the light, a blurred one is what the camera sees.

    `column` is the part of the map (0 to 1 of its width) that stands in the middle of the picture.
    """
    g = _world()
    yaw = math.radians((0.5 - recipe.get("column", 0.5)) * 360 - 90)
    turn = (math.radians(recipe.get("pitch", 0)), 0, yaw)
    vector = g.add("ShaderNodeTexCoord", {}).outputs["Generated"]
    seen_at, lit_at = g.mapping(vector, turn=turn), g.mapping(vector, turn=(0, 0, yaw))
    if "bokeh" in recipe:
        blurred = sharp = environments.bokeh(recipe["bokeh"])
    else:
        blurred = environments.load_blurred(maps, recipe["map"], recipe.get("blur", 2.0))
        sharp = environments.load(maps, recipe["map"])
    seen = g.add("ShaderNodeTexEnvironment", {"Vector": seen_at}, image=blurred, interpolation="Cubic").outputs[0]
    lit = g.add("ShaderNodeTexEnvironment", {"Vector": lit_at}, image=sharp).outputs[0]
    tinted = g.mix(1.0, seen, recipe.get("tint", "#ffffff"), "MULTIPLY")
    view = g.add("ShaderNodeBackground", {"Color": tinted, "Strength": recipe.get("view", 1.0)})
    lit_tinted = g.mix(1.0, lit, recipe.get("light_tint", "#ffffff"), "MULTIPLY")
    light = g.add("ShaderNodeBackground", {"Color": lit_tinted, "Strength": recipe.get("light", 1.0)})
    is_camera = g.add("ShaderNodeLightPath", {}).outputs["Is Camera Ray"]
    both = g.add("ShaderNodeMixShader", {0: is_camera, 1: light.outputs[0], 2: view.outputs[0]})
    g.add("ShaderNodeOutputWorld", {"Surface": both.outputs[0]})
    world = bpy.context.scene.world.cycles
    world.sampling_method, world.sample_map_resolution = "MANUAL", 512


def _world() -> Graph:
    world = bpy.data.worlds.new("world")
    world.use_nodes = True
    bpy.context.scene.world = world
    return Graph(world.node_tree)


def lamp(at: list[float], size: float, power: float, color: str = "#ffffff", aim: tuple = (0, 0, 0.1)) -> None:
    """A softbox of `size` metres that points at `aim`."""
    data = bpy.data.lights.new("lamp", "AREA")
    data.shape, data.size, data.energy = "DISK", size, power
    data.color = _rgb(color)
    thing = bpy.data.objects.new("lamp", data)
    thing.location = at
    thing.rotation_euler = (Vector(aim) - Vector(at)).to_track_quat("-Z", "Y").to_euler()
    thing.visible_camera = False
    bpy.context.scene.collection.objects.link(thing)


def sun(
    azimuth: float,
    elevation: float,
    power: float,
    color: str = "#fff1dc",
    angle: float = 0.6,
    gobo: Recipe | None = None,
) -> None:
    """Sunlight from `azimuth` degrees (0 behind the camera, 90 from the right), through an optional gobo."""
    a, e = math.radians(azimuth), math.radians(elevation)
    towards = Vector((math.sin(a) * math.cos(e), -math.cos(a) * math.cos(e), math.sin(e)))
    data = bpy.data.lights.new("sun", "SUN")
    data.energy, data.angle, data.color = power, math.radians(angle), _rgb(color)
    thing = bpy.data.objects.new("sun", data)
    thing.rotation_euler = towards.to_track_quat("Z", "Y").to_euler()
    bpy.context.scene.collection.objects.link(thing)
    if gobo:
        _hang(gobo, towards)


def _hang(gobo: Recipe, towards: Vector) -> None:
    """Puts something unseen between the sun and the set; its own plane faces the sun."""
    frame = bpy.data.objects.new("gobo", None)
    frame.location = towards * gobo.get("distance", 1.6) + Vector(gobo.get("at", (0, 0, 0.1)))
    frame.rotation_euler = towards.to_track_quat("Z", "Y").to_euler()
    frame.rotation_euler.rotate_axis("Z", math.radians(gobo.get("turn", 0)))
    bpy.context.scene.collection.objects.link(frame)
    before = set(bpy.data.objects)
    GOBOS[gobo["kind"]](gobo)
    for part in set(bpy.data.objects) - before:
        if part.parent is None:
            part.parent = frame
        part.visible_camera = part.visible_glossy = part.visible_diffuse = False


def _blinds(gobo: Recipe) -> None:
    black = make({"kind": "plain", "color": "#050505"})
    pitch, width = gobo.get("pitch", 0.07), gobo.get("width", 1.0)
    count = int(gobo.get("height", 1.2) / pitch)
    for i in range(count):
        shapes.box((width, pitch * gobo.get("share", 0.5), 0.002), black, (0, (i - count / 2) * pitch, 0), bevel=0)
    _frame(width, gobo.get("height", 1.2), black)


def _window(gobo: Recipe) -> None:
    black = make({"kind": "plain", "color": "#050505"})
    width, height = gobo.get("width", 0.7), gobo.get("height", 0.9)
    columns, rows = gobo.get("panes", (2, 3))
    for i in range(1, columns):
        shapes.box((0.03, height, 0.01), black, ((i / columns - 0.5) * width, 0, 0), bevel=0)
    for j in range(1, rows):
        shapes.box((width, 0.03, 0.01), black, (0, (j / rows - 0.5) * height, 0), bevel=0)
    _frame(width, height, black)


def _frame(width: float, height: float, material: bpy.types.Material) -> None:
    """A wall around a window."""
    wide = 4.0
    for side in (-1, 1):
        shapes.box((wide, 9.0, 0.01), material, (side * (width + wide) / 2, 0, 0), bevel=0)
        shapes.box((width, wide, 0.01), material, (0, side * (height + wide) / 2, 0), bevel=0)


def _leaves(gobo: Recipe) -> None:
    black = make({"kind": "plain", "color": "#0a0f05"})
    size = gobo.get("size", 0.16)
    for i in range(gobo.get("branches", 5)):
        start = (-0.75 + 0.1 * (i % 2), -0.45 + 0.28 * i, 0.02 * i)
        shapes.branch(
            0.95,
            gobo.get("leaves", 14),
            (size, size * gobo.get("slim", 0.33)),
            black,
            start,
            (0, 0, -25 + 17 * ((i * 7) % 4)),
            seed=i + gobo.get("seed", 1),
        )


GOBOS = {"blinds": _blinds, "window": _window, "leaves": _leaves}


def _rgb(color: str) -> tuple[float, float, float]:
    return linear(color)[:3]


def render(path: Path) -> None:
    """Renders the scene to a lossless PNG."""
    scene = bpy.context.scene
    scene.render.image_settings.file_format = "PNG"
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
