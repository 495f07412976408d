"""The contract of a regulariser: embeddings of all views go in, one number comes out."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sigreg_lab.distributed import world_size
from sigreg_lab.validation import at_least_float32, check_sample


class Regularizer(torch.nn.Module):
    """Base of all regularisers: (V, N, K) -> scalar, smaller is better.

    A subclass writes ``_value(z, generator)``, the formula alone; it receives checked embeddings in float32 or
    float64, with autocast switched off.

    In an initialised process group the value is that of the whole batch: each rank hands in its own N embeddings of
    every view (the N may differ), all ranks call together and hand in generators in the same state, and the mean over
    ranks of the parameters' gradients, which ``DistributedDataParallel`` takes, is the gradient of one process on the
    whole batch (see ``sigreg_lab.distributed``).

    Attributes:
        min_samples: the least N, counted over all ranks; each rank hands in one sample or more.
        min_views: the least V.
        capturable: whether a CUDA graph may hold it: False if the host looks at a value or computes something.
    """

    min_samples: int = 2
    min_views: int = 1
    capturable: bool = True

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        if len(inputs) + ("z" in named) + ("generator" in named) < 2:
            raise TypeError(
                f"{type(self).__name__} takes embeddings and a torch.Generator: regularizer(z, generator), such as "
                "slicing.seeded_generator(run, step); adapters.SteppedRegularizer(regularizer) steps one of its own"
            )
        return super().__call__(*inputs, **named)

    def forward(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """The regulariser's value.

        Args:
            z: embeddings of V views of N samples in K dimensions, shape (V, N, K). bfloat16 and float16 are lifted to
                float32; float64 stays float64. The gradient is computed as widely and then rounded to the dtype of
                ``z``: in float16 what is beyond 65504, as near a collapse or for embeddings in the hundreds, becomes
                infinite with its sign. It is not cut off there, since ``torch.amp.GradScaler`` knows by it to lower its
                scale; without one, train in bfloat16 or hand in ``z.float()``.
            generator: the only source of randomness; a regulariser that draws nothing ignores it.

        Returns:
            A scalar, float32 (float64 for float64 embeddings), whatever autocast says.

        Raises:
            ValueError: ``z`` is not a finite floating-point tensor of shape (V, N, K) with enough views and samples.
        """
        self._check(z, self.min_samples)
        with torch.autocast(device_type=z.device.type, enabled=False):
            return self._value(at_least_float32(z), generator)

    def _check(self, z: Tensor, min_samples: int) -> None:
        check_views(z, min_samples if world_size() == 1 else 1)
        if z.shape[0] < self.min_views:
            raise ValueError(f"z holds {z.shape[0]} view(s); {type(self).__name__} needs at least {self.min_views}")

    def _value(self, z: Tensor, generator: torch.Generator) -> Tensor:
        raise NotImplementedError


def stack_views(z: Tensor | Sequence[Tensor], name: str = "z") -> Tensor:
    """Embeddings (V, N, K): a tensor as it is, a list or tuple of V views (N, K) stacked.

    Raises:
        ValueError: views of several shapes or not (N, K), or none.
    """
    if isinstance(z, Tensor):
        return z
    if isinstance(z, list | tuple) and z and all(isinstance(view, Tensor) for view in z):
        shapes = {tuple(view.shape) for view in z}
        if len(shapes) == 1 and len(z[0].shape) == 2:
            return torch.stack(list(z))
        raise ValueError(f"{name} must be a tensor (V, N, K), or views of one shape (N, K); got views {sorted(shapes)}")
    raise ValueError(f"{name} must be a tensor (V, N, K), or a list of views (N, K); got {type(z).__name__}")


def check_views(z: Tensor, min_samples: int) -> None:
    """Raise ``ValueError`` unless ``z`` is a finite floating-point tensor (V, N, K) with ``min_samples`` samples."""
    if isinstance(z, Tensor) and z.ndim != 3:
        remedy = "flatten the further dimensions" if z.ndim > 3 else "torch.stack puts views first, z[None] is one view"
        raise ValueError(f"z must have shape (V, N, K), got {tuple(z.shape)}; {remedy}")
    check_sample(z, "z", ndim=3, min_samples=min_samples)
