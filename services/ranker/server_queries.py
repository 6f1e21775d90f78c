"""What a Qdrant server is asked for."""

from qdrant_client import models

from services.ranker import keywords, payload
from services.ranker.background import Condition, Filter
from services.ranker.vector_store import POOL_SIZE, Search, oversampling

EXACT = models.SearchParams(exact=True)

NOT_FOUND = -2.0
"""Less than any score."""


def best(search: Search, limit: int, with_vector: bool) -> models.QueryRequest:
    """The query for the backgrounds with the highest scores."""
    conditions = _conditions(search)
    nearest = search.vector.tolist()
    vectors: list[str] | bool = [payload.DENSE_NAME] if with_vector else False
    words = keywords.query_vector(search.words) if search.words_weight else None
    if words is None and not search.nudges:
        return models.QueryRequest(
            query=nearest,
            using=payload.DENSE_NAME,
            filter=conditions,
            params=rescored(limit),
            limit=limit,
            with_payload=with_vector,
            with_vector=vectors,
        )
    pool = max(POOL_SIZE, limit)
    dense = [
        models.Prefetch(query=nearest, using=payload.DENSE_NAME, filter=conditions, params=rescored(pool), limit=pool)
    ]
    sparse = []
    if words is not None:
        query = models.SparseVector(indices=words.indices, values=words.values)
        sparse = [models.Prefetch(query=query, using=payload.SPARSE_NAME, filter=conditions, limit=pool)]
        # Those that the words alone nominate get their score by the other signals as well.
        dense.append(
            models.Prefetch(query=nearest, using=payload.DENSE_NAME, prefetch=sparse, params=EXACT, limit=pool)
        )
    if search.nudges:
        nudged = models.HasIdCondition(
            has_id=[str(each) for points in payload.points_by_nudge(search).values() for each in points]
        )
        dense.append(
            models.Prefetch(
                query=nearest,
                using=payload.DENSE_NAME,
                filter=models.Filter(must=[nudged, conditions]),
                params=EXACT,
                limit=len(search.nudges),
            )
        )
    return models.QueryRequest(
        prefetch=[*dense, *sparse],
        query=_sum_of_all(search, len(dense), bool(sparse)),
        limit=limit,
        with_payload=with_vector,
        with_vector=vectors,
    )


def rescored(limit: int) -> models.SearchParams:
    """Has more than `limit` compared by their stored vectors, where the collection has codes of them in memory."""
    return models.SearchParams(
        quantization=models.QuantizationSearchParams(rescore=True, oversampling=oversampling(limit))
    )


def _sum_of_all(search: Search, dense: int, by_words: bool) -> models.FormulaQuery:
    """The score by the dense vector, plus the words' BM25 score, bent to 0 to 1, times its weight, plus nudges."""
    variables = [f"$score[{number}]" for number in range(dense + by_words)]
    # A background that several prefetches found has its score in each of them.
    terms: list[models.Expression] = [models.MaxExpression(max=[*variables[:dense]])]
    if by_words:
        half = models.SumExpression(sum=[variables[-1], keywords.HALF_SIMILARITY])
        bent = models.DivExpression(div=models.DivParams(left=variables[-1], right=half))
        terms.append(models.MultExpression(mult=[search.words_weight, bent]))
    for nudge, points in payload.points_by_nudge(search).items():
        is_nudged = models.HasIdCondition(has_id=[str(each) for each in points])
        terms.append(models.MultExpression(mult=[nudge, is_nudged]))
    defaults = dict.fromkeys(variables[:dense], NOT_FOUND) | dict.fromkeys(variables[dense:], 0.0)
    return models.FormulaQuery(formula=models.SumExpression(sum=terms), defaults=defaults)


def _conditions(search: Search) -> models.Filter:
    expired = models.FieldCondition(key=payload.EXPIRE_FIELD, range=models.Range(lte=search.now.timestamp()))
    wanted = [_condition(each) for each in search.conditions if not each.exclude]
    unwanted = [_condition(each) for each in search.conditions if each.exclude]
    return models.Filter(must=[_of(search.library), *wanted], must_not=[expired, *unwanted])


def _condition(condition: Condition) -> models.FieldCondition:
    if isinstance(condition, Filter):
        return models.FieldCondition(key=payload.TAGS_FIELD, match=models.MatchAny(any=payload.wanted_tags(condition)))
    return models.FieldCondition(key=condition.key, range=models.Range(gte=condition.minimum, lte=condition.maximum))


def of_tenant(tenant: str) -> models.Filter:
    """All points of a library, or of its feedback."""
    return models.Filter(must=[_of(tenant)])


def _of(tenant: str) -> models.FieldCondition:
    return models.FieldCondition(key=payload.LIBRARY_FIELD, match=models.MatchValue(value=tenant))
