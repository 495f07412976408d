"""What other libraries' SIGReg computes, beside this one's and beside the formula in float64.

Questions, each to every contestant that it concerns:

    dtypes    value and gradient on one process, of float32 embeddings, of bfloat16 ones, and of bfloat16 ones under
              autocast, against the formula on the same numbers and on the directions that the contestant drew
    ranks     the gradient of a network's parameters on W processes, as DistributedDataParallel leaves it, against that
              of one process on the whole batch; even and uneven shares
    counts    the number of samples by which a contestant divides, of bfloat16 embeddings on two processes
    cost      time and memory of value and gradient, on one thread; time also over this library's, call by call

See ``contestants`` for what they are. Every row holds the version that ran; one that is not installed leaves one row.
"""

import itertools
import json
import math
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sigreg_lab
from sigreg_lab.experiment.cells import Cell, Config, Row

from . import contestants
from .contestants import build, directions, exact, value_and_gradient, version

QUESTIONS = ("dtypes", "ranks", "counts", "cost")
DTYPES = ("float32", "bfloat16", "autocast")
NEAR, FAR = "near N(0, I)", "far from it"
EMBEDDINGS = (NEAR, FAR)


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    contestant, question = str(cell["contestant"]), str(cell["question"])
    if not version(contestant):
        return [{"version": "not installed", "quantity": "installed", "mean": 0.0}]
    seeds = [int(state) >> 1 for state in seed.generate_state(settings["batches"])]
    if question == "dtypes":
        rows = [{"quantity": "installed", "mean": 1.0}, *_dtypes(contestant, settings, seeds)]
    else:
        tasks = _tasks(contestant, question, settings, seeds)
        found = _in_processes(tasks)
        if question == "cost":  # memory is one number a process
            tasks, found = tasks[:2], [found[0], list(itertools.chain(*found[1:]))]
        rows = [row for task, values in zip(tasks, found, strict=True) for row in _of_task(question, task, values)]
    return [{"version": version(contestant), **row} for row in rows]


def _dtypes(contestant: str, settings: Config, seeds: list[int]) -> list[Row]:
    n, dim, num_slices = settings["num_samples"], settings["dim"], settings["num_slices"]
    rows: list[Row] = []
    for name, where in itertools.product(DTYPES, EMBEDDINGS):
        dtype = torch.float32 if name == "float32" else torch.bfloat16
        values: dict[str, list[float]] = {"value_error": [], "gradient_error": []}
        for seed in seeds:
            x = contestants.batch(seed, n, dim, where == NEAR).to(dtype)
            loss = build(contestant, num_slices, seed)
            try:
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=name == "autocast"):
                    value, gradient = value_and_gradient(loss, x)
                    a = directions(contestant, x, num_slices, seed)
            except RuntimeError:  # dtypes that do not meet
                continue
            aim, aim_gradient = value_and_gradient(partial(exact, a=a), x.double())
            values["value_error"].append(float((value / aim - 1).abs()))
            values["gradient_error"].append(float((gradient - aim_gradient).norm() / aim_gradient.norm()))
        place = {"dtype": name, "world_size": 1, "num_samples": n, "embeddings": where}
        refused = 1 - len(values["value_error"]) / len(seeds)
        rows.append(_row("refused", [refused], **place))
        rows += [_row(key, found, **place) for key, found in values.items() if found]
    return rows


def _tasks(contestant: str, question: str, settings: Config, seeds: list[int]) -> list[dict[str, Any]]:
    common = {"contestant": contestant, "dim": settings["dim"], "num_slices": settings["num_slices"], "seeds": seeds}
    common |= {"what": "ranks"}
    if question == "cost":
        size = {key: settings[f"cost_{key}"] for key in ("num_samples", "dim", "num_slices")}
        common |= size | {"world_size": 1, "uneven": False, "near": True, "dtype": "float32"}
        tasks = [{"what": "time", "rounds": settings["rounds"]}, *[{"what": "memory"}] * settings["fresh_processes"]]
    elif question == "counts":
        common |= {"seeds": seeds[:1], "world_size": 2, "uneven": False, "near": True, "dtype": "bfloat16"}
        tasks = [{"num_samples": n} for n in settings["counts"]]
    else:
        common |= {"dtype": "float32", "num_samples": settings["num_samples"]}
        ways = [(w, uneven) for w in settings["world_sizes"] for uneven in (False, True) if w > 1 or not uneven]
        tasks = [{"world_size": w, "uneven": uneven, "near": near} for w, uneven in ways for near in (True, False)]
    return [{**common, **task, "name": f"task-{place}"} for place, task in enumerate(tasks)]


def _in_processes(tasks: list[dict[str, Any]]) -> list[list[dict[str, float]]]:
    """Each task's values, one dictionary a seed; in processes of their own."""
    path = os.pathsep.join([str(Path(sigreg_lab.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(Path(contestants.__file__))],
        input=json.dumps(tasks),
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise RuntimeError(f"the processes failed: {done.stderr[-2000:]}")
    found: list[list[dict[str, float]]] = json.loads(done.stdout.splitlines()[-1])
    return found


def _of_task(question: str, task: dict[str, Any], values: list[dict[str, float]]) -> list[Row]:
    place = {key: task[key] for key in ("dtype", "world_size", "num_samples")}
    place |= {"shares": "uneven" if task["uneven"] else "even", "embeddings": NEAR if task["near"] else FAR}
    keys = values[0] if values else ()
    wanted = [key for key in keys if (key == "count_ratio") == (question == "counts")]
    return [_row(key, [one[key] for one in values], **place) for key in wanted]


def _row(quantity: str, values: list[float], **place: Any) -> Row:
    """Mean over batches with its standard error, and the value farthest from what it should be."""
    aim = 0.0 if quantity.endswith("_error") or quantity == "refused" else 1.0
    array = np.array(values)
    return {
        "quantity": quantity,
        **{"shares": "even"} | place,
        "mean": array.mean(),
        "standard_error": array.std(ddof=1) / math.sqrt(len(array)) if len(array) > 1 else 0.0,
        "replicates": len(array),
        "farthest": array[np.abs(array - aim).argmax()],
    }
