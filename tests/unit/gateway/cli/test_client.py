import pytest
import typer

from gateway.cli.client import filter_text, parse_filter, parse_weight


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


@pytest.mark.parametrize(
    ("text", "limits", "exclude"),
    [
        ("width>=1200", (1200, None), False),
        ("height<=99.5", (None, 99.5), False),
        ("aspect_ratio=0.9..1.2", (0.9, 1.2), False),
        ("aspect_ratio!=1..1", (1, 1), True),
    ],
)
def test_numbers_have_limits(text: str, limits: tuple[float | None, float | None], exclude: bool) -> None:
    parsed = parse_filter(text)
    low, high = (getattr(parsed.range, each) if parsed.range.HasField(each) else None for each in ("min", "max"))
    assert ((low, high), parsed.exclude) == (limits, exclude)


@pytest.mark.parametrize("text", ["width>=wide", "width>=", "=calm"])
def test_a_filter_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(typer.Exit):
        parse_filter(text)


@pytest.mark.parametrize(
    "text", ["surface!=wood,oak", "mood=calm", "width>=1200", "width<=1.5", "aspect_ratio=0.9..1.2", "width!=1..2"]
)
def test_a_filter_is_written_as_it_is_read(text: str) -> None:
    assert filter_text(parse_filter(text)) == text


def test_weights_name_a_signal(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse_weight("color=0.5").weight == 0.5
    with pytest.raises(typer.Exit):
        parse_weight("smell=1")
    assert "text, image, color, space, keywords, photo" in capsys.readouterr().err
