import json
from pathlib import Path
from typing import Any

from jobs.report import Report


def row(outcome: str, **fields: Any) -> dict[str, Any]:
    return {"file": "a.jpg", "outcome": outcome, "reason": None, "message": None, "degraded": None} | fields


def test_a_failure_is_a_line_with_advice(tmp_path: Path) -> None:
    with Report(tmp_path / "report.jsonl") as report:
        report.add(row("created", degraded="NO_GENERATOR"))
        report.add(row("failed", reason="INVALID_ARGUMENT", message="image: is no picture"))
        report.add(row("unchanged"))
    line = json.loads((tmp_path / "report.jsonl").read_text())
    assert line["file"] == "a.jpg"
    assert line["message"] == "image: is no picture"
    assert "Mend the file" in line["advice"]
    assert (report.total, report.read, report.degraded["NO_GENERATOR"]) == (3, 1, 1)


def test_without_failures_no_report_is_left_of_an_earlier_run(tmp_path: Path) -> None:
    path = tmp_path / "report.jsonl"
    path.write_text("of an earlier run")
    with Report(path) as report:
        report.add(row("created"))
    assert not path.exists()
