"""Checkpoints: written whole or not at all, read without running code."""

import os
from pathlib import Path
from typing import Any

import torch

from sigreg_lab.pretrain.config import PretrainConfig, as_dict, from_dict

FORMAT = 1
#: What may differ between the run that wrote a checkpoint and the one that goes on from it.
FREE = (
    "device", "checkpoint_minutes", "log_every", "diagnose_every", "memory_gib", "compile", "graph", "data",
    "probe_epochs", "probe_draws",
)  # fmt: skip


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write the state beside ``path``, to the disk, then rename: a kill leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        torch.save({"format": FORMAT, **state}, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state, its tensors on the CPU; ``weights_only``, so that a file cannot run code.

    Raises:
        ValueError: there is no such file, or it is no checkpoint of ours.
    """
    if not path.is_file():
        raise ValueError(f"no checkpoint {path.name} there; give the file checkpoint.pt of a pretraining run")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for a broken or foreign file
        raise ValueError(f"{path.name} is no checkpoint of sigreg-lab pretrain: {type(error).__name__}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"{path.name} is no checkpoint of sigreg-lab pretrain (format {FORMAT})")
    return state


def check_same_run(saved: dict[str, Any], config: PretrainConfig) -> None:
    """Refuse to go on from another run.

    Raises:
        ValueError: a setting that matters differs; the message names them.
    """
    mine = as_dict(config)
    theirs = as_dict(from_dict(saved))
    different = [
        f"{key}={theirs[key]!r} (now {mine[key]!r})" for key in mine if key not in FREE and theirs[key] != mine[key]
    ]
    if different:
        raise ValueError(
            f"the checkpoint is of another run: it has {', '.join(different)}; change --out or the settings"
        )


def load_weights(module: torch.nn.Module, weights: dict[str, Any], what: str) -> None:
    """Load weights.

    Raises:
        ValueError: they belong to another architecture; the message names the first difference.
    """
    own = module.state_dict()
    for name in own.keys() | weights.keys():
        if name not in own or name not in weights or own[name].shape != weights[name].shape:
            here = tuple(own[name].shape) if name in own else "absent"
            there = tuple(weights[name].shape) if name in weights else "absent"
            raise ValueError(
                f"the checkpoint is of another architecture than {what}: {name} is {there} there, {here} here"
            )
    module.load_state_dict(weights)
