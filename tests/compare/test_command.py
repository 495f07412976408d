"""The command as a person meets it: real runs, of a few steps."""

import csv
import dataclasses
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from sigreg_lab import cli
from sigreg_lab.compare import command, compare, measure, prepare, runs
from sigreg_lab.compare.command import STORE
from sigreg_lab.experiment import rate_interval
from sigreg_lab.experiment.study import parse_duration
from sigreg_lab.pretrain import loop
from sigreg_lab.pretrain.data import MADE_HERE, Images
from sigreg_lab.regularizers import SIGReg
from sigreg_lab.univariate import EppsPulley
from tests.compare.surrogate import Inline
from tests.processes import fork_workers

DOCS = (Path(__file__).parents[2] / "docs" / "comparing.md").read_text()
TINY = ["steps=3", "batch_size=32", "num_slices=8", "projector=16,8", "probe_draws=1"]
SHORT = ["--seeds", "2", "--tuning-seeds", "1", "--extra", "1", "--lambdas", "0.01,0.1"]
OWN = re.search(r"```python\n(# my_loss\.py.*?)```", DOCS, flags=re.DOTALL)[1]


@pytest.fixture(scope="module", autouse=True)
def _no_gpu():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        yield


@pytest.fixture(autouse=True)
def _in_a_folder_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my_loss.py").write_text(OWN)


@pytest.fixture
def here(monkeypatch, undrawn):
    """Runs are made in this process, which spares the start of others; what they give is the same."""
    monkeypatch.setattr(command, "local_executor", lambda workers: nullcontext(Inline()))


def _flags(*settings):
    return [word for setting in (*TINY, *settings) for word in ("--set", setting)]


def _call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["sigreg-lab", "compare", *map(str, arguments)])
    code = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = stop.code or 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def _python(*arguments):
    """Another process, with this copy of the package."""
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        timeout=600,
    )


def _read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _rows(folder):
    """The rows without what depends on the clock."""
    clock = ("seconds", "regularizer_seconds")
    return [{key: value for key, value in row.items() if key not in clock} for row in _read(folder / "rows.csv")]


def test_the_worked_example_with_ones_own_regulariser_in_ones_own_file(monkeypatch, capsys, request):
    line = next(line for line in DOCS.splitlines() if line.startswith("sigreg-lab compare sigreg-ep my_loss.py"))
    arguments = [*line.split()[2:], *_flags(), *SHORT[2:], "--workers", "2", "--out", "out"]
    fork_workers(monkeypatch)
    code, out, err = _call(monkeypatch, capsys, *arguments)
    assert code == 0, err
    assert "test accuracy of the linear (backbone) probe over 3 seeds" in out
    (page,) = Path("out").glob("digits-*/page.html")
    assert str(page) in out
    rows = _read(page.parent / "rows.csv")
    assert len(rows) == 2 * (3 + 3) + 2 * 3
    assert {row["regularizer"] for row in rows} == {"sigreg-ep", "my_loss.py:MyRegularizer", "none", "untrained"}
    assert all(row["broke"] == "" and float(row["seconds"]) > 0 for row in rows)
    mine = next(row for row in rows if row["regularizer"].startswith("my_loss"))
    config = json.loads(mine["config"])
    assert config["regularizer"]["source"]
    assert config["steps"] == 3
    assert len(json.loads(mine["curve"])) == 3
    for features in ("backbone", "projector"):
        for probe in ("linear_all", "knn_all"):
            for split in ("validation", "test"):
                assert 0 <= float(mine[f"{split}_{features}_{probe}"]) <= 1
    assert float(mine["embedding_rank"]) > 1
    assert float(mine["regularizer_seconds"]) > 0
    assert float(mine["regularizer_mib"]) > 0
    summary = _read(page.parent / "summary.csv")
    assert {row["seeds_finished"] for row in summary} == {"3"}
    manifest = json.loads((page.parent / "manifest.json").read_text())
    assert set(manifest) >= {"git", "versions", "hardware", "command", "protocol", "regularizers", "files", "sessions"}
    everything = "".join((page.parent / name).read_text() for name in (*manifest["files"], "manifest.json"))
    assert os.getcwd() not in everything, "no folder of this machine is told"

    request.getfixturevalue("here")
    code, again, err = _call(monkeypatch, capsys, *arguments)
    assert code == 0
    assert again == out
    assert "18 runs were there from before" in err
    Path("my_loss.py").write_text(OWN.replace(".square().sum() +", ".abs().sum() +"))
    code, _, err = _call(monkeypatch, capsys, *arguments)
    assert code == 0
    assert "12 runs were there from before" in err, "runs of other code are made anew"


