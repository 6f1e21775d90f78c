"""Loads the image-text model that the configuration names. Only the model's own process imports this."""

import os
from collections.abc import Iterable
from time import perf_counter

import numpy as np
import structlog

from chassis.cores import usable_cores
from services.captioner.config import CaptionerConfig
from services.captioner.device import choose_device, choose_dtype, is_cpu
from services.captioner.embedding_cache import EmbeddingCache
from services.captioner.errors import ModelNotLoaded
from services.captioner.image_text_model import ImageTextModel
from services.captioner.network import Network, NetworkSource, Runtime

log = structlog.get_logger(__name__)

# Read by OpenMP when torch is first imported: threads that wait by spinning slow each other down ninefold as soon as
# another process wants the same cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def open_model(config: CaptionerConfig) -> ImageTextModel:
    """The model that the configuration names, loaded and warm.

    Raises:
        ModelNotLoaded: with what is wrong, such as an unknown tag or a missing checkpoint.
        BackdropError: whatever the model raises on its first work.
    """
    started = perf_counter()
    model = load_model(config)
    loaded = perf_counter()
    warm_up(model, (1, config.max_batch))
    log.info(
        "model_loaded",
        model=model.card.name,
        runtime=model.card.runtime,
        load_s=round(loaded - started, 2),
        warm_up_s=round(perf_counter() - loaded, 2),
    )
    return model


def load_model(config: CaptionerConfig) -> ImageTextModel:
    """Loads the model that the configuration names.

    Raises:
        ModelNotLoaded: with what is wrong, such as an unknown tag or a missing checkpoint.
    """
    runtime = _choose_runtime(config)
    # Imported here because each model brings libraries that take seconds to import and that the other does not need.
    if config.model == "conse":
        from services.captioner.conse import load_conse

        return load_conse(runtime, EmbeddingCache(config.cache_dir))
    from services.captioner.open_clip_model import load_open_clip

    return load_open_clip(config.model.removeprefix("open_clip:"), runtime)


def warm_up(model: ImageTextModel, batch_sizes: Iterable[int]) -> None:
    """Has the model compute batches of these sizes once, since the first of a kind is slow.

    Raises:
        BackdropError: whatever the model raises; it should not be served then.
    """
    shape = (model.card.image_input.height, model.card.image_input.width, 3)
    # The largest first, so that memory for it is found or missed at the start.
    for size in sorted(set(batch_sizes), reverse=True):
        model.encode_images(np.full((size, *shape), 127, dtype=np.uint8))
        model.encode_texts(["a photo"] * size)


class _EitherRuntime:
    """OpenVINO, or torch for a network that OpenVINO cannot take."""

    def __init__(self, config: CaptionerConfig) -> None:
        self._config = config
        self._openvino = _open_openvino(config)

    def load(self, source: NetworkSource) -> Network:
        """Loads it by OpenVINO, else by torch.

        Raises:
            ModelNotLoaded: OpenVINO cannot take it, and the configuration wants nothing else.
        """
        from services.captioner.openvino_runtime import ConversionFailed

        try:
            return self._openvino.load(source)
        except ConversionFailed as error:
            if self._config.runtime == "openvino":
                raise ModelNotLoaded(
                    f"OpenVINO cannot take {source.name}: {error}. Set the runtime to torch."
                ) from error
            log.warning("openvino_cannot_take_network", network=source.name, error=str(error), instead="torch")
            return _open_torch(self._config).load(source)


def _choose_runtime(config: CaptionerConfig) -> Runtime:
    on_cpu = is_cpu(config.device)
    if config.runtime == "openvino" and not on_cpu:
        raise ModelNotLoaded(f"OpenVINO computes on the CPU, not on {config.device!r}: set the device to cpu.")
    return _open_torch(config) if config.runtime == "torch" or not on_cpu else _EitherRuntime(config)


def _open_openvino(config: CaptionerConfig) -> Runtime:
    from services.captioner.openvino_runtime import OpenVinoRuntime

    threads = config.threads or usable_cores()
    return OpenVinoRuntime(threads, config.precision, config.cache_dir / "networks")


def _open_torch(config: CaptionerConfig) -> Runtime:
    import torch

    from services.captioner.torch_runtime import TorchRuntime

    torch.set_num_threads(config.threads or usable_cores())
    device = choose_device(config.device)
    return TorchRuntime(device, choose_dtype(config.precision, device), compiles=config.compiles)
