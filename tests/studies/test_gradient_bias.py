"""Gradient bias: the mean on rounded embeddings by simulation, local batches by hand, and a study that can fail."""

import numpy as np
import pandas as pd
import pytest
import torch

from sigreg_lab.experiment.study import load_study

STUDY = load_study("gradient_bias")
EXACT = STUDY.measure.__globals__


def test_without_rounding_the_mean_on_numbers_of_a_dtype_is_that_of_theorem_6():
    distance, distance_slope, excess, excess_slope = EXACT["population"](0.8)
    for dtype, tolerance in ((torch.float16, 1e-5), (torch.bfloat16, 1e-3)):
        value, slope = EXACT["rounded_mean"](dtype, 0.8, 64)
        assert value == pytest.approx(64 * distance + excess, rel=tolerance)
        assert slope == pytest.approx(64 * distance_slope + excess_slope, rel=tolerance)
        assert value != pytest.approx(64 * distance + excess, rel=1e-10)


def test_the_mean_on_rounded_numbers_is_that_of_a_coarse_simulation(monkeypatch):
    # bfloat16 of 100 + x is a coarse grid: rounding then moves the mean far more than the simulation's error.
    rng = np.random.default_rng(0)
    z = rng.standard_normal((16, 40_000))
    rounded = torch.from_numpy(0.8 * z).to(torch.bfloat16).double()
    t, target, weight = EXACT["_grid"]()
    phi = torch.stack([torch.exp(1j * u * rounded).mean(0) for u in t])
    values = (torch.from_numpy(weight)[:, None] * (phi - torch.from_numpy(target)[:, None]).abs() ** 2).sum(0) * 16
    error = float(values.std()) / np.sqrt(values.numel())
    assert float(values.mean()) == pytest.approx(EXACT["rounded_mean"](torch.bfloat16, 0.8, 16)[0], abs=4 * error)


def _summary(variant, **changes):
    config = STUDY.configure("smoke", ["replicates=4000", "paired_replicates=4000"])
    settings = STUDY.settings(config)
    cell = {"variant": variant, "sd": 0.8, "n": 64}
    rows = [{**cell, **row} for row in STUDY.measure(cell, settings, STUDY.cell_seed(cell))]
    return STUDY.summarize(pd.DataFrame(rows), settings)


@pytest.mark.parametrize("variant", ["whole", "float16", "local_4"])
def test_right_rows_are_accepted(variant):
    assert STUDY.verify(_summary(variant)) == []


def test_wrong_rows_are_not(monkeypatch):
    right = EXACT["population"]
    monkeypatch.setitem(EXACT, "population", lambda sd: (*right(sd)[:3], 0.0))
    assert any("bias of the gradient (whole, v" in text for text in STUDY.verify(_summary("whole")))
    monkeypatch.setitem(EXACT, "population", right)
    # Local batches that carry the factor of the whole batch.
    row = EXACT["_row"]
    monkeypatch.setitem(EXACT, "_row", lambda variant, *rest: row("whole", *rest))
    assert any("bias of the loss (local_4, u" in text for text in STUDY.verify(_summary("local_4")))


def test_local_batches_have_the_mean_of_one_of_them_and_reduced_sums_that_of_the_whole():
    z = torch.from_numpy(np.random.default_rng(1).standard_normal((32, 5)))
    found = EXACT["_batch"]("local_4", z, 0.8)
    one_by_one = [EXACT["_loss_and_gradient"]("v", part, 0.8) for part in z.split(8)]
    np.testing.assert_allclose(found[("v", "loss")], np.mean([loss for loss, _ in one_by_one], axis=0), rtol=1e-12)
    np.testing.assert_allclose(found[("v", "gradient")], np.mean([g for _, g in one_by_one], axis=0), rtol=1e-12)
    assert found[("u", "rounding: reduced sums less whole")].max() < 1e-12
