"""How many CPU cores a process may use."""

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


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
