"""Shapiro-Wilk and Shapiro-Francia: one minus the squared correlation of the sorted sample with normal scores.

1 - W and not W, so that larger means further away, as in the official code; SciPy's W is 1 minus it. (The official code
takes 1 - sqrt(W), does not centre x, and divides Elfving's positions by N + 1/4: not symmetric.) The arithmetic is in
float64.
"""

import math
from typing import Literal

import numpy as np
from torch import Tensor

from sigreg_lab.nulls import LogNormal
from sigreg_lab.nulls.law import Array
from sigreg_lab.univariate.base import UnivariateTest, in_own_units
from sigreg_lab.validation import table

EXPECTATIONS = ("elfving", "blom", "rahman")
COVARIANCES = ("royston", "rahman", "shapiro_francia")

# AS R94: the outermost weights as polynomials in 1/sqrt(N), highest power first, the constant left out.
_OUTERMOST = (-2.706056, 4.434685, -2.071190, -0.147981, 0.221157)
_SECOND = (-3.582633, 5.682633, -1.752461, -0.293762, 0.042981)
# AS R94: mean and log standard deviation of log(1 - W) as polynomials in log N, for N from 12 to 5000. Beyond, they
# leave the law: where simulation says 0.01 they say 0.024 at N = 20,000, and 0.40 at 200,000.
_LOG_MEAN = (0.0038915, -0.083751, -0.31082, -1.5861)
_LOG_LOG_STD = (0.0030302, -0.082676, -0.4803)
_LARGEST_FITTED = 5000
_LEAST_SQUARES = 1e-24  # of the centred sample, per sample, in units of its range


class ShapiroWilk(UnivariateTest):
    """Shapiro-Wilk statistic, 1 - W.

        W = (sum_i a_i x_(i))^2 / sum_i (x_i - mean x)^2,   a of unit length                                    [1]

    The weights a come from scores m_i = Phi^-1(p_i), which stand for the expected order statistics:

        p_i = (i - pi/8)/(N + 1 - pi/4) "elfving" [2],   (i - 3/8)/(N + 1/4) "blom" [3],   i/(N + 1) "rahman" [4]

        "royston"          the polynomial fit to the exact covariance that SciPy and R use, for Blom's scores [5]
        "rahman"           V^-1 m, V the large-sample covariance of order statistics; up to a factor its inverse has
                           (V^-1)_ii = 2 phi_i^2, (V^-1)_i,i+1 = -phi_i phi_(i+1), else 0; phi_i = phi(m_i) [4, 6]
        "shapiro_francia"  V = I [7]

    Null: any normal law; location and scale have no influence. Law: simulated; ``method="asymptotic"`` takes Royston's
    log-normal approximations, [5] for "royston", 12 <= N <= 5000, and [8] for Blom's scores with V = I, 5 <= N <= 5000,
    the sizes that they were fitted to. Gradient: on the shape alone, no pull on mean or scale, so that it does not see
    collapse; a sample collapsed to a point gives 1. Needs N >= 3. Cost O(N log N). Shapes, dtypes, p-values and errors:
    ``UnivariateTest``.

    Args:
        expectation_mode: "elfving", "blom" or "rahman", the normal scores.
        covariance_mode: "royston", "rahman" (tridiagonal) or "shapiro_francia" (identity), the weights; "royston" for
            Blom's scores and the identity for others if not given.
        eps: as the official class takes it; not used.
        sorted: samples come sorted along the sample dimension.

    The official default is ``expectation_mode="elfving", covariance_mode="shapiro_francia"``.

    Raises:
        ValueError: an unknown mode, or "royston" with scores other than Blom's.

    [1] Shapiro & Wilk (1965), Biometrika 52, 591-611.      [2] Elfving (1947), Biometrika 34, 111-119.
    [3] Blom (1958), Statistical Estimates and Transformed Beta-Variables.
    [4] Rahman & Govindarajulu (1997), Journal of Applied Statistics 24, 219-236.
    [5] Royston (1995), Applied Statistics 44, 547-551 (AS R94).
    [6] Hammersley & Morton (1954), Biometrika 41, 296-301.
    [7] Shapiro & Francia (1972), JASA 67, 215-216.         [8] Royston (1993), Statistics and Computing 3, 117-119.
    """

    name = "shapiro_wilk"
    sensitive_to = "shape: skewness, tails, gaps"
    null_hypothesis = "composite"
    min_samples = 3
    uses_order = True

    def __init__(
        self,
        expectation_mode: Literal["elfving", "blom", "rahman"] = "blom",
        covariance_mode: Literal["royston", "rahman", "shapiro_francia"] | None = None,
        eps: float = 1e-5,
        sorted: bool = False,
    ) -> None:
        super().__init__(eps=eps, sorted=sorted)
        if expectation_mode not in EXPECTATIONS:
            raise ValueError(f"expectation_mode must be one of {', '.join(EXPECTATIONS)}, got {expectation_mode!r}")
        if covariance_mode is None:
            covariance_mode = "royston" if expectation_mode == "blom" else "shapiro_francia"
        if covariance_mode not in COVARIANCES:
            raise ValueError(f"covariance_mode must be one of {', '.join(COVARIANCES)}, got {covariance_mode!r}")
        if covariance_mode == "royston" and expectation_mode != "blom":
            raise ValueError("covariance_mode='royston' is a fit to Blom's scores; use expectation_mode='blom' with it")
        self.expectation_mode = expectation_mode
        self.covariance_mode = covariance_mode

    def extra_repr(self) -> str:
        return f"expectation_mode={self.expectation_mode!r}, covariance_mode={self.covariance_mode!r}"

    def _statistic(self, x: Tensor) -> Tensor:
        y = in_own_units(x)
        weights = _weights(y.device, y.shape[-2], self.expectation_mode, self.covariance_mode)
        centred = y - y.mean(-2, keepdim=True)
        squares = (centred**2).sum(-2).clamp_min(y.shape[-2] * _LEAST_SQUARES)
        return (1 - (weights @ centred) ** 2 / squares).to(x.dtype)

    def asymptotic_law(self, n: int) -> LogNormal | None:
        if n > _LARGEST_FITTED:
            return None
        log_n = math.log(n)
        if self.covariance_mode == "royston" and n >= 12:
            return LogNormal(float(np.polyval(_LOG_MEAN, log_n)), math.exp(float(np.polyval(_LOG_LOG_STD, log_n))))
        if (self.expectation_mode, self.covariance_mode) == ("blom", "shapiro_francia") and n >= 5:
            mean = -1.2725 + 1.0521 * (math.log(log_n) - log_n)
            return LogNormal(mean, 1.0308 - 0.26758 * (math.log(log_n) + 2 / log_n))
        return None


