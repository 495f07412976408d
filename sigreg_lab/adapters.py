"""Regularisers under the signatures of other libraries' losses: embeddings go in, nothing else.

A ``Regularizer`` takes a generator with every call. Other libraries' losses take embeddings alone, and draw by
themselves. ``SteppedRegularizer`` gives any regulariser that form, so that it can stand wherever a library has a
SIGReg of its own; ``LightlySIGReg`` takes the arguments of lightly's too. See docs/adapters.md.
"""

import torch
from torch import Tensor, nn

from sigreg_lab.distributed import agreed_step
from sigreg_lab.kernels.operation import untraced
from sigreg_lab.regularizers import Regularizer, SIGReg
from sigreg_lab.regularizers.sigreg import UNTRACEABLE, draw_directions
from sigreg_lab.slicing import seeded_generator, sliced_statistic
from sigreg_lab.slicing.directions import generator_device
from sigreg_lab.univariate import EppsPulley

__all__ = ["LightlySIGReg", "SteppedRegularizer"]


class SteppedRegularizer(nn.Module):
    """A regulariser that steps a generator of its own: (..., N, K) -> scalar.

    The generator of call number t is seeded by ``seed`` and t alone; both are part of the state dict. In an initialised
    process group all ranks call together and take the largest t of all; the value is that of the whole batch, and the
    mean over ranks of the parameters' gradients its gradient, as ``Regularizer`` says.

    Args:
        regularizer: what is computed.
        seed: 0 or more, the same on all ranks.

    Attributes:
        global_step: calls so far.

    Raises:
        TypeError: ``regularizer`` is no ``Regularizer``, such as a name.
        ValueError: a negative ``seed``.
    """

    def __init__(self, regularizer: Regularizer, *, seed: int = 0) -> None:
        super().__init__()
        if not isinstance(regularizer, Regularizer):
            raise TypeError(
                f"regularizer must be a Regularizer, got {regularizer!r}; make_regularizer(name) builds one"
            )
        if seed < 0:
            raise ValueError(f"seed must be 0 or more, got {seed}")
        self.regularizer = regularizer
        self.seed, self.global_step = int(seed), 0

    def forward(self, x: Tensor) -> Tensor:
        """The regulariser's value.

        Args:
            x: embeddings, shape (N, K), one view; or (..., N, K), of which all dimensions but the last two count views.

        Returns:
            A scalar, float32 or better.

        Raises:
            ValueError: as ``Regularizer``; in ``torch.export``, which can hold no generator, ``RuntimeError``.
        """
        return self.regularizer(_views(x), self._generator(x.device))

    @untraced(UNTRACEABLE)
    def _generator(self, device: torch.device) -> torch.Generator:
        """The generator of this call, which the next one follows."""
        if torch.compiler.is_exporting():
            raise RuntimeError(UNTRACEABLE)
        step = agreed_step(self.global_step, device)
        self.global_step = step + 1
        return seeded_generator(self.seed, step, device=generator_device(device))

    def get_extra_state(self) -> Tensor:
        return torch.tensor([self.seed, self.global_step])

    def set_extra_state(self, state: Tensor) -> None:
        self.seed, self.global_step = state.tolist()


class LightlySIGReg(SteppedRegularizer):
    """SIGReg with the signature of ``lightly.loss.lejepa_loss.SIGReg``.

        SIGReg(x) = 1/V sum_v 1/M sum_m T({a_m'x_vn}_n),   T Epps-Pulley on ``knots`` nodes of [0, t_max]            [1]

    The formula is lightly's, and so are the defaults. Other than there: the arithmetic runs in float32 or better;
    directions are seeded by ``seed`` and the call's number, in float32 and the same on all ranks, instead of drawn from
    the global generator in the dtype of the embeddings; and counts of samples are whole numbers.

    Args:
        knots: nodes, from 0 to ``t_max``.
        t_max: where they end.
        num_vectors: M, slices drawn at each call.
        gather_distributed: in a process group, True takes the statistic of all ranks' samples, False, lightly's
            default, that of each rank's own, whose gradient is another loss's (a smaller batch).
        seed: see ``SteppedRegularizer``.

    Raises:
        ValueError: ``knots`` below 2, ``t_max`` not above 0, ``num_vectors`` below 1, or a negative ``seed``.

    [1] Balestriero & LeCun (2025), arXiv:2511.08544; lightly 1.6.0.
    """

    def __init__(
        self,
        *,
        knots: int = 17,
        t_max: float = 3.0,
        num_vectors: int = 1024,
        gather_distributed: bool = False,
        seed: int = 0,
    ) -> None:
        if knots < 2:
            raise ValueError(f"knots must be at least 2, got {knots}")
        if t_max <= 0:
            raise ValueError(f"t_max must be greater than 0, got {t_max}")
        if num_vectors < 1:
            raise ValueError(f"num_vectors must be at least 1, got {num_vectors}")
        statistic = EppsPulley(t_max, knots)
        super().__init__(SIGReg(statistic, num_vectors), seed=seed)
        self.statistic = statistic
        self.num_vectors, self.gather_distributed = num_vectors, gather_distributed

    def forward(self, x: Tensor) -> Tensor:
        if self.gather_distributed:
            return super().forward(x)
        z = _views(x)
        directions = draw_directions("iid", z, self.num_vectors, self._generator(z.device), torch.float32)
        return sliced_statistic(z, self.statistic, directions).mean()


def _views(x: Tensor) -> Tensor:
    """(..., N, K) as (V, N, K)."""
    if not isinstance(x, Tensor) or x.ndim < 2:
        shape = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"x must be a tensor of shape (N, K) or (..., N, K), got {shape}")
    return x[None] if x.ndim == 2 else x.flatten(0, -3)
