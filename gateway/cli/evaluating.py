"""`backdrop eval`: how well a library is ranked, by grades, as tables and a plot."""

from collections.abc import Mapping
from pathlib import Path

from rich.progress import track
from rich.table import Table
from rich.text import Text

from backdrop.gateway.v1 import gateway_pb2_grpc
from gateway.cli.console import fail, out, stderr, stdout
from gateway.evaluation.asking import ask
from gateway.evaluation.judged import BadLabels, read_labels
from gateway.evaluation.report import FEWEST_TO_LEARN, Report, evaluate, load, plot, save


def run(
    stub: gateway_pb2_grpc.GatewayServiceStub,
    labels: Path,
    photos: Path | None,
    library: str,
    *,
    save_to: Path | None,
    compare_with: Path | None,
    plot_to: Path | None,
) -> None:
    """Asks about every graded product, and shows, saves, compares and draws the figures."""
    try:
        grades = read_labels(labels)
        earlier = load(compare_with) if compare_with else None
        asked = ask(stub, library, photos or labels.parent, grades)
        judged = list(track(asked, "Recommending", total=len(grades), console=stderr))
    except BadLabels as error:
        fail(str(error))
    report = evaluate(judged)
    show(report, earlier)
    if save_to:
        save(report, save_to)
        out(f"Wrote {save_to}; compare a later run with it: --compare {save_to}")
    if plot_to:
        plot(report, earlier, plot_to)
        out(f"Wrote {plot_to}")


def show(report: Report, earlier: Report | None = None) -> None:
    """Prints the tables."""
    stdout.print(_measures("As it is set up", {"": report.configured | report.latency}, _earlier(earlier)), "")
    if report.ablation:
        title = "By signals, the weights learned on the other products"
        stdout.print(_measures(title, report.ablation, earlier.ablation if earlier else {}), "")
    else:
        out(f"It takes {FEWEST_TO_LEARN} products or more to learn from some and measure on others.")
    out(f"Weights that these {len(report.products)} products teach, for the ranker:")
    for name, weight in report.weights.items():
        out(f"  BACKDROP_RANKER_{name.upper()}_WEIGHT={weight:.3f}")


def _earlier(report: Report | None) -> dict[str, dict[str, float]]:
    return {"": report.configured | report.latency} if report else {}


def _measures(title: str, rows: Mapping[str, Mapping[str, float]], before: Mapping[str, Mapping[str, float]]) -> Table:
    columns = list(next(iter(rows.values())))
    table = Table("", *columns, title=title, title_justify="left", title_style="bold", box=None)
    for name, values in rows.items():
        table.add_row(name, *(_value(column, values[column], before.get(name, {}).get(column)) for column in columns))
    return table


def _value(column: str, value: float, before: float | None) -> Text:
    """A figure, and how it differs from the earlier run's."""
    digits = 0 if column.endswith("ms") else 3
    text = Text(f"{value:.{digits}f}")
    if before is not None:
        better = (value < before) if column.endswith("ms") else (value > before)
        color = "dim" if value == before else "green" if better else "red"
        text.append(f" ({value - before:+.{digits}f})", style=color)
    return text
