"""One deadline, split over the stages of a request, or shared by those who wait for the same."""

import time
from collections.abc import Callable

from chassis.errors import DeadlineExceeded


class Deadline:
    """What is left of a request's time.

    Args:
        total_s: seconds from now until the caller stops waiting.
        clock: gives seconds; injected by tests.
    """

    def __init__(self, total_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends = clock() + total_s

    @property
    def left_s(self) -> float:
        """Seconds until the end, never negative."""
        return max(0.0, self._ends - self._clock())

    def share(self, of_rest: float) -> float:
        """The time-out in seconds of a stage that may use `of_rest` (0 to 1) of what is left.

        Raises:
            DeadlineExceeded: nothing is left.
        """
        if self.left_s <= 0:
            raise DeadlineExceeded("The deadline passed before the work was done; allow a longer one.")
        return self.left_s * of_rest

    def extend_to(self, other: "Deadline") -> None:
        """Moves it to the later one of both."""
        self._ends = max(self._ends, other._ends)
