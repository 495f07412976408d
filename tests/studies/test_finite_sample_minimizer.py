"""Finite-sample minimisers: exact means against simulation and formulas by hand, and a study that can fail."""

import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import ndtri

from sigreg_lab.experiment.claims import Verdict
from sigreg_lab.experiment.estimates import Estimates, contradictions, tabulate
from sigreg_lab.experiment.results import read_estimates
from sigreg_lab.experiment.study import load_study
from sigreg_lab.regularizers import VICReg
from sigreg_lab.univariate import Wasserstein

STUDY = load_study("finite_sample_minimizer")
RESULTS = Path(__file__).parents[2] / "results" / "finite_sample_minimizer"
EXACT = importlib.import_module("sigreg_lab.studies.finite_sample_minimizer.exact")
MEASURE = importlib.import_module("sigreg_lab.studies.finite_sample_minimizer.measure")
GENERATOR = torch.Generator()


def _samples(*shape):
    return torch.from_numpy(np.random.default_rng(7).standard_normal(shape))


@pytest.mark.parametrize("name", ["epps_pulley", "watson", "cramer_von_mises", "nll", "bhep", "vicreg"])
def test_exact_means_differ_between_scales_as_simulated_ones_do(name):
    loss, n = EXACT.make_loss(name), 12
    mean = EXACT.mean_loss(loss, n)
    if name in EXACT.STATISTICS:
        x = _samples(n, 20_000)
        values = [loss(sd * x) for sd in (0.7, 1.2)]
    else:
        x = _samples(4_000, n, EXACT.DIM)
        values = [torch.stack([loss(sd * z[None], GENERATOR) for z in x]) for sd in (0.7, 1.2)]
    difference = values[1] - values[0]
    error = float(difference.std()) / np.sqrt(len(difference))
    assert float(difference.mean()) == pytest.approx(mean(1.2) - mean(0.7), abs=4 * error)


def test_wasserstein_wants_the_mean_product_of_scores_and_order_statistics():
    for quantiles in ("midpoint", "mean"):
        x = _samples(6, 100_000).sort(0).values
        rank = np.arange(1, 7)
        q = torch.from_numpy(ndtri((rank - 0.5) / 6 if quantiles == "midpoint" else rank / 7))
        products = (q[:, None] * x).mean(0)
        error = float(products.std()) / np.sqrt(len(products))
        exact = EXACT.exact_minimizer(Wasserstein(quantiles), 6)
        assert exact == pytest.approx(float(products.mean()), abs=4 * error)


def test_a_small_batch_collapses_under_bhep_below_a_known_size():
    # d/dsd of the exact mean at 0 is positive for N < 1/(1 - (1 + beta^2)^(-K/2 - 1)), 20.6 here.
    threshold = 1 / (1 - 1.01 ** (-EXACT.DIM / 2 - 1))
    loss = EXACT.make_loss("bhep")
    assert EXACT.exact_minimizer(loss, int(threshold)) == 0
    assert EXACT.exact_minimizer(loss, 2 * int(threshold)) > 0.2


def test_vicreg_overshoots_because_its_hinge_has_one_side():
    assert EXACT.exact_minimizer(VICReg(), 64) > 1
    assert EXACT.exact_minimizer(VICReg(covariance=50.0), 16) < 1


def _estimates(rows):
    return Estimates(tabulate(STUDY.estimate(pd.DataFrame(rows), {})))


def _rows(loss, values, quantity="minimiser", n=16):
    return [{"loss": loss, "n": n, "block": i, "quantity": quantity, "value": v} for i, v in enumerate(values)]


def test_right_rows_are_accepted_and_wrong_ones_are_not():
    spread = np.array([-0.001, 0.001, -0.002, 0.002])
    right = _rows("vcreg", np.sqrt(15 / 17) + spread) + _rows("koleo", [1e-12], "relative change with sd")
    assert contradictions(_estimates(right)) == []
    for wrong in (
        _rows("koleo", [0.1], "relative change with sd"),
        _rows("vcreg", 1 + spread),
        _rows("vcreg", [np.nan, 0.94, 0.94, 0.94]),
    ):
        assert len(contradictions(_estimates(wrong))) == 1


CHANGES = {
    "small_batches_shrink": ({"loss": "epps_pulley", "quantity": "minimiser"}, 1.1),
    "most_shrink": ({"quantity": "minimiser"}, 0.9),
    "only_two_at_one": ({"quantity": "exact minimiser", "loss": "vcreg"}, 1.0),
    "all_have_minima": ({"quantity": "no minimum"}, 0.0),
    "blind_to_scale": ({"quantity": "relative change with sd"}, 0.1),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_claim_can_be_turned_round(name):
    committed = read_estimates(RESULTS)
    (claim,) = (claim for claim in STUDY.claims if claim.id == name)
    before = claim.decision(committed).verdict
    place, value = CHANGES[name]
    table = committed.table.copy()
    at = np.logical_and.reduce([table[column] == wanted for column, wanted in place.items()])
    table.loc[at, ["estimate", "low", "high"]] = value
    after = claim.decision(Estimates(table)).verdict
    assert {before, after} == {Verdict.HOLDS, Verdict.FAILS}


def test_scale_is_not_seen_by_the_losses_said_to_be_blind_to_it():
    names = sorted(MEASURE.SCALE_FREE)
    config = {"loss": names, "n": [16], "blocks": 2, "values_per_block": 4_000}
    for name in names:
        (row, _) = STUDY.measure({"loss": name, "n": 16}, config, np.random.SeedSequence(0))
        assert row["value"] <= 2e-3, name