@pytest.mark.usefixtures("here")
def test_the_example_from_python_runs():
    block = re.search(r"## From Python\n\n```python\n(.*?)```", DOCS, flags=re.DOTALL)[1]
    small = block.replace('overrides=["steps=5"]', f"extra=0, lambdas=[0.01, 0.1], overrides={TINY}")
    assert small != block
    exec(small, names := {})
    assert names["found"].outcome.made == 2 * (2 + 2) + 4


SCRIPT = (
    OWN
    + """

def squares(z, generator):
    return (z.square().mean((1, 2)) - 1).square().mean()


if __name__ == "__main__":
    import sys
    from pathlib import Path

    from sigreg_lab.compare import compare, prepare, show

    light = MyRegularizer(0.1)
    light.name = "light"
    comparison = prepare(
        [MyRegularizer, light, squares], seeds=2, tuning_seeds=1, extra=0, lambdas=[0.05, 0.2], overrides=sys.argv[1:]
    )
    folder, found = compare(comparison, Path("out"), workers=2)
    print(show(found))
"""
)


@pytest.mark.long
def test_a_class_an_object_and_a_function_of_a_script_go_to_the_processes_that_make_the_runs():
    Path("script.py").write_text(SCRIPT)
    done = _python("script.py", *TINY)
    assert done.returncode == 0, done.stderr
    rows = _read(next(Path("out").glob("*/rows.csv")))
    assert {row["broke"] for row in rows} == {""}
    names = ("MyRegularizer", "light", "squares")
    assert {row["regularizer"] for row in rows} == {*names, "none", "untrained"}
    assert all(name in done.stdout for name in names)
    manifest = json.loads(next(Path("out").glob("*/manifest.json")).read_text())
    weights = {one["name"]: one.get("options", {}).get("mean_weight") for one in manifest["regularizers"]}
    assert (weights["MyRegularizer"], weights["light"]) == (1.0, 0.1)


def test_what_other_processes_cannot_have_is_one_line(monkeypatch):
    def local(z, generator):
        return z.square().mean()

    with pytest.raises(ValueError, match=r"^local cannot be sent to the processes .*local.*put its code into a file"):
        prepare([local], overrides=TINY)
    held = SIGReg(EppsPulley(), num_slices=8)
    held.name, held.lock = "held", threading.Lock()
    with pytest.raises(ValueError, match=r"held cannot be sent .*cannot pickle .*keep locks, open files"):
        prepare([held], overrides=TINY)
    session = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", session)
    exec("def mine(z, generator): return z.square().mean()", vars(session))
    with pytest.raises(ValueError, match=r"^mine is made in a session without a file, where"):
        prepare([session.mine])


@pytest.mark.usefixtures("here")
def test_runs_of_a_seed_begin_with_the_same_weights_batches_and_views():
    options = {"data": "digits", "overrides": TINY, "seeds": 2, "tuning_seeds": 1, "extra": 0, "lambdas": [0.01, 0.1]}
    _, found = compare(prepare(["sigreg-ep", "my_loss.py:MyRegularizer"], **options), Path("out"), workers=2)
    first = {seed: set() for seed in (0, 1)}
    for plan in found.outcome.plans[:-1]:  # the untrained has no first step
        for seed, row in plan.reported.items():
            step, _, prediction, _ = row["curve"][0]
            assert step == 0
            first[seed].add(prediction)
    assert [len(values) for values in first.values()] == [1, 1]
    assert first[0] != first[1]


def test_a_control_that_is_named_first_is_what_the_others_are_compared_with():
    comparison = prepare(["untrained", "vicreg"], data="digits", overrides=TINY)
    assert [candidate.name for candidate in comparison.candidates] == ["untrained", "vicreg", "none"]


