"""Writes Grafana's dashboard: `python -m deploy.dashboard`. Its rows go from "is it slow" to "what is slow"."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "observability" / "grafana-dashboard.json"
RATE = "[$__rate_interval]"
WIDTH, HEIGHT = 8, 7
"""Of a panel; three of 8 fill Grafana's grid."""


@dataclass(frozen=True)
class Panel:
    """A graph; `queries` are PromQL by legend."""

    title: str
    unit: str
    queries: Mapping[str, str]
    description: str = ""


def _rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate(backdrop_{metric}{RATE}))"


def _quantile(metric: str, by: str, share: float = 0.95) -> str:
    return f"histogram_quantile({share}, sum by (le, {by}) (rate(backdrop_{metric}_bucket{RATE})))"


def _share(part: str, whole: str, by: str = "job") -> str:
    return f"{_rate(part, by)} / {_rate(whole, by)}"


_ERRORS = 'rpcs_total{code=~"UNKNOWN|DEADLINE_EXCEEDED|UNIMPLEMENTED|INTERNAL|UNAVAILABLE|DATA_LOSS"}'
ROWS: Mapping[str, Sequence[Panel]] = {
    "Is it slow, and for whom": [
        Panel("Calls", "reqps", {"{{job}}": _rate("rpcs_total", "job")}),
        Panel("Calls that failed by our fault", "reqps", {"{{job}} {{code}}": _rate(_ERRORS, "job, code")}),
        Panel("Time of a call, p95", "s", {"{{method}}": _quantile("rpc_seconds", "method")}),
        Panel("Calls in work", "short", {"{{job}}": "sum by (job) (backdrop_rpcs_in_flight)"}),
        Panel(
            "Answers by what was degraded",
            "reqps",
            {"{{degraded}}": _rate("gateway_recommendations_total", "degraded")},
        ),
        Panel("Refused, since too many were pending", "reqps", {"{{server}}": _rate("refused_total", "server")}),
    ],
    "Which stage of a recommendation": [
        Panel("Time of a stage, p95", "s", {"{{stage}}": _quantile("gateway_stage_seconds", "stage")}),
        Panel(
            "Time of a stage, mean",
            "s",
            {"{{stage}}": _share("gateway_stage_seconds_sum", "gateway_stage_seconds_count", "stage")},
        ),
        Panel(
            "Degraded, why",
            "reqps",
            {"{{stage}} {{reason}}": _rate("gateway_degraded_total", "stage, reason")},
        ),
    ],
    "The models": [
        Panel(
            "Captioner: waiting for the model, p95",
            "s",
            {"{{batcher}}": _quantile("captioner_queue_seconds", "batcher")},
        ),
        Panel(
            "Captioner: items that wait", "short", {"{{batcher}}": "sum by (batcher) (backdrop_captioner_queue_length)"}
        ),
        Panel(
            "Captioner: items in a batch, mean",
            "short",
            {"{{batcher}}": _share("captioner_batch_size_sum", "captioner_batch_size_count", "batcher")},
        ),
        Panel(
            "Captioner: the model on a batch, p95",
            "s",
            {"{{batcher}}": _quantile("captioner_model_seconds", "batcher")},
        ),
        Panel(
            "Language model: time of an answer, p95",
            "s",
            {"{{job}}": _quantile("generator_llm_seconds", "job")},
        ),
        Panel(
            "Language model: at work and waiting",
            "short",
            {"at work": "sum(backdrop_generator_llm_calls)", "waiting": "sum(backdrop_generator_llm_waiting)"},
        ),
        Panel(
            "Language model: tokens",
            "short",
            {"{{model}} {{kind}}": _rate("generator_llm_tokens_total", "model, kind")},
        ),
        Panel("Language model: errors", "reqps", {"{{reason}}": _rate("generator_llm_errors_total", "reason")}),
        Panel(
            "Captions that the photo did not support",
            "percentunit",
            {"dropped": _share("gateway_dropped_candidates_total", "gateway_candidates_total")},
        ),
    ],
    "Store, caches, memory": [
        Panel("Vector store: time of a search, p95", "s", {"{{job}}": _quantile("ranker_search_seconds", "job")}),
        Panel(
            "Found in a cache",
            "percentunit",
            {
                "gateway: {{what}}": _share(
                    'gateway_cache_lookups_total{found="True"}', "gateway_cache_lookups_total", "what"
                ),
                "generator": _share('generator_cache_lookups_total{result="hit"}', "generator_cache_lookups_total"),
            },
        ),
        Panel(
            "Memory of the servers",
            "bytes",
            {"{{job}}": "sum by (job) (process_resident_memory_bytes)"},
            "Without the processes of the model and of the embedded store, which a container's own metrics count.",
        ),
    ],
}


def expressions() -> list[str]:
    """All PromQL of the dashboard."""
    return [query for panels in ROWS.values() for panel in panels for query in panel.queries.values()]


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    return {
        "uid": "backdrop",
        "title": "Backdrop: why is it slow",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}]
        },
        "panels": list(_placed()),
    }


def _placed() -> list[dict[str, Any]]:
    placed: list[dict[str, Any]] = []
    top = 0
    for title, panels in ROWS.items():
        placed.append({"id": len(placed) + 1, "type": "row", "title": title, "gridPos": _at(0, top, 24, 1)})
        top += 1
        for number, panel in enumerate(panels):
            place = _at(WIDTH * (number % 3), top + HEIGHT * (number // 3), WIDTH, HEIGHT)
            placed.append(_graph(len(placed) + 1, panel, place))
        top += HEIGHT * -(-len(panels) // 3)
    return placed


def _at(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def _graph(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    targets = [
        {"refId": chr(ord("A") + index), "datasource": source, "expr": query, "legendFormat": legend, "exemplar": True}
        for index, (legend, query) in enumerate(panel.queries.items())
    ]
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": source,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": targets,
    }


def text() -> str:
    """The file's content."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
