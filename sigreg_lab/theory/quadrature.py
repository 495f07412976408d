"""What a grid leaves of the Epps-Pulley integral's mean under N(0, 1), in closed form.

With f = w (1 - exp(-t^2)), w = exp(-t^2/sigma^2), the mean is int f dt. Beyond t_max lies the truncation. Within, the
trapezoidal rule of step h adds an end term (Euler-Maclaurin) and the aliasing (Poisson's summation formula); the rule
is spectrally accurate only where the weight has died away at t_max.
"""

import math

import numpy as np
from scipy import special


def _widths(sigma2: float) -> tuple[float, float]:
    """Of w and of w exp(-t^2)."""
    return math.sqrt(sigma2), 1 / math.sqrt(1 + 1 / sigma2)


def null_expectation(t_max: float, sigma2: float) -> float:
    """int f dt over [-t_max, t_max]."""
    wide, narrow = _widths(sigma2)
    return math.sqrt(math.pi) * float(wide * special.erf(t_max / wide) - narrow * special.erf(t_max / narrow))


def end_term(t_max: float, sigma2: float, step: float) -> float:
    """2 f'(t_max) h^2/12."""
    near, far = math.exp(-(t_max**2) / sigma2), math.exp(-(t_max**2) * (1 + 1 / sigma2))
    return step**2 / 3 * t_max * ((1 + 1 / sigma2) * far - near / sigma2)


def aliasing(sigma2: float, step: float) -> float:
    """2 sum_m F(2 pi m/h), F the Fourier transform of f."""
    wide, narrow = _widths(sigma2)
    omega = 2 * np.pi * np.arange(1, 50) / step
    transform = wide * np.exp(-((wide * omega / 2) ** 2)) - narrow * np.exp(-((narrow * omega / 2) ** 2))
    return 2 * math.sqrt(math.pi) * float(transform.sum())
