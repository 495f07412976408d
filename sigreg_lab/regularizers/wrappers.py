"""Regularisers around another one: earlier embeddings beside those of the batch, and centred residuals.

Both hand the embeddings on, changed, and leave the rest, the exchange between ranks too, to the one that they hold.
"""

import torch
from torch import Tensor

from sigreg_lab.distributed import gather_samples, rank, world_size
from sigreg_lab.regularizers.base import Regularizer
from sigreg_lab.validation import at_least_float32, on_device


def _check_inner(regularizer: Regularizer) -> None:
    if not isinstance(regularizer, Regularizer):
        raise TypeError(f"regularizer must be a Regularizer, got {regularizer!r}; make_regularizer(name) builds one")


class QueuedRegularizer(Regularizer):
    """A regulariser of the batch and of the embeddings of earlier batches together, for small batches.

        R_Q(z) = R([z, q]),   q the embeddings of the last ``num_batches`` calls, without gradient                [1; 2]

    The statistic is that of (1 + ``num_batches``) N samples, but only the batch's are moved, and the others are those
    of a network some steps old. A statistic that carries the factor N then has gradients per sample as in a batch of
    that size, of N samples instead of all: beside the prediction loss lambda means what it means for batches of N. The
    queue is filled in training mode alone (``.eval()`` stands still), by the embeddings as they were handed in. The
    first call has no queue.

    Double-buffered SIGReg [3] has the same end: sums of the characteristic function over the last K steps stand in for
    a large batch, on axes that are kept for 2 K steps, because the sums belong to axes. Here the embeddings are kept
    and the sums taken anew, so that each call may draw its own directions and any regulariser can be held; that costs
    V Q K numbers, Q = ``num_batches`` N, and the sums over them. Its detached mode is not held.

    Every rank keeps the queue of all ranks and computes with every W-th row of it: a checkpoint of one rank is that of
    all. It is in the state dict, and not captured in a CUDA graph. Shapes, dtypes and errors of a call:
    ``Regularizer``.

    Args:
        regularizer: R.
        num_batches: earlier batches that are kept, at least 1.

    Raises:
        TypeError: ``regularizer`` is none.
        ValueError: ``num_batches`` below 1; in use, what R refuses, and embeddings of another V or K than the queue's.

    [1] He, Fan, Wu, Xie & Girshick (2020), MoCo, arXiv:1911.05722: a queue of earlier embeddings.
    [2] Wang, Zhang, Huang & Scott (2020), Cross-batch memory, arXiv:1912.06798: of the same network, without gradient.
    [3] Cecille (2026), Double-buffered SIGReg, code Aurel-C/DB-SIGReg.
    """

    queue: Tensor
    capturable = False  # it grows, and is another tensor at each call

    def __init__(self, regularizer: Regularizer, *, num_batches: int = 3) -> None:
        super().__init__()
        _check_inner(regularizer)
        if num_batches < 1:
            raise ValueError(f"num_batches must be at least 1, got {num_batches}")
        self.regularizer = regularizer
        self.num_batches = num_batches
        self.min_samples, self.min_views = 1, regularizer.min_views  # R counts the queue's samples too
        self.register_buffer("queue", torch.empty(0, 0, 0))

    def extra_repr(self) -> str:
        return f"num_batches={self.num_batches}"

    def _value(self, z: Tensor, generator: torch.Generator) -> Tensor:
        if self.queue.numel() == 0:
            self.queue = z.new_empty(z.shape[0], 0, z.shape[2])
        elif self.queue.shape[::2] != z.shape[::2]:
            raise ValueError(
                f"z holds {z.shape[0]} views of dimension {z.shape[2]}, the queue {self.queue.shape[0]} of "
                f"{self.queue.shape[2]}; use another QueuedRegularizer for them"
            )
        queue = on_device(self.queue, z.device).to(z.dtype)
        value: Tensor = self.regularizer(torch.cat((z, queue[:, rank() :: world_size()]), 1), generator)
        if self.training:
            batch = gather_samples(z.detach()).samples
            self.queue = torch.cat((queue, batch), 1)[:, -self.num_batches * batch.shape[1] :]
        return value

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:  # type: ignore[no-untyped-def]
        """The queue has the shape that it was saved with."""
        saved = state_dict.get(f"{prefix}queue")
        if isinstance(saved, Tensor):
            self.queue = torch.empty_like(saved)
        super()._load_from_state_dict(state_dict, prefix, *args)


