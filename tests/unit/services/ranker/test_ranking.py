import numpy as np
import pytest

from services.ranker.background import ImageTextEmbedding, PaletteColor
from services.ranker.ranking import Product, WeightedText, explain, plan, text_shares
from services.ranker.signals import Layout, Signal, Vectors, background_parts
from services.ranker.vector_store import Found
from tests.unit.services.ranker.fakes import background

LAYOUT = Layout(text=2, image=2)
MODEL = "eye"
X, Y = (1.0, 0.0), (0.0, 1.0)
WHITE, NAVY = (PaletteColor("#ffffff", 1.0),), (PaletteColor("#1f3a5f", 1.0),)
ALL = dict.fromkeys([Signal.TEXT, Signal.IMAGE, Signal.PHOTO, Signal.COLOR], 1.0)


def rows(*vectors: tuple[float, ...]) -> Vectors:
    return np.array(vectors, dtype=np.float32)


def seen(x: float, y: float, model: str = MODEL) -> ImageTextEmbedding:
    return ImageTextEmbedding((x, y), model)


def found(captions: Vectors, score: float = 0.0, **looks: object) -> Found:
    item = background("a/b", *(f"caption {row}" for row in range(len(captions))), **looks)
    return Found(item, LAYOUT.vector(background_parts(item, captions)), score)


def test_the_score_is_the_weighted_mean_of_the_signals() -> None:
    texts = [WeightedText("x", 3, seen(1, 0)), WeightedText("y", 1, seen(0, 1))]
    product = Product(palette=WHITE, photo=seen(0, 2))
    query = plan(texts, rows(X, Y), product, {**ALL, Signal.TEXT: 2.0}, MODEL)
    candidate = found(rows(X), image=seen(0, 5), palette=NAVY)

    [hit] = explain(query, LAYOUT, [candidate])

    parts = {part.signal: (part.similarity, part.weight) for part in hit.signals}
    assert parts[Signal.TEXT] == pytest.approx((0.75, 0.4))
    assert parts[Signal.IMAGE] == pytest.approx((0.25, 0.2))
    assert parts[Signal.PHOTO] == pytest.approx((1.0, 0.2))
    assert 0 < parts[Signal.COLOR][0] <= 1
    assert hit.score == pytest.approx(sum(similarity * weight for similarity, weight in parts.values()))
    assert hit.score == pytest.approx(float(candidate.vector @ query.vector(LAYOUT)), abs=1e-6)


def test_parts_stand_in_the_order_of_what_they_contribute() -> None:
    query = plan([WeightedText("y", 1, seen(0, 1))], rows(Y), Product(photo=seen(1, 0)), ALL, MODEL)

    [hit] = explain(query, LAYOUT, [found(rows(X), image=seen(1, 0.1))])

    assert [part.signal for part in hit.signals] == [Signal.PHOTO, Signal.IMAGE, Signal.TEXT]


def test_all_captions_count_alike() -> None:
    query = plan([WeightedText("x", 1)], rows(X), Product(), {Signal.TEXT: 1}, MODEL)

    [hit] = explain(query, LAYOUT, [found(rows(X, Y))])

    assert hit.score == pytest.approx(0.5)
    assert hit.matched_caption == "caption 0 caption 1"


def test_the_matched_text_is_the_one_that_contributed_most() -> None:
    texts = [WeightedText("x", 1), WeightedText("y", 5)]
    query = plan(texts, rows(X, Y), Product(), {Signal.TEXT: 1}, MODEL)

    [hit] = explain(query, LAYOUT, [found(rows((0.8, 0.6)))])

    assert hit.matched_text == "y"
    assert [part.weight for part in hit.parts] == pytest.approx([1 / 6, 5 / 6])
    assert [part.similarity for part in hit.parts] == pytest.approx([0.8, 0.6])


def test_what_a_request_says_nothing_about_takes_no_part_and_is_told() -> None:
    query = plan([WeightedText("x", 1, seen(1, 0, "other"))], rows(X), Product(), ALL, MODEL)

    assert query.weights == {Signal.TEXT: 1.0}
    assert [each.signal for each in query.unused] == [Signal.IMAGE, Signal.PHOTO, Signal.COLOR]
    assert "embeddings of eye" in query.unused[0].reason


def test_a_signal_without_weight_is_not_missed() -> None:
    query = plan([WeightedText("x", 1)], rows(X), Product(), {Signal.TEXT: 0.5, Signal.IMAGE: 0}, MODEL)

    assert (query.weights, query.unused) == ({Signal.TEXT: 1.0}, ())


def test_what_the_engine_adds_is_the_keywords_part() -> None:
    query = plan([WeightedText("x", 1)], rows(X), Product(), {Signal.TEXT: 1, Signal.KEYWORDS: 1}, MODEL)

    [hit] = explain(query, LAYOUT, [found(rows(X), score=0.5 * 1 + 0.5 * 0.4)])

    assert query.words == "x"
    parts = {part.signal: part.similarity for part in hit.signals}
    assert parts == pytest.approx({Signal.TEXT: 1, Signal.KEYWORDS: 0.4})


def test_only_the_proportion_of_weights_counts() -> None:
    small = [WeightedText("x", 0.001), WeightedText("y", 0.003)]
    large = [WeightedText("x", 250), WeightedText("y", 750)]

    assert text_shares(small) == pytest.approx(text_shares(large))
    assert text_shares(large).sum() == pytest.approx(1)
