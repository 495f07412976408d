"""One LeJEPA pretraining run, from config to trained encoder.

A step: rows -> images on the device -> views -> encoder -> projections z -> loss(z) -> dL/dz -> encoder's gradient.

The loss is no sum over samples, so a batch cannot be cut into parts whose losses are added. With ``accumulate`` parts
the projections of all parts are made first, without a graph; dL/dz is that of the whole batch; then each part runs
again, with the same random numbers, and receives its rows of dL/dz (gradient caching, Gao et al. 2021,
arXiv:2101.06983). It costs one more forward pass. Only batch normalisation sees parts instead of the whole batch.

On one GPU the whole step, views to optimiser, is one CUDA graph: after a few steps that run operation by operation it
is captured, and from then on replayed, so that the host has nothing to do. What a replay needs is put in place before
it: the rows of the batch, the learning rate, the generators' seeds. Steps with diagnostics, and regularisers that look
at values (``Regularizer.capturable``), run operation by operation; so does every step on a CPU. Both run the same code.

Every random number depends on (seed, purpose, step) alone, so a run that goes on from a checkpoint is the run that was
never stopped: bit for bit on a CPU; on a GPU up to the order of its atomic additions.
"""

import contextlib
import copy
import dataclasses
import datetime
import math
import os
import resource
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from sigreg_lab.diagnostics import effective_rank
from sigreg_lab.distributed import on_all_ranks, world_size
from sigreg_lab.pretrain.checkpoint import (
    check_same_data,
    check_same_run,
    load_checkpoint,
    load_weights,
    save_checkpoint,
)
from sigreg_lab.pretrain.config import PretrainConfig, as_dict, check_config
from sigreg_lab.pretrain.crops import compiled_crops, draw_crops
from sigreg_lab.pretrain.curves import Curves, Stopwatch, outside_share
from sigreg_lab.pretrain.data import Images, Splits, Stream, as_float, load_data
from sigreg_lab.pretrain.models import BACKBONES, Encoder, Features, build_encoder, synchronized
from sigreg_lab.pretrain.views import VIEWS
from sigreg_lab.regularizers import LeJEPALoss, LeJEPATerms, check_regularizer, resolve_regularizer
from sigreg_lab.slicing import seeded_generator
from sigreg_lab.validation import all_finite, on_device

if TYPE_CHECKING:
    from lightning_fabric import Fabric

T = TypeVar("T")

# What a stream of random numbers is for; part of its seed. Weights are drawn in models.build_encoder.
_WEIGHTS, _ORDER, _VIEWS, _SLICES, _DROPOUT, _PROBE = range(6)
CHECKPOINT = "checkpoint.pt"
#: What gloo says where a process is alone, and NCCL where it says anything: past its time-out torch ends the process.
_ALONE = (
    *("Timed out", "timed out", "timing out", "Connection closed by peer", "Connection reset by peer"),
    *("remote process exit", "communicator was aborted"),
)
EAGER_STEPS = 3  # before a step is captured: kernels are compiled and tuned, libraries take their workspaces
_PIXELS_AT_ONCE = 2**24  # in evaluation: 341 images of 128 px
_ONLINE_LR, _ONLINE_DECAY, _ONLINE_IMAGES = 1e-3, 1e-7, 2048  # the probe of the official minimal run


