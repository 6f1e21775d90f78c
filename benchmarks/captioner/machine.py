"""What the machine is and can do, as far as it matters to a model's speed."""

import os
import platform
from pathlib import Path

import psutil
import torch


def describe_machine() -> dict[str, str]:
    """For people, such as `{"CPU": "AMD EPYC", "cores": "2", ...}`."""
    capabilities = torch.cpu.get_capabilities()
    wanted = ("avx2", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_tile")
    there = [name for name in wanted if capabilities.get(name)]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "CPU": _cpu_name(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "CPU capabilities": f"{', '.join(there) or 'none of note'}; bf16 in hardware: {_has_bf16(there)}",
        "GPU": gpu,
        "torch": torch.__version__,
    }


def _has_bf16(capabilities: list[str]) -> str:
    return "yes" if {"amx_bf16", "avx512_bf16"} & set(capabilities) else "no"


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
