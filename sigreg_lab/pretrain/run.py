"""A pretraining run from the command line: config, run, probes, rows with their manifest."""

import contextlib
import csv
import dataclasses
import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sigreg_lab.distributed import leave_group
from sigreg_lab.experiment.provenance import now, provenance
from sigreg_lab.pretrain.checkpoint import (
    check_same_data,
    check_same_run,
    load_checkpoint,
    load_weights,
    locked,
    read_config,
    replacing,
    writing,
)
from sigreg_lab.pretrain.config import PretrainConfig, as_dict, configure
from sigreg_lab.pretrain.curves import OUTSIDE, outside_share
from sigreg_lab.pretrain.data import Splits, Stream
from sigreg_lab.pretrain.loop import CHECKPOINT, PretrainResult, load, load_again, make_fabric, pretrain, resolved
from sigreg_lab.pretrain.models import build_encoder
from sigreg_lab.pretrain.pictures import contact_sheet, is_pictures, patch_sheet, save_picture
from sigreg_lab.pretrain.probes import covariance_spectrum, evaluate, probe, told_accuracy
from sigreg_lab.regularizers import resolve_regularizer

__all__ = ["configure", "run", "run_probes"]

FEW_SHOT_DRAWS = 20


def run(
    config: PretrainConfig,
    out: Path,
    on_step: Callable[[int, dict[str, float]], None] | None = None,
    *,
    resume: bool = False,
    again: bool = False,
    max_minutes: float = 0.0,
    wandb: str = "",
    on_note: Callable[[str], None] | None = None,
    end_group: bool = False,
) -> tuple[Path, dict[str, float]]:
    """Pretrain, probe, and write what came of it. A run that is finished is not made again: its row is returned.

    ``history.csv`` and ``tensorboard/`` (curves), ``checkpoint.pt``, ``views.png``, ``config.json`` and
    ``manifest.json``; at the end of the run also ``row.csv`` (one row), ``spectrum.csv`` and, for images,
    ``probes.csv`` and ``patches.png``.

    Args:
        config: the run.
        out: a folder is made in it, named after data, regulariser and seed; an unfinished run of the same settings
            there is replaced, if it is not resumed.
        on_step: called after each logged step.
        resume: go on from the folder's checkpoint if there is one.
        again: train a finished run anew, and replace it.
        max_minutes: stop after that time, to go on later; 0: never.
        wandb: project in W&B; empty: none.
        on_note: called with each sentence that the user should read: images that were skipped, a changed setting,
            that the run is finished already.
        end_group: of many processes, the process group ends with the training, before the first of them probes alone:
            for a command, which has nothing else to do. torchrun lets a process enter a group once.

    Returns:
        The folder, and the row; with ``share_of_step_time_outside_network`` alone in it the run is to go on.

    Raises:
        ValueError: as ``load_data`` and ``pretrain`` do; the folder holds a run of other settings or data, or a
            finished one with other probes; another process writes to it, or it cannot be written.
    """
    start, started = time.perf_counter(), now()
    data = load(config)
    config, notes = fitted(config, data)
    notes += _skipped(data)
    folder = out / f"{data.name}-{resolve_regularizer(config.regularizer).slug}-{config.seed}"
    settled = resolved(config, len(data.train.pixels))
    first = os.environ.get("RANK", "0") == "0"  # of torchrun's processes, which are not connected yet
    tell = on_note if on_note and first else _silent
    with locked(folder) if first else contextlib.nullcontext():
        trained = _refuse_another_run(folder, settled, data)
        for note in notes:
            tell(note)
        if trained and not again:
            if (found := _finished_row(folder, settled)) is not None:
                tell(
                    f"{folder} holds this run already, finished: nothing was trained; --again trains it anew, --out "
                    "names another folder"
                )
                return folder, found if first else {}
            resume = True
        with writing(folder):
            result = pretrain(config, data, on_step, folder=folder, resume=resume, max_minutes=max_minutes, wandb=wandb)
        if end_group:
            leave_group()
        if not first:
            return folder, {}
        if is_pictures(data.train):
            save_picture(folder / "views.png", *contact_sheet(data, config))
        row = {"share_of_step_time_outside_network": outside_share(result.seconds)}
        if result.finished:
            row |= _probes(result, folder)
            _write_csv(folder / "row.csv", [row])
        for note in (later := [note for note in _skipped(data) if note not in notes]):
            tell(note)
        saved = {**as_dict(result.config), "data": data.name}
        _write_json(folder / "config.json", saved)
        total = sum(result.seconds.values())
        parts = {part: round(seconds / total, 4) for part, seconds in result.seconds.items()} if total else {}
        manifest = {
            "started": started,
            "wall_seconds": round(time.perf_counter() - start, 1),
            "finished": result.finished,
            "resumed": resume,
            **provenance(),
            "data": _facts(data),
            "notes": notes + later,
            "step_time": {f"share_{part}": share for part, share in parts.items()},
            "config": saved,
        }
        _write_json(folder / "manifest.json", manifest)
    return folder, row


