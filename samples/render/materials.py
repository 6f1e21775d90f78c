"""Materials, named as a recipe names them: `{kind: wood, light: "#c9a06c", ...}`.

Kinds that have a texture come from textures.py and are laid on by box projection in object space, in metres; the others
are one plain surface.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import bpy
import numpy as np
import textures

Recipe = dict[str, Any]
Socket = bpy.types.NodeSocket

PLAIN: dict[str, Recipe] = {
    "plain": {"color": "#cccccc", "rough": 0.5},
    "paper": {"color": "#eeeeee", "rough": 0.9, "Specular_IOR_Level": 0.15},
    "satin": {"color": "#e9c9c2", "rough": 0.3, "Sheen_Weight": 0.3, "Specular_IOR_Level": 0.6},
    "metal": {"color": "#d4af5a", "rough": 0.2, "Metallic": 1.0},
    "glass": {"color": "#ffffff", "rough": 0.0, "IOR": 1.45, "Transmission_Weight": 1.0},
    "glow": {"color": "#000000", "rough": 1.0, "Emission_Strength": 30.0},
}
"""Untextured kinds with what they are unless the recipe says otherwise."""

SHADING: dict[str, Recipe] = {
    "marble": {"Coat_Weight": 0.2},
    "fabric": {"Sheen_Weight": 0.3, "Specular_IOR_Level": 0.1},
    "velvet": {"Sheen_Weight": 0.6, "Sheen_Roughness": 0.35, "Specular_IOR_Level": 0.05},
    "sand": {"Specular_IOR_Level": 0.2},
    "rubber": {"Specular_IOR_Level": 0.2},
    "asphalt": {"Specular_IOR_Level": 0.35},
    "soil": {"Specular_IOR_Level": 0.15},
    "plaster": {"Specular_IOR_Level": 0.25},
    "brushed": {"Metallic": 1.0},
    "water": {"Specular_IOR_Level": 0.9, "Coat_Weight": 1.0, "Coat_Roughness": 0.02},
    "snow": {"Subsurface_Weight": 0.3, "Subsurface_Scale": 0.02},
}
"""What a textured kind adds to its maps."""


def linear(color: str) -> tuple[float, float, float, float]:
    """A hex sRGB colour as linear RGBA."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return r, g, b, 1.0


class Graph:
    """A node tree under construction."""

    def __init__(self, tree: bpy.types.NodeTree) -> None:
        self.tree = tree
        self.tree.nodes.clear()

    def add(self, kind: str, inputs: dict[str | int, Any], **attributes: Any) -> bpy.types.Node:
        """One node, its inputs linked to sockets or set to constants."""
        node = self.tree.nodes.new(kind)
        for name, value in attributes.items():
            setattr(node, name, value)
        for key, value in inputs.items():
            self.put(node.inputs[key], value)
        return node

    def put(self, socket: Socket, value: Any) -> None:
        """Links a socket to an input, or sets it to a constant."""
        if isinstance(value, bpy.types.NodeSocket):
            self.tree.links.new(value, socket)
        else:
            socket.default_value = linear(value) if isinstance(value, str) else value

    def mapping(self, vector: Socket, scale: float = 1, turn: Sequence[float] = (0, 0, 0), shift: float = 0) -> Socket:
        """Coordinates scaled, turned and shifted."""
        inputs = {"Vector": vector, "Scale": (scale,) * 3, "Rotation": turn, "Location": (shift,) * 3}
        return self.add("ShaderNodeMapping", inputs).outputs[0]

    def mix(self, factor: Any, a: Any, b: Any, blend: str = "MIX") -> Socket:
        """Two colours mixed by a factor."""
        return self.add("ShaderNodeMix", {0: factor, 6: a, 7: b}, data_type="RGBA", blend_type=blend).outputs[2]

    def finish(self, color: Any, rough: Any, normal: Socket | None = None, **more: Any) -> None:
        """Ends the graph in a principled surface; `more` are its inputs, with underscores for spaces."""
        inputs = {"Base Color": color, "Roughness": rough} | {k.replace("_", " "): v for k, v in more.items()}
        surface = self.add("ShaderNodeBsdfPrincipled", inputs)
        if normal is not None:
            self.put(surface.inputs["Normal"], normal)
        self.add("ShaderNodeOutputMaterial", {"Surface": surface.outputs[0]})


