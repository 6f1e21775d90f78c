"""`make eval`: how well the samples are ranked against a stylist's grades, with and without the manifest's text."""

import random
from collections.abc import Iterable

from rich.progress import track
from rich.table import Table

from backdrop.gateway.v1 import gateway_pb2 as pb
from benchmarks.samples import PRODUCTS, Stack, read_grades, read_products, running_stack
from gateway.cli import evaluating
from gateway.cli.console import out, stderr, stdout
from gateway.evaluation import measures
from gateway.evaluation.asking import ask
from gateway.evaluation.judged import Judged
from gateway.evaluation.report import evaluate

RANDOM_RANKINGS = 20


def judge(stack: Stack, library: str) -> list[Judged]:
    """What is said of each product of the samples."""
    grades = read_grades()
    asked = ask(stack.stub, library, PRODUCTS, grades)
    return list(track(asked, f"Recommending from {library}", total=len(grades), console=stderr))


def random_ndcg(judged: Iterable[Judged]) -> float:
    """The mean of `RANDOM_RANKINGS` random rankings of each product, the same in each run."""
    shuffler = random.Random(0)
    scores = [
        measures.ndcg(shuffler.sample(sorted(each.backgrounds), len(each.backgrounds)), each.grade_of)
        for _ in range(RANDOM_RANKINGS)
        for each in judged
    ]
    return sum(scores) / len(scores)


def features_of_products(stack: Stack, library: str) -> dict[str, pb.RecommendResponse]:
    """The answer for each product."""
    parent = f"libraries/{library}"
    return {
        each.file: stack.stub.Recommend(
            pb.RecommendRequest(parent=parent, image=(PRODUCTS / each.file).read_bytes(), limit=1), timeout=60
        )
        for each in read_products()
    }


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
    with running_stack() as stack:
        for library, use_manifest in (("with-manifest", True), ("without-manifest", False)):
            stack.import_samples(library, use_manifest=use_manifest)
            judged = judge(stack, library)
            what = "automatic captions and the manifest's text" if use_manifest else "automatic captions only"
            out(f"\nThe library with {what}; random nDCG@{measures.NDCG_DEPTH} {random_ndcg(judged):.3f}\n")
            evaluating.show(evaluate(judged))
        responses = features_of_products(stack, "without-manifest")
    stdout.print("", object_types(responses), sep="\n")


if __name__ == "__main__":
    main()
