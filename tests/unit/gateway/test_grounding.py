from hypothesis import given
from hypothesis import strategies as st

from gateway.domain import Draft
from gateway.grounding import judge

drafts = st.lists(st.tuples(st.text(), st.floats(-1, 1)), max_size=8)


def test_a_caption_far_below_the_plain_features_is_dropped() -> None:
    good, bad = judge([Draft("a red bus", "x"), Draft("a mug", "y")], [0.1, 0.6], baseline=0.5, margin=0.2)
    assert (good.caption, good.used) == ("a mug", True)
    assert (bad.caption, bad.used) == ("a red bus", False)
    assert bad.reason == "Its image-text score 0.10 is below the 0.30 that the photo's own features ask for."


@given(drafts, st.floats(-1, 1), st.floats(0, 2))
def test_each_draft_gets_one_verdict_and_the_best_stand_first(
    scored: list[tuple[str, float]], baseline: float, margin: float
) -> None:
    candidates = judge([Draft(text, text) for text, _ in scored], [score for _, score in scored], baseline, margin)
    assert sorted(each.caption for each in candidates) == sorted(text for text, _ in scored)
    scores = [each.score for each in candidates]
    assert scores == sorted(scores, reverse=True)
    assert all(each.used == (each.score >= baseline - margin) for each in candidates)
