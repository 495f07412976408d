"""Regularisers of the second moments: VICReg, and the distance of the covariance to the identity.

C is the covariance of one view's N embeddings, divisor N - 1. None of these looks at the mean.
"""

import torch
from torch import Tensor

from sigreg_lab.distributed import all_reduce_sum, mean_over_samples, total_samples
from sigreg_lab.regularizers.base import Regularizer
from sigreg_lab.validation import on_device


def centre(z: Tensor) -> Tensor:
    """``z`` less its mean over the samples of all ranks; shape (..., N, K)."""
    return z - mean_over_samples(z).unsqueeze(-2)


def covariance(centred: Tensor) -> Tensor:
    """Covariance of centred embeddings of all ranks, (..., N, K) -> (..., K, K), divisor N - 1."""
    total = total_samples(centred.shape[-2], centred.device)
    return all_reduce_sum(centred.mT @ centred) / (total - 1)


class VICReg(Regularizer):
    """VICReg's variance hinge and covariance term.

        R = 1/V sum_v (mu/K sum_j max(0, gamma - sqrt(C_jj + eps)) + nu/K sum_{i != j} C_ij^2)            [1, eq. 1-4]

    C is the covariance of view v, divisor N - 1. The invariance term is the prediction loss of ``LeJEPALoss``. The
    paper sums its two terms over the two views; the authors' code halves the variance term and not the covariance term,
    which amounts to nu = 2 here. Gradient: none from the hinge where C_jj + eps is above gamma^2; its pull out of a
    collapse vanishes below a scale of sqrt(eps). No pull on the mean. Cost O(V N K^2). Shapes, dtypes and errors of a
    call: ``Regularizer``.

    Args:
        variance: mu, weight of the variance term, 0 or more.
        covariance: nu, weight of the covariance term, 0 or more.
        gamma: the standard deviation that each coordinate should reach.
        eps: added to the variance under the root.

    Raises:
        ValueError: a negative weight, ``eps`` not positive.

    [1] Bardes, Ponce & LeCun (2022), VICReg, arXiv:2105.04906; defaults mu = 25, nu = 1, gamma = 1, eps = 1e-4.
    """

    def __init__(
        self, variance: float = 25.0, covariance: float = 1.0, *, gamma: float = 1.0, eps: float = 1e-4
    ) -> None:
        super().__init__()
        if min(variance, covariance) < 0:
            raise ValueError(f"variance and covariance must be 0 or more, got {variance}, {covariance}")
        if eps <= 0:
            raise ValueError(f"eps must be positive (the root has no gradient at 0), got {eps}")
        self.variance, self.covariance = variance, covariance
        self.gamma, self.eps = gamma, eps

    def extra_repr(self) -> str:
        return f"variance={self.variance:g}, covariance={self.covariance:g}, gamma={self.gamma:g}, eps={self.eps:g}"

    def _value(self, z: Tensor, generator: torch.Generator) -> Tensor:
        matrix = covariance(centre(z))
        diagonal = matrix.diagonal(dim1=-2, dim2=-1)
        hinge = (self.gamma - (diagonal + self.eps).sqrt()).relu().mean(-1)
        others = matrix - torch.diag_embed(diagonal)
        return (self.variance * hinge + self.covariance * others.square().sum((-2, -1)) / z.shape[-1]).mean()


class WeakSIGReg(Regularizer):
    """Frobenius norm of the distance of a sketched covariance to the identity.

        R = 1/V sum_v |S C S' - I|_F,   S of shape (k, K) with entries N(0, 1/K), drawn at each call                 [1]

    C is the covariance of view v, divisor N - 1; S is the same for all views. Where K <= k, and for
    ``sketch_dim=None``, there is no sketch, S = I, as in the authors' code. With a sketch the mean over S is not least
    at C = I but, of the squared norm, at K/(K + k + 1) I (``theory.sketches``). Gradient: that of a norm, which does
    not shrink with the distance; the pull out of a collapse vanishes with the scale. No pull on the mean. Cost
    O(V N K k + V N k^2). Shapes, dtypes and errors of a call: ``Regularizer``.

    Args:
        sketch_dim: k, rows of the sketch, at least 1; None takes the covariance as it is.

    Raises:
        ValueError: ``sketch_dim`` below 1.

    [1] Akbar (2026), Weak-SIGReg, arXiv:2603.05924; code kreasof-ai/sigreg, sketch dimension 64.
    """

    def __init__(self, sketch_dim: int | None = 64) -> None:
        super().__init__()
        if sketch_dim is not None and sketch_dim < 1:
            raise ValueError(f"sketch_dim must be at least 1 or None, got {sketch_dim}")
        self.sketch_dim = sketch_dim

    def extra_repr(self) -> str:
        return f"sketch_dim={self.sketch_dim}"

    def _value(self, z: Tensor, generator: torch.Generator) -> Tensor:
        dim = z.shape[-1]
        if self.sketch_dim is not None and dim > self.sketch_dim:
            normal = torch.randn(dim, self.sketch_dim, generator=generator, device=generator.device)
            z = z @ on_device(normal / dim**0.5, z.device).to(z.dtype)
        distance = covariance(centre(z)) - torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)
        return torch.linalg.matrix_norm(distance).mean()