@dataclasses.dataclass(frozen=True)
class PretrainResult:
    """A trained encoder, in evaluation mode, and its loss terms at every step that was logged.

    Attributes:
        encoder: backbone and projector.
        data: what it was trained on.
        history: the logged numbers.
        config: the run, with steps and batch size as they were.
        finished: False if the run stopped for ``max_minutes``.
        seconds: time of each part of the steps, this process's.
    """

    encoder: Encoder
    data: Splits
    history: list[dict[str, float]]
    config: PretrainConfig = dataclasses.field(default_factory=PretrainConfig)
    finished: bool = True
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)

    @torch.no_grad()
    def embed(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings (N, D) and projections (N, K) of images, float32 on the CPU."""
        device = next(self.encoder.parameters()).device
        parts = [self.encoder(as_float(part.to(device)))[:2] for part in _portions(pixels)]
        embedding, projection = zip(*parts, strict=True)
        return torch.cat(embedding).float().cpu(), torch.cat(projection).float().cpu()

    @torch.no_grad()
    def features(self, images: Images) -> tuple[Features, Tensor]:
        """What probes see of images, float32 on the encoder's device, and the labels."""
        device = next(self.encoder.parameters()).device
        found, labels = [], []
        dtype = torch.bfloat16 if device.type == "cuda" and "bf16" in resolved_precision(self.config, device) else None
        for rows in _portions(torch.arange(len(images.pixels)), math.prod(images.pixels.shape[1:])):
            pixels, own = images.take(rows, device)
            with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                found.append(self.encoder.features(pixels))
            labels.append(own)
        return Features(*(torch.cat(parts).float() for parts in zip(*found, strict=True))), torch.cat(labels)


def pretrain(
    config: PretrainConfig,
    data: Splits | None = None,
    on_step: Callable[[int, dict[str, float]], None] | None = None,
    *,
    folder: Path | None = None,
    resume: bool = False,
    max_minutes: float = 0.0,
    wandb: str = "",
) -> PretrainResult:
    """Pretrain an encoder without labels.

    Args:
        config: the run.
        data: used instead of loading ``config.data``.
        on_step: called after each logged step with its number and its loss terms.
        folder: where checkpoint and curves go; None: nowhere.
        resume: go on from the folder's checkpoint if there is one.
        max_minutes: stop after that time, with a checkpoint to go on from; 0: never.
        wandb: project in W&B; empty: none.

    Raises:
        ValueError: an unknown data set, backbone, regulariser or option, a regulariser of one's own whose value is no
            finite scalar or has no gradient, a batch larger than the data, a device or precision that is not there, or
            the checkpoint of another run.
        FloatingPointError: the loss is not finite; the message names the step, the batch and the last good checkpoint.
        MemoryError: the device's memory is too small.
    """
    data = data if data is not None else load(config)
    check_views(config, data)
    config = resolved(config, len(data.train.pixels))
    loss_fn = make_loss(config)
    fabric = make_fabric(config)
    if config.batch_size // fabric.world_size < config.accumulate:
        raise ValueError(
            f"batch_size={config.batch_size} leaves a process fewer images than accumulate={config.accumulate} parts; "
            f"start at most {config.batch_size // config.accumulate} processes, or lower accumulate"
        )
    chosen = resolve_regularizer(config.regularizer)
    if chosen.digest:
        width = config.projector[-1]  # at a backbone's width it works as at the projector's
        check_regularizer(chosen, (sum(view_counts(config)), config.batch_size, width), fabric.device)
    began = time.monotonic()
    try:
        run = Run(config, data, fabric, loss_fn)
        start = run.restore(folder / CHECKPOINT) if resume and folder and _is_there(folder / CHECKPOINT, fabric) else 0
        curves = Curves(folder if fabric.is_global_zero else None, start, wandb, as_dict(config))
        finished = _train(run, curves, start, on_step, folder, began + 60 * max_minutes if max_minutes else math.inf)
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if world_size() > 1 and any(sign in str(error) for sign in _ALONE):
            raise RuntimeError(
                f"process {fabric.global_rank}: another process of the run has ended, or has not answered for "
                f"wait_seconds={config.wait_seconds:g}; its own message says why"
            ) from error
        if not isinstance(error, torch.OutOfMemoryError) and "not enough memory" not in str(error):
            raise
        raise MemoryError(
            f"out of memory on {fabric.device} at batch_size={config.batch_size}, accumulate={config.accumulate}; "
            f"raise accumulate (the loss stays that of the whole batch), or lower batch_size or the views"
        ) from error
    run.encoder.eval()
    history = [{key: value for key, value in row.items() if key != "step"} for row in curves.rows]
    return PretrainResult(run.encoder, data, history, config, finished, run.watch.seconds)


def _train(
    run: "Run",
    curves: Curves,
    start: int,
    on_step: Callable[[int, dict[str, float]], None] | None,
    folder: Path | None,
    deadline: float,
) -> bool:
    """The loop; whether it came to its end."""
    config, fabric, watch = run.config, run.fabric, run.watch
    path = folder / CHECKPOINT if folder else None
    saved, saved_at = (start, time.monotonic()) if start else (None, time.monotonic())
    unread: list[tuple[int, Tensor, LeJEPATerms]] = []  # losses not looked at yet: looking waits for the GPU
    since, images_since = time.monotonic(), 0
    last = start
    try:
        with (
            torch.random.fork_rng(devices=[fabric.device] if fabric.device.type == "cuda" else []),
            side_stream(fabric.device),
        ):
            watch.start()
            for step, batch in enumerate(run.batches(start), start):
                watch.lap("data")
                diagnose = bool(config.diagnose_every) and step % config.diagnose_every == 0
                terms, extra = run.step(step, batch, diagnose)
                unread.append((step, batch.rows, terms))
                last, images_since = step + 1, images_since + config.batch_size
                due = step % config.log_every == 0 or diagnose or last == config.steps
                if due:
                    _check_finite(unread, saved, path)
                    unread.clear()
                    recent, now = watch.read(), time.monotonic()
                    values = {name: float(value.detach()) for name, value in terms._asdict().items()} | extra
                    values |= {
                        "lr": config.lr * lr_factor(step, config),
                        "images_per_second": images_since / (now - since),
                    }
                    values |= {"outside_share": outside_share(recent), "memory_gib": memory_gib(fabric.device)}
                    since, images_since = now, 0
                    curves.add(step, values)
                    if on_step is not None and fabric.is_global_zero:
                        on_step(step, {**values, "steps": config.steps})
                    in_time = on_all_ranks(time.monotonic() <= deadline, fabric.device)
                    if not in_time and last < config.steps:
                        break
                    if path and time.monotonic() - saved_at >= 60 * config.checkpoint_minutes:
                        run.save(path, last, curves)
                        saved, saved_at = last, time.monotonic()
                    watch.start()
    finally:
        curves.close()
    if path and not (saved == last and last == start):
        run.save(path, last, curves)
    return last >= config.steps


class Batch(NamedTuple):
    """Rows of the training set; pixels and labels of a stream, which are read ahead."""

    rows: Tensor
    loaded: tuple[Tensor, Tensor] | None = None


class Run:
    """What a run is made of: model, optimiser, loss, data; its step, and its state."""

    def __init__(self, config: PretrainConfig, data: Splits, fabric: "Fabric", loss_fn: LeJEPALoss) -> None:
        self.config, self.fabric, self.loss_fn = config, fabric, loss_fn
        self.train = data.train.to(fabric.device)
        self.validation, self.identity = data.validation, data.identity()
        self.watch = Stopwatch(fabric.device)
        example, _ = data.train.take(torch.arange(1))
        encoder = build_encoder(config, example).to(fabric.device)
        on_gpu = fabric.device.type == "cuda"
        if config.augment == "crops":
            encoder = encoder.to(memory_format=torch.channels_last)  # convolutions are faster so, on processors too
        if fabric.world_size > 1 and on_gpu:  # which takes no CPU tensors, and is to come before compile and DDP
            encoder = synchronized(encoder)
        self.encoder: Encoder = encoder
        self._gpu: dict[str, Any] = {"fused": True, "capturable": True} if on_gpu else {}
        self.optimizer = torch.optim.AdamW(
            encoder.parameters(), lr=self._rate(config.lr), weight_decay=config.weight_decay, **self._gpu
        )
        network: Any = torch.compile(encoder) if config.compile else encoder
        self.model, self._optimizer = fabric.setup(network, self.optimizer)
        self.average = averaged(encoder) if config.swa else None  # of the dtype that it has got now
        self.views = list(view_counts(config))
        self.generators = {purpose: torch.Generator(fabric.device) for purpose in (_VIEWS, _SLICES)}
        self.captures = on_gpu and may_capture(config, self.train, fabric.world_size, loss_fn)
        self._graph: _Graph | None = None
        self._steps = 0  # this process has made
        self.probe: nn.Module | None = None
        if config.online_probe and data.num_classes:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seeded_generator(config.seed, _PROBE).initial_seed())
                dim = encoder.embedding_dim
                probe = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, data.num_classes)).to(fabric.device)
            self.probe = probe
            self.probe_optimizer = torch.optim.AdamW(
                probe.parameters(), lr=_ONLINE_LR, weight_decay=_ONLINE_DECAY, **self._gpu
            )
            self._probe, self._probe_optimizer = fabric.setup(probe, self.probe_optimizer)

    def _rate(self, lr: float) -> float | Tensor:
        """A learning rate; on a GPU a tensor, which can be changed under a captured step."""
        return torch.tensor(lr, device=self.fabric.device) if self._gpu else lr

    def batches(self, start: int) -> Iterator[Batch]:
        """This rank's batches from step ``start`` on; a stream reads ahead."""
        streamed = isinstance(self.train.pixels, Stream)
        device, rank, world = self.fabric.device, self.fabric.global_rank, self.fabric.world_size
        order = Batches(
            len(self.train.pixels), self.config.batch_size, self.config.seed, start, "cpu" if streamed else device
        )
        every = (next(order)[rank::world] for _ in range(start, self.config.steps))
        if not streamed:
            yield from map(Batch, every)
            return
        # A thread has a current stream of its own; copies made on another than the step's would race with the step.
        stream = torch.cuda.current_stream(device) if device.type == "cuda" else None

        def take(rows: Tensor) -> tuple[Tensor, Tensor]:
            with torch.cuda.stream(stream):  # of None: nothing
                return self.train.take(rows, device)

        ahead: deque[tuple[Tensor, Future[tuple[Tensor, Tensor]]]] = deque()
        with ThreadPoolExecutor(1) as pool:
            for rows in every:
                ahead.append((rows, pool.submit(take, rows)))
                if len(ahead) > 2:
                    first, future = ahead.popleft()
                    yield Batch(first, future.result())
            while ahead:
                first, future = ahead.popleft()
                yield Batch(first, future.result())

    def step(self, step: int, batch: Batch, diagnose: bool) -> tuple[LeJEPATerms, dict[str, float]]:
        """One step of the optimiser; its loss terms, and diagnostics if they are due."""
        self._prepare(step)
        self._steps += 1
        if diagnose or not self.captures or self._steps <= EAGER_STEPS:
            return self.compute(step, batch, diagnose)
        if self._graph is None:
            self._graph = _Graph(self, step, batch.rows)
        return self._graph(batch.rows), {}

    def _prepare(self, step: int) -> None:
        """What the host has to do for a step: the learning rate, the seeds."""
        set_rate(self.optimizer, self.config.lr * lr_factor(step, self.config))
        rank = self.fabric.global_rank
        self._seed_dropout(step, 0)
        self.generators[_VIEWS].manual_seed(_stream_seed(self.config.seed, _VIEWS, step, *((rank,) if rank else ())))
        self.generators[_SLICES].manual_seed(_stream_seed(self.config.seed, _SLICES, step))

    def _seed_dropout(self, step: int, part: int) -> None:
        torch.manual_seed(_stream_seed(self.config.seed, _DROPOUT, step, part, self.fabric.global_rank))

    def compute(self, step: int, batch: Batch, diagnose: bool) -> tuple[LeJEPATerms, dict[str, float]]:
        """A step that is prepared, operation by operation, or into the graph that is being captured."""
        config, fabric = self.config, self.fabric
        pixels, labels = batch.loaded or self.train.take(batch.rows, fabric.device)
        self.watch.lap("data")
        views = self.augment(pixels)
        self.watch.lap("views")
        self._optimizer.zero_grad()
        parts = torch.arange(len(pixels), device=pixels.device).tensor_split(config.accumulate)  # as many on all ranks
        if len(parts) == 1:
            graph, embedding = self._outputs(views)
            outputs = graph.detach()
        else:
            with torch.no_grad(), _kept_buffers(self.encoder):
                outputs = torch.cat([self._outputs(_part(views, p), step, i)[0] for i, p in enumerate(parts)], 1)
        targets = self._average_targets(views[0], parts)
        self.watch.lap("network")

        outputs.requires_grad_()
        terms = self._loss(outputs, targets)
        (gradient,) = torch.autograd.grad(terms.total, outputs, retain_graph=diagnose)
        extra = self._gradient_norms(terms, outputs) if diagnose else {}
        self.watch.lap("loss")

        if len(parts) == 1:
            fabric.backward(graph, gradient)
        else:
            embeddings = []
            for i, part in enumerate(parts):
                with fabric.no_backward_sync(self.model, enabled=i < len(parts) - 1):
                    graph, own = self._outputs(_part(views, part), step, i)
                    fabric.backward(graph, gradient[:, part])
                embeddings.append(own.detach())
            embedding = torch.cat(embeddings, 1)
        if diagnose:
            extra["gradient_norm"] = _norm(p.grad for p in self.encoder.parameters() if p.grad is not None)
        self._optimizer.step()
        if self.average is not None:
            _update_average(self.average, self.encoder, config.swa if step else 0.0)  # step 0 is never captured
        self.watch.lap("network")
        if self.probe is not None:
            extra |= self._probe_step(embedding.detach()[: self.views[0]], labels, diagnose)
            self.watch.lap("probe")
        if diagnose and terms.total.isfinite():
            extra["embedding_rank"] = float(effective_rank(embedding[0].detach().float()))
            projections = outputs[0, :, : config.projector[-1]]
            extra["projection_rank"] = float(effective_rank(projections.detach().float()))
            self.watch.lap("diagnostics")
        return terms, extra

    def augment(self, pixels: Tensor) -> list[Tensor]:
        """Views of a batch: groups (V, N, C, H, W), the global views first."""
        config, generator = self.config, self.generators[_VIEWS]
        if config.augment != "crops" or not self._gpu:
            return VIEWS[config.augment](pixels, generator, config)
        precision = resolved_precision(config, pixels.device)
        dtype = torch.bfloat16 if precision == "bf16-mixed" else pixels.dtype
        groups = enumerate(draw_crops(pixels, generator, config.crops))
        return [compiled_crops(config.crops, side, i > 0, dtype)(pixels, draws) for i, (draws, side) in groups]

    def _outputs(self, views: list[Tensor], step: int = 0, part: int | None = None) -> tuple[Tensor, Tensor]:
        """What the loss sees, and embeddings (V, N, D).

        The loss sees projections (V, N, K), beside them the predictions if there is a predictor, and last the
        embeddings unless the regulariser is placed on the projections alone. A part of the batch has random numbers of
        its own, the same each time it runs.
        """
        if part is not None:
            self._seed_dropout(step, part)
        embedding, *rest = self.model(*(group.flatten(0, 1) for group in views))
        shape = (sum(len(group) for group in views), views[0].shape[1])
        if self.config.placement != "projector":
            rest.append(embedding)
        return torch.cat(rest, -1).unflatten(0, shape), embedding.unflatten(0, shape)

    def _average_targets(self, views: Tensor, parts: Sequence[Tensor]) -> Tensor | None:
        """The averaged encoder's projections of the global views, shape (V_g, N, K); None without one.

        It sees the parts of the batch one by one, as the encoder does, and normalises by each.
        """
        if self.average is None:
            return None
        projections = []
        with torch.no_grad(), self.fabric.autocast():
            for rows in parts:
                part = views if len(parts) == 1 else views[:, rows]
                projections.append(self.average(part.flatten(0, 1))[1].unflatten(0, part.shape[:2]))
        return torch.cat(projections, 1)

    def _loss(self, outputs: Tensor, targets: Tensor | None) -> LeJEPATerms:
        # On a CPU a regulariser refuses what is not finite, and would leave the other ranks alone in their collectives.
        if outputs.device.type == "cpu" and not on_all_ranks(all_finite(outputs), outputs.device):
            nan = outputs.sum() * float("nan")
            return LeJEPATerms(nan, nan, nan)
        config, dim = self.config, self.config.projector[-1]
        z, embedding = outputs[..., :dim], outputs[..., -self.encoder.embedding_dim :]
        predicted = outputs[..., dim : 2 * dim] if config.predictor else None
        seen = {"projector": z, "backbone": embedding, "both": (z, embedding)}[config.placement]
        return self.loss_fn(z, self.generators[_SLICES], predicted=predicted, targets=targets, regularized=seen)

    def _gradient_norms(self, terms: LeJEPATerms, outputs: Tensor) -> dict[str, float]:
        """Norms of both terms' gradients at the projections, before lambda weighs them."""
        norms = {}
        for name in ("prediction", "regularizer"):
            value = getattr(terms, name)
            if value.requires_grad:
                (gradient,) = torch.autograd.grad(value, outputs, retain_graph=True)
                norms[f"gradient_norm_{name}"] = float(gradient.norm())
        return norms

    def _probe_step(self, embedding: Tensor, labels: Tensor, diagnose: bool) -> dict[str, float]:
        """One step of the online probe on the global views' embeddings; its validation accuracy if it is due."""
        assert self.probe is not None
        self._probe_optimizer.zero_grad()
        logits = self._probe(embedding.flatten(0, 1))
        loss = nn.functional.cross_entropy(logits, labels.repeat(len(embedding)))
        self.fabric.backward(loss)
        self._probe_optimizer.step()
        if not diagnose:
            return {}
        self.encoder.eval()
        correct = total = 0
        with torch.no_grad(), self.fabric.autocast():
            rows = spread(len(self.validation.pixels), _ONLINE_IMAGES)
            for part in _portions(rows, math.prod(self.validation.pixels.shape[1:])):
                pixels, truth = self.validation.take(part, self.fabric.device)
                correct += int((self.probe(self.encoder(pixels)[0]).argmax(1) == truth).sum())
                total += len(truth)
        self.encoder.train()
        return {"probe_loss": float(loss.detach()), "probe_accuracy": correct / max(1, total)}

    def _state(self) -> dict[str, Any]:
        held: dict[str, Any] = {"encoder": self.encoder, "optimizer": self.optimizer}
        regularizer = self.loss_fn.regularizer
        if isinstance(regularizer, nn.Module) and regularizer.state_dict():
            held["regularizer"] = regularizer
        if self.average is not None:
            held["average"] = self.average
        if self.probe is not None:
            held |= {"probe": self.probe, "probe_optimizer": self.probe_optimizer}
        return held

    def save(self, path: Path, step: int, curves: Curves) -> None:
        """Write the checkpoint of a run that has made ``step`` steps; the curves first, so that none is missing."""
        if self.fabric.is_global_zero:
            curves.flush()
            state = {name: part.state_dict() for name, part in self._state().items()}
            shape = list(self.train.pixels.shape[1:])
            about = {"step": step, "config": as_dict(self.config), "image_shape": shape, **self.identity}
            save_checkpoint(path, {**about, **state})

    def restore(self, path: Path) -> int:
        """Load a checkpoint; the number of steps it has made."""
        state = load_checkpoint(path)
        check_same_run(state["config"], self.config)
        check_same_data(state, self.identity)
        for name, part in self._state().items():
            if name == "regularizer":
                if name in state:  # not in checkpoints of older versions, if it is no module
                    part.load_state_dict(state[name])  # what it keeps may have another shape than now
            elif isinstance(part, nn.Module):
                load_weights(part, state[name], self.config.backbone)
            else:
                for saved in state[name]["param_groups"]:  # how it steps is this device's, not the checkpoint's
                    saved |= {option: part.defaults[option] for option in ("fused", "capturable", "foreach")}
                part.load_state_dict(state[name])
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(float(group["lr"]))
        return int(state["step"])


