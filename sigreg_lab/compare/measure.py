"""One run of a comparison: pretraining, probes of the frozen encoder, and what a step of the regulariser costs."""

import base64
import contextlib
import dataclasses
import functools
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sigreg_lab.diagnostics import alpha_req, effective_rank, lidar
from sigreg_lab.experiment.cells import Row
from sigreg_lab.pretrain.config import PretrainConfig
from sigreg_lab.pretrain.data import Splits, as_float, load_data
from sigreg_lab.pretrain.loop import PretrainResult, make_loss, pretrain, view_counts
from sigreg_lab.pretrain.models import Encoder
from sigreg_lab.pretrain.probes import probe_images
from sigreg_lab.pretrain.views import VIEWS
from sigreg_lab.slicing import seeded_generator

CURVE_POINTS = 40
#: A run has collapsed if training took the effective rank at the backbone below this share of what it was before.
#: Measured on the digits and mnist1d: without regulariser 0.26 and 0.30, with the published SIGReg 0.72 and 1.04.
LEAST_RANK = 1 / 3
_LIDAR_SAMPLES, _LIDAR_VIEWS = 1000, 10  # LiDAR's paper: 1,000 samples or more, about 10 views
_COST_SECONDS, _COST_CALLS = 0.3, 15  # how long, and how often at most, a regulariser is called to be timed


def measure(config: PretrainConfig) -> Row:
    """Run and probe one encoder.

    Args:
        config: the run.

    Returns:
        ``<split>_<features>_<probe>_<shots>``, accuracies on validation and test, such as ``test_backbone_linear_all``;
        ``right``, which test images each probe on all labels gets right, packed; effective ranks of the training images
        at backbone and projector, that at the backbone before training, and whether the run has collapsed; alpha-ReQ
        and LiDAR at the backbone, which are said to tell good encoders without labels; the
        projections' standard deviation; ``curve``, the loss terms along the run (step, total, prediction, regulariser);
        seconds and MiB a step of the regulariser. Where the loss is not finite, the reason (``broke``) and ``curve``.

    Raises:
        Exception: whatever else breaks the run.
    """
    data = _data(config.data, config.image_size, config.memory_gib, config.max_megapixels, config.images_per_class)
    curve: list[list[float]] = []

    def note(step: int, values: dict[str, float]) -> None:
        curve.append([step, *(round(values[name], 7) for name in ("total", "prediction", "regularizer"))])

    try:
        result = pretrain(config, data, note)
    except FloatingPointError as error:  # how the losses went there is worth keeping
        return {"broke": f"{type(error).__name__}: {error}", "curve": _thinned(curve)}
    seconds, memory = regularizer_cost(config, result.encoder)
    return {
        **_probes(result),
        **_shape(result, pretrain(dataclasses.replace(config, steps=0, epochs=0.0), data)),
        "regularizer_seconds": seconds,
        "regularizer_mib": memory,
        "final_prediction": curve[-1][2] if curve else None,
        "final_regularizer": curve[-1][3] if curve else None,
        "curve": _thinned(curve),
    }


@functools.lru_cache(maxsize=1)
def _data(name: str, size: int, memory_gib: float, max_megapixels: float, images_per_class: int) -> Splits:
    """A data set, kept for the next run of this process."""
    return load_data(name, size, memory_gib, max_megapixels, images_per_class)


def _probes(result: PretrainResult) -> Row:
    """Accuracies of the probes; those with few labels are means over their draws."""
    config = result.config
    found: dict[str, list[tuple[float, Tensor]]] = {}
    logistic = config.augment != "crops"
    for told in probe_images(
        result, result.data, epochs=config.probe_epochs, draws=config.probe_draws, logistic=logistic
    ):
        found.setdefault(f"{told.features}_{told.probe}_{told.shots}", []).append((told.validation, told.test))
    row: Row = {}
    for name, scores in found.items():
        row[f"validation_{name}"] = float(np.mean([validation for validation, _ in scores]))
        row[f"test_{name}"] = float(np.mean([test.double().mean() for _, test in scores]))
    row["right"] = {name: packed(scores[0][1].numpy()) for name, scores in found.items() if name.endswith("_all")}
    row["images"] = len(result.data.test.labels)
    return row


