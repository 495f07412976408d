"""The oracle of peers is right, and says what was not run."""

import functools
import sys

import pandas as pd
import pytest
import torch
import torch.distributed as dist

from sigreg_lab.distributed import leave_group
from sigreg_lab.experiment.claims import Verdict
from sigreg_lab.experiment.estimates import Estimates, tabulate
from sigreg_lab.experiment.study import load_study
from sigreg_lab.slicing import sliced_statistic
from sigreg_lab.univariate import EppsPulley
from tests.studies.turn import complaints, verdicts

STUDY = load_study("peers")
MEASURE = sys.modules[STUDY.measure.__module__]
CONTESTANTS = MEASURE.contestants
SMALL = {**STUDY.presets["smoke"], "counts": [514], "world_sizes": [1, 2], "rounds": 2, "fresh_processes": 2}


def cell(question, contestant="sigreg-lab"):
    return measured(question, contestant).copy()


@functools.cache
def measured(question, contestant):
    """Some start processes: each is measured once."""
    place = {"question": question, "contestant": contestant}
    return pd.DataFrame([place | row for row in STUDY.measure(place, SMALL, STUDY.cell_seed(place))])


def test_the_formula_is_that_of_the_statistic():
    """The formula as written in the study against the library's own statistic, value and gradient, float64."""
    x = CONTESTANTS.batch(3, 40, 5, near=False)
    a = CONTESTANTS.directions("sigreg-lab", x, 12, seed=4)
    torch.testing.assert_close(a.norm(dim=0), torch.ones(12, dtype=torch.float64), rtol=1e-6, atol=0)
    found = CONTESTANTS.value_and_gradient(lambda z: CONTESTANTS.exact(z, a), x)
    expected = CONTESTANTS.value_and_gradient(lambda z: sliced_statistic(z, EppsPulley(), a).mean(), x)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("world_size", "uneven"), [(1, False), (2, True), (3, False), (4, True)])
def test_every_sample_is_on_one_process(world_size, uneven):
    parts = CONTESTANTS.shares(50, world_size, uneven)
    assert sum(parts) == 50
    assert len(parts) == world_size
    assert max(parts) - min(parts) > 1 if uneven else max(parts) - min(parts) <= 1


def test_what_this_library_has_is_exact_and_a_wrong_number_is_not_accepted():
    rows = pd.concat([cell("dtypes"), cell("ranks")])
    assert complaints(STUDY, rows, SMALL) == []
    for name in ("value_error", "gradient_error", "value_ratio", "gradient_cosine"):
        at = (rows["quantity"] == name) & (rows["dtype"] == "float32")
        assert at.any()
        wrong = rows.assign(farthest=rows["farthest"].where(~at, rows["farthest"] + 1e-3))
        assert any(f"farthest {name}" in text for text in complaints(STUDY, wrong, SMALL))


def test_a_wrong_loss_on_several_processes_is_seen(monkeypatch, tmp_path):
    """The step as it is done on each rank, here on one, with a loss that is 1.1 times what it should be."""
    right = CONTESTANTS.build
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    task = {"contestant": "sigreg-lab", "world_size": 1, "uneven": False, "near": True, "dtype": "float32"}
    task |= {"dim": 6, "num_slices": 16, "num_samples": 48}
    try:
        good = CONTESTANTS._step(0, task, 5)
        monkeypatch.setattr(CONTESTANTS, "build", lambda *place: lambda z: 1.1 * right(*place)(z))
        wrong = CONTESTANTS._step(0, task, 5)
    finally:
        leave_group()
    assert good["gradient_error"] < 1e-5
    assert wrong["gradient_error"] == pytest.approx(0.1, rel=1e-3)
    assert [wrong[name] for name in ("value_ratio", "gradient_size")] == pytest.approx([1.1, 1.1], rel=1e-4)
    assert wrong["gradient_cosine"] == pytest.approx(1)


def test_cost_is_that_of_calls_in_turn():
    cost = cell("cost")
    rows = cost.set_index("quantity")
    assert rows.loc["milliseconds", "mean"] > 0
    assert rows.loc["log_time_ratio", "replicates"] == SMALL["rounds"]
    assert abs(rows.loc["log_time_ratio", "mean"]) < 3, "beside itself"
    if sys.platform == "linux":
        assert rows.loc["mebibytes", "mean"] >= 0
    estimates = Estimates(tabulate(STUDY.estimate(cost.assign(mean=0.5, standard_error=0.0), SMALL)))
    assert estimates.at("time_ratio").value == pytest.approx(1.6487, abs=1e-4), "exp 0.5"


def test_what_is_not_installed_is_said_and_no_claim_leans_on_it(monkeypatch):
    version = CONTESTANTS.version
    monkeypatch.setattr(MEASURE, "version", lambda name: version(name) if name == "sigreg-lab" else "")
    names = STUDY.presets["smoke"]["contestant"]
    rows = pd.concat([cell("dtypes"), *(cell("ranks", name) for name in names if name != "sigreg-lab"), cell("counts")])
    estimates = Estimates(tabulate(STUDY.estimate(rows, SMALL)))
    absent = [one.contestant for one in estimates.of("installed") if not one.value]
    assert absent == [name for name in names if name != "sigreg-lab"]
    assert {claim.id: claim.decision(estimates).verdict for claim in STUDY.claims} == {
        claim.id: Verdict.NOT_RUN for claim in STUDY.claims
    }


RANKS = {"question": "ranks", "quantity": "gradient_error"}


@pytest.mark.parametrize(
    ("name", "change", "value", "expected"),
    [
        ("reduction_is_lost", RANKS | {"contestant": "stable-pretraining"}, 1e-7, ("holds", "fails")),
        ("reduction_is_lost", RANKS | {"contestant": "lightly"}, 1e-7, ("holds", "fails")),
        ("gathering_is_exact", RANKS | {"contestant": "lightly gathering"}, 0.2, ("holds", "fails")),
        ("gathering_is_exact", RANKS | {"contestant": "sigreg-lab"}, 0.2, ("holds", "fails")),
        ("default_is_local", RANKS | {"contestant": "lightly"}, 1e-7, ("holds", "fails")),
        (
            "one_process_is_exact",
            {"question": "dtypes", "quantity": "gradient_error", "dtype": "float32", "contestant": "lightly gathering"},
            0.1,
            ("holds", "fails"),
        ),
        (
            "low_precision_differs",
            {"question": "dtypes", "quantity": "gradient_error", "dtype": "bfloat16", "contestant": "sigreg-lab"},
            0.9,
            ("holds", "fails"),
        ),
        ("counts_are_rounded", {"quantity": "count_ratio"}, 1.0, ("holds", "fails")),
        ("ours_is_quicker", {"quantity": "time_ratio", "contestant": "lightly gathering"}, 0.5, ("holds", "fails")),
        ("ours_is_quicker", {"quantity": "mebibytes", "contestant": "sigreg-lab"}, 1e4, ("holds", "fails")),
    ],
)
def test_each_claim_can_be_turned_round(name, change, value, expected):
    assert verdicts(STUDY, name, (change, value)) == expected
