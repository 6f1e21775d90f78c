"""A circuit opens after failures in a row, tries one call at a time, and closes with the first answer."""

import time

import pytest

from chassis.circuit import Circuit, Proof
from chassis.errors import Unavailable

OPEN_S = 0.2


class Refused(Unavailable):
    reason = "REFUSED"


def circuit(failures: int = 2) -> Circuit:
    return Circuit("peer", failures, OPEN_S, judge, lambda wait_s: Refused("Left alone.", retry_after_s=wait_s))


def judge(error: BaseException, took_s: float) -> Proof:
    return {"down": Proof.FAILED, "refusal": Proof.ALIVE}.get(str(error), Proof.NOTHING)


def call(through: Circuit, ends_with: str = "") -> None:
    with through.attempt():
        if ends_with:
            raise ValueError(ends_with)


def fail(through: Circuit, *endings: str) -> None:
    for ending in endings:
        with pytest.raises(ValueError, match=ending):
            call(through, ending)


def test_after_failures_in_a_row_nothing_is_let_through_for_a_while() -> None:
    through = circuit()
    fail(through, "down", "down")
    with pytest.raises(Refused) as refused:
        call(through)
    assert refused.value.retry_after_s


@pytest.mark.parametrize("between", ["refusal", ""])
def test_an_answer_between_starts_the_count_anew(between: str) -> None:
    through = circuit()
    fail(through, "down")
    if between:
        fail(through, between)
    else:
        call(through)
    fail(through, "down")
    call(through)


def test_what_proves_nothing_does_not_count() -> None:
    through = circuit()
    fail(through, *["hurry"] * 5)
    call(through)


def test_then_one_call_tries_it_while_others_are_kept_back() -> None:
    through = circuit()
    fail(through, "down", "down")
    time.sleep(OPEN_S * 1.5)
    with through.attempt(), pytest.raises(Refused):
        call(through)
    call(through)


def test_a_trial_that_fails_opens_it_again() -> None:
    through = circuit()
    fail(through, "down", "down")
    time.sleep(OPEN_S * 1.5)
    fail(through, "down")
    with pytest.raises(Refused):
        call(through)
