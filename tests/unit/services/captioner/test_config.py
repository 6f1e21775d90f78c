import pytest
from pydantic import ValidationError

from services.captioner.config import CaptionerConfig


def test_the_defaults_are_the_embedded_captioner() -> None:
    config = CaptionerConfig()

    assert (config.port, config.model, config.device) == (50051, "conse", "auto")


@pytest.mark.parametrize("model", ["clip", "open_clip:", ""])
def test_a_model_of_no_known_kind_is_refused(model: str) -> None:
    with pytest.raises(ValidationError, match="model"):
        CaptionerConfig(model=model)


def test_the_limit_on_bytes_cannot_exceed_the_contracts() -> None:
    with pytest.raises(ValidationError, match="max_image_mib"):
        CaptionerConfig(max_image_mib=33)
