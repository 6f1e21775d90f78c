"""What a load and a library need: `python -m benchmarks.capacity --rps 100 --backgrounds 50e6 --price-core-hour ...`.

Prices are yours to give, in any one currency; without them there is no money in the table.
"""

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.capacity.plan import FOLDER, Choices, Figures, Load, Plan, Prices, plan
from gateway.cli.console import stdout

PRICE = "price_"


def main() -> None:
    """Calculates and prints."""
    arguments = _arguments()
    load = Load(**_of(Load, arguments))
    choices = Choices(**_of(Choices, arguments))
    prices = Prices(**{each.name: getattr(arguments, PRICE + each.name) for each in fields(Prices)})
    planned = plan(load, choices, Figures.read(arguments.costs, arguments.figures))
    stdout.print(_table(planned, prices), *_lines(planned, load, prices), sep="\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.capacity",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--rps", type=float, required=True, help="recommendations a second, at the peak")
    parser.add_argument("--backgrounds", type=float, required=True, help="of all libraries, such as 50e6")
    for settings, defaults in ((Load, Load(0, 0)), (Choices, Choices())):
        for each in fields(settings):
            if each.name not in ("rps", "backgrounds"):
                _add(parser, each.name, getattr(defaults, each.name))
    for each in fields(Prices):
        _add(parser, PRICE + each.name, 0.0)
    parser.add_argument("--costs", type=Path, default=FOLDER / "costs.json", help="of make bench-cost")
    parser.add_argument("--figures", type=Path, default=FOLDER / "figures.json", help="other figures, with sources")
    return parser.parse_args()


def _add(parser: argparse.ArgumentParser, name: str, default: Any) -> None:
    option = "--" + name.replace("_", "-")
    if isinstance(default, bool):
        parser.add_argument(
            option, default=default, action=argparse.BooleanOptionalAction, help="see benchmarks/capacity/plan.py"
        )
    else:
        kind = int if isinstance(default, int) and name == "copies" else float
        parser.add_argument(option, type=kind, default=default, help="see benchmarks/capacity/plan.py")


def _of(settings: type[Any], arguments: argparse.Namespace) -> dict[str, Any]:
    return {each.name: getattr(arguments, each.name) for each in fields(settings)}


def _table(planned: Plan, prices: Prices) -> Table:
    table = Table("", "replicas", "cores", "GPUs", "memory GiB", "disk GB", "a month", "", box=None)
    for part in planned.parts:
        disk = f"{part.disk_gb:,.0f}" if part.disk_gb else ""
        numbers = [f"{part.replicas:,}", f"{part.cores:,.0f}", f"{part.gpus:,}", f"{part.memory_gib:,.1f}", disk]
        table.add_row(part.name, *numbers, f"{part.monthly(prices):,.0f}", part.note)
    return table


def _lines(planned: Plan, load: Load, prices: Prices) -> list[str]:
    read, written = planned.tokens_per_s
    tokens, pictures = planned.tokens_monthly(prices, load.busy), planned.pictures_gb * prices.object_gb_month
    parts = sum(each.monthly(prices) for each in planned.parts)
    return [
        f"Language model: {planned.answers_per_s:,.2f} answers a second, {read:,.0f} tokens read and {written:,.0f}"
        f" written a second: {tokens:,.0f} a month",
        f"Pictures: {planned.pictures_gb:,.0f} GB: {pictures:,.0f} a month",
        f"On the wires between all: {planned.photos_mb_s:,.1f} MB a second",
        f"Import of all backgrounds, without the language model: {planned.import_days:,.1f} days",
        f"Together: {parts + tokens + pictures:,.0f} a month",
    ]


if __name__ == "__main__":
    main()