def spread(count: int, most: int) -> Tensor:
    """Rows of ``count``, at most ``most``, evenly: those of an image folder lie class by class."""
    return torch.linspace(0, count - 1, min(most, count), dtype=torch.float64).round().long()


def may_capture(config: PretrainConfig, train: Images, world_size: int, loss_fn: LeJEPALoss) -> bool:
    """Whether a GPU may replay the run's steps as one graph."""
    regularizer = loss_fn.regularizer
    return (
        config.graph
        and world_size == config.accumulate == 1
        and not isinstance(train.pixels, Stream)
        and (regularizer is None or getattr(regularizer, "capturable", True))
    )


class _Graph:
    """A step captured as one CUDA graph, and its replay on other rows."""

    def __init__(self, run: Run, step: int, rows: Tensor) -> None:
        self._rows, self._watch = rows.clone(), run.watch

        def compute() -> Tensor:
            run.watch.start()
            terms, _ = run.compute(step, Batch(self._rows), diagnose=False)
            return torch.stack([term.detach() for term in terms])

        self._replay, self._terms = captured(compute, *run.generators.values())

    def __call__(self, rows: Tensor) -> LeJEPATerms:
        """Loss terms of a step that is prepared."""
        self._rows.copy_(rows)
        self._replay()
        self._watch.replays += 1
        self._watch.start()
        return LeJEPATerms(*self._terms.clone())


