"""What each group of tests must not see: units, axes, and other findings."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.datasets import load_wine

from sigreg_lab.alternatives import MULTIVARIATE
from sigreg_lab.check import diagnose, read_sample
from sigreg_lab.check.diagnose import TESTS, _standardised
from sigreg_lab.check.features import feature_tests
from sigreg_lab.nulls.dependence import holm

N, K = 120, 4
OPTIONS = {"num_slices": 8, "replicates": 599}


def _skewed(n=N, seed=0):
    """Rows that depart from a normal law a little: p-values neither 1 nor the least."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, K)) + 0.35 * rng.exponential(size=(n, K))
    x[:, 1] *= np.sqrt(0.5 + 0.5 * x[:, 0] ** 2)
    return x


def _tests(findings, null):
    return {t.name: (t.statistic, t.pvalue) for t in findings.tests if t.null_hypothesis == null}


def _same(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, rel=1e-6), name


@pytest.mark.parametrize("seed", range(4))
def test_the_shape_does_not_see_units_axes_or_location(seed):
    rng = np.random.default_rng(seed)
    x = _skewed()
    usual = diagnose(x, **OPTIONS)
    rotation, _ = np.linalg.qr(rng.standard_normal((K, K)))
    scales = 10.0 ** rng.uniform(-5, 5, K)
    shift = rng.standard_normal(K)
    mixed = (x @ rotation) * np.sqrt(scales) @ rotation.T
    for moved in (x * scales + shift * scales, x @ rotation * 1e3 + 5, mixed):
        found = diagnose(moved, **OPTIONS)
        _same(_tests(found, "any normal law"), _tests(usual, "any normal law"))
        for one, other in zip(found.classical, usual.classical, strict=True):
            assert one.statistic == pytest.approx(other.statistic, rel=1e-6)
    assert len(_tests(usual, "any normal law")) == 5


def test_features_and_pairs_do_not_see_units():
    null = "normal features, whatever their units"
    x = _skewed()
    scales = np.array([1e-6, 1.0, -30.0, 1e5])
    usual, found = diagnose(x, **OPTIONS), diagnose(x * scales + scales, **OPTIONS)
    _same(_tests(found, null), _tests(usual, null))
    own, moved = ({f.name: f.adjusted for f in findings.features} for findings in (usual, found))
    assert moved == pytest.approx(own, rel=1e-6)
    # Units count for mean and covariance, and feature 3 carries both; the others are in the order of their shapes.
    assert [f.departs for f in found.features] == [("mean", "std"), (), (), ()]
    assert [*moved] == ["3", *(name for name in own if name != "3")]
    assert found.pairs[0][:2] == usual.pairs[0][:2]
    assert found.rank == usual.rank == K


def test_squares_of_wine_correlate_alike_in_any_units():
    """Raw and z-scored its p-values were 0.060 and 0.008: S^(-1/2) of raw features depends on their units."""
    x = load_wine().data
    z = (x - x.mean(0)) / x.std(0)
    raw, scored = (next(t for t in diagnose(y, **OPTIONS).tests if t.name == "square_correlation") for y in (x, z))
    assert raw.statistic == pytest.approx(scored.statistic, rel=1e-9)
    assert raw.pvalue == scored.pvalue < 0.02


def test_standardised_the_check_does_not_see_units_at_all():
    x = _skewed()
    scales = np.array([1e-6, 1.0, -30.0, 1e5])
    usual, found = (diagnose(y, standardise=True, **OPTIONS) for y in (x, x * np.abs(scales) - 7 * scales))
    for one, other in zip(found.tests, usual.tests, strict=True):
        assert (one.statistic, one.pvalue) == pytest.approx((other.statistic, other.pvalue), rel=1e-6)
    assert {t.name for t in usual.tests}.isdisjoint({"mean", "covariance", "feature_anderson_darling"})
    assert "after standardising each feature" in found.verdict
    assert found.standardised
    assert {f.name: f.std for f in found.features}["3"] == pytest.approx(x[:, 3].std(ddof=1) * 1e5)


def test_standardised_samples_of_independent_normal_features_keep_the_level():
    scales = 10.0 ** np.arange(-2, K - 2)
    count, options = 24, {"num_slices": 8, "replicates": 599, "standardise": True}
    reports = [diagnose(np.random.default_rng(s).standard_normal((N, K)) * scales + 9, **options) for s in range(count)]
    found = np.mean(["No departure" not in report.verdict for report in reports])
    assert found <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / count)
    for name in (t.name for t in reports[0].tests if t.name != "feature_normality"):
        pvalues = [next(t.pvalue for t in report.tests if t.name == name) for report in reports]
        assert stats.kstest(pvalues, "uniform").pvalue > 0.01 / 11, name


