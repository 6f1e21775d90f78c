"""How errors of torch and CUDA reach those who asked, and how a network is computed by torch."""

import numpy as np
import pytest
import torch

from chassis.errors import OutOfMemory
from chassis.networks.errors import DeviceLost, ModelFailed
from chassis.networks.network import NetworkSource
from chassis.networks.torch_runtime import TorchRuntime, torch_errors


class Sums(torch.nn.Module):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values.to(torch.float32).sum(dim=1, keepdim=True)


def cuda_error(code: int) -> torch.AcceleratorError:
    error = torch.AcceleratorError("CUDA error: of some kind")
    error.error_code = code
    return error


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB."), OutOfMemory),
        (cuda_error(2), OutOfMemory),
        (cuda_error(700), DeviceLost),  # an illegal memory access
        (cuda_error(710), DeviceLost),  # an assertion on the device
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."), OutOfMemory),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), ModelFailed),
    ],
)
def test_an_error_tells_whether_to_retry_to_restart_or_to_give_up(
    error: RuntimeError, becomes: type[Exception]
) -> None:
    with pytest.raises(becomes) as caught, torch_errors():
        raise error

    assert caught.value.__cause__ is error
    assert "CUDA" not in str(caught.value)


def test_a_network_that_fails_on_an_input_computes_the_next() -> None:
    network = TorchRuntime(torch.device("cpu"), torch.float32).load(
        NetworkSource("sums", lambda dtype: Sums(), [np.zeros((2, 3), dtype=np.uint8)])
    )

    with pytest.raises(ModelFailed):
        network(np.zeros(3, dtype=np.uint8))

    assert network(np.array([[1, 2, 3]], dtype=np.uint8)).tolist() == [[6]]


def test_arrays_that_must_not_be_written_to_are_taken() -> None:
    network = TorchRuntime(torch.device("cpu"), torch.float32).load(
        NetworkSource("sums", lambda dtype: Sums(), [np.zeros((2, 3), dtype=np.uint8)])
    )
    values = np.array([[1, 2, 3]], dtype=np.uint8)
    values.setflags(write=False)

    assert network(values).tolist() == [[6]]