def make(recipe: Recipe) -> bpy.types.Material:
    """Builds the material that a recipe names by `kind`; the other keys are its settings.

    `turn` (radians about z) and `shading` (inputs of the principled surface) work for every textured kind.
    """
    settings = dict(recipe)
    kind = settings.pop("kind")
    material = bpy.data.materials.new(kind)
    material.use_nodes = True
    graph = Graph(material.node_tree)
    if kind == "foliage":
        _foliage(graph, **settings)
    elif kind in PLAIN:
        _plain(graph, kind, settings)
    else:
        _textured(graph, kind, settings)
    return material


def _plain(g: Graph, kind: str, settings: Recipe) -> None:
    values = PLAIN[kind] | settings
    if kind == "glow":
        values |= {
            "Emission_Color": values["color"],
            "Emission_Strength": values.pop("power", 30.0),
            "color": "#000000",
        }
    g.finish(values.pop("color"), values.pop("rough"), **values)


def _textured(g: Graph, kind: str, settings: Recipe) -> None:
    turn = settings.pop("turn", 0.0)
    coat = {"Coat_Weight": settings.pop("coat"), "Coat_Roughness": 0.12} if "coat" in settings else {}
    sheen = {"Sheen_Weight": settings.pop("sheen")} if "sheen" in settings else {}
    function = getattr(textures, kind)
    color, data, span = _images(kind, function, settings)
    vector = g.add("ShaderNodeTexCoord", {}).outputs["Object"]
    vector = g.mapping(vector, 1 / span, (0, 0, turn), 0.5 if kind == "stump" else 0.0)
    seen = g.add("ShaderNodeTexImage", {"Vector": vector}, image=color, projection="BOX").outputs[0]
    maps = g.add("ShaderNodeTexImage", {"Vector": vector}, image=data, projection="BOX").outputs[0]
    parts = g.add("ShaderNodeSeparateColor", {0: maps}).outputs
    bump = g.add("ShaderNodeBump", {"Height": parts[0], "Distance": 1.0, "Strength": 1.0})
    tint = {"Sheen_Tint": settings["color"]} if kind == "velvet" else {}
    normal = bump.outputs[0] if data["bumpy"] else None
    g.finish(seen, parts[1], normal, **(SHADING.get(kind, {}) | coat | sheen | tint))


def _images(kind: str, function: Any, settings: Recipe) -> tuple[bpy.types.Image, bpy.types.Image, float]:
    """The texture as images, made once for all materials with the same settings."""
    bound = inspect.signature(function).bind(**settings)
    key = f"{kind}-{abs(hash(str(sorted(bound.arguments.items())))):x}"[:50]
    if f"{key}-c" not in bpy.data.images:
        maps = function(**settings)
        flat = np.zeros((textures.N, textures.N), np.float32)
        data = np.stack([flat if maps.height is None else maps.height, flat + maps.rough, flat], axis=2)
        _image(f"{key}-c", maps.color, is_data=False)
        image = _image(f"{key}-d", data, is_data=True)
        image["span"], image["bumpy"] = maps.span, maps.height is not None
    data_image = bpy.data.images[f"{key}-d"]
    return bpy.data.images[f"{key}-c"], data_image, data_image["span"]


def _image(name: str, pixels: np.ndarray, is_data: bool) -> bpy.types.Image:
    image = bpy.data.images.new(name, textures.N, textures.N, float_buffer=is_data, is_data=is_data)
    rgba = np.ones((textures.N, textures.N, 4), np.float32)
    rgba[..., :3] = pixels if is_data else np.clip(pixels, 0, 1)
    image.pixels.foreach_set(rgba.ravel())
    image.update()
    return image


def _foliage(g: Graph, color: str = "#5d7f3a", tip: str = "#93ad58") -> None:
    """Leaves, needles and blades, each with a tone of its own, blades paler towards the tip."""
    pick = g.add("ShaderNodeObjectInfo", {}).outputs["Random"]
    hair = g.add("ShaderNodeHairInfo", {}).outputs
    either = g.add("ShaderNodeMath", {0: pick, 1: hair["Intercept"]}, operation="ADD").outputs[0]
    half = g.add("ShaderNodeMath", {0: either, 1: 0.5}, operation="MULTIPLY").outputs[0]
    tone = g.mix(half, color, tip)
    g.finish(tone, 0.5, Subsurface_Weight=0.15, Subsurface_Scale=0.01, Specular_IOR_Level=0.3)