class CentredResiduals(Regularizer):
    """TC-SIGReg: a regulariser of what is left of the embeddings when each cluster of the batch is centred.

        R_C(z) = R(r),   r_vn = z_vn - 1/|C(n)| sum_{j in C(n)} z_vj                                                 [1]

    C(n) is the cluster of sample n, itself included. Where rows of a batch belong together (frames of a clip, tasks,
    classes), the law of all of them is a mixture, and a regulariser towards one N(0, I) pulls the clusters' centres
    together; of residuals it leaves the centres where they are, while it still forbids a collapse within clusters. In
    [1] C(n) is a window of frames around frame n of one trajectory, and R is SIGReg. Here the clusters partition the
    batch: those handed in, or runs of ``window`` samples that follow one another. In a shuffled batch such runs mean
    nothing: r is then nearly z less its mean, of variance 1 - 1/``window``.

    A cluster of one sample has the residual 0. Gradient: no pull on the centres. Cost: that of R and O(V N^2 K).
    Shapes, dtypes and errors of a call: ``Regularizer``.

    Args:
        regularizer: R.
        window: the batch, over ranks in their order, is cut into runs of this many samples; where it does not divide,
            into as many runs as fit, of sizes that differ by one at most. At least 2.

    Raises:
        TypeError: ``regularizer`` is none.
        ValueError: ``window`` below 2; in use, what R refuses, and ``clusters`` that are not one whole number a sample.

    [1] Liu, Suo, Jin, Ping, Iwasawa, Matsuo & Zhu (2026), Temporally centered SIGReg, arXiv:2607.26924, eq. 2.
    """

    def __init__(self, regularizer: Regularizer, *, window: int = 8) -> None:
        super().__init__()
        _check_inner(regularizer)
        if window < 2:
            raise ValueError(f"window must be at least 2 (the residual of one sample is 0), got {window}")
        self.regularizer = regularizer
        self.window = window
        self.min_samples, self.min_views = regularizer.min_samples, regularizer.min_views
        self.capturable = regularizer.capturable

    def extra_repr(self) -> str:
        return f"window={self.window}"

    def forward(self, z: Tensor, generator: torch.Generator, *, clusters: Tensor | None = None) -> Tensor:
        """The regulariser's value.

        Args:
            z: embeddings, shape (V, N, K).
            generator: R's randomness.
            clusters: used instead of runs: the cluster of each of this rank's samples, whole numbers of shape (N,),
                equal for samples of one cluster on any rank.

        Returns:
            A scalar, float32 (float64 for float64 embeddings), whatever autocast says.

        Raises:
            ValueError: as R does; ``clusters`` of another shape or kind.
        """
        self._check(z, self.min_samples)
        if clusters is not None and (clusters.shape != z.shape[1:2] or clusters.is_floating_point()):
            raise ValueError(
                f"clusters must be whole numbers of shape ({z.shape[1]},), one a sample; got {clusters.dtype} of shape "
                f"{tuple(clusters.shape)}"
            )
        with torch.autocast(device_type=z.device.type, enabled=False):
            return self.regularizer(self._residuals(at_least_float32(z), clusters), generator)

    def _residuals(self, z: Tensor, clusters: Tensor | None) -> Tensor:
        everyone, start = gather_samples(z)
        total = everyone.shape[1]
        if clusters is None:
            runs = max(1, total // self.window)
            labels = torch.arange(total, device=z.device) * runs // total
            own = labels[start : start + z.shape[1]]
        else:
            own = on_device(clusters, z.device)
            labels = gather_samples(own, 0).samples
        together = (own[:, None] == labels).to(z.dtype)
        return z - together / together.sum(1, keepdim=True) @ everyone
