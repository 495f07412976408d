"""Losses of pairs of views whose regulariser cannot be parted from their invariance: Barlow Twins and W-MSE.

Both are means over all pairs of views v < w, and both pull the views of a sample together by themselves.
"""

from itertools import combinations

import torch
from torch import Tensor

from sigreg_lab.distributed import all_reduce_sum, mean_over_samples, total_samples
from sigreg_lab.regularizers.base import Regularizer
from sigreg_lab.regularizers.covariance import centre, covariance
from sigreg_lab.validation import may_read

STANDARDISATION_EPS = 1e-5  # that of BatchNorm1d, which the authors of Barlow Twins use
LEAST_LENGTH = 1e-6


class BarlowTwins(Regularizer):
    """Barlow Twins: cross-correlation of two views against the identity.

        R = sum_i (1 - C_ii)^2 + lambda sum_{i != j} C_ij^2,   C = 1/N sum_n y_n^v (y_n^w)'                        [1]

    The mean over pairs of views v < w; y are the embeddings, standardised per coordinate and view (divisor N, 1e-5
    added to the variance). Gradient: no pull on the mean, nor on the scale unless a variance is near 1e-5 or below.
    Cost O(V^2 N K^2). Shapes, dtypes and errors of a call: ``Regularizer``.

    Args:
        redundancy: lambda, weight of the off-diagonal part, 0 or more.

    Raises:
        ValueError: a negative weight; in use, fewer than 2 views.

    [1] Zbontar, Jing, Misra, LeCun & Deny (2021), Barlow Twins, arXiv:2103.03230; code: lambda = 0.0051.
    """

    min_views = 2

    def __init__(self, redundancy: float = 0.0051) -> None:
        super().__init__()
        if redundancy < 0:
            raise ValueError(f"redundancy must be 0 or more, got {redundancy}")
        self.redundancy = redundancy

    def extra_repr(self) -> str:
        return f"redundancy={self.redundancy:g}"

    def _value(self, z: Tensor, generator: torch.Generator) -> Tensor:
        centred = centre(z)
        variance = mean_over_samples(centred.square()).unsqueeze(-2)
        y = centred / (variance + STANDARDISATION_EPS).sqrt()
        total = total_samples(z.shape[-2], z.device)
        losses = []
        for v, w in combinations(range(z.shape[0]), 2):
            correlation = all_reduce_sum(y[v].T @ y[w]) / total
            diagonal = correlation.diagonal()
            off_diagonal = (correlation - torch.diag(diagonal)).square().sum()
            losses.append((1 - diagonal).square().sum() + self.redundancy * off_diagonal)
        return torch.stack(losses).mean()


class WMSE(Regularizer):
    """W-MSE: distance of whitened, normalised views.

        R = 1/N sum_n |u_n^v - u_n^w|^2,   u = y / |y|,   y = L^-1 (z - mean)                                        [1]

    The mean over pairs of views v < w; L L' = (1 - eps) Cov(z) + eps I, the Cholesky factor of each view's covariance
    (divisor N - 1), taken in float64. It whitens the whole batch; the authors' code whitens random parts of it, of at
    least 2 K samples. Their eps is 0, for which a covariance of rank below K has no factor; the default here is 1e-4,
    so that it is defined for N <= K and at collapse. Gradient: through the factor; no pull on the mean. Cost
    O(V (N K^2 + K^3)). Shapes, dtypes and errors of a call: ``Regularizer``.

    Args:
        eps: weight of the identity in the covariance that is factored, 0 .. 1.

    Raises:
        ValueError: ``eps`` outside 0 .. 1; in use, fewer than 2 views.
        torch.linalg.LinAlgError: in use, a covariance without a factor, which ``eps=0`` may leave; NaN instead where
            the data may not be read, on a GPU with a gradient and under ``torch.compile``.

    [1] Ermolov, Siarohin, Sangineto & Sebe (2021), W-MSE, arXiv:2007.06346; code htdt/self-supervised.
    """

    min_views = 2

    def __init__(self, eps: float = 1e-4) -> None:
        super().__init__()
        if not 0 <= eps <= 1:
            raise ValueError(f"eps must lie in 0 .. 1, got {eps}")
        self.eps = eps

    def extra_repr(self) -> str:
        return f"eps={self.eps:g}"

    def _value(self, z: Tensor, generator: torch.Generator) -> Tensor:
        centred = centre(z.double())
        identity = torch.eye(z.shape[-1], dtype=centred.dtype, device=z.device)
        matrix = (1 - self.eps) * covariance(centred) + self.eps * identity
        factor, info = torch.linalg.cholesky_ex(matrix, check_errors=may_read(z))
        factor = factor.masked_fill((info != 0)[:, None, None], torch.nan)
        whitened = torch.linalg.solve_triangular(factor, centred.mT, upper=False).mT
        u = torch.nn.functional.normalize(whitened, dim=-1, eps=LEAST_LENGTH)
        square = u.square().sum(-1)
        product = torch.einsum("vnk,wnk->vwn", u, u)
        first, second = torch.triu_indices(z.shape[0], z.shape[0], 1, device=z.device)
        distance = square[first] + square[second] - 2 * product[first, second]
        return mean_over_samples(distance, dim=-1).mean().to(z.dtype)
