"""Skewness and kurtosis of a multivariate sample.

A single moment does not know N(0, I): other laws have the same. The statistics carry no factor N. Their limit laws for
known N(0, I) follow from the eigenvalues of the kernel (x'y)^3: 6 on the harmonic cubics, 3 (K + 4) on |y|^2 y.
"""

import torch
from torch import Tensor

from sigreg_lab.multivariate.base import MultivariateTest
from sigreg_lab.nulls import NullLaw, WeightedChiSquares
from sigreg_lab.slicing.pairwise import pair_sum

#: Dimensions up to which K products of samples are less work, and less memory, than the pairs.
_MOST_CUBED = 16


class _MomentTest(MultivariateTest):
    """A statistic without the factor N, whose limit law holds its level from N = max(16384, 64 K^2) on.

    (Measured: docs/multivariate.md. In three dimensions 100,000 samples of N = 1024 tell the limit law from the true
    one: the standardised kurtosis rejects 4.7% at level 5%.)
    """

    limit_at = None

    def asymptotic_from(self, dim: int) -> int:
        return max(16_384, 64 * dim**2)


class MardiaSkewness(_MomentTest):
    """Mardia's skewness b: squared length of the third moments, 0 for N(0, I).

        b = 1/N^2 sum_jk (x_j'x_k)^3 = |1/N sum_j x_j (x) x_j (x) x_j|^2                                  [1; 2, eq. 64]

    Null: N(0, I) fully specified, or any normal law (``standardise``). Law: simulated below N = max(16384, 64 K^2),
    from there on the limit, with nu = K (K + 1) (K + 2) / 6

        N b -> 6 chi2_(nu - K) + 3 (K + 4) chi2_K,   standardised 6 chi2_nu

    Gradient: quadratic in x_j, in proportion to the third moments; 0 for every sample that has none. Cost O(N K^3) up
    to 16 dimensions, by the second form, else O(N^2 K). Shapes, dtypes, p-values and errors: ``MultivariateTest``.

    Args:
        standardise: see ``MultivariateTest``.

    [1] Mardia (1970), Biometrika 57, 519-530.
    [2] Balestriero & LeCun (2025), arXiv:2511.08544, appendix F.
    """

    name = "mardia_skewness"
    sensitive_to = "asymmetry; for known N(0, I) the mean too"

    def _statistic(self, x: Tensor) -> Tensor:
        n, dim = x.shape[-2:]
        if dim > _MOST_CUBED:
            return pair_sum(x, lambda rows, columns: (rows @ columns.mT) ** 3) / n**2
        slabs = [(x * x[..., a : a + 1]).mT @ x / n for a in range(dim)]
        return torch.stack(slabs).square().sum((0, -2, -1))

    def _operations(self, n: int, dim: int) -> float:
        if dim > _MOST_CUBED:
            return 2 * super()._operations(n, dim)
        return self._operations_of_a_sample(n, dim) + 10.0 * n * dim**3

    def asymptotic_law(self, n: int, dim: int) -> NullLaw:
        cubics = dim * (dim + 1) * (dim + 2) // 6
        if self.standardise:
            return _scaled_chi_squares([(6, cubics)], n)
        return _scaled_chi_squares([(6, cubics - dim), (3 * (dim + 4), dim)], n)


class AlternativeSkewness(_MomentTest):
    """The skewness b~ of Mori, Rohatgi and Szekely: squared length of the mean of |x|^2 x, 0 for N(0, I).

        b~ = 1/N^2 sum_jk x_j'x_k |x_j|^2 |x_k|^2 = |1/N sum_j |x_j|^2 x_j|^2                          [1, 2; 3, eq. 65]

    Null: N(0, I) fully specified, or any normal law (``standardise``). Law: simulated below N = max(16384, 64 K^2),
    from there on the limit

        N b~ -> (K + 2) (K + 4) chi2_K,   standardised 2 (K + 2) chi2_K

    Gradient: quadratic in x_j, in proportion to the mean of |x|^2 x; 0 for every sample where that is 0. Cost O(N K).
    Shapes, dtypes, p-values and errors: ``MultivariateTest``.

    Args:
        standardise: see ``MultivariateTest``.

    [1] Mori, Rohatgi & Szekely (1994), Theory of Probability and its Applications 38, 547-551.
    [2] Henze (2002), Statistical Papers 43, 467-506.
    [3] Balestriero & LeCun (2025), arXiv:2511.08544, appendix F.
    """

    name = "alternative_skewness"
    sensitive_to = "asymmetry of |y|^2 y; for known N(0, I) the mean too"

    def _statistic(self, x: Tensor) -> Tensor:
        return (x.square().sum(-1, keepdim=True) * x).mean(-2).square().sum(-1)

    def asymptotic_law(self, n: int, dim: int) -> NullLaw:
        return _scaled_chi_squares([(2 * (dim + 2) if self.standardise else (dim + 2) * (dim + 4), dim)], n)

    def _operations(self, n: int, dim: int) -> float:
        return self._operations_of_a_sample(n, dim)


class MardiaKurtosis(_MomentTest):
    """Squared departure of Mardia's kurtosis b2 from K (K + 2), its value for N(0, I).

        (b2 - K (K + 2))^2,   b2 = 1/N sum_j |x_j|^4                                                    [1; 2, eq. 66]

    b2 - K (K + 2) is also the total excess kurtosis of [3], the trace of the mean of |x|^2 x x' - (K + 2) I. Null:
    N(0, I) fully specified, or any normal law (``standardise``). Law: simulated below N = max(16384, 64 K^2), from
    there on the limit

        N (b2 - K (K + 2))^2 -> 8 K (K + 2) (K + 3) chi2_1,   standardised 8 K (K + 2) chi2_1

    Gradient: along each x_j, in proportion to |x_j|^3 and to the departure. Cost O(N K). Shapes, dtypes, p-values and
    errors: ``MultivariateTest``.

    Args:
        standardise: see ``MultivariateTest``.

    [1] Mardia (1970), Biometrika 57, 519-530.
    [2] Balestriero & LeCun (2025), arXiv:2511.08544, appendix F.
    [3] Mori, Rohatgi & Szekely (1994), Theory of Probability and its Applications 38, 547-551.
    """

    name = "mardia_kurtosis"
    sensitive_to = "the spread of |y|: tails; for known N(0, I) the scale too"

    def _statistic(self, x: Tensor) -> Tensor:
        dim = x.shape[-1]
        return (x.square().sum(-1).square().mean(-1) - dim * (dim + 2)) ** 2

    def asymptotic_law(self, n: int, dim: int) -> NullLaw:
        variance = 8 * dim * (dim + 2) * (1 if self.standardise else dim + 3)
        return _scaled_chi_squares([(variance, 1)], n)

    def _operations(self, n: int, dim: int) -> float:
        return self._operations_of_a_sample(n, dim)


def _scaled_chi_squares(terms: list[tuple[float, int]], n: int) -> NullLaw:
    """1/n times the sum over terms (scale, df) of scale chi2_df."""
    return WeightedChiSquares([scale / n for scale, _ in terms], degrees=[df for _, df in terms])
