"""One LeJEPA pretraining run, from config to trained encoder."""

import dataclasses
import math
from collections.abc import Callable

import torch
from lightning_fabric import Fabric
from torch import Tensor

from sigreg_lab.pretrain.data import Splits, load_data
from sigreg_lab.pretrain.models import Encoder, make_backbone
from sigreg_lab.pretrain.views import ViewConfig, make_views
from sigreg_lab.regularizers import LeJEPALoss, LeJEPATerms, make_regularizer
from sigreg_lab.slicing import seeded_generator

# What a stream of random numbers is for; part of its seed.
_WEIGHTS, _ORDER, _VIEWS, _SLICES = range(4)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """All knobs of a run; saved with its result."""

    data: str = "digits"
    regularizer: str = "sigreg-ep"
    seed: int = 0

    # Loss. ``dimensions="mean"`` is the scale on which the paper's lambda = 0.05 is meant (its Algorithm 2).
    lam: float = 0.05
    num_slices: int = 256
    form: str = "convex"
    prediction: str = "centroid"
    dimensions: str = "mean"

    # Model
    backbone: str = "small-conv"
    embedding_dim: int = 128
    projector: tuple[int, ...] = (256, 32)

    # Optimisation: AdamW, linear warm-up, cosine to lr / 1000.
    steps: int = 300
    batch_size: int = 256
    num_views: int = 4
    lr: float = 2e-3
    weight_decay: float = 5e-2
    warmup: float = 0.1
    precision: str = "32-true"

    # Views
    views: ViewConfig = dataclasses.field(default_factory=ViewConfig)


@dataclasses.dataclass(frozen=True)
class PretrainResult:
    """A trained encoder, in evaluation mode, and its loss terms at every step."""

    encoder: Encoder
    data: Splits
    history: list[dict[str, float]]

    @torch.no_grad()
    def embed(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings (N, D) and projections (N, K) of images, float32 on the CPU."""
        device = next(self.encoder.parameters()).device
        embedding, projection = self.encoder(pixels.to(device))
        return embedding.float().cpu(), projection.float().cpu()


def pretrain(
    config: PretrainConfig,
    data: Splits | None = None,
    on_step: Callable[[int, dict[str, float]], None] | None = None,
) -> PretrainResult:
    """Pretrain an encoder without labels.

    Args:
        config: the run.
        data: used instead of loading ``config.data``.
        on_step: called after each step with its number and its loss terms.

    Raises:
        ValueError: an unknown data set, backbone, regulariser or option, or a batch larger than the data.
        FloatingPointError: the loss is not finite; the message names the step.
    """
    data = data if data is not None else load_data(config.data)
    if not 2 <= config.batch_size <= len(data.train.pixels):
        raise ValueError(f"batch_size must lie in 2 .. {len(data.train.pixels)}, got {config.batch_size}")
    fabric = Fabric(accelerator="auto", devices=1, precision=config.precision)  # type: ignore[arg-type]
    loss_fn = LeJEPALoss(
        make_regularizer(config.regularizer, num_slices=config.num_slices),
        config.lam,
        form=config.form,  # type: ignore[arg-type]
        prediction=config.prediction,  # type: ignore[arg-type]
        dimensions=config.dimensions,  # type: ignore[arg-type]
    )
    pixels = data.train.pixels.to(fabric.device)
    encoder = build_encoder(config, pixels)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: lr_factor(step, config))
    model, optimizer = fabric.setup(encoder, optimizer)

    order = Batches(len(pixels), config.batch_size, config.seed)
    history: list[dict[str, float]] = []
    for step in range(config.steps):
        batch = pixels[next(order).to(fabric.device)]
        views = make_views(
            batch, config.num_views, seeded_generator(config.seed, _VIEWS, step, device=fabric.device), config.views
        )
        _, projection = model(views.flatten(0, 1))
        terms = loss_fn(projection.unflatten(0, views.shape[:2]), seeded_generator(config.seed, _SLICES, step))
        if not torch.isfinite(terms.total):
            raise FloatingPointError(f"the loss is {terms.total.item()} at step {step}; lower lr or lam")
        optimizer.zero_grad()
        fabric.backward(terms.total)
        optimizer.step()
        schedule.step()
        history.append(_as_floats(terms))
        if on_step is not None:
            on_step(step, history[-1])
    encoder.eval()
    return PretrainResult(encoder, data, history)


def build_encoder(config: PretrainConfig, pixels: Tensor) -> Encoder:
    """The run's encoder, its weights drawn from the run's seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeded_generator(config.seed, _WEIGHTS).initial_seed())
        backbone = make_backbone(config.backbone, pixels.shape[1], config.embedding_dim)
        encoder = Encoder(backbone, config.embedding_dim, config.projector)
        encoder.eval()
        with torch.no_grad():
            encoder(pixels[:1].cpu())  # gives lazy layers their shape
    return encoder.train().to(pixels.device)


def lr_factor(step: int, config: PretrainConfig) -> float:
    """Learning rate over its peak: linear warm-up, then a half cosine down to 1/1000."""
    warmup = max(1, round(config.warmup * config.steps))
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, config.steps - warmup)
    return 1e-3 + (1 - 1e-3) * (1 + math.cos(math.pi * progress)) / 2


class Batches:
    """Endless batches of indices: epoch by epoch in a random order, the short last batch of each left out."""

    def __init__(self, size: int, batch_size: int, seed: int) -> None:
        self._size, self._batch_size, self._seed = size, batch_size, seed
        self._position = 0

    def __next__(self) -> Tensor:
        per_epoch = self._size // self._batch_size
        epoch, index = divmod(self._position, per_epoch)
        self._position += 1
        permutation = torch.randperm(self._size, generator=seeded_generator(self._seed, _ORDER, epoch))
        return permutation[index * self._batch_size : (index + 1) * self._batch_size]


def _as_floats(terms: LeJEPATerms) -> dict[str, float]:
    return {name: float(value.detach()) for name, value in terms._asdict().items()}
