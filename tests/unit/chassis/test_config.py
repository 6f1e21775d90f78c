from pathlib import Path

import pytest
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from chassis import config as chassis_config
from chassis.config import ServerConfig, load


class ExampleConfig(ServerConfig):
    model_config = SettingsConfigDict(env_prefix="BACKDROP_EXAMPLE_")

    queue_length: int = 4
    folder: Path | None = None
    table: dict[str, int] = Field(default_factory=dict)
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


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "secrets"
    folder.mkdir()
    monkeypatch.setenv("BACKDROP_SECRETS_DIR", str(folder))
    return folder


def test_a_secret_may_be_a_file_and_a_variable_wins(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (secrets / "backdrop_example_key").write_text("hunter2\n")
    (secrets / "backdrop_other_key").write_text("of another service")
    assert load(ExampleConfig).key.get_secret_value() == "hunter2"
    monkeypatch.setenv("BACKDROP_EXAMPLE_KEY", "")
    assert load(ExampleConfig).key.get_secret_value() == "hunter2"
    monkeypatch.setenv("BACKDROP_EXAMPLE_KEY", "hunter3")
    assert load(ExampleConfig).key.get_secret_value() == "hunter3"


def test_secrets_are_read_where_docker_mounts_them(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BACKDROP_SECRETS_DIR")
    monkeypatch.setattr(chassis_config, "SECRETS_DIR", secrets)
    (secrets / "backdrop_example_key").write_text("hunter2")
    assert load(ExampleConfig).key.get_secret_value() == "hunter2"


def test_a_folder_of_secrets_that_is_for_others_is_left_alone(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BACKDROP_SECRETS_DIR")
    monkeypatch.setattr(chassis_config, "SECRETS_DIR", secrets)
    (secrets / "backdrop_example_key").write_text("hunter2")
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != secrets)

    assert load(ExampleConfig).key.get_secret_value() == ""


def test_no_folder_of_secrets_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chassis_config, "SECRETS_DIR", tmp_path / "none")
    assert load(ExampleConfig).key.get_secret_value() == ""


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("BACKDROP_SECRETS_DIR", "/no/such/folder", "BACKDROP_SECRETS_DIR: /no/such/folder: No such file or directory"),
        ("BACKDROP_SECRETS_DIR", __file__, f"BACKDROP_SECRETS_DIR: {__file__}: Not a directory"),
        ("BACKDROP_EXAMPLE_TABLE", "{no JSON", 'error parsing value for field "table"'),
    ],
)
def test_what_cannot_be_read_stops_the_start(
    name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stopped:
        load(ExampleConfig)
    assert stopped.value.code == 2
    assert told in capsys.readouterr().err


def test_a_misspelt_secret_stops_the_start(secrets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (secrets / "backdrop_example_kye").write_text("hunter2")
    with pytest.raises(SystemExit):
        load(ExampleConfig)
    printed = capsys.readouterr().err
    assert "BACKDROP_EXAMPLE_KYE: no such setting; did you mean BACKDROP_EXAMPLE_KEY?" in printed
    assert "hunter2" not in printed


def test_an_empty_variable_sets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKDROP_EXAMPLE_FOLDER", "")
    assert load(ExampleConfig).folder is None
