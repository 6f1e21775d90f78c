from hypothesis import given
from hypothesis import strategies as st

from gateway.domain import Draft
from gateway.grounding import judge, unchecked

drafts = st.lists(st.tuples(st.text(), st.floats(-1, 1), st.booleans()), max_size=8)


def test_a_caption_far_below_the_plain_features_is_dropped() -> None:
    good, bad = judge([Draft("a red bus", "x"), Draft("a mug", "y")], [0.1, 0.6], baseline=0.5, margin=0.2)
    assert (good.draft.caption, good.used) == ("a mug", True)
    assert (bad.draft.caption, bad.used) == ("a red bus", False)
    assert bad.reason == "Its image-text score 0.10 is below the 0.30 that are asked for."


def test_a_caption_that_claims_more_must_be_liked_more_than_the_plain_features() -> None:
    wild = Draft("a mug with roses", "x", unsupported=("roses",))
    (dropped,) = judge([wild], [0.55], baseline=0.5, margin=0.1)
    (used,) = judge([wild], [0.65], baseline=0.5, margin=0.1)
    assert not dropped.used
    assert "claims “roses”, which no feature of the photo supports" in dropped.reason
    assert used.used


def test_a_scene_that_does_not_suit_the_product_is_dropped_however_good_the_caption() -> None:
    cat = Draft("a mug", "a table with a cat", unsuitable=("cat",))
    for (dropped,) in (judge([cat], [1.0], baseline=0.5, margin=0.1), unchecked([cat])):
        assert not dropped.used
        assert "shows “cat”, which a background for the product must not" in dropped.reason


def test_what_nothing_checked_is_used_only_when_it_claims_nothing_more() -> None:
    plain, wild = unchecked([Draft("a mug", "x"), Draft("a mug with roses", "y", unsupported=("roses",))])
    assert plain.used
    assert not wild.used


@given(drafts, st.floats(-1, 1), st.floats(0, 2))
def test_each_draft_gets_one_verdict_and_the_best_in_use_stand_first(
    scored: list[tuple[str, float, bool]], baseline: float, margin: float
) -> None:
    written = [Draft(text, text, unsupported=("x",) if wild else ()) for text, _, wild in scored]
    candidates = judge(written, [score for _, score, _ in scored], baseline, margin)
    assert sorted(each.draft.caption for each in candidates) == sorted(text for text, _, _ in scored)
    order = [(each.used, each.score) for each in candidates]
    assert order == sorted(order, reverse=True)
    for each in candidates:
        assert each.used == (each.score >= baseline + (margin if each.draft.unsupported else -margin))
