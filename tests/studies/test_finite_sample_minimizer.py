"""Finite-sample minimisers: exact means against simulation and formulas by hand, and a study that can fail."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import ndtri

from sigreg_lab.experiment.study import load_study
from sigreg_lab.regularizers import VICReg
from sigreg_lab.univariate import Wasserstein

STUDY = load_study("finite_sample_minimizer")
EXACT = STUDY.measure.__globals__
GENERATOR = torch.Generator()


def _samples(*shape):
    return torch.from_numpy(np.random.default_rng(7).standard_normal(shape))


@pytest.mark.parametrize("name", ["epps_pulley", "watson", "cramer_von_mises", "nll", "bhep", "vicreg"])
def test_exact_means_differ_between_scales_as_simulated_ones_do(name):
    loss, n = EXACT["make_loss"](name), 12
    mean = EXACT["_mean"](loss, n)
    if name in EXACT["STATISTICS"]:
        x = _samples(n, 20_000)
        values = [loss(sd * x) for sd in (0.7, 1.2)]
    else:
        x = _samples(4_000, n, EXACT["DIM"])
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
        exact = EXACT["exact_minimizer"](Wasserstein(quantiles), 6)
        assert exact == pytest.approx(float(products.mean()), abs=4 * error)


def test_a_small_batch_collapses_under_bhep_below_a_known_size():
    # d/dsd of the exact mean at 0 is positive for N < 1/(1 - (1 + beta^2)^(-K/2 - 1)), 20.6 here.
    threshold = 1 / (1 - 1.01 ** (-EXACT["DIM"] / 2 - 1))
    loss = EXACT["make_loss"]("bhep")
    assert EXACT["exact_minimizer"](loss, int(threshold)) == 0
    assert EXACT["exact_minimizer"](loss, 2 * int(threshold)) > 0.2


def test_vicreg_overshoots_because_its_hinge_has_one_side():
    assert EXACT["exact_minimizer"](VICReg(), 64) > 1
    assert EXACT["exact_minimizer"](VICReg(covariance=50.0), 16) < 1


def _summary(**changes):
    rows = [
        {"loss": "vcreg", "n": 16, "block": i, "quantity": "minimiser", "value": np.sqrt(15 / 17) + shift}
        for i, shift in enumerate((-0.001, 0.001, -0.002, 0.002))
    ]
    rows += [{"loss": "koleo", "n": 16, "block": 0, "quantity": "relative change with sd", "value": 1e-12}]
    return STUDY.summarize(pd.DataFrame(rows).assign(**changes), {})


def test_right_rows_are_accepted_and_wrong_ones_are_not():
    assert STUDY.verify(_summary()) == []
    wrong = _summary()
    assert "koleo at n = 16 changes with sd" in STUDY.verify(wrong.assign(value=0.1))[0]
    far = pd.DataFrame(
        [{"loss": "vcreg", "n": 16, "block": i, "quantity": "minimiser", "value": 1 + i * 1e-4} for i in range(4)]
    )
    assert "minimiser of vcreg at n = 16 is 1.00015, not 0.93934" in STUDY.verify(STUDY.summarize(far, {}))[0]
    none = STUDY.summarize(far.assign(value=np.nan), {})
    assert "vcreg at n = 16: no minimiser found" in STUDY.verify(none)[0]


def test_scale_is_not_seen_by_the_losses_said_to_be_blind_to_it():
    names = sorted(EXACT["SCALE_FREE"])
    config = {"loss": names, "n": [16], "blocks": 2, "values_per_block": 4_000}
    for name in names:
        (row, _) = STUDY.measure({"loss": name, "n": 16}, config, np.random.SeedSequence(0))
        assert row["value"] <= EXACT["LEAST_CHANGE"], name
