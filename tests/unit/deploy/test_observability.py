"""Dashboard, alerts and their documentation speak of metrics that there are."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import dashboard, prometheus_operator
from deploy.metrics import ROOT, all_metrics
from deploy.prometheus_operator import ALERTS

FOLDER = ROOT / "deploy" / "observability"
RULES: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
DOCS = (ROOT / "docs" / "telemetry.md").read_text()
EXPRESSIONS = [*dashboard.expressions(), *(each["expr"] for each in RULES)]
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="there is no promtool: install Debian's package prometheus"
)


def test_the_dashboard_is_the_one_that_is_written() -> None:
    assert dashboard.FILE.read_text() == dashboard.text(), "run make dashboard"


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_names_metrics_and_labels_that_there_are(expression: str) -> None:
    metrics = {name: each for each in all_metrics() for name in each.series}
    named = re.findall(r"(backdrop_\w+)(?:\{(.*?)\})?", expression)
    for name, selector in named:
        assert set(re.findall(r"(\w+)[=!]", selector)) <= set(metrics[name].labels), expression
    grouped = {label.strip() for by in re.findall(r"by \((.*?)\)", expression) for label in by.split(",")}
    known = {label for name, _ in named for label in metrics[name].labels}
    assert grouped <= known | {"le", "job", "instance"}


def test_the_table_in_the_docs_is_that_of_the_code() -> None:
    assert re.findall(r"^\| `backdrop_.*$", DOCS, re.MULTILINE) == [each.row for each in all_metrics()], (
        "python -m deploy.metrics prints the rows"
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_has_a_chapter_that_says_what_to_do(rule: dict[str, Any]) -> None:
    file, anchor = rule["annotations"]["runbook"].split("#")
    assert file == "docs/telemetry.md"
    assert anchor in {title.lower() for title in re.findall(r"^### (\w+)$", DOCS, re.MULTILINE)}


@needs_promtool
def test_prometheus_takes_the_alerts_and_each_fires_on_what_it_is_for() -> None:
    for command in (["check", "rules", ALERTS], ["test", "rules", FOLDER / "prometheus-alerts-test.yml"]):
        done = subprocess.run(["promtool", *map(str, command)], text=True, capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_prometheus_can_read_the_dashboards_expressions(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel_{number}", "expr": each.replace("$__rate_interval", "5m")}
        for number, each in enumerate(dashboard.expressions())
    ]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", str(path)], text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_operator_is_told_what_is_written() -> None:
    assert prometheus_operator.FILE.read_text() == prometheus_operator.text(), "run make alerts"


@needs_promtool
def test_prometheus_takes_the_settings_for_kubernetes(tmp_path: Path) -> None:
    values = yaml.safe_load((ROOT / "deploy" / "k8s" / "prometheus-values.yaml").read_text())
    settings = {"scrape_configs": yaml.safe_load(values["extraScrapeConfigs"])}
    for each in settings["scrape_configs"]:
        # Debian's promtool does not know Kubernetes.
        assert each.pop("kubernetes_sd_configs")
    path = tmp_path / "prometheus.yml"
    path.write_text(yaml.safe_dump(settings))
    done = subprocess.run(["promtool", "check", "config", "--syntax-only", str(path)], text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
