"""Weights to measure with: random numbers, since speed depends on an architecture's size alone."""

from pathlib import Path

import torch

from chassis.networks.torchvision_ops import define_missing_torchvision_ops

define_missing_torchvision_ops()

import open_clip  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

ARCHITECTURE = "ViT-B-32"


def write_random_checkpoint(folder: Path) -> Path:
    """The path of a checkpoint of `ARCHITECTURE`, which is written when it is not there; the same numbers each time."""
    path = folder / f"{ARCHITECTURE}-random.safetensors"
    if not path.exists():
        torch.manual_seed(0)
        model = open_clip.create_model(ARCHITECTURE)
        unfinished = path.with_suffix(".part")
        save_file({name: weight.contiguous() for name, weight in model.state_dict().items()}, unfinished)
        unfinished.rename(path)
    return path