def _bad(body):
    return f"import torch\nclass Mine:\n    def __call__(self, z, generator):\n        {body}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name regularisers to compare, or --all; known: sigreg-ep"),
        (("none", "untrained"), "name regularisers to compare, or --all"),
        (("none", "vicreg", "none"), "two regularisers are called none"),
        (("sigreg",), "unknown regularizer 'sigreg'; did you mean sigreg-ep? known: sigreg-ep"),
        (
            ("my_loss.py:alone",),
            "my_loss.py:alone needs the option(s) z; write my_loss.py:alone:z=VALUE; a function that",
        ),
        (("global.py:Mine",), "with a generator in the same state; draw from the generator that is handed in"),
        (("forgetful.py:Mine",), "its value must be a scalar tensor, got NoneType; is `return` missing?"),
        (("nowhere.py:Mine",), "no file nowhere.py there"),
        (("my_loss.py:Mine",), "my_loss.py holds no class Mine; it holds MyRegularizer"),
        (("vector.py:Mine",), "its value must be a scalar tensor, got a tensor of shape (32, 8)"),
        (("nan.py:Mine",), "its value must be finite, got nan"),
        (("flat.py:Mine",), "its value has no gradient"),
        (("vicreg", "vicreg"), "two regularisers are called vicreg"),
        (
            ("my_loss.py:MyRegularizer", "there/my_loss.py:MyRegularizer"),
            "two regularisers are called my_loss.py:MyReg",
        ),
        (("sigreg-ep", "sigreg-ep:num_slices=8"), "sigreg-ep and sigreg-ep:num_slices=8 are the same regulariser"),
        (("vicreg", "--data", "cats"), "unknown data 'cats'; known: digits"),
        (("vicreg", "--set", "lam=0.1"), "--set lam=0.1: a comparison tunes lambda; give its grid by --lambdas"),
        (("vicreg", "--set", "speed=1"), "--set speed=1: not a setting of pretraining"),
        (("vicreg", "--set", "steps=0"), "steps and epochs are 0, so that nothing is trained"),
        (("vicreg", "--set", "batch_size=5000"), "batch_size must lie in 2 .. 997"),
        (("vicreg", "--set", "directions=hd3"), "'vicreg' draws no directions; leave out directions"),
        (("vicreg", "--lambdas", "a,b"), "--lambdas must be numbers with commas between"),
        (("vicreg", "--lambdas", "0.1,1"), "lambda must lie between 0 and 1, got 1"),
        (("vicreg", "--lambdas", "0.1"), "--lambdas must be two values or more, each once, got 0.1"),
        (("vicreg", "--lambdas", "0.1,0.2,0.1"), "--lambdas must be two values or more, each once, got 0.1, 0.2, 0.1"),
        (("vicreg", "--seeds", "0"), "seeds must be at least 1"),
        (("vicreg", "--tuning-seeds", "3"), "power of two"),
        (("vicreg", "--rank-by", "colour"), "--rank-by must be one of backbone_linear_all"),
        (("vicreg", "--workers", "0"), "--workers must be at least 1, got 0"),
        (("vicreg", "--budget", "soon"), "--budget must be a time such as 90s, 30m or 2h, got 'soon'"),
        (("vicreg", "--budget", "30"), "--budget must be a time such as"),
        (("vicreg", "--budget", "0m"), "--budget must be a time such as"),
        (("vicreg", "--budget", "0.01s"), "--budget 0.01s is too small: one run takes about"),
        (("vicreg", "--recipe", "huge"), "unknown recipe 'huge'"),
    ],
)
def test_what_is_wrong_is_one_line_before_any_run(monkeypatch, capsys, arguments, message):
    Path("there").mkdir()
    Path("there", "my_loss.py").write_text(OWN)
    Path("vector.py").write_text(_bad("return z.mean(0)"))
    Path("nan.py").write_text(_bad("return z.sum() * float('nan')"))
    with Path("my_loss.py").open("a") as file:
        file.write("\n\ndef alone(z):\n    return z.square().mean()\n")
    Path("global.py").write_text(_bad("return (z + torch.randn_like(z)).square().mean()"))
    Path("forgetful.py").write_text(_bad("z.square().mean()"))
    Path("flat.py").write_text(_bad("return z.detach().sum()"))
    own = {text.partition("=")[0] for text in arguments if "=" in text}
    flags = [w for s in TINY if s.partition("=")[0] not in own for w in ("--set", s)]
    code, out, err = _call(monkeypatch, capsys, *flags, "--out", "out", *arguments)
    assert code == 2
    assert message in err
    assert err.startswith("sigreg-lab: ")
    assert err.count("\n") == 1
    assert not out
    if Path("out", STORE).is_file():
        with sqlite3.connect(Path("out", STORE)) as store:
            assert store.execute("SELECT count(*) FROM cells").fetchone() == (0,)