class ShapiroFrancia(ShapiroWilk):
    """Shapiro-Francia statistic, 1 - W': Shapiro-Wilk with the identity as covariance.

        W' = (sum_i m_i x_(i))^2 / (sum_i m_i^2 sum_i (x_i - mean x)^2),   m the scores of ``ShapiroWilk``          [1]

    Null, gradient and cost are those of ``ShapiroWilk``. Law: simulated; ``method="asymptotic"`` takes Royston's
    log-normal approximation, for Blom's scores and 5 <= N <= 5000 [2]. Shapes, dtypes, p-values and errors:
    ``UnivariateTest``.

    Args:
        expectation_mode: "elfving", "blom" or "rahman", the normal scores.

    Raises:
        ValueError: an unknown mode.

    [1] Shapiro & Francia (1972), JASA 67, 215-216.
    [2] Royston (1993), Statistics and Computing 3, 117-119.
    """

    name = "shapiro_francia"

    def __init__(self, expectation_mode: Literal["elfving", "blom", "rahman"] = "blom") -> None:
        super().__init__(expectation_mode, "shapiro_francia")


@table
def _weights(n: int, expectation_mode: str, covariance_mode: str) -> Array:
    """The weights a, ascending, of unit length."""
    from scipy.special import ndtri

    rank = np.arange(1, n + 1)
    if expectation_mode == "elfving":
        position = (rank - np.pi / 8) / (n + 1 - np.pi / 4)
    elif expectation_mode == "blom":
        position = (rank - 0.375) / (n + 0.25)
    else:
        position = rank / (n + 1)
    # One half mirrored: the scores are then antisymmetric to the last digit.
    half = ndtri(position[: n // 2])
    scores = np.concatenate([half, np.zeros(n % 2), -half[::-1]])
    if covariance_mode == "royston":
        weights = _royston(scores)
    elif covariance_mode == "rahman":
        density = np.exp(-(scores**2) / 2)
        weights = 2 * density**2 * scores
        weights[:-1] -= density[:-1] * density[1:] * scores[1:]
        weights[1:] -= density[:-1] * density[1:] * scores[:-1]
    else:
        weights = scores
    return weights / np.linalg.norm(weights)


def _royston(scores: Array) -> Array:
    """AS R94: polynomials for the one (N <= 5) or two outermost weights at each end, rescaled scores between."""
    n = scores.size
    if n == 3:
        return np.array([-1.0, 0.0, 1.0])
    squares = scores @ scores
    unit = scores / math.sqrt(squares)
    outermost = np.polyval([*_OUTERMOST, unit[-1]], 1 / math.sqrt(n))
    if n <= 5:
        ends = np.array([outermost])
    else:
        ends = np.array([np.polyval([*_SECOND, unit[-2]], 1 / math.sqrt(n)), outermost])
    k = ends.size
    weights = scores * math.sqrt((1 - 2 * ends @ ends) / (squares - 2 * scores[-k:] @ scores[-k:]))
    weights[-k:] = ends
    weights[:k] = -ends[::-1]
    return np.asarray(weights)
