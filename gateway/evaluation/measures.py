"""How good rankings are, by grades."""

import statistics
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from sklearn.metrics import ndcg_score

from gateway.evaluation.judged import Judged

Ranking = Sequence[str]

GOOD_SHARE = 2 / 3
"""Of the best grade of a product: from there on a background counts as found, for recall and reciprocal rank."""
NDCG_DEPTH, RECALL_DEPTH = 10, 5


def ndcg(ranking: Ranking, grades: Mapping[str, float]) -> float:
    """Normalised discounted cumulative gain of the first ten, the grades as gains (Järvelin and Kekäläinen 2002)."""
    ids = sorted(grades)
    if len(ids) < 2:
        return 1.0
    place = {background: position for position, background in enumerate(ranking)}
    scores = [-place.get(background, len(place) + len(ids)) for background in ids]
    return float(ndcg_score([[grades[each] for each in ids]], [scores], k=NDCG_DEPTH))


def recall(ranking: Ranking, grades: Mapping[str, float]) -> float:
    """The share of the first five places that could hold a good background and do."""
    good = _good(grades)
    return len(good.intersection(ranking[:RECALL_DEPTH])) / min(RECALL_DEPTH, len(good))


def reciprocal_rank(ranking: Ranking, grades: Mapping[str, float]) -> float:
    """One over the place of the first good background; 0 when there is none."""
    good = _good(grades)
    return next((1 / place for place, each in enumerate(ranking, start=1) if each in good), 0.0)


def coverage(rankings: Sequence[Ranking]) -> float:
    """How much the first fives of different products differ: different backgrounds, by places (catalogue coverage)."""
    shown = [each for ranking in rankings for each in ranking[:RECALL_DEPTH]]
    return len(set(shown)) / len(shown) if shown else 0.0


def summary(judged: Sequence[Judged], rank: Callable[[Judged], Ranking]) -> dict[str, float]:
    """All measures of one way to rank, means over the products."""
    pairs = [(rank(each), each.grade_of) for each in judged]
    return {
        f"nDCG@{NDCG_DEPTH}": statistics.mean(ndcg(*pair) for pair in pairs),
        f"recall@{RECALL_DEPTH}": statistics.mean(recall(*pair) for pair in pairs),
        "MRR": statistics.mean(reciprocal_rank(*pair) for pair in pairs),
        f"coverage@{RECALL_DEPTH}": coverage([ranking for ranking, _ in pairs]),
    }


def latency(judged: Sequence[Judged]) -> dict[str, float]:
    """Milliseconds of a recommendation at the client: half of them took no more, and nineteen of twenty."""
    taken = [each.latency_ms for each in judged]
    return {"p50 ms": float(np.percentile(taken, 50)), "p95 ms": float(np.percentile(taken, 95))}


def _good(grades: Mapping[str, float]) -> set[str]:
    least = GOOD_SHARE * max(grades.values())
    return {background for background, grade in grades.items() if grade >= least}