def run_probes(
    checkpoint: Path,
    data: str | None = None,
    *,
    epochs: int | None = None,
    draws: int | None = None,
    finetune_epochs: int = 0,
    device: str = "auto",
    on_note: Callable[[str], None] | None = None,
) -> tuple[Path, list[dict[str, Any]]]:
    """Probe a checkpoint; writes ``probes.csv`` and ``probes.json`` (its manifest) beside it, ``patches.png`` too.

    The run's own probes are never replaced by others. On other data the files are called ``probes-NAME.csv`` and so
    on, NAME that of the data; for a path with a digest of it. With other settings than the run's these are in the
    name: ``probes-epochs=50.csv``.

    Args:
        checkpoint: ``checkpoint.pt`` of a run, or the run's folder.
        data: a data set to probe on; the one it was trained on if None. The checkpoint's classes keep their labels.
        epochs: of the linear probe; the run's ``probe_epochs`` if None.
        draws: training sets of each few-shot probe; the run's ``probe_draws`` if None.
        finetune_epochs: of full fine-tuning; 0 leaves it out.
        device: auto, cpu or cuda.
        on_note: called with each sentence that the user should read: images that were skipped.

    Returns:
        The table's path, and its rows, see ``probe``.

    Raises:
        ValueError: no checkpoint there, a damaged one, or one of another architecture; the data that it was trained
            on are not what they were; another process probes it, or its folder cannot be written.
    """
    tell = on_note or _silent
    path = checkpoint / CHECKPOINT if os.path.isdir(checkpoint) else checkpoint
    state = load_checkpoint(path)
    config = dataclasses.replace(read_config(state["config"]), device=device)
    made = _saved_config(path.parent) or config  # the probes may have had other settings than the first steps
    usual = {"epochs": made.probe_epochs, "draws": made.probe_draws, "finetune_epochs": 0}
    asked = {"epochs": epochs, "draws": draws, "finetune_epochs": finetune_epochs}
    settings = {name: usual[name] if value is None else value for name, value in asked.items()}
    splits = load_again(config) if data is None else load(config, data)
    known = state.get("classes", [])
    if known and sorted(known) == sorted(splits.classes):
        splits = splits.relabeled(known)
    own = data is None or os.path.realpath(data) == os.path.realpath(config.data)
    if own:
        check_same_data(state, splits.identity())
    shape = tuple(state["image_shape"])
    if splits.train.pixels.shape[1:] != shape:
        found = tuple(splits.train.pixels.shape[1:])
        raise ValueError(f"the checkpoint was trained on images of shape {shape}, {splits.name} has {found}")
    encoder = build_encoder(config, torch.zeros(1, *shape))
    load_weights(encoder, state["encoder"], config.backbone)
    folder, mark = path.parent, "" if own or data is None else f"-{_mark(splits.name, data)}"
    other = "".join(f"-{name}={value}" for name, value in settings.items() if value != usual[name])
    table = folder / f"probes{mark}{other}.csv"
    with locked(folder, ".lock-probe"):
        encoder = encoder.to(make_fabric(config).device).eval()
        result = PretrainResult(encoder, splits, [], config)
        rows = probe(result, splits, **settings)
        for note in _skipped(splits):
            tell(note)
        _write_csv(table, rows)
        _write_patches(result, folder / f"patches{mark}.png")
        manifest = {"steps": state["step"], "probed": splits.name, "data": _facts(splits), "settings": settings}
        _write_json(table.with_suffix(".json"), {**manifest, **provenance()})
    return table, rows


def _mark(name: str, data: str) -> str:
    """Tells the files of other data apart."""
    slug = re.sub(r"[^\w.=+-]", "-", name)
    if not os.path.exists(data):
        return slug
    return f"{slug}-{hashlib.sha256(os.path.realpath(data).encode()).hexdigest()[:8]}"


def _silent(note: str) -> None:
    """Tell nobody."""


def _refuse_another_run(folder: Path, config: PretrainConfig, data: Splits) -> bool:
    """Refuse a folder with a run of other settings or data, which would be lost; whether this one is trained."""
    path, settings = folder / CHECKPOINT, folder / "config.json"
    if path.is_file():
        state = load_checkpoint(path)
        check_same_run(state["config"], config)
        check_same_data(state, data.identity())
        return bool(state["step"] >= config.steps)
    if settings.is_file():
        try:
            saved = json.loads(settings.read_text())
        except (OSError, ValueError) as error:
            raise ValueError(f"{settings} is damaged; delete it, or choose another --out") from error
        check_same_run(saved, config, str(settings))
    return False


