import pytest
from pydantic import SecretStr, ValidationError

from services.ranker.config import RankerConfig


def test_the_defaults_are_the_embedded_ranker() -> None:
    config = RankerConfig()

    assert (config.port, config.qdrant_url, config.embedding_model) == (50053, "", "")


@pytest.mark.parametrize("url", ["qdrant:6333", "ftp://qdrant", "http://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="qdrant_url"):
        RankerConfig(qdrant_url=url)


def test_the_key_is_not_printed() -> None:
    config = RankerConfig(qdrant_api_key=SecretStr("hush"))

    assert "hush" not in repr(config)
    assert config.qdrant_api_key.get_secret_value() == "hush"
