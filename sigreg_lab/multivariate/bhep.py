"""BHEP, and the same with the width of Henze and Zirkler. Both carry the factor N (the official code leaves it out)."""

import math

import torch
from torch import Tensor

from sigreg_lab.multivariate.base import MultivariateTest
from sigreg_lab.nulls import NullLaw
from sigreg_lab.slicing.pairwise import Gaussian, pair_sum


class BHEP(MultivariateTest):
    """Baringhaus-Henze-Epps-Pulley statistic: weighted L2 distance of the characteristic functions in K dimensions.

        BHEP = N int |phi_hat(t) - exp(-|t|^2/2)|^2 w(t) dt,   w the density of N(0, beta^2 I)                [1; 2]
             = 1/N sum_jk exp(-beta^2 |x_j - x_k|^2 / 2)
               - 2 (1 + beta^2)^(-K/2) sum_j exp(-beta^2 |x_j|^2 / (2 (1 + beta^2))) + N (1 + 2 beta^2)^(-K/2)

    phi_hat is the empirical characteristic function. For K = 1 and beta = 1 it is the full-line Epps-Pulley statistic
    divided by sqrt(2 pi). Null: N(0, I) fully specified, or any normal law (``standardise``). Law: simulated, from
    N = max(1024, 8 K) on at that N. Gradient: smooth and bounded; it vanishes for a sample farther out than a few times
    sqrt(1 + 1/beta^2), and the pull out of a collapsed sample vanishes with its spread. Cost O(N^2 K). Shapes, dtypes,
    p-values and errors: ``MultivariateTest``.

    Args:
        beta: width of the weight; small values look at the moments, large values at fine structure.
        standardise: see ``MultivariateTest``.

    Raises:
        ValueError: ``beta`` not positive.

    [1] Epps & Pulley (1983), Biometrika 70, 723-726.
    [2] Baringhaus & Henze (1988), Metrika 35, 339-348.
    """

    name = "bhep"
    sensitive_to = "any departure; the smaller beta, the more the low moments"

    def __init__(self, beta: float = 0.1, *, standardise: bool = False) -> None:
        super().__init__(standardise=standardise)
        if not 0 < beta < math.inf:
            raise ValueError(f"beta must be positive and finite, got {beta}")
        self.beta = float(beta)

    def extra_repr(self) -> str:
        return self._repr(f"beta={self.beta!r}")

    def _statistic(self, x: Tensor) -> Tensor:
        return _bhep(x, self.beta)


class HZ(MultivariateTest):
    """Henze-Zirkler statistic: ``BHEP`` with a width that follows N and K.

        HZ = BHEP at beta = ((2 K + 1) N / 4)^(1/(K + 4)) / sqrt 2                                               [1]

    Henze and Zirkler standardise; hand in ``standardise=True`` for their test of normality. Null: N(0, I) fully
    specified, or any normal law (``standardise``). Law: that of ``BHEP`` at this width. Gradient: as that of ``BHEP``;
    it dies out as K grows, where the kernel is 0 between samples of a normal law, about sqrt(2 K) apart. Cost O(N^2 K).
    Shapes, dtypes, p-values and errors: ``MultivariateTest``.

    Args:
        standardise: see ``MultivariateTest``.

    [1] Henze & Zirkler (1990), Communications in Statistics - Theory and Methods 19, 3595-3617.
    """

    name = "henze_zirkler"
    sensitive_to = "any departure"

    @staticmethod
    def compute_bandwidth(n_samples: int, n_dims: int) -> float:
        """beta of Henze and Zirkler.

        Raises:
            ValueError: ``n_samples`` or ``n_dims`` below 1.
        """
        for name, value in (("n_samples", n_samples), ("n_dims", n_dims)):
            if value < 1:
                raise ValueError(f"{name} must be a positive integer, got {value}")
        return float(((2 * n_dims + 1) * n_samples / 4) ** (1 / (n_dims + 4)) / math.sqrt(2))

    def _statistic(self, x: Tensor) -> Tensor:
        return _bhep(x, self.compute_bandwidth(*x.shape[-2:]))

    def _simulated_law(self, n: int, dim: int) -> NullLaw:
        # The width follows N: simulate BHEP at the width of the true N.
        return BHEP(self.compute_bandwidth(n, dim), standardise=self.standardise)._simulated_law(n, dim)


def _bhep(x: Tensor, beta: float) -> Tensor:
    n, dim = x.shape[-2:]
    b = beta**2
    centred = x - x.detach().mean(-2, keepdim=True)  # distances do not change, their rounding errors shrink
    within = pair_sum(centred, Gaussian(b / 2))
    across = torch.exp(x.square().sum(-1) * (-b / (2 + 2 * b))).sum(-1)
    return within / n - 2 * (1 + b) ** (-dim / 2) * across + n * (1 + 2 * b) ** (-dim / 2)
