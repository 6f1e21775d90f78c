"""An evaluation as figures that can be saved, compared and drawn."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gateway.evaluation import learning, measures
from gateway.evaluation.judged import SIGNALS, BadLabels, Judged

FEWEST_TO_LEARN = 3
"""Products that it takes to learn from some and measure on another."""


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of one run.

    Attributes:
        configured: the measures of the recommender as it is set up.
        ablation: the measures of text alone, text with each further signal, and all, each with weights that were
            learned on the other products; empty with too few products.
        products: nDCG of each product, as it is set up.
        weights: what all products together teach.
        latency: of a recommendation.
    """

    configured: dict[str, float]
    ablation: dict[str, dict[str, float]]
    products: dict[str, float]
    weights: dict[str, float]
    latency: dict[str, float]


def evaluate(judged: Sequence[Judged]) -> Report:
    """The figures of some products."""
    return Report(
        configured=measures.summary(judged, lambda each: each.ranking),
        ablation=_ablation(judged) if len(judged) >= FEWEST_TO_LEARN else {},
        products={each.product: measures.ndcg(each.ranking, each.grade_of) for each in judged},
        weights=dict(zip(SIGNALS, map(float, learning.learn(judged, SIGNALS)), strict=True)),
        latency=measures.latency(judged),
    )


def _ablation(judged: Sequence[Judged]) -> dict[str, dict[str, float]]:
    further = {f"text + {each}": ("text", each) for each in SIGNALS[1:]}
    return {
        name: _measured(judged, signals)
        for name, signals in {"text": ("text",), **further, "all signals": SIGNALS}.items()
    }


def _measured(judged: Sequence[Judged], signals: Sequence[str]) -> dict[str, float]:
    weights = learning.leave_one_out(judged, signals)
    return measures.summary(judged, lambda each: each.ranked_by(weights[each.product]))


def save(report: Report, path: Path) -> None:
    """Writes the figures down, for a later run to compare with."""
    path.write_text(json.dumps(asdict(report), indent=2) + "\n")


def load(path: Path) -> Report:
    """What `save` wrote.

    Raises:
        BadLabels: the file is something else.
    """
    try:
        return Report(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise BadLabels(f"{path} is no saved evaluation; make one with --save.") from error


def plot(report: Report, earlier: Report | None, path: Path) -> None:
    """Draws nDCG by signals, and by product beside that of the earlier run."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 0.35 * max(8, len(report.products)) + 1.5))
    measure = f"nDCG@{measures.NDCG_DEPTH}"
    by_signals = {name: values[measure] for name, values in report.ablation.items()}
    _bars(left, by_signals, "By signals, weights learned on the other products", measure)
    _bars(right, report.products, "By product, as it is set up", measure)
    if earlier:
        rows = [place for place, name in enumerate(report.products) if name in earlier.products]
        values = [earlier.products[name] for name in report.products if name in earlier.products]
        right.scatter(values, rows, color="#1c1c1c", marker="|", s=120, label="earlier run")
        right.legend(loc="lower right")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _bars(axes, values: Mapping[str, float], title: str, measure: str) -> None:  # type: ignore[no-untyped-def]
    axes.barh(list(values), list(values.values()), color="#4c78a8")
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel(measure)
    axes.set_title(title, fontsize=11)
    for row, value in enumerate(values.values()):
        axes.text(value + 0.01, row, f"{value:.3f}", va="center", fontsize=9)
