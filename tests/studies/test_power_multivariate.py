"""The multivariate power study: its statistics against the library's, its exact powers, and that it can fail."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from sigreg_lab import alternatives, multivariate, univariate
from sigreg_lab.experiment.claims import Verdict
from sigreg_lab.experiment.estimates import Estimates, contradictions, tabulate
from sigreg_lab.experiment.results import read_estimates
from sigreg_lab.experiment.study import load_study
from sigreg_lab.slicing import make_directions, seeded_generator, sliced_statistic

STUDY = load_study("power_multivariate")
RESULTS = Path(__file__).parents[2] / "results" / "power_multivariate"
MEASURE = sys.modules[STUDY.measure.__module__]
SETTINGS = STUDY.settings(STUDY.configure("smoke"))


def _rows(n, dim, law, **settings):
    cell = {"n": n, "dim": dim, "alternative": law}
    rows = STUDY.measure(cell, SETTINGS | settings, STUDY.cell_seed(cell))
    return pd.DataFrame([cell | row for row in rows])


def test_values_are_those_of_the_library_on_the_same_directions():
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 20, 3)))
    wanted = MEASURE.tests(SETTINGS, 20, 3, "null")
    found = dict(zip(wanted, MEASURE.values(x, wanted, seeded_generator(1)), strict=True))
    generator = seeded_generator(1)
    for place, sample in enumerate(x):
        directions = make_directions("iid", 3, 16, generator=generator)
        for (name, reduction, num_slices), value in found.items():
            if num_slices:
                expected = sliced_statistic(
                    sample.float(), univariate.REGISTRY[name](), directions[:, :num_slices], reduction
                )
                assert value[place] == pytest.approx(float(expected), rel=2e-5)
    assert found["energy", "none", 0].tolist() == multivariate.Energy()(x).tolist()
    standardised = multivariate.HZ(standardise=True)(x)
    assert found["henze_zirkler_standardised", "none", 0].tolist() == standardised.tolist()
    assert ("epps_pulley", "max", 1) not in found  # the same test as the mean


def test_what_cannot_be_standardised_is_left_out():
    names = {name for name, _, _ in MEASURE.tests(SETTINGS, 64, 16, "rank_defect_1")}
    assert not any(name.endswith("_standardised") for name in names)
    assert any(name.endswith("_standardised") for name, _, _ in MEASURE.tests(SETTINGS, 64, 16, "null"))


def test_a_test_that_knows_the_axes_finds_the_x_where_no_sliced_one_does():
    """The largest correlation of squares between coordinates, N = 256 and K = 128: not one of the study's tests."""

    def largest(law, count):
        x = alternatives.MULTIVARIATE[law](128).sample(np.random.default_rng(7), (count, 256)) ** 2
        return np.array([np.abs(np.corrcoef(one.T) - np.eye(128)).max() for one in x])

    null = largest("null", 199)
    assert (largest("x", 100) > np.sort(null)[-10]).mean() > 0.95  # level 10/200
    hidden = read_estimates(RESULTS).of("power", alternative="x", dim=128, n=256, statistic=MEASURE.SLICED)
    assert hidden.largest().value < 0.25


def _estimates(rows, settings=SETTINGS):
    return Estimates(tabulate(STUDY.estimate(rows, settings)))


def test_right_rows_are_accepted_and_each_kind_of_wrong_ones_fails_loudly():
    rows = pd.concat([_rows(32, 2, law) for law in ("null", "scale_1.1", "x")], ignore_index=True)
    assert contradictions(_estimates(rows)) == []
    for law, statistic in (
        ("null", "energy"),
        ("scale_1.1", "mardia_kurtosis_standardised"),
        ("x", "first_coordinate"),
        ("scale_1.1", "mean"),
    ):
        wrong = rows.copy()
        wrong.loc[(rows["alternative"] == law) & (rows["statistic"] == statistic), "rejections"] = 45
        complaints = contradictions(_estimates(wrong))
        assert len(complaints) == 1
        assert f"power (n=32, dim=2, alternative={law}" in complaints[0]
        assert f"statistic={statistic}" in complaints[0]


def test_a_statistic_that_is_constant_has_no_number_and_is_named():
    rows = _rows(16, 128, "null", num_slices=[1])
    assert "henze_zirkler" not in set(rows["statistic"])
    estimates = _estimates(rows, SETTINGS | {"num_slices": [1]})
    assert estimates.at("constant in float64", statistic="henze_zirkler").value == 1
    assert len(estimates.of("power", statistic="henze_zirkler")) == 0
    assert estimates.at("constant in float64", statistic="energy").value == 0
    assert _verdicts(estimates)["always_a_test"] == Verdict.FAILS


def _verdicts(estimates):
    return {claim.id: claim.decision(estimates).verdict for claim in STUDY.claims}


def test_each_claim_can_be_turned_round():
    committed = read_estimates(RESULTS)
    said = _verdicts(committed)
    changes = {
        "maximum_no_better": ("gain of the maximum", 0.6, "fails"),
        "maximum_gains_in_few": ("gain of the maximum", -0.6, "fails"),
        "maximum_consistent": ("power", 0.9, "holds"),
        "hidden_laws": ("power", 0.9, "fails"),
        "more_slices_cost": ("gain of the most slices", -0.6, "holds"),
        "below_level": ("power", 0.9, "fails"),
        "always_a_test": ("constant in float64", 0.0, "holds"),
    }
    for name, (quantity, value, turned) in changes.items():
        table = committed.table.copy()
        at = (table["quantity"] == quantity) & (table["alternative"] != ("null" if quantity == "power" else ""))
        table.loc[at, ["estimate", "low", "high"]] = [value, value - 0.01, value + 0.01]
        assert str(_verdicts(Estimates(table))[name]) == turned, name
        assert str(said[name]) != turned, name


def test_the_reference_samples_are_shared_and_a_sample_does_not_depend_on_the_grid():
    one, two = (_rows(16, 2, "scale_1.1", num_slices=m) for m in ([1, 16], [1]))
    same = one.merge(two, on=["statistic", "reduction", "num_slices"])
    unsliced = same[same["num_slices"] == 0]
    assert len(unsliced) > 10
    assert unsliced["rejections_x"].tolist() == unsliced["rejections_y"].tolist()