def test_standardised_correlation_is_found_and_its_statistic_is_its_formula():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((N, K)) + 0.8 * rng.standard_normal((N, 1))
    findings = diagnose(x, standardise=True, **OPTIONS)
    assert "features are correlated" in findings.verdict
    squares = np.corrcoef(x.T)[np.triu_indices(K, 1)] ** 2
    test = next(t for t in findings.tests if t.name == "correlation")
    assert test.statistic == pytest.approx(N * squares.sum(), rel=1e-9)


def test_no_finding_hides_another():
    rng = np.random.default_rng(0)
    x = rng.exponential(size=(200, 5)) * 3
    x[:, 4] = x[:, 0] - 2 * x[:, 1]
    verdict = diagnose(x, **OPTIONS).verdict
    for part in ("rank-deficient, 4 of 5", "off centre", "covariance not I", "the shape is not normal", "features not"):
        assert part in verdict
    constant = diagnose(np.c_[x[:, :4], np.full(200, 7.0)], **OPTIONS)
    assert "rank-deficient, 4 of 5" in constant.verdict
    assert "the shape is not normal" in constant.verdict
    assert any("Constant features: 4." in line for line in constant.explanation)


def test_of_a_rank_deficient_normal_sample_the_shape_is_normal():
    rng = np.random.default_rng(3)
    findings = diagnose(rng.standard_normal((200, 3)) @ rng.standard_normal((3, 5)), **OPTIONS)
    assert findings.rank == 3
    assert "the shape is not" not in findings.verdict
    assert all(t.statistic is not None for t in findings.tests if t.null_hypothesis == "any normal law")
    assert next(t.remark for t in findings.tests if t.name == "square_correlation") == "needs features of full rank"


def test_the_kurtosis_has_a_sign_and_dependent_pairs_show_in_any_axes():
    rng = np.random.default_rng(0)
    heavy = rng.standard_t(4, (300, 2)) / np.sqrt(2)
    light = rng.uniform(-np.sqrt(3), np.sqrt(3), (300, 2))
    values = [{t.name: t for t in diagnose(x, **OPTIONS).tests}["mardia_kurtosis"] for x in (heavy, light)]
    assert values[0].statistic > 3
    assert values[1].statistic < -3
    assert max(v.adjusted for v in values) < 0.05
    x = MULTIVARIATE["x"](K).sample(rng, 300)
    rotation, _ = np.linalg.qr(rng.standard_normal((K, K)))
    tests = {t.name: t for t in diagnose(x @ rotation, **OPTIONS).tests}
    assert tests["kurtosis_matrix"].adjusted < 0.05


def test_the_feature_that_is_not_normal_is_named_and_others_are_left_alone():
    wrong, names, count = 0, list("abcdef"), 40
    for seed in range(count):
        x = torch.from_numpy(np.random.default_rng(seed).standard_normal((100, 6)))
        _, pvalues = feature_tests(_standardised(x)[0])
        wrong += bool((holm(pvalues) < 0.05).any())
    assert wrong / count <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / count)
    x = np.random.default_rng(0).standard_normal((N, 6))
    x[:, 2] = np.random.default_rng(1).exponential(size=N)
    findings = diagnose(pd.DataFrame(x, columns=names), **OPTIONS)
    assert findings.num_not_normal == 1
    assert findings.features[0].name == "c"
    assert "1 of 6 features not normal (c)" in findings.verdict


@pytest.mark.parametrize("written", ["{:.0f}", "{:.1f}", "{:.2e}"])
def test_discrete_columns_are_noted_however_they_are_written(tmp_path, written):
    rng = np.random.default_rng(0)
    lines = ["x,count,y,half"]
    for _ in range(60):
        x, y = rng.standard_normal(2)
        lines.append(f"{x},{written.format(rng.integers(1, 40))},{y},{rng.integers(0, 3) / 2}")
    path = tmp_path / "e.csv"
    path.write_text("\n".join(lines))
    for sample, names in ((read_sample(path), "count, half"), (pd.read_csv(path).to_numpy(), "1, 3")):
        notes = diagnose(sample, num_slices=4, replicates=200).notes
        assert any(f"2 of 4 feature(s) hold whole numbers only, or few different values: {names};" in n for n in notes)
    assert not any("whole numbers" in note for note in diagnose(_skewed(), num_slices=4, replicates=200).notes)


def test_every_test_says_which_question_it_answers():
    from sigreg_lab.check.text import QUESTIONS

    assert {null for _, null, _ in TESTS.values()} == QUESTIONS.keys()
