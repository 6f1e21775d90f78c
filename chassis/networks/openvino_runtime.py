"""Networks computed by OpenVINO, the fastest way on a CPU."""

import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from chassis.errors import OutOfMemory
from chassis.networks.converted_networks import ConvertedNetworks
from chassis.networks.device import Precision
from chassis.networks.errors import ModelFailed, ModelNotLoaded
from chassis.networks.network import Array, Network, NetworkSource

# OpenVINO's converter tells Google Analytics of each use unless this package is missing.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov  # noqa: E402

# A conversion is refused if any row that it gives is less like torch's own.
_LEAST_COSINE = 0.999
# The most rows that a stream takes at once: a network is about as fast on so many as on more, and a stream that other
# work slows down leaves what is left to the others.
_PART_ROWS = 8


class ConversionFailed(Exception):
    """OpenVINO cannot compute a network, or not rightly."""


class OpenVinoNetwork:
    """A network compiled for the CPU. See `Network` for what it promises.

    It is compiled twice: for a lone row, on which all threads work together, and for batches, which are split among
    streams of few threads each: these need not wait for each other, which pays all the more when other work, such as
    decoding, wants the same cores.
    """

    def __init__(self, core: ov.Core, graph: ov.Model, threads: int, precision: str) -> None:
        self._lock = Lock()
        self.runtime = f"openvino {precision} on CPU"
        options = {
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
            "INFERENCE_NUM_THREADS": threads,
        }
        with _openvino_errors():
            batches = core.compile_model(graph, "CPU", options | {"PERFORMANCE_HINT": "THROUGHPUT"})
            self._stream_count = int(batches.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
            self._streams = ThreadPoolExecutor(self._stream_count, thread_name_prefix="stream")
            self._idle: SimpleQueue[ov.InferRequest] = SimpleQueue()
            for _ in range(self._stream_count):
                self._idle.put(batches.create_infer_request())
            lone = core.compile_model(_of_one_row(graph), "CPU", options | {"PERFORMANCE_HINT": "LATENCY"})
            self._lone = lone.create_infer_request()

    def __call__(self, *inputs: Array) -> NDArray[np.float32]:
        """Computes the rows. Calls from several threads wait for each other."""
        with self._lock:
            return self._compute(inputs)

    def _compute(self, inputs: Sequence[Array]) -> NDArray[np.float32]:
        rows = len(inputs[0])
        if rows == 1:
            return _infer(self._lone, inputs)
        parts = max(math.ceil(rows / _PART_ROWS), min(rows, self._stream_count))
        split = zip(*(np.array_split(each, parts) for each in inputs), strict=True)
        return np.concatenate(list(self._streams.map(self._compute_part, split)))

    def _compute_part(self, inputs: Sequence[Array]) -> NDArray[np.float32]:
        request = self._idle.get()
        try:
            return _infer(request, inputs)
        finally:
            self._idle.put(request)


class OpenVinoRuntime:
    """Computes on the CPU what it converts from torch, or finds converted.

    Args:
        threads: how many to compute with.
        precision: numbers to compute with; `auto` is bfloat16 where the CPU has units for it, else float32.
        folder: keeps converted networks from one start to the next.

    Raises:
        ModelNotLoaded: this CPU has no units for bfloat16, which was asked for.
    """

    def __init__(self, threads: int, precision: Precision, folder: Path) -> None:
        self._core = ov.Core()
        self._threads = threads
        self._converted = ConvertedNetworks(folder)
        self._precision = self._choose_precision(precision)
        _infer_once(self._core)

    def load(self, source: NetworkSource) -> Network:
        """Reads the converted network, or converts it.

        Raises:
            ConversionFailed: OpenVINO cannot take it or gets other results than torch.
        """
        found = self._converted.find(source)
        if found is not None:
            with _conversion_errors():
                return self._compile(self._core.read_model(found))
        return self._convert(source)

    def _choose_precision(self, precision: Precision) -> str:
        has_bfloat16 = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bfloat16" and not has_bfloat16:
            raise ModelNotLoaded("This CPU has no units for bfloat16: set the precision to auto or float32.")
        return "bfloat16" if has_bfloat16 and precision != "float32" else "float32"

    def _compile(self, graph: ov.Model) -> OpenVinoNetwork:
        return OpenVinoNetwork(self._core, graph, self._threads, self._precision)

    def _convert(self, source: NetworkSource) -> Network:
        import torch

        module = source.build(torch.float32).eval().requires_grad_(False)
        with _conversion_errors(), _decomposed_attention():
            examples = tuple(torch.from_numpy(each) for each in source.examples)
            shapes = [
                [-1 if axis in source.dynamic_axes else n for axis, n in enumerate(each.shape)] for each in examples
            ]
            graph = ov.convert_model(module, example_input=examples, input=shapes)
            network = self._compile(graph)
            # A batch of another size than that of the conversion shows what was frozen by mistake.
            inputs = [np.concatenate([each] * 3) for each in source.examples]
            _check(network(*inputs), module(*map(torch.from_numpy, inputs)).numpy())
        self._converted.keep(source, lambda path: ov.save_model(graph, path, compress_to_fp16=False))
        return network


@contextmanager
def _openvino_errors() -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        raise OutOfMemory("The model is out of memory; try again later.", retry_after_s=1) from error
    except (RuntimeError, TypeError, ValueError) as error:
        raise ModelFailed("The model failed on this request.") from error


@contextmanager
def _conversion_errors() -> Iterator[None]:
    try:
        yield
    # The converter and the tracing of torch raise errors of many kinds.
    except Exception as error:
        raise ConversionFailed(str(error) or type(error).__name__) from error


@contextmanager
def _decomposed_attention() -> Iterator[None]:
    """The fused attention of torch's encoder layers has no counterpart in OpenVINO."""
    import torch

    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        # Tracing warns of every branch that it freezes; `_check` finds those that matter.
        with torch.no_grad(), warnings.catch_warnings(action="ignore"):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _check(rows: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    if rows.shape != expected.shape:
        raise ConversionFailed(f"{rows.shape} instead of {expected.shape} came out of it")
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(expected, axis=1)
    least = float(((rows * expected).sum(axis=1) / norms).min())
    if not least >= _LEAST_COSINE:
        raise ConversionFailed(f"what comes out of it has a cosine of only {least:.4f} to what torch computes")


def _of_one_row(graph: ov.Model) -> ov.Model:
    lone = graph.clone()
    shapes = {}
    for index, each in enumerate(lone.inputs):
        shape = each.get_partial_shape()
        shape[0] = 1
        shapes[index] = shape
    lone.reshape(shapes)
    return lone


def _infer_once(core: ov.Core) -> None:
    """Computes next to nothing, in one thread.

    OpenVINO's Python part sets itself up in the first inference of a process, with a lock of its own; two threads that
    come to it together can each hold what the other waits for, that lock and the interpreter's, and wait for ever.
    """
    row = ov.opset13.parameter([1], np.float32)
    request = core.compile_model(ov.Model([ov.opset13.relu(row)], [row]), "CPU").create_infer_request()
    _infer(request, [np.zeros(1, np.float32)])


def _infer(request: ov.InferRequest, inputs: Sequence[Array]) -> NDArray[np.float32]:
    with _openvino_errors():
        request.infer(dict(enumerate(inputs)))
        # The next inference overwrites what is not copied.
        return np.array(request.get_output_tensor(0).data, dtype=np.float32)
