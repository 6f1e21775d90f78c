from contextlib import ExitStack

import pytest

from chassis.admission import Admission, QueueFull


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_request_over_the_limit_is_refused_and_the_next_one_after_an_end_is_not() -> None:
    admission = Admission("captioner", 2)
    with admission.admit():
        with admission.admit(), pytest.raises(QueueFull, match="2 requests pending"), admission.admit():
            pass
        with admission.admit():
            pass


def test_a_request_that_fails_gives_its_permit_back() -> None:
    admission = Admission("captioner", 1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), admission.admit():
            raise ZeroDivisionError


@pytest.mark.parametrize(("seconds_each", "least", "most"), [(0.5, 0.9, 1.1), (0.0, 0.05, 0.05), (60.0, 10.0, 10.0)])
def test_the_hint_when_to_come_again_follows_how_long_requests_take(
    seconds_each: float, least: float, most: float
) -> None:
    clock = Clock()
    admission = Admission("captioner", 4, clock)
    for _ in range(100):
        with admission.admit():
            clock.now += seconds_each

    with ExitStack() as permits:
        for _ in range(4):
            permits.enter_context(admission.admit())
        with pytest.raises(QueueFull) as caught, admission.admit():
            pass

    assert caught.value.retry_after_s is not None
    assert least <= caught.value.retry_after_s <= most
