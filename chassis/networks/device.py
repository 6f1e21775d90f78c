"""Where the model runs, and with which numbers.

Torch is imported where it is needed only: it takes seconds, and a converted model on a CPU does without it.
"""

import ctypes
from typing import TYPE_CHECKING, Literal

from chassis.networks.errors import ModelNotLoaded

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "float32", "bfloat16"]
RuntimeName = Literal["auto", "openvino", "torch"]


def is_cpu(name: str) -> bool:
    """Whether the device of that name is the CPU; `auto` is CUDA when there, else the CPU."""
    return name == "cpu" or (name == "auto" and not _has_cuda())


def choose_device(name: str) -> "torch.device":
    """The device of that name; `auto` is CUDA when there, else the CPU.

    Raises:
        ModelNotLoaded: this machine has no such device.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    # Torch raises AssertionError when it was built without CUDA.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ModelNotLoaded(f"There is no device {name!r} here: {error}") from error
    return device


def choose_dtype(precision: Precision, device: "torch.device") -> "torch.dtype":
    """The numbers to compute with; `auto` is bfloat16 where `device` has units for it, else float32."""
    import torch

    if precision == "auto":
        return torch.bfloat16 if _is_good_at_bfloat16(device) else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def _has_cuda() -> bool:
    # The driver is asked for first: where there is none, torch need not be imported.
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    import torch

    return torch.cuda.is_available()


def _is_good_at_bfloat16(device: "torch.device") -> bool:
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu.get_capabilities().get("amx_bf16", False))
    return False
