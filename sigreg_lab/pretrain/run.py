"""A pretraining run from the command line: config, run, probes, rows with their manifest."""

import csv
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sigreg_lab.distributed import rank
from sigreg_lab.experiment.provenance import now, provenance
from sigreg_lab.pretrain.checkpoint import load_checkpoint, load_weights
from sigreg_lab.pretrain.config import PretrainConfig, as_dict, configure, from_dict
from sigreg_lab.pretrain.curves import OUTSIDE, outside_share
from sigreg_lab.pretrain.data import Splits, Stream, load_data
from sigreg_lab.pretrain.loop import CHECKPOINT, PretrainResult, make_fabric, pretrain
from sigreg_lab.pretrain.models import build_encoder
from sigreg_lab.pretrain.pictures import contact_sheet, patch_sheet, save_picture
from sigreg_lab.pretrain.probes import covariance_spectrum, evaluate, probe

__all__ = ["configure", "run", "run_probes"]

FEW_SHOT_DRAWS = 20


def run(
    config: PretrainConfig,
    out: Path,
    on_step: Callable[[int, dict[str, float]], None] | None = None,
    *,
    resume: bool = False,
    max_minutes: float = 0.0,
    wandb: str = "",
) -> tuple[Path, dict[str, float]]:
    """Pretrain, probe, and write what came of it.

    ``history.csv`` and ``tensorboard/`` (curves), ``checkpoint.pt``, ``views.png``, ``config.json`` and
    ``manifest.json``; at the end of the run also ``row.csv`` (one row), ``spectrum.csv`` and, for images,
    ``probes.csv`` and ``patches.png``.

    Args:
        config: the run.
        out: a folder is made in it, named after data, regulariser and seed; an earlier run there is replaced.
        on_step: called after each logged step.
        resume: go on from the folder's checkpoint if there is one.
        max_minutes: stop after that time, to go on later; 0: never.
        wandb: project in W&B; empty: none.

    Returns:
        The folder, and the row; without ``finished`` in it the run is to go on.
    """
    start, started = time.perf_counter(), now()
    data = load_data(config.data, config.image_size, config.memory_gib)
    config, notes = _fitted(config, data)
    folder = out / f"{data.name}-{config.regularizer}-{config.seed}"
    result = pretrain(config, data, on_step, folder=folder, resume=resume, max_minutes=max_minutes, wandb=wandb)
    if rank():
        return folder, {}
    save_picture(folder / "views.png", contact_sheet(data.train, config))
    row = {"share_of_step_time_outside_network": outside_share(result.seconds)}
    if result.finished:
        row |= _probes(result, folder)
        _write_csv(folder / "row.csv", [row])
    saved = as_dict(result.config)
    (folder / "config.json").write_text(json.dumps({**saved, "data": data.name}, indent=2) + "\n")
    total = sum(result.seconds.values())
    parts = {f"share_{part}": round(seconds / total, 4) for part, seconds in result.seconds.items()} if total else {}
    corrupt = sorted(data.train.pixels.corrupt) if isinstance(data.train.pixels, Stream) else []
    manifest = {
        "started": started,
        "wall_seconds": round(time.perf_counter() - start, 1),
        "finished": result.finished,
        "resumed": resume,
        **provenance(),
        "data": {**data.facts, "corrupt_replaced": corrupt},
        "notes": notes,
        "step_time": parts,
        "config": {**saved, "data": data.name},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    return folder, row


def run_probes(
    checkpoint: Path,
    data: str | None = None,
    *,
    epochs: int = 100,
    draws: int = 5,
    finetune_epochs: int = 0,
    device: str = "auto",
) -> tuple[Path, list[dict[str, Any]]]:
    """Probe a checkpoint; writes ``probes.csv`` and ``probes.json`` (its manifest) beside it, ``patches.png`` too.

    Args:
        checkpoint: ``checkpoint.pt`` of a run, or the run's folder.
        data: a data set to probe on; the one it was trained on if None.
        epochs: of the linear probe.
        draws: training sets of each few-shot probe.
        finetune_epochs: of full fine-tuning; 0 leaves it out.
        device: auto, cpu or cuda.

    Raises:
        ValueError: no checkpoint there, or one of another architecture.
    """
    path = checkpoint / CHECKPOINT if checkpoint.is_dir() else checkpoint
    state = load_checkpoint(path)
    config = dataclasses.replace(from_dict(state["config"]), device=device)
    splits = load_data(data or config.data, config.image_size, config.memory_gib)
    shape = tuple(state["image_shape"])
    if splits.train.pixels.shape[1:] != shape:
        found = tuple(splits.train.pixels.shape[1:])
        raise ValueError(f"the checkpoint was trained on images of shape {shape}, {splits.name} has {found}")
    encoder = build_encoder(config, torch.zeros(1, *shape))
    load_weights(encoder, state["encoder"], config.backbone)
    encoder = encoder.to(make_fabric(config).device).eval()
    result = PretrainResult(encoder, splits, [], config)
    rows = probe(result, splits, epochs=epochs, draws=draws, finetune_epochs=finetune_epochs)
    folder = path.parent
    _write_csv(folder / "probes.csv", rows)
    _write_patches(result, folder)
    manifest = {"steps": state["step"], "probed": splits.name, "data": splits.facts, "linear_epochs": epochs}
    (folder / "probes.json").write_text(json.dumps({**manifest, **provenance()}, indent=2) + "\n")
    return folder, rows


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Mean test accuracy of each probe: ``backbone_linear_all``, ``backbone_few-shot_1``, ..."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        groups.setdefault(f"{row['features']}_{row['probe']}_{row['shots']}", []).append(row["test"])
    return {name: float(np.mean(scores)) for name, scores in groups.items()}


def _probes(result: PretrainResult, folder: Path) -> dict[str, float]:
    """Numbers of the run's row: the digits' protocol, or that of images."""
    features, _ = result.features(result.data.train)
    spectra = {name: covariance_spectrum(x).tolist() for name, x in features._asdict().items() if name != "probe"}
    longest = max(len(values) for values in spectra.values())
    _write_csv(
        folder / "spectrum.csv",
        [{"index": i, **{name: v[i] if i < len(v) else "" for name, v in spectra.items()}} for i in range(longest)],
    )
    if result.config.augment == "affine":
        return evaluate(result, draws=FEW_SHOT_DRAWS, seed=np.random.SeedSequence(result.config.seed))
    rows = probe(result, epochs=result.config.probe_epochs, draws=result.config.probe_draws)
    _write_csv(folder / "probes.csv", rows)
    _write_patches(result, folder)
    return summary(rows)


def _write_patches(result: PretrainResult, folder: Path) -> None:
    sheet = patch_sheet(result.encoder, result.data.test)
    if sheet is not None:
        save_picture(folder / "patches.png", sheet)


def _fitted(config: PretrainConfig, data: Splits) -> tuple[PretrainConfig, list[str]]:
    """The image recipe for data smaller than its batch, and a sentence that says so."""
    size = len(data.train.pixels)
    if config.augment != "crops" or config.batch_size <= size:
        return config, []
    note = f"batch_size lowered from {config.batch_size} to {size}, the number of training images"
    return dataclasses.replace(config, batch_size=size), [note]


def outside_line(row: dict[str, float]) -> str:
    """The sentence on speed that a run ends with."""
    share = row["share_of_step_time_outside_network"]
    return f"{share:.1%} of the step time went to {', '.join(OUTSIDE)}; the rest to the network"


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["step"])
        writer.writeheader()
        writer.writerows(rows)