def captured(call: Callable[[], T], *generators: torch.Generator) -> tuple[Callable[[], None], T]:
    """A CUDA graph of a call that has run before on this stream, not the default one: its replay, and its outputs.

    A replay reads what lies where the call read it, draws from ``generators`` (and torch's own) as they are seeded
    then, and writes the same outputs anew.
    """
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"):
        outputs = call()
    return graph.replay, outputs


@contextlib.contextmanager
def side_stream(device: torch.device) -> Iterator[None]:
    """On a GPU, a stream other than the default one, on which nothing can be captured; convolutions chosen by trial."""
    if device.type != "cuda":
        yield
        return
    before, stream = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    stream.wait_stream(before)
    with torch.cuda.stream(stream), torch.backends.cudnn.flags(enabled=True, benchmark=True):
        yield
    before.wait_stream(stream)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate, in place where it is a tensor."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def _stream_seed(*purpose: int) -> int:
    """The seed of a stream of random numbers; see ``seeded_generator``."""
    return seeded_generator(*purpose).initial_seed()


def check_views(config: PretrainConfig, data: Splits) -> None:
    """Raise ``ValueError`` where the views asked for are of another kind than the data."""
    shape = tuple(data.train.pixels.shape[1:])
    kinds = {"affine": ("images", 3), "crops": ("images", 3), "signals": ("signals", 2)}  # of one's own: unknown
    what, dimensions = kinds.get(config.augment, ("", len(shape)))
    if len(shape) != dimensions:
        raise ValueError(
            f"augment={config.augment!r} makes views of {what}, but {data.name} holds samples of shape {shape}; "
            f"set augment to one of {', '.join(VIEWS)}"
        )


