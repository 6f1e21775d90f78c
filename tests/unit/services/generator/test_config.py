"""The generator's settings."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from services.generator.config import GeneratorConfig


def test_the_file_wins_over_the_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-file\n")
    config = GeneratorConfig(llm_api_key=SecretStr("direct"), llm_api_key_file=tmp_path / "key")
    assert config.api_key().get_secret_value() == "from-file"


def test_a_key_is_never_printed() -> None:
    assert "s3cret" not in repr(GeneratorConfig(llm_api_key=SecretStr("s3cret")))


def test_a_file_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="no such file"):
        GeneratorConfig(llm_api_key_file=tmp_path / "missing")


def test_an_empty_variable_names_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKDROP_GENERATOR_LLM_API_KEY_FILE", "")
    assert GeneratorConfig().llm_api_key_file is None


def test_further_fields_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKDROP_GENERATOR_LLM_EXTRA_BODY", '{"reasoning_effort": "minimal"}')
    assert GeneratorConfig().llm_extra_body == {"reasoning_effort": "minimal"}


def test_a_cache_that_is_no_redis_stops_the_start_and_its_password_is_not_told() -> None:
    with pytest.raises(ValidationError, match="must begin with redis://") as caught:
        GeneratorConfig(cache_url=SecretStr("memcached://:s3cret@host"))
    assert "s3cret" not in str(caught.value)


def test_a_language_that_is_no_tag_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKDROP_GENERATOR_LANGUAGES", '["de", "German, please"]')
    with pytest.raises(ValidationError, match="languages"):
        GeneratorConfig()
