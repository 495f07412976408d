"""``benchmarks.device`` to its end, and killed in the middle, on a stand-in for a GPU (``tests.device_stand_in``)."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks.device import LIMITS

pytestmark = pytest.mark.long

SMALL = [
    "embedding_dim=16",
    "projector=16,8",
    "batch_size=32",
    "epochs=1",
    "log_every=1",
    "probe_epochs=1",
    "num_slices=8",
]
NAMES = "sigreg-ep,vicreg,none,untrained"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three classes of images, told apart by brightness."""
    from PIL import Image

    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 10)):
        for label in range(3):
            (root / split / f"class{label}").mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 100, (32, 32, 3)) + 50 * label
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / f"class{label}" / f"{index}.png")
    return root


def start(folder, out, *words):
    settings = [word for setting in SMALL for word in ("--set", setting)]
    command = [sys.executable, "-m", "tests.device_stand_in", "--data", str(folder), "--out", str(out)]
    return subprocess.Popen(
        [*command, "--minutes", "20", "--regularizers", NAMES, *settings, *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_part_comes_to_its_end(folder, tmp_path):
    process = start(folder, tmp_path)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    for part in LIMITS:
        manifest = json.loads((tmp_path / part / "manifest.json").read_text())
        assert manifest["sessions"][-1]["ended"], f"{part}\n{output}"
    checks = rows(tmp_path / "check" / "figures.csv")
    assert len(checks) > 30
    assert not [row for row in checks if row["met"] == "no"], output
    assert not [row for row in rows(tmp_path / "kernels" / "figures.csv") if row["asked"] == "to run"], output
    runs = rows(tmp_path / "runs" / "rows.csv")
    assert all(row["reason"] == "" for row in runs)
    reported = [(row["regularizer"], row["seed"]) for row in runs if row["stage"] == "report"]
    assert reported == [(name, str(seed)) for seed in range(5) for name in NAMES.split(",")], "balanced"
    again = start(folder, tmp_path)
    assert again.communicate()[0].count("done before") == len(LIMITS)


def test_runs_that_were_made_before_a_kill_are_not_made_again(folder, tmp_path):
    table = tmp_path / "runs" / "rows.csv"
    process = start(folder, tmp_path, "--parts", "runs")
    while not (table.is_file() and table.read_text().count("\n") > 5):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = rows(table)
    process = start(folder, tmp_path, "--parts", "runs")
    output, _ = process.communicate()
    after = rows(table)
    assert after[: len(before)] == before, output
    keys = [(row["stage"], row["regularizer"], row["lam"], row["seed"]) for row in after]
    assert len(keys) == len(set(keys)) == 2 * 2 + 5 * 4
