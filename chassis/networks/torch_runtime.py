"""Networks computed by torch: on CUDA, and on CPUs where OpenVINO cannot be used."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from chassis.errors import BackdropError, OutOfMemory
from chassis.networks.errors import DeviceLost, ModelFailed
from chassis.networks.network import Array, Network, NetworkSource

_CUDA_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation


class TorchNetwork:
    """A module of torch on a device. See `Network` for what it promises."""

    def __init__(self, module: torch.nn.Module, device: torch.device, runtime: str) -> None:
        self.runtime = runtime
        self._module = module
        self._device = device

    def __call__(self, *inputs: Array) -> NDArray[np.float32]:
        """Computes the rows."""
        with torch_errors(), torch.inference_mode():
            rows: torch.Tensor = self._module(*[self._send(each) for each in inputs])
            return np.asarray(rows.cpu().numpy(), dtype=np.float32)

    def _send(self, array: Array) -> torch.Tensor:
        # Torch warns of arrays that it could write to but must not.
        tensor = torch.from_numpy(np.require(array, requirements=["C", "W"]))
        if self._device.type != "cuda":
            return tensor.to(self._device)
        # From pinned memory the copy runs beside what the device still computes.
        return tensor.pin_memory().to(self._device, non_blocking=True)


class TorchRuntime:
    """Computes on one device, in one precision.

    Args:
        device: where to.
        dtype: numbers to compute with; inputs and results are what `NetworkSource` says.
        compiles: whether modules go through `torch.compile`. It takes minutes at the start and again for batches of a
            size not seen before.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype, *, compiles: bool = False) -> None:
        self._device = device
        self._dtype = dtype
        self._compiles = compiles

    def load(self, source: NetworkSource) -> Network:
        """Builds the module and moves it to the device."""
        module = source.build(self._dtype).eval().requires_grad_(False)
        with torch_errors():
            module.to(self._device)
        if self._compiles:
            module.compile(dynamic=True)
        dtype = str(self._dtype).removeprefix("torch.")
        return TorchNetwork(module, self._device, f"torch {dtype} on {_device_name(self._device)}")


@contextmanager
def torch_errors() -> Iterator[None]:
    """Turns errors of torch into ours: see `Network`."""
    try:
        yield
    # Torch raises RuntimeError for most that goes wrong, but IndexError, ValueError and others as well.
    except Exception as error:
        raise _translate(error) from error


def _translate(error: Exception) -> BackdropError:
    lost = isinstance(error, torch.AcceleratorError)
    if _is_out_of_memory(error):
        return OutOfMemory("The model's device is out of memory; try again later.", retry_after_s=1)
    # After an error of a kernel, such as an illegal access, CUDA answers every further call with the same error.
    if lost:
        return DeviceLost("The model's device failed and is being started anew; try again.", retry_after_s=5)
    return ModelFailed("The model failed on this request.")


def _is_out_of_memory(error: Exception) -> bool:
    return (
        isinstance(error, torch.OutOfMemoryError | MemoryError)
        or getattr(error, "error_code", None) == _CUDA_OUT_OF_MEMORY
        # On the CPU only the text tells.
        or "can't allocate memory" in str(error)
    )


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
