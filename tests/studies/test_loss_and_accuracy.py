"""Loss and accuracy: runs of a known order, and a study that can fail."""

import importlib
import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from sigreg_lab.experiment import rate_interval
from sigreg_lab.experiment.estimates import Estimates, tabulate
from sigreg_lab.experiment.study import MODULES, load_study
from tests.studies.turn import verdicts

STUDY = load_study("loss_and_accuracy")
MEASURE, SCOPES = (importlib.import_module(f"{MODULES}.loss_and_accuracy.{name}") for name in ("measure", "estimates"))
SETTINGS = {"replicates": 200, "batch_size": 128}


def _rows(accuracy, seeds=2):
    """Runs whose loss is g lambda^0.4 with a g of each run's own; ``accuracy`` is a function of g and lambda."""
    rng = np.random.default_rng(1)
    rows = []
    axes = ([0.001, 0.003, 0.01, 0.03], [5e-4, 2e-3, 8e-3], [1e-3, 1.0], [60, 240], range(seeds))
    for lam, lr, decay, steps, seed in itertools.product(*axes):
        g = rng.uniform(0.5, 2) * 60 / steps
        row = {"regularizer": "sigreg-ep", "lam": lam, "lr": lr, "weight_decay": decay, "steps": steps, "seed": seed}
        row |= {"loss": g * lam**0.4, "prediction": g, "penalty": rng.uniform()}
        row |= {f"{split}_{budget}": accuracy(g, lam) for split in ("validation", "test") for budget in MEASURE.LABELS}
        rows.append(row)
    return pd.DataFrame(rows)


def _estimates(rows):
    estimates = Estimates(tabulate(STUDY.estimate(rows, SETTINGS)))
    return estimates, {claim.id: str(claim.decision(estimates).verdict) for claim in STUDY.claims}


def _value(estimates, quantity, order, scope=SCOPES.THESE):
    return estimates.at(quantity, order=order, scope=scope, labels="all").value


def test_a_loss_that_tells_all_once_it_is_scaled_is_found_out():
    estimates, verdict = _estimates(_rows(lambda g, lam: 1 / (1 + g)))
    for scope in (SCOPES.THESE, SCOPES.OTHER, SCOPES.EQUAL):
        assert _value(estimates, "C", "scaled loss", scope) == pytest.approx(1)
        assert _value(estimates, "C", "prediction", scope) == pytest.approx(1)
    assert _value(estimates, "C", "loss", SCOPES.EQUAL) == pytest.approx(1)
    assert _value(estimates, "C", "loss") < 0.9
    assert estimates.of("C(alpha)", labels="all").largest().alpha == pytest.approx(0.4)
    assert _value(estimates, "regret", "scaled loss") == 0
    assert verdict["at_equal_lambda"] == verdict["scaled_beats_chance"] == "holds"


def test_a_loss_that_tells_nothing_but_lambda_is_found_out():
    estimates, verdict = _estimates(_rows(lambda g, lam: 0.5 + lam))
    assert _value(estimates, "C", "largest lambda") == pytest.approx(1)
    assert _value(estimates, "C", "loss", SCOPES.EQUAL) == 0
    assert _value(estimates, "regret", "largest lambda") == pytest.approx(0)
    assert verdict["as_reported"] == verdict["at_equal_lambda"] == verdict["regularizer_alone"] == "fails"
    assert verdict["smallest_collapses"] == "fails"


def test_a_loss_that_ranks_as_the_accuracy_does_is_said_to():
    rows = _rows(lambda g, lam: 1 / (1 + g))
    rows["loss"] = rows["penalty"] = rows["prediction"] * rows["lam"] ** 1e-6
    rows["test_all"] = rows["test_1"] = 1 / (1 + rows["loss"])
    verdict = _estimates(rows)[1]
    assert verdict["least_loss_loses"] == "fails"
    assert verdict["regularizer_alone"] == "holds"
    turned = rows.assign(loss=-rows["loss"])
    assert _estimates(turned)[1]["least_loss_loses"] == "holds"


def test_one_regulariser_turns_what_is_said_of_all():
    alike = {"labels": "all", "scope": SCOPES.THESE}
    worst = {"regularizer": "sigreg-vcreg", "quantity": "gain over any run", **alike}
    better = {"quantity": "gain over any run", "order": "scaled loss", **alike}
    changes = ((better, 0.02), ({**worst, "order": "scaled loss"}, -0.02))
    assert verdicts(STUDY, "scaled_beats_chance", *changes[:1])[1] == "holds"
    assert verdicts(STUDY, "scaled_beats_chance", *changes)[1] == "fails"
    reached = ({"quantity": "C less that reported"}, 0.005)
    for name in ("as_reported", "as_reported_elsewhere"):
        assert verdicts(STUDY, name, reached)[1] == "holds"
        short = {"quantity": "C less that reported", "regularizer": "sigreg-vcreg", "order": "loss"}
        assert verdicts(STUDY, name, reached, (short, -0.3))[1] == "fails"
    assert verdicts(STUDY, "as_reported", reached)[0] == "fails"


def test_collapsed_runs_are_counted_once_for_runs_that_collapse_alike():
    rows = _rows(lambda g, lam: 1 / (1 + g))
    nodes = np.linspace(0, 3, 17)
    integrand = (1 - np.exp(-(nodes**2) / 2)) ** 2 * np.exp(-(nodes**2) / 2)
    point = 128 * 2 * np.trapezoid(integrand, nodes)  # SIGReg where all embeddings lie at the origin
    least = rows["lam"] == rows["lam"].min()
    rows.loc[least & (rows["steps"] == 240), "penalty"] = 0.91 * point
    rows.loc[least & (rows["steps"] == 60), "penalty"] = 0.89 * point
    estimates, _ = _estimates(rows)
    shares = {one.lam: one.value for one in estimates.of("collapsed", labels="all")}
    assert shares == {0.001: 0.5, 0.003: 0.0, 0.01: 0.0, 0.03: 0.0}
    alone = rows.loc[least, ["lr", "steps"]].drop_duplicates()  # not by weight decay, nor by seed
    half = estimates.of("collapsed", labels="all").largest()
    assert (half.low, half.high) == pytest.approx(rate_interval(len(alone) / 2, len(alone)))
    rows.loc[least, "penalty"] = 0.95 * point
    assert _estimates(rows)[1]["smallest_collapses"] == "holds"


def test_runs_of_a_seed_share_their_random_numbers():
    cells = STUDY.cells(STUDY.configure("standard"))
    states = {tuple(STUDY.cell_seed(cell).generate_state(2)) for cell in cells if cell["seed"] == 0}
    assert len(states) == 1


def test_the_loss_is_the_mean_over_the_last_tenth_of_the_steps(monkeypatch):
    cell = STUDY.cells(STUDY.configure("standard"))[0] | {"steps": 40}
    history = [{"total": k, "prediction": 2 * k, "regularizer": 3 * k} for k in range(40)]
    monkeypatch.setattr(MEASURE, "pretrain", lambda config: SimpleNamespace(history=history))
    scores = {f"{split}_{budget}": 0.5 for split in ("validation", "test") for budget in MEASURE.LABELS}
    monkeypatch.setattr(MEASURE, "evaluate", lambda result, **_: scores)
    settings = STUDY.settings(STUDY.configure("standard"))
    (row,) = STUDY.measure(cell, settings, STUDY.cell_seed(cell))
    assert row == {"loss": 37.5, "prediction": 75.0, "penalty": 112.5, **scores}
