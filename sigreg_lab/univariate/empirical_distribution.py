"""What the tests based on the empirical distribution function share: they see u_i = Phi(x_(i)) alone."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sigreg_lab.univariate.base import UnivariateTest

if TYPE_CHECKING:
    from sigreg_lab.univariate.evaluate import SharedSample


def normal_cdf(x: Tensor) -> Tensor:
    """Phi(x), accurate in the lower tail too; for the upper tail take ``upper_tail``."""
    return torch.erfc(x * -math.sqrt(0.5)).mul(0.5)


def upper_tail(x: Tensor) -> Tensor:
    """1 - Phi(x), without cancellation."""
    return torch.erfc(x * math.sqrt(0.5)).mul(0.5)


class EmpiricalDistributionTest(UnivariateTest):
    """Base of the tests that compare the empirical distribution function with Phi.

    A subclass writes ``_from_cdf``, the formula in u. Under the null the u_i are uniform order statistics.
    """

    uses_order = True

    def _statistic(self, x: Tensor) -> Tensor:
        return self._from_cdf(normal_cdf(x))

    def bulk(self, sample: "SharedSample") -> Tensor:
        return self._from_cdf(sample.cdf)

    def _from_cdf(self, u: Tensor) -> Tensor:
        """The statistic from u_i, shape (..., N, M)."""
        raise NotImplementedError


def plotting_positions(u: Tensor) -> Tensor:
    """(2 i - 1) / (2 N) for i = 1 .. N, shape (N, 1), of the dtype and device of ``u``, shape (..., N, M)."""
    n = u.shape[-2]
    return (torch.arange(n, dtype=u.dtype, device=u.device)[:, None] + 0.5) / n
