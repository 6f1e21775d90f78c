"""Converted networks: computed as torch computes them, kept on disk, and refused when they are wrong."""

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from structlog.testing import capture_logs

from chassis.networks.errors import ModelFailed, ModelNotLoaded
from chassis.networks.network import NetworkSource
from chassis.networks.openvino_runtime import ConversionFailed, OpenVinoRuntime

# The converter of OpenVINO and the tracing of torch warn of their own affairs.
pytestmark = pytest.mark.filterwarnings("ignore")


class Layer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(3, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows: torch.Tensor = self.linear(images.to(torch.float32) / 255)
        return rows


class FrozenBatch(Layer):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images)[: len(images.numpy())] * torch.ones(int(images.shape[0]), 1)


class Branching(Layer):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images) * (1 if images.numpy().shape[0] == 2 else -1)


def a_source(module: type[torch.nn.Module] = Layer, name: str = "layer", builds: list[str] | None = None) -> Any:
    def build(dtype: torch.dtype) -> torch.nn.Module:
        if builds is not None:
            builds.append(name)
        return module().to(dtype)

    return NetworkSource(name, build, [np.array([[1, 2, 3], [200, 100, 0]], dtype=np.uint8)])


def a_runtime(folder: Path, threads: int = 2) -> OpenVinoRuntime:
    return OpenVinoRuntime(threads, "float32", folder)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_any_number_of_rows_is_computed_as_torch_does(tmp_path: Path, rows: int, threads: int) -> None:
    values = np.random.default_rng(rows).integers(0, 256, (rows, 3), dtype=np.uint8)

    computed = a_runtime(tmp_path, threads).load(a_source())(values)

    np.testing.assert_allclose(computed, Layer()(torch.from_numpy(values)).detach().numpy(), atol=1e-5)


def test_results_are_not_overwritten_by_the_next_call(tmp_path: Path) -> None:
    network = a_runtime(tmp_path).load(a_source())
    first = network(np.zeros((1, 3), dtype=np.uint8))
    before = first.copy()
    network(np.full((1, 3), 255, dtype=np.uint8))

    np.testing.assert_array_equal(first, before)


def test_a_converted_network_is_found_at_the_next_start(tmp_path: Path) -> None:
    builds: list[str] = []
    values = np.array([[7, 8, 9]], dtype=np.uint8)
    first, second = (a_runtime(tmp_path).load(a_source(builds=builds))(values) for _ in range(2))

    assert builds == ["layer"]
    np.testing.assert_array_equal(first, second)


def shorten(folder: Path) -> None:
    path = folder / "network.bin"
    path.write_bytes(path.read_bytes()[:-8])


def flip_a_bit(folder: Path) -> None:
    path = folder / "network.bin"
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


def lose_the_graph(folder: Path) -> None:
    (folder / "network.xml").unlink()


def scribble(folder: Path) -> None:
    (folder / "record.json").write_text("[]")


def come_from_other_versions(folder: Path) -> None:
    record = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps(record | {"origin": [*record["origin"][:-1], "openvino 1.0"]}))


@pytest.mark.parametrize("harm", [shorten, flip_a_bit, lose_the_graph, scribble, come_from_other_versions])
def test_a_kept_network_that_is_damaged_or_foreign_is_converted_anew(tmp_path: Path, harm: Any) -> None:
    builds: list[str] = []
    values = np.array([[7, 8, 9]], dtype=np.uint8)
    expected = a_runtime(tmp_path).load(a_source(builds=builds))(values)
    (folder,) = tmp_path.iterdir()
    harm(folder)

    np.testing.assert_array_equal(a_runtime(tmp_path).load(a_source(builds=builds))(values), expected)
    a_runtime(tmp_path).load(a_source(builds=builds))
    assert builds == ["layer", "layer"]


def test_networks_of_like_names_are_kept_apart(tmp_path: Path) -> None:
    builds: list[str] = []
    for name in ("a/b", "a-b", "a/b"):
        a_runtime(tmp_path).load(a_source(name=name, builds=builds))

    assert builds == ["a/b", "a-b"]


def test_a_folder_that_cannot_be_written_costs_time_but_no_more(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")

    with capture_logs() as logs:
        network = a_runtime(tmp_path / "file").load(a_source())

    assert network(np.zeros((1, 3), dtype=np.uint8)).shape == (1, 5)
    assert [each["event"] for each in logs] == ["converted_network_not_kept"]


def test_nothing_half_written_stays_behind(tmp_path: Path) -> None:
    a_runtime(tmp_path).load(a_source())

    assert [len(list(each.iterdir())) for each in tmp_path.iterdir()] == [3]


def test_a_conversion_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionFailed, match="cosine"):
        a_runtime(tmp_path).load(a_source(Branching))


def test_an_input_of_a_wrong_shape_fails_alone(tmp_path: Path) -> None:
    network = a_runtime(tmp_path).load(a_source())
    for rows in (1, 4):
        with pytest.raises(ModelFailed):
            network(np.zeros((rows, 4), dtype=np.uint8))
        assert network(np.zeros((rows, 3), dtype=np.uint8)).shape == (rows, 5)


def test_bfloat16_is_refused_where_there_is_none(tmp_path: Path) -> None:
    runtime = a_runtime(tmp_path)
    if "BF16" in runtime._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has units for it")

    with pytest.raises(ModelNotLoaded, match="no units for bfloat16"):
        OpenVinoRuntime(1, "bfloat16", tmp_path)


def test_nothing_is_told_to_anyone_about_a_conversion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from openvino.tools.ovc import telemetry_utils

    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection was made"))
    a_runtime(tmp_path).load(a_source())
    shutil.rmtree(tmp_path)

    assert telemetry_utils.tm.__name__ == "openvino.tools.ovc.telemetry_stub"
