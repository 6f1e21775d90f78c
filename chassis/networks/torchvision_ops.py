"""Lets a CUDA build of torchvision be imported beside a CPU build of torch."""

import importlib

import torch

_SCHEMAS = {
    "torchvision::nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "torchvision::qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def define_missing_torchvision_ops() -> None:
    """Makes `import torchvision` work, where it is installed.

    transformers and open_clip import torchvision where it is installed. Its PyPI wheel is built for CUDA and does not
    load its compiled part beside a CPU torch; then its import fails for want of two operators, which nothing in
    Backdrop calls. Their schemas are enough.
    """
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError:
        return
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name, schema in _SCHEMAS.items():
            torch.library.define(name, schema)
        importlib.import_module("torchvision")
