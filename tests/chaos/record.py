"""What a fault did: counted, compared with what is promised, and written down."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.chaos.certificates import Expiry
from tests.chaos.load import DEADLINE_S, FULL, IMPORT, Seen

LATE_S = 0.5
"""A call may end so much after its deadline: it has to be noticed."""
DOCUMENTED = {
    "UNAVAILABLE": {
        "CAPTIONER_UNAVAILABLE",
        "RANKER_UNAVAILABLE",
        "COMPOSITOR_UNAVAILABLE",
        "GENERATOR_UNAVAILABLE",
        "ASSETS_UNAVAILABLE",
        "MODEL_RESTARTING",
        "STORE_RESTARTING",
        "STORE_UNREACHABLE",
        "SHUTTING_DOWN",
    },
    "DEADLINE_EXCEEDED": {"CAPTIONER_TIMEOUT", "RANKER_TIMEOUT", "DEADLINE_EXCEEDED"},
    "RESOURCE_EXHAUSTED": {"QUEUE_FULL", "STORE_FULL", "OUT_OF_MEMORY"},
}
"""By status, the reasons that the contract names for calls that meet a fault."""
NOBODY = "UNAVAILABLE UNAVAILABLE"
"""The client's own gRPC found no gateway: allowed while that one is struck."""


@dataclass(frozen=True)
class Outcome:
    """What was seen of one fault.

    Attributes:
        healthy_s: from its end to the first of several calls in a row that were whole; None for never.
        errors: how often calls ended with each status and reason.
        degraded: how often an answer, or an import, was degraded, by stage and reason.
        longest_s: the longest call of each kind.
        problems: promises that were broken.
    """

    target: str
    fault: str
    calls: int
    healthy_s: float | None
    errors: dict[str, int]
    degraded: dict[str, int]
    longest_s: dict[str, float]
    acknowledged: int
    lost: int
    problems: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def judge(
    target: str, fault: str, seen: Sequence[Seen], healthy_s: float | None, acknowledged: int, lost: int
) -> Outcome:
    """Counts the calls, and names the promises that they broke."""
    errors = Counter(each.reason for each in seen if each.reason)
    longest = {kind: max((each.took_s for each in seen if each.kind == kind), default=0.0) for kind in DEADLINE_S}
    problems = [f"undocumented: {reason}" for reason in errors if not _is_documented(reason, target)]
    problems += [
        f"{kind} took {took:.1f} s of {DEADLINE_S[kind]:g}"
        for kind, took in longest.items()
        if took > DEADLINE_S[kind] + LATE_S
    ]
    problems += [f"degraded for no reason: {part}" for each in seen for part in each.degraded if "INTERNAL" in part]
    problems += [f"{lost} acknowledged imports lost"] if lost else []
    problems += ["did not become healthy"] if healthy_s is None else []
    degraded = Counter(part for each in seen for part in each.degraded)
    return Outcome(
        target, fault, len(seen), healthy_s, dict(errors), dict(degraded), longest, acknowledged, lost, problems
    )


def judge_expiry(seen: Expiry) -> Outcome:
    """The same of a certificate that expired: nobody who was connected may notice."""
    errors = Counter(seen.kept_errors) + Counter(dict.fromkeys(seen.new_errors, seen.refused))
    problems = [f"on a kept connection: {reason}" for reason in set(seen.kept_errors)]
    problems += [f"undocumented: {reason}" for reason in seen.new_errors if reason != NOBODY]
    problems += ["an expired certificate was taken"] if seen.admitted else []
    calls = seen.kept_calls + seen.refused + seen.admitted
    longest = dict.fromkeys(DEADLINE_S, 0.0)
    return Outcome("gateway", "certificate expired", calls, seen.healthy_s, dict(errors), {}, longest, 1, 0, problems)


def markdown(outcomes: Sequence[Outcome]) -> str:
    """The table of docs/reliability.md."""
    head = ["what", "fault", "calls", "errors", "degraded", "longest answer, import, s", "whole again after, s"]
    lines = [f"| {' | '.join([*head, 'acknowledged, lost'])} |", "|---" * 8 + "|", *map(_row, outcomes)]
    return "\n".join(lines) + "\n"


def _row(each: Outcome) -> str:
    errors = ", ".join(f"{reason.split()[1]} {count}" for reason, count in sorted(each.errors.items())) or "none"
    degraded = ", ".join(f"{part} {count}" for part, count in sorted(each.degraded.items())) or "none"
    healthy = "never" if each.healthy_s is None else f"{each.healthy_s:.1f}"
    longest = f"{each.longest_s[FULL]:.1f}, {each.longest_s[IMPORT]:.1f}"
    cells = [each.target, each.fault, str(each.calls), errors, degraded, longest, healthy]
    return "| " + " | ".join([*cells, f"{each.acknowledged}, {each.lost}"]) + " |"


def _is_documented(reason: str, target: str) -> bool:
    code, name = reason.split(" ", 1)
    return name in DOCUMENTED.get(code, set()) or (reason == NOBODY and target == "gateway")
