"""Chooses what computes a server's networks. Only the process that computes them should import this."""

import os
from dataclasses import dataclass
from pathlib import Path

import structlog

from chassis.cores import usable_cores
from chassis.networks.device import Precision, RuntimeName, choose_device, choose_dtype, is_cpu
from chassis.networks.errors import ModelNotLoaded
from chassis.networks.network import Network, NetworkSource, Runtime

log = structlog.get_logger(__name__)

# Read by OpenMP when torch is first imported: threads that wait by spinning slow each other down ninefold as soon as
# another process wants the same cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@dataclass(frozen=True, slots=True)
class Computing:
    """How networks are to be computed.

    Attributes:
        device: `auto` for CUDA when there, else the CPU; or a device of torch such as `cuda:1`.
        runtime: `auto` is OpenVINO on the CPU (torch for what OpenVINO cannot take) and torch elsewhere; `openvino`
            fails rather than take torch.
        precision: numbers to compute with; `auto` takes bfloat16 where the device has units for it.
        threads: on the CPU; None for as many as the process may use cores.
        cache_dir: folder for converted networks, kept between starts.
        compiles: whether torch compiles networks.
    """

    device: str
    runtime: RuntimeName
    precision: Precision
    threads: int | None
    cache_dir: Path
    compiles: bool = False


def choose_runtime(computing: Computing) -> Runtime:
    """What loads and computes networks as it is wanted.

    Raises:
        ModelNotLoaded: this machine cannot do it so.
    """
    on_cpu = is_cpu(computing.device)
    if computing.runtime == "openvino" and not on_cpu:
        raise ModelNotLoaded(f"OpenVINO computes on the CPU, not on {computing.device!r}: set the device to cpu.")
    return _open_torch(computing) if computing.runtime == "torch" or not on_cpu else _EitherRuntime(computing)


class _EitherRuntime:
    """OpenVINO, or torch for a network that OpenVINO cannot take."""

    def __init__(self, computing: Computing) -> None:
        self._computing = computing
        self._openvino = _open_openvino(computing)

    def load(self, source: NetworkSource) -> Network:
        """Loads it by OpenVINO, else by torch.

        Raises:
            ModelNotLoaded: OpenVINO cannot take it, and nothing else is wanted.
        """
        from chassis.networks.openvino_runtime import ConversionFailed

        try:
            return self._openvino.load(source)
        except ConversionFailed as error:
            if self._computing.runtime == "openvino":
                raise ModelNotLoaded(
                    f"OpenVINO cannot take {source.name}: {error}. Set the runtime to torch."
                ) from error
            log.warning("openvino_cannot_take_network", network=source.name, error=str(error), instead="torch")
            return _open_torch(self._computing).load(source)


def _open_openvino(computing: Computing) -> Runtime:
    from chassis.networks.openvino_runtime import OpenVinoRuntime

    threads = computing.threads or usable_cores()
    return OpenVinoRuntime(threads, computing.precision, computing.cache_dir / "networks")


def _open_torch(computing: Computing) -> Runtime:
    import torch

    from chassis.networks.torch_runtime import TorchRuntime

    torch.set_num_threads(computing.threads or usable_cores())
    device = choose_device(computing.device)
    return TorchRuntime(device, choose_dtype(computing.precision, device), compiles=computing.compiles)