def packed(right: np.ndarray) -> str:
    """Booleans as text: bits in base64."""
    return base64.b64encode(np.packbits(right.astype(bool)).tobytes()).decode()


def unpacked(text: str, count: int) -> np.ndarray:
    """The booleans of ``packed``."""
    bits = np.unpackbits(np.frombuffer(base64.b64decode(text), dtype=np.uint8))
    return bits[:count].astype(bool)


def _shape(result: PretrainResult, untrained: PretrainResult) -> Row:
    """How the training images' features lie."""
    images = result.data.train
    (features, _), (before, _) = result.features(images), untrained.features(images)
    rank, initial = (float(effective_rank(part.embedding)) for part in (features, before))
    return {
        "embedding_rank": rank,
        "alpha_req": float(alpha_req(features.embedding)),
        "lidar": _lidar(result),
        "initial_rank": initial,
        "projection_rank": float(effective_rank(features.projection)),
        "projection_std": float(features.projection.std(0).mean()),
        "collapsed": rank < LEAST_RANK * initial,
    }


@torch.no_grad()
def _lidar(result: PretrainResult) -> float:
    """LiDAR of the backbone's embedding, from views of training images made as in training."""
    images = result.data.train
    rows = torch.linspace(0, len(images.labels) - 1, min(_LIDAR_SAMPLES, len(images.labels))).round().long()
    pixels, _ = images.take(rows, next(result.encoder.parameters()).device)
    generator = torch.Generator(pixels.device).manual_seed(result.config.seed)
    found: list[Tensor] = []
    while len(found) < _LIDAR_VIEWS:
        views = VIEWS[result.config.augment](as_float(pixels), generator, result.config)[0]
        found += [result.encoder(view)[0].float() for view in views]
    return float(lidar(torch.stack(found[:_LIDAR_VIEWS])))


def regularizer_cost(config: PretrainConfig, encoder: Encoder) -> tuple[float, float]:
    """Seconds and MiB of one value and gradient of the run's regulariser, at the run's views, batch and dimensions.

    The seconds are the median over some calls. The memory is what autograd keeps for the backward pass, beside the
    embeddings; on a GPU the most that is allocated meanwhile.
    """
    regularizer = make_loss(config).regularizer
    if regularizer is None:
        return 0.0, 0.0
    device = next(encoder.parameters()).device
    projector, backbone = config.projector[-1], encoder.embedding_dim
    dims = {"projector": [projector], "backbone": [backbone], "both": [projector, backbone]}[config.placement]
    generator = seeded_generator(0)
    shapes = [(sum(view_counts(config)), config.batch_size, dim) for dim in dims]
    z = tuple(torch.randn(shape, generator=generator).to(device).requires_grad_() for shape in shapes)
    generator = torch.Generator(device).manual_seed(0)

    def call() -> None:
        torch.autograd.grad(regularizer(z if config.placement == "both" else z[0], generator), z)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    call()
    with _kept_memory(z, device) as kept:
        call()
    times: list[float] = []
    end = time.perf_counter() + _COST_SECONDS
    while not times or (len(times) < _COST_CALLS and time.perf_counter() < end):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times)), kept[0] / 2**20


@contextlib.contextmanager
def _kept_memory(given: tuple[Tensor, ...], device: torch.device) -> Iterator[list[float]]:
    """Bytes that a value and its gradient take, once the block is left."""
    kept = [0.0]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield kept
        kept[0] = float(torch.cuda.max_memory_allocated(device) - before)
        return
    storages: dict[int, int] = {}
    handed = {z.untyped_storage().data_ptr() for z in given}

    def keep(tensor: Tensor) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in handed:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield kept
    kept[0] = float(sum(storages.values()))


def _thinned(curve: list[list[float]]) -> list[list[float]]:
    """At most ``CURVE_POINTS`` of the points, evenly, first and last among them."""
    if len(curve) <= CURVE_POINTS:
        return curve
    return [curve[round(index)] for index in np.linspace(0, len(curve) - 1, CURVE_POINTS)]
