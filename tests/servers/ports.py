"""Ports of this machine that nobody listens on."""

import os
import socket

STRETCH = 3000
"""Ports of each of pytest's workers, below those that the system gives to outgoing connections."""

_FIRST = 20_000 + STRETCH * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4)
_given = 0


def free_port() -> int:
    """A port that nobody listens on."""
    return free_ports(1)


def free_ports(count: int) -> int:
    """The first of `count` ports in a row that nobody listens on, and that were not given before."""
    global _given
    while _given + count <= STRETCH:
        first = _FIRST + _given
        _given += count
        if all(map(_is_free, range(first, first + count))):
            return first
    raise RuntimeError("no free ports are left for this process")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
