from collections.abc import Sequence

import numpy as np
import pytest

from chassis.errors import InvalidArgument
from services.ranker import feedback as feedbacks
from services.ranker import recommendation_id
from services.ranker.background import LibraryNotFound
from services.ranker.feedback import PASSED_OVER, SIMILAR, Feedback, SimilarFeedback, learn
from services.ranker.recommendation_id import Shown
from services.ranker.signals import Layout, Vectors, unit
from tests.unit.services.ranker.fakes import NOW

LAYOUT = Layout(text=2, image=2)
SHOWN = ("a", "b", "c", "d")


def said(chosen: Sequence[str] = (), rejected: Sequence[str] = (), shown: Sequence[str] = SHOWN) -> Feedback:
    given = recommendation_id.encode(Shown(unit((1.0, 0.0)), "eye", tuple(shown)))
    return Feedback("shop", given, tuple(chosen), tuple(rejected), NOW)


def similar(feedback: Feedback, similarity: float = 1.0, direction: Sequence[float] = (1, 0, 0, 0)) -> SimilarFeedback:
    return SimilarFeedback(feedback, np.array(direction, dtype=np.float32), similarity)


def vector(*text: float) -> Vectors:
    whole = np.zeros(LAYOUT.dimension, dtype=np.float32)
    whole[: len(text)] = text
    return whole


def test_what_was_passed_over_counts_a_little_against_it_and_what_came_later_does_not() -> None:
    assert said(chosen=["c"]).verdicts == {"a": PASSED_OVER, "b": PASSED_OVER, "c": 1}
    assert said(chosen=["a"]).verdicts == {"a": 1}
    assert said(rejected=["b"]).verdicts == {"b": -1}
    assert said(chosen=["c"], rejected=["a", "d"]).verdicts == {"a": -1, "b": PASSED_OVER, "c": 1, "d": -1}


@pytest.mark.parametrize(
    ("chosen", "rejected", "field"),
    [(["a", "x"], [], "chosen[1]"), ([], ["x"], "rejected[0]"), (["a"], ["b", "a"], "rejected[1]")],
)
def test_a_verdict_on_what_was_not_shown_or_on_both_sides_is_refused(
    chosen: list[str], rejected: list[str], field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        said(chosen, rejected).require_shown()

    assert caught.value.violations[0].field == field


def test_a_choice_points_from_the_mean_of_what_was_shown_to_what_was_chosen() -> None:
    vectors = {"a": vector(1, 0), "b": vector(0, 1)}

    indexed = feedbacks.indexed(said(chosen=["a"], shown=["a", "b"]), vectors, LAYOUT)

    assert indexed.direction.tolist() == [0.5, -0.5, 0, 0]
    # The product lies where pictures do.
    assert indexed.vector[2:4].tolist() == [1, 0]
    assert not indexed.vector[[0, 1, *range(4, LAYOUT.dimension)]].any()


def test_a_rejection_points_away() -> None:
    vectors = {"a": vector(1, 0), "b": vector(0, 1)}

    indexed = feedbacks.indexed(said(rejected=["a"], shown=["a", "b"]), vectors, LAYOUT)

    assert indexed.direction.tolist() == [-0.5, 0.5, 0, 0]


def test_backgrounds_that_are_gone_teach_nothing_and_a_library_without_any_is_told() -> None:
    indexed = feedbacks.indexed(said(chosen=["c"]), {"d": vector(1, 1)}, LAYOUT)

    assert not indexed.direction.any()
    with pytest.raises(LibraryNotFound):
        feedbacks.indexed(said(chosen=["c"]), {}, LAYOUT)


def test_nothing_is_learned_from_products_that_are_not_similar() -> None:
    assert learn([]) is None
    assert learn([similar(said(chosen=["a"]), SIMILAR), similar(said(chosen=["a"]), -1.0)]) is None


def test_more_and_nearer_feedback_counts_more_and_none_without_bound() -> None:
    def nudge(*every: SimilarFeedback) -> float:
        lesson = learn(every)
        assert lesson
        return lesson.nudges["a"]

    once = similar(said(chosen=["a"]))
    assert 0 < nudge(similar(said(chosen=["a"]), 0.7)) < nudge(once) < nudge(once, once) < nudge(*[once] * 32) < 0.5
    # Contradictions cancel.
    assert nudge(once, once, similar(said(rejected=["a"]))) < nudge(once, once)


def test_opposite_choices_leave_no_direction_and_no_nudge() -> None:
    lesson = learn([similar(said(chosen=["a"])), similar(said(rejected=["a"]), direction=(-1, 0, 0, 0))])

    assert lesson
    assert not lesson.direction.any()
    assert not lesson.nudges
