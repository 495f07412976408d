"""Vasicek's entropy test, by spacings of the sorted sample. The arithmetic is in float64.

(The official LeJEPA code hands out exp(T) for "centered", T for "right", takes s with divisor N - 1, and divides the
"right" sum by N with factor N/m.)
"""

import math
from typing import Literal

import torch
from torch import Tensor

from sigreg_lab.univariate.base import UnivariateTest, in_own_units

SPACINGS = ("centered", "right")
_LEAST_VARIANCE = 1e-24


class Entropy(UnivariateTest):
    """Vasicek's statistic T: the entropy that a sample lacks against a normal law of its own variance.

        T = log(s sqrt(2 pi e)) - H,   s^2 the variance with divisor N
        H = 1/N sum_i log(N/(2 m) (x_(i+m) - x_(i-m))),   x_(j) = x_(1) for j < 1, x_(N) for j > N     "centered" [1]
        H = 1/(N - m) sum_{i <= N-m} log((N + 1)/m (x_(i+m) - x_(i)))                                   "right" [2]

    exp(-T) sqrt(2 pi e) is Vasicek's K_mN; H of "centered" is SciPy's ``differential_entropy(method="vasicek")``. Null:
    any normal law; location and scale have no influence. Law: simulated. Spacings below ``eps`` s count as ``eps`` s,
    so that ties give a finite value. Gradient: each spacing is pushed open with 1 over its width, those below ``eps`` s
    not at all; no pull on mean or scale. Cost O(N log N). Shapes, dtypes, p-values and errors: ``UnivariateTest``.

    Args:
        m: half the width of a spacing, in ranks, at least 1; the sample must hold more than 2 m values.
        eps: the least spacing, in units of the sample's standard deviation.
        method: "centered" or "right".
        sorted: samples come sorted along the sample dimension.

    Raises:
        ValueError: ``m`` below 1, ``eps`` not positive, an unknown ``method``.

    [1] Vasicek (1976), JRSS B 38, 54-59.
    [2] Learned-Miller & Fisher (2003), Journal of Machine Learning Research 4, 1271-1295, eq. 8.
    """

    name = "entropy"
    sensitive_to = "shape, and ties"
    null_hypothesis = "composite"
    uses_order = True

    def __init__(
        self, m: int = 1, eps: float = 1e-5, method: Literal["centered", "right"] = "centered", sorted: bool = False
    ) -> None:
        super().__init__(eps=eps, sorted=sorted)
        if m < 1:
            raise ValueError(f"m must be at least 1, got {m}")
        if not eps > 0:
            raise ValueError(f"eps must be positive, got {eps}")
        if method not in SPACINGS:
            raise ValueError(f"method must be one of {', '.join(SPACINGS)}, got {method!r}")
        self.m = int(m)
        self.eps = float(eps)
        self.method = method
        self.min_samples = 2 * self.m + 1

    def extra_repr(self) -> str:
        return f"m={self.m}, eps={self.eps!r}, method={self.method!r}"

    def _statistic(self, x: Tensor) -> Tensor:
        y = in_own_units(x)
        n, m = y.shape[-2], self.m
        spread = y.var(-2, correction=0, keepdim=True).clamp_min(_LEAST_VARIANCE).sqrt()
        standard = y / spread
        if self.method == "right":
            spacing = standard[..., m:, :] - standard[..., :-m, :]
            entropy = (spacing.clamp_min(self.eps) * ((n + 1) / m)).log().mean(-2)
        else:
            upper = standard[..., -1:, :].expand_as(standard[..., :m, :])
            lower = standard[..., :1, :].expand_as(standard[..., :m, :])
            spacing = torch.cat([standard[..., m:, :], upper], dim=-2) - torch.cat(
                [lower, standard[..., :-m, :]], dim=-2
            )
            entropy = (spacing.clamp_min(self.eps) * (n / (2 * m))).log().mean(-2)
        return (0.5 * math.log(2 * math.pi * math.e) - entropy).to(x.dtype)
