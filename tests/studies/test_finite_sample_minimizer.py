"""Finite-sample minimisers: exact means against simulation and formulas by hand, and a study that can fail."""

import importlib

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import ndtri

from sigreg_lab import regularizers, univariate
from sigreg_lab.experiment.study import load_study
from sigreg_lab.regularizers import VICReg
from sigreg_lab.univariate import KSD, Wasserstein
from tests.studies.turn import complaints, verdicts

STUDY = load_study("finite_sample_minimizer")
EXACT = importlib.import_module("sigreg_lab.studies.finite_sample_minimizer.exact")
MEASURE = importlib.import_module("sigreg_lab.studies.finite_sample_minimizer.measure")
GENERATOR = torch.Generator()


def _samples(*shape):
    return torch.from_numpy(np.random.default_rng(7).standard_normal(shape))


@pytest.mark.parametrize("name", ["epps_pulley", "watson", "cramer_von_mises", "nll", "ksd_v", "bhep", "vicreg"])
def test_exact_means_differ_between_scales_as_simulated_ones_do(name):
    loss, n = KSD(0.7) if name == "ksd_v" else EXACT.make_loss(name), 12
    mean = EXACT.mean_loss(loss, n)
    if name in (*EXACT.STATISTICS, "ksd_v"):
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


def _rows(loss, values):
    rows = [{"loss": loss, "n": 16, "block": i, "quantity": "minimiser", "value": v} for i, v in enumerate(values)]
    return pd.DataFrame(rows)


def test_right_rows_are_accepted_and_wrong_ones_are_not():
    spread = np.array([-0.001, 0.001, -0.002, 0.002])
    assert complaints(STUDY, _rows("vcreg", np.sqrt(15 / 17) + spread)) == []
    for wrong in (_rows("vcreg", 1 + spread), _rows("vcreg", [np.nan, 0.94, 0.94, 0.94])):
        assert len(complaints(STUDY, wrong)) == 1


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("small_batches_shrink", ({"loss": "epps_pulley", "quantity": "minimiser"}, 1.1), ("holds", "fails")),
        ("most_shrink", ({"quantity": "minimiser"}, 0.9), ("fails", "holds")),
        ("few_at_one", ({"quantity": "exact minimiser", "loss": "vcreg"}, 1.0), ("holds", "fails")),
        ("all_have_minima", ({"quantity": "no minimum"}, 0.0), ("fails", "holds")),
    ],
)
def test_each_claim_can_be_turned_round(name, change, expected):
    assert verdicts(STUDY, name, change) == expected


@pytest.mark.parametrize("name", MEASURE.SCALE_FREE)
def test_scale_is_not_seen_by_the_losses_said_to_be_blind_to_it(name):
    if name in univariate.REGISTRY:
        test = univariate.REGISTRY[name]()
        values = [float(test(sd * _samples(16, 100)).mean()) for sd in (0.5, 1.0, 2.0)]
    else:
        loss = EXACT.make_loss(name)
        values = [float(loss(sd * _samples(2, 16, EXACT.DIM), torch.Generator().manual_seed(0))) for sd in (0.5, 1, 2)]
    assert np.ptp(values) <= 2e-3 * abs(values[1])


def test_every_loss_is_measured_or_left_out_for_a_reason():
    usable = [name for name, test in univariate.REGISTRY.items() if test.suitable_as_loss]
    names = {*usable, *regularizers.REGISTRY, "epps_pulley_u"}
    assert sorted(names) == sorted([*MEASURE.LOSSES, *MEASURE.SCALE_FREE, *MEASURE.LEFT_OUT])


@pytest.mark.parametrize("name", ["ksd", "ksd-gaussian"])
def test_an_unbiased_stein_discrepancy_is_least_at_the_target(name):
    x = _samples(20_000, 4, EXACT.DIM)
    loss = EXACT.make_loss(name).statistic
    below, at, above = (loss(sd * x) for sd in (0.8, 1.0, 1.2))
    for values in (below - at, above - at):
        assert float(values.mean()) > 4 * float(values.std()) / np.sqrt(len(values))
    assert abs(float(at.mean())) < 4 * float(at.std()) / np.sqrt(len(at))
    assert EXACT.exact_minimizer(EXACT.make_loss(name), 16) == 1.0