def _finished_row(folder: Path, config: PretrainConfig) -> dict[str, float] | None:
    """The row of a run whose steps are all made; None where its probes are still to be fitted.

    Raises:
        ValueError: its probes were fitted with other settings, and would be lost.
    """
    try:
        with (folder / "row.csv").open(newline="") as file:
            row = {name: float(value) for name, value in next(csv.DictReader(file)).items()}
    except (OSError, ValueError, TypeError, StopIteration):
        return None
    saved = _saved_config(folder)
    if saved is None:
        return None
    for name, option in (("probe_epochs", "epochs"), ("probe_draws", "draws")):
        was, given = getattr(saved, name), getattr(config, name)
        if was != given:
            raise ValueError(
                f"{folder} holds this run already, finished, with probes of {name}={was} (now {given}): sigreg-lab "
                f"probe {folder} --{option} {given} fits others beside them, pretrain --again trains it anew"
            )
    return row


def _saved_config(folder: Path) -> PretrainConfig | None:
    """The settings that the run in a folder was last called with; None where there are none to be read."""
    try:
        return read_config(json.loads((folder / "config.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _skipped(data: Splits) -> list[str]:
    """A sentence for each split with images that could not be read, as far as they have been looked at."""
    notes = []
    for split in ("train", "validation", "test"):
        pixels, facts = getattr(data, split).pixels, data.facts.get(split, {})
        if isinstance(pixels, Stream):
            names, count, what = sorted(pixels.corrupt), len(pixels.corrupt), "replaced by the next"
        else:
            names, what = facts.get("corrupt_names", []), "left out"
            count = facts.get("corrupt_skipped", 0)
        if count:
            total = len(pixels) + (0 if isinstance(pixels, Stream) else count)
            notes.append(f"{count} of {total} images of {split} could not be read and were {what}: {_first(names)}")
    return notes


def _first(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _facts(data: Splits) -> dict[str, Any]:
    streams = (images.pixels for images in (data.train, data.validation, data.test))
    replaced = sorted(name for stream in streams if isinstance(stream, Stream) for name in stream.corrupt)
    digest = data.identity()["labels"]  # the command holds no path: this tells which data they were
    return {**data.facts, "class_names": list(data.classes), "labels_sha256": digest, "corrupt_replaced": replaced}


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Mean test accuracy of each probe with its interval: ``backbone_linear_all``, ``backbone_linear_all_low``, ...

    Beside them ``test_images`` and ``chance``, as in the rows of ``probe``.
    """
    groups: dict[str, list[float]] = {}
    for row in rows:
        groups.setdefault(f"{row['features']}_{row['probe']}_{row['shots']}", []).append(row["test"])
    images = int(rows[0]["images"])
    found: dict[str, float] = {}
    for name, scores in groups.items():
        found |= told_accuracy(name, scores, images)
    return found | {"test_images": images, "chance": float(rows[0]["chance"])}


def _probes(result: PretrainResult, folder: Path) -> dict[str, float]:
    """Numbers of the run's row: the digits' protocol, or that of images."""
    features, _ = result.features(result.data.train)
    spectra = {name: covariance_spectrum(x).tolist() for name, x in features._asdict().items() if name != "probe"}
    longest = max(len(values) for values in spectra.values())
    _write_csv(
        folder / "spectrum.csv",
        [{"index": i, **{name: v[i] if i < len(v) else "" for name, v in spectra.items()}} for i in range(longest)],
    )
    if result.config.augment != "crops":
        return evaluate(result, draws=FEW_SHOT_DRAWS, seed=np.random.SeedSequence(result.config.seed))
    rows = probe(result, epochs=result.config.probe_epochs, draws=result.config.probe_draws)
    _write_csv(folder / "probes.csv", rows)
    _write_patches(result, folder / "patches.png")
    return summary(rows)


def image_legend(epochs: int, draws: int, finetune_epochs: int = 0) -> str:
    """What the names of image probes mean, for whoever reads them for the first time."""
    few = f"; few-shot_1, few-shot_10: on 1 and 10 labels per class, mean of {draws} random draws" if draws else ""
    tuned = f"; finetuned: the whole backbone, {finetune_epochs} epochs" if finetune_epochs else ""
    return f"Names: features_probe_labels. all: on all labels; linear: {epochs} epochs{few}{tuned}"


def legend(config: PretrainConfig) -> str:
    """What the names in a run's row mean; see ``run``."""
    if config.augment == "crops":
        return image_legend(config.probe_epochs, config.probe_draws)
    return (
        "Names: split_labels, of logistic regressions. all: on all labels; 1, 5: on 1 and 5 labels per class, mean of "
        f"{FEW_SHOT_DRAWS} random draws"
    )


def _write_patches(result: PretrainResult, path: Path) -> None:
    sheet = patch_sheet(result.encoder, result.data)
    if sheet is not None:
        save_picture(path, *sheet)


def fitted(config: PretrainConfig, data: Splits) -> tuple[PretrainConfig, list[str]]:
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


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n")


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with replacing(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["step"])
        writer.writeheader()
        writer.writerows(rows)
