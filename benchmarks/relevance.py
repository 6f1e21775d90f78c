"""`make eval`: how well the samples are ranked against a stylist's grades, with and without the manifest's text."""

import random
import statistics
from collections.abc import Callable, Sequence

import numpy as np
from rich.progress import track
from rich.table import Table
from sklearn.metrics import ndcg_score

from backdrop.gateway.v1 import gateway_pb2 as pb
from benchmarks.samples import PRODUCTS, Stack, read_grades, read_products, running_stack
from gateway.cli.console import stderr, stdout

RANDOM_RANKINGS = 20
GOOD = 2
"""The grade from which a background counts as found, for recall."""

Ranker = Callable[[str], Sequence[str]]
"""Gives, for a product's file, background ids in order, the best first."""


def ndcg_at_10(ranking: Sequence[str], grades: dict[str, int]) -> float:
    """Normalised discounted cumulative gain of the first ten, with the grades as gains (Järvelin & Kekäläinen 2002)."""
    ids = sorted(grades)
    place = {background: position for position, background in enumerate(ranking)}
    scores = [-place.get(background, len(ids)) for background in ids]
    return float(ndcg_score([[grades[each] for each in ids]], [scores], k=10))


def recall_at_5(ranking: Sequence[str], grades: dict[str, int]) -> float:
    """The share of the first five places that could hold a good background and do."""
    good = {background for background, grade in grades.items() if grade >= GOOD}
    return len(good.intersection(ranking[:5])) / min(5, len(good))


def mean_scores(rank: Ranker, grades: dict[str, dict[str, int]]) -> tuple[float, float]:
    """nDCG@10 and recall@5 of a ranker, averaged over products."""
    rankings = {product: rank(product) for product in grades}
    return (
        statistics.mean(ndcg_at_10(rankings[product], grades[product]) for product in grades),
        statistics.mean(recall_at_5(rankings[product], grades[product]) for product in grades),
    )


def random_scores(grades: dict[str, dict[str, int]]) -> tuple[float, float]:
    """The mean of `RANDOM_RANKINGS` random rankings, the same in each run."""
    shuffler = random.Random(0)

    def shuffled(product: str) -> list[str]:
        return shuffler.sample(sorted(grades[product]), len(grades[product]))

    runs = [mean_scores(shuffled, grades) for _ in range(RANDOM_RANKINGS)]
    ndcg, recall = np.mean(runs, axis=0)
    return float(ndcg), float(recall)


def recommend_all(stack: Stack, library: str, products: Sequence[str]) -> dict[str, pb.RecommendResponse]:
    """The answer for each product, with as many backgrounds as the contract allows."""
    responses = {}
    for product in track(products, f"Recommending from {library}", console=stderr):
        image = (PRODUCTS / product).read_bytes()
        request = pb.RecommendRequest(parent=f"libraries/{library}", image=image, limit=100)
        responses[product] = stack.stub.Recommend(request, timeout=60)
    return responses


def ids(response: pb.RecommendResponse) -> list[str]:
    """The ids of the recommended backgrounds, the best first."""
    return [each.background.name.rsplit("/", 1)[1] for each in response.recommendations]


def object_types(responses: dict[str, pb.RecommendResponse]) -> Table:
    """What each product was read as, beside what it is."""
    table = Table("product", "is", "read as", "right", box=None)
    right = 0
    for product in read_products():
        features = responses[product.file].features
        labels = (label.name for each in features if each.category == "object_type" for label in each.labels)
        read = next(labels, "")
        is_right = read in product.accepted
        right += is_right
        table.add_row(product.file, product.type, read or "unsure", "yes" if is_right else "no")
    table.add_section()
    table.add_row("", "", "", f"{right} of {len(responses)}")
    return table


def main() -> None:
    """Runs the whole evaluation and prints its tables."""
    grades = read_grades()
    table = Table("captions of the library", "nDCG@10", "recall@5", box=None)
    with running_stack() as stack:
        for library, use_manifest in (("with-manifest", True), ("without-manifest", False)):
            stack.import_samples(library, use_manifest=use_manifest)
            responses = recommend_all(stack, library, list(grades))
            rankings = {product: ids(response) for product, response in responses.items()}
            ndcg, recall = mean_scores(rankings.__getitem__, grades)
            what = "automatic and the manifest's text" if use_manifest else "automatic only"
            table.add_row(what, f"{ndcg:.3f}", f"{recall:.3f}")
    ndcg, recall = random_scores(grades)
    table.add_row(f"random, mean of {RANDOM_RANKINGS}", f"{ndcg:.3f}", f"{recall:.3f}")
    stdout.print(object_types(responses), table, sep="\n\n")


if __name__ == "__main__":
    main()