@pytest.mark.usefixtures("here")
def test_a_run_that_breaks_later_is_recorded_and_the_others_go_on(monkeypatch, capsys):
    late = "import torch\nclass Late:\n    calls = 0\n    def __call__(self, z, generator):\n"
    late += "        self.calls += 1\n        bad = self.calls == 5 and generator.initial_seed() % 2\n"
    late += "        return z.square().mean() * (float('nan') if bad else 1)\n"
    Path("late.py").write_text(late)
    code, out, _ = _call(
        monkeypatch, capsys, "vicreg", "late.py:Late", *_flags("steps=6"), *SHORT, "--workers", "1", "--out", "out"
    )
    assert code == 0
    assert "late.py:Late" in out
    assert "broke" in out
    rows = _read(next(Path("out").glob("*/rows.csv")))
    broken = [row for row in rows if row["broke"]]
    assert broken
    assert {row["regularizer"] for row in broken} == {"late.py:Late"}
    assert all("FloatingPointError: the loss is nan at step" in row["broke"] for row in broken)
    assert all(len(json.loads(row["curve"])) == 4 for row in broken), "the losses up to there are kept"
    assert len(broken) < 5, "some seeds finish"
    assert len([row for row in rows if row["regularizer"] == "vicreg" and not row["broke"]]) == 5
    assert "Runs that broke" in next(Path("out").glob("*/page.html")).read_text()


@pytest.mark.usefixtures("here")
@pytest.mark.long
def test_killed_and_resumed_gives_the_rows_of_a_run_that_was_never_stopped(monkeypatch, capsys):
    arguments = ["sigreg-ep", "my_loss.py:MyRegularizer", "--data", "digits", *_flags("steps=20"), *SHORT]
    words = [sys.executable, "-m", "sigreg_lab.cli", "compare", *arguments, "--workers", "2", "--out", "killed"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL) as process:
        store = Path("killed", STORE)
        while _count(store) < 3:
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert 3 <= _count(store) < 14
    code, _, err = _call(monkeypatch, capsys, *arguments, "--out", "killed")
    assert code == 0
    assert "runs were there from before" in err
    assert _call(monkeypatch, capsys, *arguments, "--out", "whole")[0] == 0
    folders = [next(Path(name).glob("digits-*")) for name in ("killed", "whole")]
    assert _rows(folders[0]) == _rows(folders[1])
    assert len(_rows(folders[0])) == 2 * (3 + 2) + 2 * 2
    assert folders[0].name == folders[1].name


def _count(store):
    try:
        with sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=30) as connection:
            return connection.execute("SELECT count(*) FROM cells").fetchone()[0]
    except sqlite3.Error:
        return 0


class Clock:
    """Time that passes in runs alone: seven seconds each."""

    def __init__(self):
        self.seconds, self.measure = 0.0, measure.measure

    def monotonic(self):
        return self.seconds

    perf_counter = monotonic

    def __call__(self, config):
        self.seconds += 7
        return self.measure(config)


