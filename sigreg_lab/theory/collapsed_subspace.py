"""N(0, I) in R^K with k coordinates set to 0, seen through slices by Epps-Pulley.

A slice sees N(0, s^2) with s^2 = 1 - B, where B ~ Beta(k/2, (K - k)/2) is the share of its direction that lies in the
lost subspace. Averages over directions are confluent hypergeometric functions, since E exp(x B) = 1F1(k/2; K/2; x):

    P_1(t) = E exp(-s^2 t^2/2) = phi(t) 1F1(k/2; K/2; t^2/2),   P_2(t) = E exp(-s^2 t^2) = phi(t)^2 1F1(k/2; K/2; t^2)

and the mean over slices of T = N sum_j w_j |phi_N(t_j) - phi(t_j)|^2 has, for every number of slices, the expectation

    E T = N sum_j w_j (P_2 - 2 phi P_1 + phi^2) + sum_j w_j (1 - P_2),   phi(t) = exp(-t^2/2)

The first sum, the distance, grows with N; the second, the bias of the V-statistic, is smaller than under N(0, I),
because a smaller variance makes a smaller bias. Below a break-even N the second wins.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]


def expected_loss(t: Array, target: Array, weight: Array, n: int, dim: int, defect: int) -> tuple[float, float]:
    """Distance part (which carries N) and bias part of E T.

    Args:
        t: nodes t > 0 of the grid.
        target: exp(-t^2/2) there.
        weight: weights there, both sides of 0 counted.
        n: N.
        dim: K.
        defect: k.
    """
    first = target * special.hyp1f1(defect / 2, dim / 2, t**2 / 2)
    second = target**2 * special.hyp1f1(defect / 2, dim / 2, t**2)
    return n * float((weight * (second - 2 * target * first + target**2)).sum()), float((weight * (1 - second)).sum())


def break_even(t: Array, target: Array, weight: Array, dim: int, defect: int) -> float:
    """The N at which a defect leaves the expectation as it is under N(0, I); about 4 (K + 2)/(k + 2)."""
    distance, bias = expected_loss(t, target, weight, 1, dim, defect)
    return (expected_loss(t, target, weight, 1, dim, 0)[1] - bias) / distance
