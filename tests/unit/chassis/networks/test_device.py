import pytest
import torch

from chassis.networks.device import choose_device, choose_dtype, is_cpu
from chassis.networks.errors import ModelNotLoaded


def test_auto_takes_cuda_when_it_is_there() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert is_cpu("auto") is not torch.cuda.is_available()


def test_a_named_device_is_taken_as_named() -> None:
    assert is_cpu("cpu")
    assert not is_cpu("cuda:1")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "cpu:x"])
def test_a_device_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(ModelNotLoaded, match=f"no device '{name}'"):
        choose_device(name)


def test_precision_is_as_asked() -> None:
    assert choose_dtype("bfloat16", torch.device("cpu")) == torch.bfloat16
    assert choose_dtype("float32", torch.device("cpu")) == torch.float32
    assert choose_dtype("auto", torch.device("cpu")) in {torch.bfloat16, torch.float32}
