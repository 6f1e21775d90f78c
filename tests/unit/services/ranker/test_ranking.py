import numpy as np
import pytest

from services.ranker.ranking import EmbeddedBackground, Vectors, WeightedText, rank, weight_shares
from tests.unit.services.ranker.fakes import background


def unit(*rows: list[float]) -> Vectors:
    vectors = np.array(rows, dtype=np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


X, Y = [1.0, 0.0], [0.0, 1.0]
DIAGONAL = [1.0, 1.0]


def test_score_is_the_weighted_mean_of_each_texts_best_caption() -> None:
    candidate = EmbeddedBackground(background("a/b", "along x", "between"), unit(X, DIAGONAL))
    texts = [WeightedText("x", 3), WeightedText("y", 1)]

    [hit] = rank(texts, unit(X, Y), [candidate])

    assert hit.score == pytest.approx(0.75 * 1 + 0.25 * np.sqrt(0.5))
    assert [(part.caption, part.weight) for part in hit.parts] == [("along x", 0.75), ("between", 0.25)]
    assert [part.similarity for part in hit.parts] == pytest.approx([1, np.sqrt(0.5)])


def test_matched_pair_is_the_one_that_contributed_most() -> None:
    candidate = EmbeddedBackground(background("a/b", "along x", "between"), unit(X, DIAGONAL))
    texts = [WeightedText("x", 1), WeightedText("y", 5)]

    [hit] = rank(texts, unit(X, Y), [candidate])

    assert (hit.matched_text, hit.matched_caption) == ("y", "between")


def test_more_captions_than_one_that_matches_gain_nothing() -> None:
    one = EmbeddedBackground(background("a/one", "x"), unit(X))
    many = EmbeddedBackground(background("a/many", "x", "x again", "y"), unit(X, X, Y))

    hits = rank([WeightedText("x", 1)], unit(X), [one, many])

    assert hits[0].score == pytest.approx(hits[1].score)


def test_best_comes_first_and_equals_stand_in_the_order_of_their_names() -> None:
    candidates = [
        EmbeddedBackground(background("a/worst"), unit(Y)),
        EmbeddedBackground(background("a/second"), unit(X)),
        EmbeddedBackground(background("a/first"), unit(X)),
    ]

    hits = rank([WeightedText("x", 1)], unit(X), candidates)

    assert [hit.background.name.background for hit in hits] == ["first", "second", "worst"]


def test_only_the_proportion_of_weights_counts() -> None:
    small = [WeightedText("x", 0.001), WeightedText("y", 0.003)]
    large = [WeightedText("x", 250), WeightedText("y", 750)]

    assert weight_shares(small) == pytest.approx(weight_shares(large))
    assert weight_shares(large).sum() == pytest.approx(1)


def test_opposite_texts_score_minus_one_and_never_less() -> None:
    opposite = EmbeddedBackground(background("a/b"), unit([-1.0, -0.3]))

    [hit] = rank([WeightedText("x", 1)], unit([1.0, 0.3]), [opposite])

    assert hit.score == pytest.approx(-1)
    assert hit.parts[0].similarity >= -1