@pytest.mark.usefixtures("here")
def test_a_budget_ends_with_what_is_there_and_says_what_is_missing(monkeypatch, capsys):
    clock = Clock()
    for module in (command, runs):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setitem(command.prepare.__kwdefaults__, "measure", clock)
    arguments = ["sigreg-ep", "vicreg", *_flags(), "--seeds", "50", "--out", "out", "--workers", "1"]
    code, out, err = _call(monkeypatch, capsys, *arguments, "--budget", "60s")
    assert code == 0, err
    assert "The time ran out. Not run: " in out
    assert "50 of 50 seeds" in out
    assert "The same command goes on from here." in out
    assert "Nothing to rank yet." in out
    assert "run so far: sigreg-ep 5, vicreg 0." in out
    warned = (
        "--budget 60s ends before tuning does: 34 tuning runs of about 7 s, 1 at a time, take about 4 min. Nothing "
        "will be ranked; finished runs are kept, and the same command goes on from there. For a ranking at once take "
        "one or more of: --budget 35m, --tuning-seeds 1 (tuning by 9 runs each, not 17), --set steps=1"
    )  # 34 * 7 s = 238 s; of all 234 runs, a quarter longer: 34.1 min
    assert warned in " ".join(err.split())
    (folder,) = Path("out").glob("digits-*")
    made = 5  # after three to tell how long one takes, 39 seconds are left; a sixth run would end at 42
    assert len(_read(folder / "rows.csv")) == made
    assert clock.seconds == 7 * (3 + made)
    assert json.loads((folder / "manifest.json").read_text())["runs"]["out_of_time"]


@pytest.mark.usefixtures("here")
def test_an_unseen_folder_of_images(monkeypatch, capsys):
    rng = np.random.default_rng(0)
    for place, name in enumerate(("ant", "bee", "cat")):
        Path("unseen", name).mkdir(parents=True)
        for index in range(12):
            pixels = (rng.integers(0, 100, (20, 23, 3)) + 50 * place).astype(np.uint8)
            Image.fromarray(pixels).save(Path("unseen", name, f"{index}.png"))
    settings = ["epochs=0", "steps=2", "embedding_dim=16", "projector=16,8", "image_size=16", "probe_epochs=2"]
    flags = [w for s in (*settings, "num_slices=8", "probe_draws=1", "batch_size=16") for w in ("--set", s)]
    code, out, err = _call(monkeypatch, capsys, "sigreg-ep", "--data", "unseen", *flags, *SHORT, "--out", "out")
    assert code == 0, err
    assert "unseen, small-resnet, 2 training steps" in out
    (folder,) = Path("out").glob("unseen-*")
    assert {row["broke"] for row in _read(folder / "rows.csv")} == {""}


@pytest.mark.usefixtures("here")
def test_shuffled_labels_give_chance(monkeypatch):
    """Through the whole path, tuning included: with labels drawn anew no probe knows more than chance."""
    splits = MADE_HERE["digits"]()
    generator = torch.Generator().manual_seed(0)
    shuffled = {
        name: Images(part.pixels, part.labels[torch.randperm(len(part.labels), generator=generator)])
        for name in ("train", "validation", "test")
        for part in [getattr(splits, name)]
    }
    without = dataclasses.replace(splits, **shuffled)
    monkeypatch.setattr(measure, "_data", lambda *_: without)
    monkeypatch.setattr(loop, "load_data", lambda *_: without)
    comparison = prepare(
        ["sigreg-ep"], data="digits", overrides=["steps=3", "probe_draws=0"], seeds=2, tuning_seeds=1, extra=0,
        lambdas=[0.01, 0.1],
    )  # fmt: skip
    _, found = compare(comparison, Path("out"), workers=1)
    for line in found.lines:
        assert set(line.probes) == {
            f"{where}_{probe}_all" for where in ("backbone", "projector") for probe in ("linear", "knn")
        }
        for estimate in line.probes.values():
            low, high = rate_interval(54, 540, 0.9999)  # the runs share the test images
            assert low <= estimate.value <= high


@pytest.mark.usefixtures("here")
@pytest.mark.long
def test_a_cluster_gives_the_rows_of_this_machine(monkeypatch, capsys):
    distributed = pytest.importorskip("distributed")
    arguments = ["sigreg-ep", "my_loss.py:MyRegularizer", *_flags(), *SHORT]
    assert _call(monkeypatch, capsys, *arguments, "--out", "here", "--workers", "2")[0] == 0
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, protocol="tcp"
    ) as cluster:
        address = cluster.scheduler_address
        code, _, err = _call(monkeypatch, capsys, *arguments, "--out", "there", "--scheduler", address)
    assert code == 0, err
    here, there = (next(Path(name).glob("digits-*")) for name in ("here", "there"))
    assert _rows(here) == _rows(there)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1.5h", 5400), (" 2m ", 120)])
def test_budgets(text, seconds):
    assert parse_duration(text, "--budget") == seconds
