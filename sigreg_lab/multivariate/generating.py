"""Statistics on the empirical moment generating function M(t) = 1/N sum_j exp(t'x_j); N(0, I) has exp(|t|^2/2).

The terms grow like exp(|x|^2): the sums are taken relative to their largest exponent, so that only a result beyond the
range of float64 becomes infinite. ``log=True`` gives log T, finite for every sample.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from sigreg_lab.multivariate.base import MultivariateTest
from sigreg_lab.slicing.pairwise import CoshCosine, GrowingExponential, pair_scaled_sum

FORMS = ("simplified", "product")


class BHEP_M(MultivariateTest):
    """The moment-generating-function form of BHEP.

        T = N int (M(t) - exp(|t|^2/2))^2 exp(-beta |t|^2) dt,   M(t) = 1/N sum_j exp(t'x_j)                  [1, 2]
          = pi^(K/2) (1/N sum_jk beta^(-K/2) exp(|x_j + x_k|^2 / (4 beta))
            - 2 sum_j (beta - 1/2)^(-K/2) exp(|x_j|^2 / (4 beta - 2)) + N (beta - 1)^(-K/2))

    T exists for beta > 1. Null: N(0, I) fully specified, or any normal law (``standardise``). Law: simulated; with
    beta > 2, where it has a limit, from N = max(1024, 8 K) on at that N. Gradient: it grows like exp(|x|^2 / beta),
    so that the farthest samples have all of it; that of log T grows like |x|. Cost O(N^2 K). Shapes, dtypes,
    p-values and errors: ``MultivariateTest``.

    Args:
        dim: K, checked against the sample if given (the official package asks for it).
        beta: decay of the weight, above 1; the larger, the more the low moments count.
        log: log T instead of T, finite for every sample.
        standardise: see ``MultivariateTest``.

    Raises:
        ValueError: ``beta`` not above 1; in use, a sample whose last dimension is not ``dim``.

    [1] Henze & Jimenez-Gamero (2019), TEST 28, 499-521 (arXiv:1711.07199).
    [2] Balestriero & LeCun (2025), arXiv:2511.08544, appendix F.
    """

    name = "bhep_m"
    sensitive_to = "heavy tails and skewness; the mean and the covariance"

    def __init__(
        self, dim: int | None = None, beta: float = 10.0, *, log: bool = False, standardise: bool = False
    ) -> None:
        super().__init__(standardise=standardise)
        if not 1 < beta < math.inf:
            raise ValueError(f"beta must be above 1, where the integral exists, got {beta}")
        self.dim = dim
        self.beta = float(beta)
        self.log = bool(log)
        if beta <= 2:
            self.limit_at = None  # the variance has no limit

    def extra_repr(self) -> str:
        return self._repr(f"beta={self.beta!r}", f"log={self.log}")

    def _statistic(self, x: Tensor) -> Tensor:
        n, dim = x.shape[-2:]
        if self.dim not in (None, dim):
            raise ValueError(f"x must have {self.dim} columns, as dim says, got shape {tuple(x.shape)}")
        b = self.beta
        pairs, shift = pair_scaled_sum(x, GrowingExponential(1 / (4 * b)))
        exponent = x.square().sum(-1) / (4 * b - 2)
        largest = exponent.detach().amax(-1)
        single = torch.exp(exponent - largest[:, None]).sum(-1)
        return _combine(
            [
                (pairs / n, shift - dim / 2 * math.log(b)),
                (-2 * single, largest - dim / 2 * math.log(b - 0.5)),
                (n * torch.ones_like(single), torch.full_like(largest, -dim / 2 * math.log(b - 1))),
            ],
            dim / 2 * math.log(math.pi),
            self.log,
        )


class COMB(MultivariateTest):
    """The product of the empirical moment generating function and the cosine transform, 1 under the null.

        U(t) = sqrt N (R(t) M(t) - 1),   R(t) = 1/N sum_j cos(t'x_j),   M(t) = 1/N sum_j exp(t'x_j)              [1]
        T  = int U^2 exp(-gamma |t|^2) dt                                                                  "product"
        T~ = int U exp(-gamma |t|^2) dt                                                                 "simplified"
           = (pi/gamma)^(K/2) sqrt N
             (1/N^2 sum_jk exp((|x_j|^2 - |x_k|^2) / (4 gamma)) cos(x_j'x_k / (2 gamma)) - 1)

    T~ has no lower bound: a sample may have a negative T~, so that as a loss it does not lead to N(0, I); as a test it
    is two-sided. Null: N(0, I) fully specified, or any normal law (``standardise``). Law: simulated; with
    gamma > 1, where it has a limit, from N = max(1024, 8 K) on at that N. Gradient: it grows for T~ like
    exp(|x|^2 / (4 gamma)), for T like exp(|x|^2 / gamma), so that the farthest samples have all of it. Cost O(N^2 K)
    for T~, O(N^4 K) for T. Shapes, dtypes, p-values and errors: ``MultivariateTest``.

    Args:
        gamma: decay of the weight.
        form: "simplified", T~, O(N^2) (the official package's), or "product", T, O(N^4) for samples of some dozens.
        log: log T instead of T; for the form "product" alone.
        standardise: see ``MultivariateTest``.

    Raises:
        ValueError: ``gamma`` not positive; an unknown ``form``; ``log`` with T~, which may be negative.

    [1] Henze, Jimenez-Gamero & Meintanis (2019), Econometric Theory 35, 510-546 (arXiv:1706.03029).
    """

    name = "comb"
    sensitive_to = "tails and skewness"

    def __init__(
        self,
        gamma: float = 0.1,
        form: Literal["simplified", "product"] = "simplified",
        *,
        log: bool = False,
        standardise: bool = False,
    ) -> None:
        super().__init__(standardise=standardise)
        if not 0 < gamma < math.inf:
            raise ValueError(f"gamma must be positive and finite, got {gamma}")
        if form not in FORMS:
            raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
        if log and form == "simplified":
            raise ValueError("log must be False for form='simplified', whose value may be negative; use form='product'")
        self.gamma = float(gamma)
        self.form = form
        self.log = bool(log)
        if gamma <= 1:
            self.limit_at = None  # the variance has no limit

    def extra_repr(self) -> str:
        return self._repr(f"gamma={self.gamma!r}", f"form={self.form!r}", f"log={self.log}")

    def _statistic(self, x: Tensor) -> Tensor:
        n, dim = x.shape[-2:]
        zero = x.new_zeros(len(x))
        logs = dim / 2 * math.log(math.pi / self.gamma)
        total, shift = pair_scaled_sum(x, CoshCosine(1 / (4 * self.gamma)))
        if self.form == "simplified":
            return _combine([(total / n**1.5, shift), (zero - math.sqrt(n), zero)], logs, False)
        first, second = torch.triu_indices(n, n, device=x.device)
        plus, minus = x[:, first] + x[:, second], x[:, first] - x[:, second]
        weight = torch.where(first == second, 1.0, 2.0).double()
        terms = []
        for other in (plus, minus):
            four, four_shift = pair_scaled_sum(_with(plus, weight), self._weighted_kernel, _with(other, weight))
            terms.append((four / (2 * n**3), four_shift))
        return _combine([*terms, (-2 / n * total, shift), (zero + n, zero)], logs, self.log)

    def _kernel(self, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """exp((|p|^2 - |q|^2) / (4 gamma)) cos(p'q / (2 gamma)): the integral of exp(t'p) cos(t'q) but its constant."""
        exponent = rows.square().sum(-1)[..., :, None] - columns.square().sum(-1)[..., None, :]
        return exponent / (4 * self.gamma), torch.cos(rows @ columns.mT / (2 * self.gamma))

    def _weighted_kernel(self, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        exponent, factor = self._kernel(rows[..., :-1], columns[..., :-1])
        return exponent, factor * rows[..., :, None, -1] * columns[..., None, :, -1]

    def _extremeness(self, statistic: Tensor) -> Tensor:
        return statistic.abs() if self.form == "simplified" else statistic

    def _operations(self, n: int, dim: int) -> float:
        return 12.5 * n**4 * (dim + 30.0) if self.form == "product" else super()._operations(n, dim)


class HV(MultivariateTest):
    """Henze-Visagie statistic: how far M is from solving grad M = t M, as the normal law's does.

        T = N int |grad M(t) - t M(t)|^2 exp(-gamma |t|^2) dt,   M(t) = 1/N sum_j exp(t'x_j)                     [1]
          = (pi/gamma)^(K/2) 1/N sum_jk exp(|s|^2 / (4 gamma))
            (x_j'x_k - |s|^2 / (2 gamma) + K / (2 gamma) + |s|^2 / (4 gamma^2)),   s = x_j + x_k

    Null: N(0, I) fully specified, or any normal law (``standardise``). Law: simulated; with gamma > 2, where it has
    a limit, from N = max(1024, 8 K) on at that N. Gradient: it grows like exp(|x|^2 / gamma), so that the farthest
    samples have all of it; that of log T grows like |x|. Cost O(N^2 K). Shapes, dtypes, p-values and errors:
    ``MultivariateTest``.

    Args:
        gamma: decay of the weight.
        log: log T instead of T, finite for every sample.
        standardise: see ``MultivariateTest``.

    Raises:
        ValueError: ``gamma`` not positive.

    [1] Henze & Visagie (2020), Annals of the Institute of Statistical Mathematics 72, 1109-1136 (arXiv:1901.03986).
    """

    name = "hv"
    sensitive_to = "heavy tails and skewness; the mean and the covariance"

    def __init__(self, gamma: float = 1.0, *, log: bool = False, standardise: bool = False) -> None:
        super().__init__(standardise=standardise)
        if not 0 < gamma < math.inf:
            raise ValueError(f"gamma must be positive and finite, got {gamma}")
        self.gamma = float(gamma)
        self.log = bool(log)
        if gamma <= 2:
            self.limit_at = None  # the variance has no limit

    def extra_repr(self) -> str:
        return self._repr(f"gamma={self.gamma!r}", f"log={self.log}")

    def _statistic(self, x: Tensor) -> Tensor:
        n, dim = x.shape[-2:]
        g = self.gamma
        kernel = GrowingExponential(1 / (4 * g), dim / (2 * g), 1 / (4 * g**2) - 1 / (2 * g), 1.0)
        total, shift = pair_scaled_sum(x, kernel)
        return _combine([(total / n, shift)], dim / 2 * math.log(math.pi / g), self.log)


def _with(x: Tensor, weight: Tensor) -> Tensor:
    """Weights as one more column, so that they are cut into blocks with their rows."""
    return torch.cat([x, weight[None, :, None].expand(len(x), -1, 1)], -1)


def _combine(terms: list[tuple[Tensor, Tensor]], log_scale: float, log: bool) -> Tensor:
    """exp(log_scale) sum_i a_i exp(m_i) of the terms (a_i, m_i), or its logarithm."""
    largest = torch.stack([shift for _, shift in terms]).amax(0)
    total = torch.stack([value * torch.exp(shift - largest) for value, shift in terms]).sum(0)
    if log:
        return total.clamp_min(torch.finfo(total.dtype).tiny).log() + largest + log_scale
    return total * torch.exp(largest + log_scale)
