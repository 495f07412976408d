"""Likelihood of the order statistics under N(0, 1).

The logarithms of Phi stay exact in the tails; the arithmetic is in float64.
"""

import math

import numpy as np
import torch
from torch import Tensor

from sigreg_lab.nulls.law import Array
from sigreg_lab.univariate.base import UnivariateTest
from sigreg_lab.validation import table


class NLL(UnivariateTest):
    """Negative log-likelihood of each order statistic under N(0, 1), averaged over the sample.

        NLL = -1/N sum_k log f_(k)(x_(k))
        f_(k)(x) = N! / ((k - 1)! (N - k)!) Phi(x)^(k-1) Phi(-x)^(N-k) phi(x)                           [1, eq. 2.2.2]

    The average is a pseudo-likelihood: order statistics are not independent. Its least value is not 0, and samples more
    regular than random ones lie below the null's typical value. (The official LeJEPA class ``NLL`` hands out one value
    per sample, in the order of the input; this one their mean.) With ``alpha`` below 1/2 only order statistics outside
    the central 1 - 2 alpha of their own law count, the others add 0 to the mean over N (official: NaN).

    Null: N(0, 1) fully specified. Law: simulated. Gradient: at every sample that counts; far out it grows like |x|.
    Cost O(N log N). Shapes, dtypes, p-values and errors: ``UnivariateTest``.

    Args:
        alpha: in (0, 1/2]; below 1/2, values between the quantiles alpha and 1 - alpha of their law count as 0.
        k: take the k-th order statistic alone (1 .. N); None takes the mean over all.
        N: the sample size that is expected; None takes any.

    Raises:
        ValueError: an ``alpha`` outside (0, 1/2], ``k`` or ``N`` below 1, ``k`` above ``N``; in use, a sample of
            another size than ``N``, or smaller than ``k``.

    [1] David & Nagaraja (2003), Order Statistics, 3rd ed.
    """

    name = "nll"
    sensitive_to = "location, scale, tails"
    uses_order = True

    def __init__(self, alpha: float = 0.5, k: int | None = None, N: int | None = None) -> None:
        super().__init__()
        if not 0 < alpha <= 0.5:
            raise ValueError(f"alpha must lie in (0, 1/2], got {alpha}")
        if (k is not None and k < 1) or (N is not None and N < 1) or (k is not None and N is not None and k > N):
            raise ValueError(f"k and N must satisfy 1 <= k <= N, got k={k}, N={N}")
        self.alpha = float(alpha)
        self.k = k
        self.N = N
        self.min_samples = max(2, k or 0)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha!r}, k={self.k}, N={self.N}"

    def _statistic(self, x: Tensor) -> Tensor:
        n = x.shape[-2]
        if self.N is not None and n != self.N:
            raise ValueError(f"x holds {n} samples, but N={self.N} was set; hand in {self.N}, or leave N out")
        s = x.double()
        rank = torch.arange(1, n + 1, dtype=s.dtype, device=s.device)[:, None]
        log_count = math.lgamma(n + 1) - torch.lgamma(rank) - torch.lgamma(n - rank + 1)
        log_density = -(s**2) / 2 - 0.5 * math.log(2 * math.pi)
        below = (rank - 1) * torch.special.log_ndtr(s)
        above = (n - rank) * torch.special.log_ndtr(-s)
        loss = -(log_count + below + above + log_density)
        if self.alpha < 0.5:
            low, high = _quantiles(s.device, n, self.alpha)
            loss = torch.where((s > low[:, None]) & (s < high[:, None]), 0.0, loss)
        return (loss.mean(-2) if self.k is None else loss[..., self.k - 1, :]).to(x.dtype)


@table
def _quantiles(n: int, alpha: float) -> Array:
    """Quantiles alpha and 1 - alpha of each order statistic: Phi of the k-th is Beta(k, n + 1 - k). Shape (2, n)."""
    from scipy.special import betaincinv, ndtri

    rank = np.arange(1, n + 1)
    return np.asarray(ndtri(betaincinv(rank, n + 1 - rank, np.array([[alpha], [1 - alpha]]))))
