"""The weights of the signals, learned from grades.

The loss is ListNet's (Cao et al. 2007): the cross entropy of two distributions over a product's backgrounds, the one by
grades and the one by scores. It is smooth, and with so few weights and a little shrinkage it holds for other products;
searching for the weights of the highest nDCG does not, when there are a dozen of products to learn from.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from gateway.evaluation.judged import SIGNALS, Array, Judged

SHRINKAGE = 0.1
"""How much the squares of the weights cost, text having weight 1: the fewer the grades, the more text decides alone."""
_START_SCALE = 10.0


def learn(judged: Sequence[Judged], signals: Sequence[str]) -> Array:
    """Weights of 0 or more, one for each of `SIGNALS`, which sum to 1; 0 for those that are not among `signals`.

    Args:
        judged: the products to learn from.
        signals: those that may have a weight; text is always one of them.
    """
    others = [SIGNALS.index(each) for each in signals if each != "text"]

    def weights_of(parameters: Array) -> Array:
        weights = np.zeros(len(SIGNALS))
        weights[SIGNALS.index("text")] = 1.0
        weights[others] = parameters[1:]
        return weights

    def cost(parameters: Array) -> float:
        weights = weights_of(parameters)
        losses = [_loss(each, parameters[0] * (each.similarities @ weights)) for each in judged]
        return float(np.mean(losses) + SHRINKAGE * np.square(parameters[1:]).sum())

    start = np.array([_START_SCALE, *[0.1] * len(others)])
    found = minimize(cost, start, method="L-BFGS-B", bounds=[(1.0, 200.0), *[(0.0, 10.0)] * len(others)])
    weights = weights_of(found.x)
    return np.asarray(weights / weights.sum())


def leave_one_out(judged: Sequence[Judged], signals: Sequence[str]) -> dict[str, Array]:
    """By product, the weights that all other products teach."""
    return {
        each.product: learn([other for other in judged if other.product != each.product], signals) for each in judged
    }


def _loss(judged: Judged, scores: Array) -> float:
    gains = np.exp2(judged.grades) - 1
    return float(-(gains / gains.sum()) @ (scores - logsumexp(scores)))
