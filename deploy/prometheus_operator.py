"""Writes `deploy/k8s/prometheus-operator.yaml`: what Prometheus' operator is told, alerts included (`make alerts`)."""

from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
ALERTS = FOLDER / "observability" / "prometheus-alerts.yml"
FILE = FOLDER / "k8s" / "prometheus-operator.yaml"
HEADER = """\
# For a cluster with Prometheus' operator (kube-prometheus-stack): which pods it reads, and the alerts. Written by
# `make alerts` from deploy/observability/prometheus-alerts.yml. Give all three the labels that your Prometheus selects.
# Where Qdrant asks for a key, it asks Prometheus too: add `authorization` to its endpoint.
"""
NAME_LABEL = "app.kubernetes.io/name"


def text() -> str:
    """The whole file."""
    parts = [
        _monitor("backdrop", {"app.kubernetes.io/part-of": "backdrop"}, "metrics"),
        _monitor("backdrop-qdrant", {NAME_LABEL: "qdrant"}, "http"),
        _resource("PrometheusRule", "backdrop", yaml.safe_load(ALERTS.read_text())),
    ]
    return HEADER + yaml.safe_dump_all(parts, sort_keys=False, width=200)


def _monitor(name: str, labels: dict[str, str], port: str) -> dict[str, Any]:
    """Each pod's job is the name of its service, as alerts and dashboard expect."""
    spec = {
        "jobLabel": NAME_LABEL,
        "selector": {"matchLabels": labels},
        "podMetricsEndpoints": [{"port": port}],
    }
    return _resource("PodMonitor", name, spec)


def _resource(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "backdrop"}
    return {"apiVersion": "monitoring.coreos.com/v1", "kind": kind, "metadata": metadata, "spec": spec}


if __name__ == "__main__":
    FILE.write_text(text())
