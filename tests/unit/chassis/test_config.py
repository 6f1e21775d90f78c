from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from chassis.config import ServerConfig, load


class ExampleConfig(ServerConfig):
    model_config = SettingsConfigDict(env_prefix="BACKDROP_EXAMPLE_")

    queue_length: int = 4
    key: SecretStr = SecretStr("")


@pytest.fixture(autouse=True)
def _no_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKDROP_EXAMPLE_QUEUE_LENGTH", "9")
    assert load(ExampleConfig).queue_length == 9


def test_settings_come_from_a_file_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("BACKDROP_EXAMPLE_QUEUE_LENGTH=7\nBACKDROP_EXAMPLE_PORT=1234\n")
    monkeypatch.setenv("BACKDROP_EXAMPLE_PORT", "4321")
    config = load(ExampleConfig)
    assert (config.queue_length, config.port) == (7, 4321)


def test_a_bad_start_lists_every_problem(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("BACKDROP_EXAMPLE_QUEUE_LENGTH", "many")
    monkeypatch.setenv("BACKDROP_EXAMPLE_PORT", "70000")
    with pytest.raises(SystemExit) as stopped:
        load(ExampleConfig)
    printed = capsys.readouterr().err
    assert stopped.value.code == 2
    assert "BACKDROP_EXAMPLE_QUEUE_LENGTH: " in printed
    assert "BACKDROP_EXAMPLE_PORT: " in printed


def test_a_misspelt_setting_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BACKDROP_EXAMPLE_QUEUE_LENGHT", "9")
    with pytest.raises(SystemExit):
        load(ExampleConfig)
    assert "did you mean BACKDROP_EXAMPLE_QUEUE_LENGTH?" in capsys.readouterr().err


def test_secrets_never_print(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKDROP_EXAMPLE_KEY", "hunter2")
    assert "hunter2" not in repr(load(ExampleConfig))
