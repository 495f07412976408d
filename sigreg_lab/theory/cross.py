"""Slices of the 'X': how far each of its projections is from N(0, 1), and their mean over all directions.

The 'X' (``alternatives.cross``) has x and a fair sign times x as its first coordinates, x of N(0, 1), and independent
N(0, 1) for the others: normal marginals, covariance I. Along a unit vector a it is N(0, 1 + s) or N(0, 1 - s), each
half of the time, s = 2 a_1 a_2, with the characteristic function exp(-t^2/2) cosh(s t^2/2). For Epps-Pulley's integral
over the whole line, w = exp(-t^2/2) and p = 3/2,

    D(s) = int |phi - phi_0|^2 w dt = int exp(-p t^2) (cosh(s t^2/2) - 1)^2 dt
         = sqrt(pi) (3/2 p^(-1/2) + ((p - s)^(-1/2) + (p + s)^(-1/2))/4 - (p - s/2)^(-1/2) - (p + s/2)^(-1/2))

as cosh^2 u = (1 + cosh 2u)/2 and int exp(-p t^2) cosh(q t^2) dt = sqrt(pi) ((p - q)^(-1/2) + (p + q)^(-1/2))/2. In
powers of s, with int t^(4j) exp(-p t^2) dt = Gamma(2j + 1/2) p^(-2j - 1/2) and, over the unit sphere of R^K,
E (a_1 a_2)^(2j) = (1/2)_j^2/(K/2)_2j,

    E_a D = sum_{j >= 2} (2^(2j - 1) - 2)/(2j)! Gamma(2j + 1/2) p^(-2j - 1/2) (1/2)_j^2/(K/2)_2j

whose terms are positive and fall at least as (4/9)^j; for large K it is 4.22/K^4.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

_P = 1.5
_TERMS = np.arange(2, 60)


def slice_distance(angle: float) -> float:
    """D along (cos, sin) of the angle in the plane of the 'X', radians."""
    s = math.sin(2 * angle)
    ends = [((_P - q) ** -0.5 + (_P + q) ** -0.5) for q in (s, s / 2)]
    return math.sqrt(math.pi) * (1.5 * _P**-0.5 + ends[0] / 4 - ends[1])


def mean_distance(dim: int) -> float:
    """E_a D over the unit sphere of R^K, K of 2 or more."""
    j: NDArray[np.int_] = _TERMS
    logs = gammaln(2 * j + 0.5) - (2 * j + 0.5) * math.log(_P) - gammaln(2 * j + 1)
    logs += 2 * (gammaln(j + 0.5) - gammaln(0.5)) - gammaln(dim / 2 + 2 * j) + gammaln(dim / 2)
    return float(((2.0 ** (2 * j - 1) - 2) * np.exp(logs)).sum())
