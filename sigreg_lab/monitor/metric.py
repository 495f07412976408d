"""``EmbeddingHealth``: the numbers of ``embedding_health`` as a torchmetrics ``Metric``."""

from typing import Any

import torch
from torch import Tensor

from sigreg_lab.distributed import rank
from sigreg_lab.monitor.health import LEAST_ROWS, embedding_health, null_bands
from sigreg_lab.slicing import seeded_generator
from sigreg_lab.validation import on_device

try:
    from torchmetrics import Metric
except ImportError as error:
    raise ImportError("EmbeddingHealth needs torchmetrics: pip install 'sigreg-lab[monitor]'") from error


class EmbeddingHealth(Metric):
    """Effective rank, spectrum, largest slice and distance to N(0, I) of the embeddings seen since ``reset``.

    Kept is a sample of ``max_samples`` rows, of which each row seen is one with the same probability: every row gets a
    uniform random key, and those of the least keys stay. Ranks keep theirs, and ``compute`` takes the least keys of
    all, so that every row counts alike however the rows are shared out. Rows that hold NaN or infinity are counted and
    left out.

    Args:
        dim: K.
        max_samples: rows kept, at least 8; memory 4 K bytes each, on the metric's device.
        num_slices: M, at most K are taken.
        seed: of keys and slices.
        **options: those of ``torchmetrics.Metric``, such as ``sync_on_compute``.

    Attributes:
        spectrum: variances along the principal axes at the last ``compute``, shape (K,), float64, descending.

    Raises:
        ImportError: torchmetrics is not installed.
        ValueError: ``dim`` or ``num_slices`` below 1, or ``max_samples`` below 8.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = True

    rows: Tensor
    keys: Tensor
    seen: Tensor
    nonfinite: Tensor

    def __init__(
        self, dim: int, *, max_samples: int = 1024, num_slices: int = 256, seed: int = 0, **options: Any
    ) -> None:
        super().__init__(**options)
        for name, value, least in (
            ("dim", dim, 1),
            ("max_samples", max_samples, LEAST_ROWS),
            ("num_slices", num_slices, 1),
        ):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        self.dim, self.max_samples, self.num_slices, self.seed = dim, max_samples, num_slices, seed
        self.spectrum: Tensor | None = None
        self._updates = 0
        self.add_state("rows", torch.zeros(max_samples, dim), dist_reduce_fx=None)
        self.add_state("keys", torch.full((max_samples,), torch.inf), dist_reduce_fx=None)
        self.add_state("seen", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("nonfinite", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, embeddings: Tensor) -> None:
        """Take rows in. Nothing waits for a GPU.

        Args:
            embeddings: shape (N, K); of (V, N, K) the first view is taken, since rows of one image depend on each
                other. Any floating-point dtype; kept in float32.

        Raises:
            ValueError: another shape, or no floating point.
        """
        z = self.first_view(embeddings)
        generator = seeded_generator(self.seed, rank(), self._updates)
        self._updates += 1
        z = z.to(self.rows.device, torch.float32)
        finite = z.isfinite().all(1)
        keys = on_device(torch.rand(len(z), generator=generator), z.device).masked_fill(~finite, torch.inf)
        self.rows, self.keys = self._least(
            torch.cat([self.rows.flatten(0, -2), z]), torch.cat([self.keys.flatten(), keys])
        )
        self.seen += len(z)
        self.nonfinite += (~finite).sum()

    def first_view(self, embeddings: Tensor) -> Tensor:
        """What ``update`` takes of embeddings: shape (N, K), without gradient.

        Raises:
            ValueError: another shape, or no floating point.
        """
        if not isinstance(embeddings, Tensor):
            raise ValueError(f"embeddings must be a torch.Tensor, got {type(embeddings).__name__}")
        z = embeddings.detach()
        if z.ndim == 3 and len(z):
            z = z[0]
        if z.ndim != 2 or z.shape[1] != self.dim or not z.is_floating_point():
            raise ValueError(
                f"embeddings must be floating point, of shape (N, {self.dim}) or (V, N, {self.dim}), got "
                f"{embeddings.dtype} {tuple(embeddings.shape)}; make EmbeddingHealth with dim= their last size"
            )
        return z

    def _least(self, rows: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        keys, places = keys.topk(self.max_samples, largest=False)
        return rows[places], keys

    def sample(self) -> Tensor:
        """The rows kept, shape (at most ``max_samples``, K), on the CPU; of all ranks inside ``sync_context``."""
        rows, keys = self._least(self.rows.flatten(0, -2), self.keys.flatten())
        return rows[keys.isfinite()].cpu()

    def compute(self) -> dict[str, Tensor]:
        """The numbers of ``embedding_health``, and ``nonfinite_share``, of the rows seen; scalars, float32.

        Fewer than 8 finite rows leave all but ``nonfinite_share`` and ``num_samples`` NaN.

        Raises:
            ValueError: fewer than 8 rows were seen.
        """
        seen, nonfinite = int(self.seen), int(self.nonfinite)
        if seen < LEAST_ROWS:
            raise ValueError(
                f"{seen} row(s) of embeddings were seen, at least {LEAST_ROWS} are needed; call update first"
            )
        x = self.sample()
        if len(x) < LEAST_ROWS:
            names = embedding_health(torch.zeros(LEAST_ROWS, 1))[0]
            numbers, self.spectrum = dict.fromkeys(names, torch.nan) | {"num_samples": float(len(x))}, None
        else:
            numbers, self.spectrum = embedding_health(x, num_slices=self.num_slices, seed=self.seed + seen)
        numbers["nonfinite_share"] = nonfinite / seen
        return {name: torch.tensor(value, device=self.rows.device) for name, value in numbers.items()}

    def prepare(self) -> None:
        """Simulate the bands of a full sample now instead of at the first ``compute``."""
        null_bands(self.max_samples, self.dim)
