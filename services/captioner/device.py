"""Where the model runs, and with which numbers.

Torch is imported where it is needed only: it takes seconds, and a converted model on a CPU does without it.
"""

import ctypes
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from services.captioner.errors import ModelNotLoaded

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "float32", "bfloat16"]
_CGROUP = Path("/sys/fs/cgroup")


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


def usable_cores(cgroup: Path = _CGROUP) -> int:
    """CPU cores that this process may use, as its affinity and its container's quota allow, rounded up."""
    quota = _read_quota(cgroup)
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return affinity if quota is None else max(1, min(affinity, math.ceil(quota)))


def _read_quota(cgroup: Path) -> float | None:
    """Cores' worth of time that the container may use, after cgroup v2 or v1; None without a limit."""
    try:
        if (cgroup / "cpu.max").exists():
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota, period = (
                (cgroup / "cpu" / f"cpu.cfs_{each}_us").read_text().strip() for each in ("quota", "period")
            )
        return float(quota) / float(period) if quota not in ("max", "-1") else None
    except (OSError, ValueError):
        return None


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
