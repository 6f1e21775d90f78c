"""What a runtime loads and computes: one network, such as a model's image tower."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class NetworkSource:
    """How to come by a network.

    Attributes:
        name: identifies all that the network computes, its weights above all.
        build: makes it in torch, on the CPU, with its weights as numbers of the given type. It takes arrays of shape
            (rows, ...) and gives float32 of shape (rows, columns). Called only if no converted network is at hand.
        examples: inputs of two rows and a usual size.
        dynamic_axes: of all inputs; 0 is the rows.
    """

    name: str
    build: "Callable[[torch.dtype], torch.nn.Module]"
    examples: Sequence[Array]
    dynamic_axes: Sequence[int] = (0,)


class Network(Protocol):
    """A network that is ready to compute."""

    runtime: str
    """What computes it and where, such as `openvino bfloat16 on CPU`."""

    def __call__(self, *inputs: Array) -> NDArray[np.float32]:
        """Computes a row for each row of the inputs.

        Raises:
            OutOfMemory: the device has no memory left for it.
            DeviceLost: the device is of no more use to this process.
            ModelFailed: anything else that went wrong.
        """
        ...


class Runtime(Protocol):
    """Loads networks."""

    def load(self, source: NetworkSource) -> Network:
        """Makes the network ready; see the runtimes for what may go wrong."""
        ...


def join_runtimes(images: str, texts: str) -> str:
    """What computes a model, given what computes its images and its texts."""
    return images if images == texts else f"{images}, texts by {texts}"
