"""`make bench-feedback`: what feedback changes for simulated shoppers, on the sample library with all parts real.

A shop has fifty shoppers. What one of them likes for a product is the stylist's grade of a background, plus a taste for
some of its keywords, most of it shared by the shop's shoppers, plus a whim of the moment. Each is shown ten backgrounds
for a few products, chooses the one that she likes best, and says so. Then each asks for one more product: is the
background of the whole library that she likes best among the first three? The same is asked without feedback.
"""

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

from rich.progress import track
from rich.table import Table

from backdrop.gateway.v1 import gateway_pb2 as pb
from benchmarks.samples import LIBRARY, PRODUCTS, Stack, read_grades, running_stack
from gateway.cli.console import out, stderr, stdout

SHOP, HOSTILE = "shop", "hostile"
SHOPPERS = 50
LESSONS = 4
"""Products that each shopper chooses for before the one that counts."""
SHOWN = 10
TOP = 3
SHARED_TASTE, OWN_TASTE, WHIM = 0.5, 0.2, 0.3
"""Standard deviations, where a step of the stylist's grade is 1."""


@dataclass
class Shopper:
    """Somebody with a taste: how much she likes each keyword."""

    taste: dict[str, float]

    def likes(
        self, background: str, grades: dict[str, int], keywords: dict[str, list[str]], whim: random.Random
    ) -> float:
        """How much she likes a background for a product now."""
        taste = sum(self.taste[each] for each in keywords[background])
        return grades[background] + taste + whim.gauss(0, WHIM)


def read_keywords() -> dict[str, list[str]]:
    """What the samples' manifest says of each background; the recommender does not see it here."""
    rows = map(json.loads, (LIBRARY / "manifest.jsonl").read_text().splitlines())
    return {row["file"].rsplit(".", 1)[0]: row["keywords"] for row in rows}


def make_shoppers(keywords: dict[str, list[str]], chance: random.Random) -> list[Shopper]:
    """Fifty shoppers of one shop."""
    every = sorted({each for of_background in keywords.values() for each in of_background})
    shared = {each: chance.gauss(0, SHARED_TASTE) for each in every}
    return [Shopper({each: shared[each] + chance.gauss(0, OWN_TASTE) for each in every}) for _ in range(SHOPPERS)]


class Shop:
    """The recommender, asked by shoppers."""

    def __init__(self, stack: Stack, library: str) -> None:
        self._stub = stack.stub
        self._parent = f"libraries/{library}"

    def recommend(self, product: str, feedback_weight: float | None = None, limit: int = SHOWN) -> pb.RecommendResponse:
        """What is shown for a product; by the configured weight of feedback unless another is given."""
        weights = (
            [] if feedback_weight is None else [pb.SignalWeight(signal=pb.SIGNAL_FEEDBACK, weight=feedback_weight)]
        )
        image = (PRODUCTS / product).read_bytes()
        request = pb.RecommendRequest(parent=self._parent, image=image, limit=limit, weights=weights)
        return self._stub.Recommend(request, timeout=60)

    def choose(self, answer: pb.RecommendResponse, chosen: str) -> None:
        """Says which background was chosen."""
        name = f"{self._parent}/backgrounds/{chosen}"
        self._stub.RecordFeedback(
            pb.RecordFeedbackRequest(parent=self._parent, recommendation_id=answer.recommendation_id, chosen=[name])
        )

    def forget(self) -> None:
        """Forgets all feedback."""
        self._stub.ResetFeedback(pb.ResetFeedbackRequest(parent=self._parent))


def ids(answer: pb.RecommendResponse) -> list[str]:
    """The ids of the recommended backgrounds."""
    return [each.background.name.rsplit("/", 1)[1] for each in answer.recommendations]


def simulate(
    shop: Shop, seed: int, weights: Sequence[float | None], held_out: Sequence[str] = ()
) -> dict[float | None, int]:
    """Of fifty questions, by weight of feedback, how many had the favourite among the first three.

    Args:
        shop: its feedback is forgotten first.
        seed: of tastes, whims and products.
        weights: of feedback, to ask the last questions with.
        held_out: products that only the last questions are about; all products where there are none.
    """
    shop.forget()
    chance, keywords, grades = random.Random(seed), read_keywords(), read_grades()
    shoppers = make_shoppers(keywords, chance)
    taught = [product for product in grades if product not in held_out]
    for shopper in track(shoppers, f"shop {seed}: shoppers choose", console=stderr):
        for product in chance.sample(taught, LESSONS):
            answer = shop.recommend(product)
            liked = {each: shopper.likes(each, grades[product], keywords, chance) for each in ids(answer)}
            shop.choose(answer, max(liked, key=lambda each: liked[each]))
    hits = dict.fromkeys(weights, 0)
    for shopper in track(shoppers, f"shop {seed}: shoppers ask again", console=stderr):
        product = chance.choice(list(held_out) or taught)
        liked = {each: shopper.likes(each, grades[product], keywords, chance) for each in keywords}
        favourite = max(liked, key=lambda each: liked[each])
        for weight in weights:
            hits[weight] += favourite in ids(shop.recommend(product, weight))[:TOP]
    return hits


def show(shop: Shop, seeds: Sequence[int], held_out_count: int) -> Table:
    """A row for each shop: favourites among the first three, without and with feedback."""
    table = Table("", "without feedback", "with feedback", box=None)
    products = list(read_grades())
    for heading, count in (("products chosen for before", 0), ("products that nobody chose for", held_out_count)):
        total = dict.fromkeys((0.0, None), 0)
        for seed in seeds:
            held_out = random.Random(seed).sample(products, count)
            hits = simulate(shop, seed, list(total), held_out)
            table.add_row(f"shop {seed}, {heading}", *(f"{hits[each] / SHOPPERS:.0%}" for each in total))
            total = {each: total[each] + hits[each] for each in total}
        asked = SHOPPERS * len(seeds)
        table.add_row(f"all, {heading}", *(f"{total[each] / asked:.1%}" for each in total))
        table.add_section()
    return table


def attack(shop: Shop, hostile: Shop) -> str:
    """What a shopper of another library changes here, who chooses the worst for every product, twenty times over."""
    shop.forget()
    before = {product: shop.recommend(product, limit=100) for product in read_grades()}
    for product in track(before, "the hostile shopper chooses", console=stderr):
        for _ in range(20):
            answer = hostile.recommend(product)
            hostile.choose(answer, ids(answer)[-1])
    changed = 0
    for product, answer in before.items():
        now = shop.recommend(product, limit=100)
        changed += [(each.background.name, each.score) for each in now.recommendations] != [
            (each.background.name, each.score) for each in answer.recommendations
        ]
    return f"A hostile shopper of another library changed {changed} of {len(before)} rankings here."


def main() -> None:
    """Runs the simulation and prints its tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.feedback", description=__doc__)
    parser.add_argument("--shops", type=int, default=3, help="tastes to simulate, fifty shoppers each")
    parser.add_argument("--held-out", type=int, default=5, help="products that nobody chose for")
    arguments = parser.parse_args()
    with running_stack() as stack:
        for library in (SHOP, HOSTILE):
            stack.import_samples(library, use_manifest=False)
        shop = Shop(stack, SHOP)
        stdout.print(show(shop, range(arguments.shops), arguments.held_out))
        out(attack(shop, Shop(stack, HOSTILE)))


if __name__ == "__main__":
    main()
