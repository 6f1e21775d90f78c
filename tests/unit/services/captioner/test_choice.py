from hypothesis import given
from hypothesis import strategies as st

from services.captioner.choice import choose_labels


def names(*arguments: object) -> list[str]:
    return [label.name for label in choose_labels(*arguments)]  # type: ignore[arg-type]


def test_the_best_label_is_chosen_with_its_lead() -> None:
    (label,) = choose_labels({"cup": 0.2, "mug": 0.7, "jar": 0.1}, 1, 0.3, 0.1)

    assert (label.name, label.confidence, round(label.margin, 6)) == ("mug", 0.7, 0.5)


def test_a_thin_lead_gives_none_rather_than_a_guess() -> None:
    assert names({"cup": 0.48, "mug": 0.5}, 1, 0.3, 0.1) == []


def test_low_confidence_gives_none() -> None:
    assert names({"cup": 0.05, "mug": 0.2}, 1, 0.3, 0.1) == []


def test_several_labels_are_chosen_as_long_as_the_last_leads_the_rest() -> None:
    shares = {"red": 0.5, "white": 0.3, "black": 0.15, "gray": 0.05}

    assert names(shares, 3, 0.12, 0.05) == ["red", "white", "black"]
    assert names(shares, 3, 0.12, 0.12) == ["red", "white"]


def test_a_single_candidate_leads_nothing() -> None:
    assert names({"red": 1.0}, 3, 0.1, 0.5) == ["red"]


def test_labels_that_are_not_there_at_all_are_not_chosen() -> None:
    assert names({"red": 0.0}, 1, 0.0, 0.0) == []


@given(
    st.dictionaries(st.text(min_size=1), st.floats(0, 1), max_size=8),
    st.integers(1, 5),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_what_is_chosen_keeps_every_promise(
    confidences: dict[str, float], max_labels: int, min_confidence: float, min_margin: float
) -> None:
    chosen = choose_labels(confidences, max_labels, min_confidence, min_margin)

    others = [value for name, value in confidences.items() if name not in {label.name for label in chosen}]
    assert len(chosen) <= max_labels
    assert all(label.confidence >= min_confidence for label in chosen)
    assert all(label.confidence - max(others, default=0) >= min_margin for label in chosen)
