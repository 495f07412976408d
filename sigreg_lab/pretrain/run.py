"""A pretraining run from the command line: config, run, probes, one row with its manifest."""

import csv
import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sigreg_lab.experiment.provenance import now, provenance
from sigreg_lab.experiment.study import parse_like
from sigreg_lab.pretrain.loop import PretrainConfig, pretrain
from sigreg_lab.pretrain.probes import evaluate
from sigreg_lab.pretrain.views import ViewConfig

FEW_SHOT_DRAWS = 20


def configure(data: str, regularizer: str, seed: int, overrides: Sequence[str] = ()) -> PretrainConfig:
    """The config of a run, with ``key=value`` overrides; those of the views are written ``views.key=value``.

    Raises:
        StudyError: an unknown key, or a value of another type than the default's.
    """
    config = PretrainConfig(data=data, regularizer=regularizer, seed=seed)
    fixed = ("data", "regularizer", "seed", "views")
    known: dict[str, Any] = {k: v for k, v in dataclasses.asdict(config).items() if k not in fixed}
    known |= {f"views.{key}": value for key, value in config.views._asdict().items()}
    changed: dict[str, Any] = {}
    for override in overrides:
        key, given, text = override.partition("=")
        if not given or key not in known:
            raise ValueError(
                f"--set {override}: not a setting of pretraining; write --set key=value with one of {', '.join(known)}"
            )
        value = parse_like(known[key], text, f"--set {override}")
        changed[key] = tuple(value) if isinstance(value, list) else value
    views = {key.removeprefix("views."): changed.pop(key) for key in list(changed) if key.startswith("views.")}
    return dataclasses.replace(config, **changed, views=ViewConfig(**{**config.views._asdict(), **views}))


def run(
    config: PretrainConfig, out: Path, on_step: Callable[[int, dict[str, float]], None] | None = None
) -> tuple[Path, dict[str, float]]:
    """Pretrain, probe, and write ``row.csv``, ``history.csv``, ``config.json`` and ``manifest.json``.

    Args:
        config: the run.
        out: a folder is made in it, named after data, regulariser and seed; an earlier run there is replaced.
        on_step: called after each step.

    Returns:
        The folder, and the row.
    """
    start, started = time.perf_counter(), now()
    result = pretrain(config, on_step=on_step)
    row = evaluate(result, draws=FEW_SHOT_DRAWS, seed=np.random.SeedSequence(config.seed))
    folder = out / f"{config.data}-{config.regularizer}-{config.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    _write_csv(folder / "row.csv", [row])
    _write_csv(folder / "history.csv", [{"step": step, **terms} for step, terms in enumerate(result.history)])
    saved = {**dataclasses.asdict(config), "views": config.views._asdict()}
    (folder / "config.json").write_text(json.dumps(saved, indent=2) + "\n")
    manifest = {"started": started, "wall_seconds": round(time.perf_counter() - start, 1), **provenance()}
    (folder / "manifest.json").write_text(json.dumps({**manifest, "config": saved}, indent=2) + "\n")
    return folder, row


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["step"])
        writer.writeheader()
        writer.writerows(rows)
