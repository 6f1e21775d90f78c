import pytest
import typer

from gateway.cli.client import parse_filter


@pytest.mark.parametrize(
    ("text", "key", "values", "exclude"),
    [("mood=calm", "mood", ["calm"], False), ("color!=red,pink", "color", ["red", "pink"], True)],
)
def test_filters_are_written_as_equations(text: str, key: str, values: list[str], exclude: bool) -> None:
    parsed = parse_filter(text)
    assert (parsed.key, list(parsed.any_of), parsed.exclude) == (key, values, exclude)


def test_a_filter_without_a_value_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        parse_filter("calm")
    assert "KEY=VALUE" in capsys.readouterr().err
