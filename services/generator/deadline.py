"""Until when a caller waits."""

import time


class Deadline:
    """The moment `total_s` seconds from now."""

    def __init__(self, total_s: float) -> None:
        self._ends_at = time.monotonic() + total_s

    @property
    def left_s(self) -> float:
        """Seconds until then, never negative."""
        return max(0.0, self._ends_at - time.monotonic())

    def extend_to(self, other: "Deadline") -> None:
        """Moves it to the later one of both."""
        self._ends_at = max(self._ends_at, other._ends_at)
