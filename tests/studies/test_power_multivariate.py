"""The multivariate power study: its statistics against the library's, its exact powers, and that it can fail."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from sigreg_lab import alternatives, multivariate, univariate
from sigreg_lab.experiment.study import load_study
from sigreg_lab.slicing import make_directions, seeded_generator, sliced_statistic

STUDY = load_study("power_multivariate")
PARTS = STUDY.measure.__globals__
SETTINGS = STUDY.settings(STUDY.configure("smoke"))


def _rows(n, dim, law, **settings):
    cell = {"n": n, "dim": dim, "alternative": law}
    rows = STUDY.measure(cell, SETTINGS | settings, STUDY.cell_seed(cell))
    return pd.DataFrame([cell | row for row in rows])


def test_values_are_those_of_the_library_on_the_same_directions():
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 20, 3)))
    wanted = PARTS["tests"](SETTINGS, 20, 3, "null")
    found = dict(zip(wanted, PARTS["values"](x, wanted, seeded_generator(1)), strict=True))
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
    names = {name for name, _, _ in PARTS["tests"](SETTINGS, 64, 16, "rank_defect_1")}
    assert not any(name.endswith("_standardised") for name in names)
    assert any(name.endswith("_standardised") for name, _, _ in PARTS["tests"](SETTINGS, 64, 16, "null"))


@pytest.mark.parametrize(("law", "dim"), [("location_0.3", 4), ("scale_1.1", 4), ("rank_defect_1", 4), ("sphere", 4)])
def test_exact_powers_are_those_of_a_simulation(law, dim):
    n, law = 10, alternatives.MULTIVARIATE[law](dim)
    x = law.sample(np.random.default_rng(2), (40_000, n))
    mean, radius = n * (x.mean(1) ** 2).sum(-1), np.abs((x**2).sum((1, 2)) / (n * dim) - 1)
    for name, values, critical in (("mean", mean, stats.chi2.isf(0.05, dim)), ("radius", radius, 0.25)):
        expected = PARTS["exact_power"](name, critical, n, law)
        if name == "mean" and law.name == "sphere":
            assert np.isnan(expected)
        else:
            error = np.sqrt(expected * (1 - expected) / len(values))
            assert abs((values > critical).mean() - expected) <= 4 * error


def test_right_rows_are_accepted_and_each_kind_of_wrong_ones_fails_loudly():
    rows = pd.concat([_rows(32, 2, law) for law in ("null", "scale_1.1", "x")], ignore_index=True)
    assert STUDY.verify(STUDY.summarize(rows, SETTINGS)) == []
    for law, statistic, what in (
        ("null", "energy", "size of energy"),
        ("scale_1.1", "mardia_kurtosis_standardised", "blindness of Mardia kurtosis, standardised"),
        ("x", "first_coordinate", "blindness of first coordinate"),
        ("scale_1.1", "mean", "power of mean"),
    ):
        wrong = rows.copy()
        wrong.loc[(rows["alternative"] == law) & (rows["statistic"] == statistic), "rejections"] = 45
        complaints = STUDY.verify(STUDY.summarize(wrong, SETTINGS))
        assert len(complaints) == 1
        assert f"{what} against {law} at n = 32, K = 2 is 0.45" in complaints[0]


def test_a_statistic_that_is_constant_has_no_number():
    rows = _rows(16, 128, "null", num_slices=[1])
    assert "henze_zirkler" not in set(rows["statistic"])
    summary = STUDY.summarize(rows, SETTINGS | {"num_slices": [1]}).set_index("statistic")
    assert summary.loc["henze_zirkler", "constant"]
    assert summary.loc["henze_zirkler", ["low", "high"]].tolist() == [0, 1]
    assert not summary.loc["energy", "constant"]


def test_the_reference_samples_are_shared_and_a_sample_does_not_depend_on_the_grid():
    one, two = (_rows(16, 2, "scale_1.1", num_slices=m) for m in ([1, 16], [1]))
    same = one.merge(two, on=["statistic", "reduction", "num_slices"])
    unsliced = same[same["num_slices"] == 0]
    assert len(unsliced) > 10
    assert unsliced["rejections_x"].tolist() == unsliced["rejections_y"].tolist()
