"""Whether a series of measurements grows: a line through it, and how sure its slope is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

SURE = 0.95
"""Confidence of the interval."""
TAIL = 0.75
"""Share of the run, from its end, that has to be flat: caches fill before."""


@dataclass(frozen=True, slots=True)
class Trend:
    """The line through a series (least squares).

    Attributes:
        mean: of the values.
        change: along the line from the first to the last, in the values' unit.
        low: the least change that the confidence interval of the slope allows.
        high: the greatest.
    """

    mean: float
    change: float
    low: float
    high: float

    def is_flat(self, share: float, unit: float) -> bool:
        """No growth that is sure is more than `share` of the mean and more than `unit`.

        Args:
            share: 0 to 1.
            unit: the least growth that matters, in the values' unit.
        """
        return self.low <= max(share * self.mean, unit)


def trend(at_s: Sequence[float], values: Sequence[float]) -> Trend:
    """The line through at least three values."""
    x, y = np.asarray(at_s, dtype=float), np.asarray(values, dtype=float)
    span = float(x[-1] - x[0])
    if np.ptp(y) == 0:  # of which there is no error to tell
        return Trend(float(y[0]), 0.0, 0.0, 0.0)
    fit = stats.linregress(x, y)
    spread = float(stats.t.ppf((1 + SURE) / 2, len(x) - 2) * fit.stderr)
    slope = float(fit.slope)
    return Trend(float(y.mean()), slope * span, (slope - spread) * span, (slope + spread) * span)


def tail(at_s: Sequence[float], values: Sequence[float]) -> Trend:
    """The trend of the part that has to be flat."""
    begins_s = at_s[0] + (1 - TAIL) * (at_s[-1] - at_s[0])
    kept = [(when, value) for when, value in zip(at_s, values, strict=True) if when >= begins_s]
    return trend([when for when, _ in kept], [value for _, value in kept])