def load(config: PretrainConfig, name: str | None = None) -> Splits:
    """The run's data, or other data as the run takes it."""
    return load_data(
        config.data if name is None else name,
        config.image_size,
        config.memory_gib,
        config.max_megapixels,
        config.images_per_class,
    )


def load_again(config: PretrainConfig) -> Splits:
    """The data of a run that is over.

    Raises:
        ValueError: they are not there any more, or the path is seen from another folder.
    """
    try:
        return load(config)
    except ValueError as error:
        raise ValueError(f"{error}. The run was trained on {config.data}; say where it lies with --data") from error


def resolved(config: PretrainConfig, num_images: int) -> PretrainConfig:
    """The config with epochs turned into steps, and with the digest of a regulariser that is one's own.

    Raises:
        ValueError: an option that is out of range or unknown.
    """
    check_config(config)
    if not 2 <= config.batch_size <= num_images:
        raise ValueError(f"batch_size must lie in 2 .. {num_images}, got {config.batch_size}")
    if config.augment not in VIEWS:
        raise ValueError(f"augment must be one of {', '.join(VIEWS)}, got {config.augment!r}")
    if not 1 <= config.accumulate <= config.batch_size // 2:
        raise ValueError(
            f"accumulate must lie in 1 .. {config.batch_size // 2} (half the batch), got {config.accumulate}"
        )
    if config.augment == "crops" and config.crops.local_views and config.backbone in BACKBONES:
        raise ValueError(f"backbone {config.backbone} takes one size only: set crops.local_views=0")
    config = dataclasses.replace(config, regularizer_source=resolve_regularizer(config.regularizer).digest)
    if config.epochs:
        steps = max(1, round(config.epochs * (num_images // config.batch_size)))
        return dataclasses.replace(config, steps=steps, epochs=0.0)
    return config


class Keeping(nn.Module):
    """A regulariser that is no module, with a state: its attributes of tensors, numbers, texts, and lists of these."""

    def __init__(self, regularizer: Callable[..., Tensor]) -> None:
        super().__init__()
        self.regularizer = regularizer
        self.capturable = getattr(regularizer, "capturable", True)

    def forward(self, z: Tensor, generator: torch.Generator) -> Tensor:
        return self.regularizer(z, generator)

    def get_extra_state(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self.regularizer).items() if _is_data(value)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        vars(self.regularizer).update(state)


def _is_data(value: Any) -> bool:
    """Whether a checkpoint can hold it, which is read without running code."""
    if isinstance(value, list | tuple | dict):
        return all(map(_is_data, value.values() if isinstance(value, dict) else value))
    return value is None or isinstance(value, Tensor) or type(value) in (bool, int, float, str)


class OnBoth(nn.Module):
    """The mean of a regulariser's values on projections and embeddings; one for each, as it may keep what it gets."""

    def __init__(self, on_projections: Callable[..., Tensor], on_embeddings: Callable[..., Tensor]) -> None:
        super().__init__()
        self.on_projections, self.on_embeddings = on_projections, on_embeddings
        self.capturable = getattr(on_projections, "capturable", True)

    def forward(self, seen: tuple[Tensor, Tensor], generator: torch.Generator) -> Tensor:
        return (self.on_projections(seen[0], generator) + self.on_embeddings(seen[1], generator)) / 2


def make_loss(config: PretrainConfig) -> LeJEPALoss:
    """The run's loss; a regulariser of the registry gets ``num_slices`` and ``directions`` if it takes slices."""
    chosen = resolve_regularizer(config.regularizer)
    if config.directions != "iid" and (chosen.digest or "directions" not in chosen.known):
        raise ValueError(f"regularizer {chosen.name!r} draws no directions; leave out directions")

    def build() -> Any:
        built = chosen.build(num_slices=config.num_slices, directions=config.directions)
        return built if isinstance(built, nn.Module) or not getattr(built, "__dict__", None) else Keeping(built)

    regularizer = build()
    if config.placement == "both" and regularizer is not None:
        regularizer = OnBoth(regularizer, build())
    return LeJEPALoss(
        regularizer,
        config.lam,
        form=config.form,  # type: ignore[arg-type]
        prediction=config.prediction,  # type: ignore[arg-type]
        dimensions=config.dimensions,  # type: ignore[arg-type]
        global_views=view_counts(config)[0] if config.augment == "crops" else None,
    )


def view_counts(config: PretrainConfig) -> tuple[int, int]:
    """Numbers of global and of local views."""
    return (config.crops.global_views, config.crops.local_views) if config.augment == "crops" else (config.num_views, 0)


def make_fabric(config: PretrainConfig) -> "Fabric":
    """Device, precision, processes: those of ``torchrun`` if it started us, else one.

    Raises:
        ValueError: an unknown device or precision, or one that this machine lacks.
    """
    from lightning_fabric import Fabric  # loads torch._dynamo, as long as all else that `study list` loads

    if config.device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be one of auto, cpu, cuda, got {config.device!r}")
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device=cuda, but PyTorch sees no CUDA GPU here; use device=auto or device=cpu")
    kind = "cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu"
    precision: Any = resolved_precision(config, torch.device(kind))
    world, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if kind == "cuda" and local > torch.cuda.device_count():
        raise ValueError(
            f"{local} processes on {torch.cuda.device_count()} GPU(s); start torchrun with --nproc-per-node of that"
        )
    if world > 1:
        fabric = Fabric(accelerator=kind, devices=local, num_nodes=world // local, strategy="ddp", precision=precision)
        fabric.launch()
        older = torch.distributed.distributed_c10d  # torch 2.11 has the function by another name
        set_timeout = getattr(torch.distributed, "set_timeout", None) or older._set_pg_timeout
        set_timeout(datetime.timedelta(seconds=config.wait_seconds))
        return fabric
    return Fabric(accelerator=kind, devices=1, precision=precision)


def resolved_precision(config: PretrainConfig, device: torch.device) -> str:
    """The precision on this device: "auto" is bf16-mixed on a GPU that computes in it, else 32-true.

    Raises:
        ValueError: an unknown precision, or bf16 on a GPU without it.
    """
    known = ("auto", "32-true", "bf16-mixed", "64-true")
    if config.precision not in known:
        raise ValueError(f"precision must be one of {', '.join(known)}, got {config.precision!r}")
    supported = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    if config.precision == "auto":
        return "bf16-mixed" if device.type == "cuda" and supported else "32-true"
    if config.precision == "bf16-mixed" and not supported:
        raise ValueError("precision=bf16-mixed, but this GPU does not compute in bfloat16; use precision=32-true")
    return config.precision


def lr_factor(step: int, config: PretrainConfig) -> float:
    """Learning rate over its peak: linear warm-up, then a half cosine down to 1/1000."""
    warmup = max(1, round(config.warmup * config.steps))
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, config.steps - warmup)
    return 1e-3 + (1 - 1e-3) * (1 + math.cos(math.pi * progress)) / 2


class Batches:
    """Endless batches of indices: epoch by epoch in a random order, the short last batch of each left out.

    The order of an epoch is drawn on the CPU and copied to ``device`` once.
    """

    def __init__(
        self, size: int, batch_size: int, seed: int, start: int = 0, device: torch.device | str = "cpu"
    ) -> None:
        self._size, self._batch_size, self._seed, self._device = size, batch_size, seed, device
        self._position = start
        self._epoch, self._permutation = -1, torch.empty(0)

    def __next__(self) -> Tensor:
        epoch, index = divmod(self._position, self._size // self._batch_size)
        self._position += 1
        if epoch != self._epoch:
            generator = seeded_generator(self._seed, _ORDER, epoch)
            self._epoch = epoch
            self._permutation = on_device(torch.randperm(self._size, generator=generator), self._device)
        return self._permutation[index * self._batch_size : (index + 1) * self._batch_size]


def memory_gib(device: torch.device) -> float:
    """The most memory taken so far: on the GPU by tensors, on the CPU by the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _check_finite(unread: list[tuple[int, Tensor, LeJEPATerms]], saved: int | None, path: Path | None) -> None:
    finite = torch.isfinite(torch.stack([terms.total.detach() for _, _, terms in unread])).tolist()
    if all(finite):
        return
    step, rows, terms = unread[finite.index(False)]
    some = ", ".join(str(row) for row in rows[:5].tolist())
    good = f"{path.name}, after {saved} steps" if saved is not None and path else "none"
    raise FloatingPointError(
        f"the loss is {terms.total.item()} at step {step}, batch of training images {some}, ...; "
        f"last good checkpoint: {good}; lower lr or lam"
    )


@contextlib.contextmanager
def _kept_buffers(module: nn.Module) -> Iterator[None]:
    """Buffers (running means) as they were, after a pass that is to leave no trace."""
    before = [buffer.clone() for buffer in module.buffers()]
    yield
    for buffer, value in zip(module.buffers(), before, strict=True):
        buffer.copy_(value)


def averaged(encoder: Encoder) -> Encoder:
    """The encoder whose weights are the moving average of another's, at its start: without gradient and dropout.

    Its batch normalisation takes the statistics of the batch, as the encoder's does in training, and keeps running ones
    of the averaged network: the encoder's belong to other weights.
    """
    average = copy.deepcopy(encoder).requires_grad_(False).eval()
    for module in average.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.SyncBatchNorm):
            module.train()
    return average


@torch.no_grad()
def _update_average(average: nn.Module, module: nn.Module, decay: float) -> None:
    """torch's rule for moving averages; its ``AveragedModel`` reads a count, for which a GPU would wait."""
    get_ema_multi_avg_fn(decay)(list(average.parameters()), list(module.parameters()), 0)


def _is_there(path: Path, fabric: "Fabric") -> bool:
    """Whether the file is there, for every process.

    Raises:
        ValueError: for some it is, for others not, as on machines that do not share the folder.
    """
    found = path.is_file()
    everywhere, nowhere = on_all_ranks(found, fabric.device), on_all_ranks(not found, fabric.device)
    if not everywhere and not nowhere:
        raise ValueError(f"{path.name} is there for some processes only; keep the run's folder where all can read it")
    return everywhere


def _norm(tensors: Iterator[Tensor]) -> float:
    return float(torch.stack([tensor.norm() for tensor in tensors]).norm())


def _part(views: list[Tensor], rows: Tensor) -> list[Tensor]:
    return [group[:, rows] for group in views]


def _portions(x: Tensor, pixels_each: int | None = None) -> tuple[Tensor, ...]:
    size = pixels_each or math.prod(x.shape[1:])
    return x.split(max(1, _PIXELS_AT_ONCE // size))
