"""The diagnosis: each kind of sample gets its name, null samples are left alone, and numbers agree with direct ones."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from sigreg_lab.alternatives import MULTIVARIATE
from sigreg_lab.check import Sample, diagnose, laws
from sigreg_lab.check.diagnose import TESTS
from sigreg_lab.multivariate import MardiaKurtosis, MardiaSkewness
from sigreg_lab.slicing import make_directions, seeded_generator
from sigreg_lab.univariate import AndersonDarling

N, K = 200, 6
OPTIONS = {"num_slices": 32, "replicates": 499}


def _sample(name, n=N, dim=K, seed=0):
    return torch.from_numpy(MULTIVARIATE[name](dim).sample(np.random.default_rng(seed), n))


def _rejected(findings):
    return {test.name for test in findings.tests if test.adjusted is not None and test.adjusted < findings.alpha}


def test_a_normal_sample_is_left_alone_and_its_power_is_told():
    findings = diagnose(_sample("null"), **OPTIONS)
    assert findings.verdict == "No departure from N(0, I) found in 200 rows of 6 features, at level 5% over 14 tests."
    assert "no proof" in findings.explanation[0]
    assert [test.name for test in findings.tests] == [name for name in TESTS if name != "correlation"]


def test_of_normal_samples_at_most_the_level_is_rejected():
    reports = [diagnose(_sample("null", seed=seed), **OPTIONS) for seed in range(24)]
    share = np.mean([bool(_rejected(report)) for report in reports])
    assert share <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 24)
    for name in (test.name for test in reports[0].tests):
        pvalues = np.array([next(t.pvalue for t in report.tests if t.name == name) for report in reports])
        if "anderson" in name or name == "feature_normality":  # Bonferroni's p-values are too large on purpose
            assert (pvalues < 0.2).mean() <= 0.2 + 4 * math.sqrt(0.16 / 24)
        else:  # uniform: 14 tests, so a family-wise level of 1%
            assert stats.kstest(pvalues, "uniform").pvalue > 0.01 / 14, name


@pytest.mark.parametrize(
    ("sample", "verdict", "rejected"),
    [
        (_sample("location_0.3", n=800) + 0.2, "off centre", {"mean", "energy"}),
        (2 * _sample("null"), "covariance not I", {"covariance", "slice_mean"}),
        (_sample("x", n=800), "the shape is not normal", {"square_correlation"}),
        (_sample("elliptical_t5", n=800), "the shape is not normal", {"mardia_kurtosis"}),
        (_sample("iid_chi_squared_5", n=800), "the shape is not normal", {"alternative_skewness"}),
        (_sample("rank_defect_4"), "rank-deficient, 2 of 6 directions vary", {"covariance"}),
        (torch.full((40, 3), 0.7), "Collapsed: all 40 rows are equal.", {"mean"}),
    ],
)
def test_each_departure_gets_its_name(sample, verdict, rejected):
    findings = diagnose(sample, **OPTIONS)
    assert verdict in findings.verdict
    assert rejected <= _rejected(findings)


def test_a_large_variance_is_not_called_a_shift():
    findings = diagnose(30 * _sample("null"), **OPTIONS)
    assert "mean" in _rejected(findings)
    assert "off centre" not in findings.verdict


def test_the_x_is_traced_to_its_features():
    findings = diagnose(_sample("x", n=800), **OPTIONS)
    assert findings.pairs[0][:2] == ("0", "1")
    assert findings.pairs[0][2] > 0.9
    assert {feature for feature, _ in findings.worst[0].loadings} == {"0", "1"}
    assert findings.worst[0].statistic > 3 * max(findings.slice_statistics)


def test_values_agree_with_direct_ones():
    x = _sample("null")
    findings = diagnose(x, seed=3, **OPTIONS)
    directions = make_directions("orthogonal", K, 32, generator=seeded_generator(3), dtype=torch.float64)
    values = {test.name: test for test in findings.tests}
    statistic, pvalue = AndersonDarling().test(x @ directions)
    assert values["slice_anderson_darling"].statistic == pytest.approx(float(statistic.max()), rel=1e-9)
    assert values["slice_anderson_darling"].pvalue == pytest.approx(min(1, 32 * float(pvalue.min())), rel=1e-9)
    whitened = float(MardiaKurtosis(standardise=True)(x)) / (8 * K * (K + 2) / N)
    assert values["mardia_kurtosis"].statistic ** 2 == pytest.approx(whitened, rel=1e-8)
    skewness = float(MardiaSkewness(standardise=True)(x)) * N / 6
    assert values["mardia_skewness"].statistic == pytest.approx(skewness, rel=1e-8)
    assert findings.spectrum == pytest.approx(np.linalg.eigvalsh(np.cov(x.numpy().T))[::-1], rel=1e-10)
    worst = findings.worst[0]
    assert worst.std == pytest.approx(float(worst.projection.std()))
    assert max(findings.slice_statistics) == pytest.approx(values["slice_max"].statistic)


def test_square_correlations_are_those_of_numpy():
    y = _sample("null")
    expected = np.corrcoef((y**2).numpy().T) - np.eye(K)
    assert np.abs(laws.square_correlations(y).numpy() - expected).max() < 1e-12


def test_the_detectable_mean_is_found_in_8_of_10_samples():
    findings = diagnose(_sample("null"), **OPTIONS)
    shift = findings.detectable_mean / math.sqrt(K)
    means = np.random.default_rng(1).standard_normal((4000, K)) / math.sqrt(N) + shift
    pvalues = stats.chi2.sf(N * (means**2).sum(1), K)
    assert abs((pvalues < 0.05 / 14).mean() - 0.8) < 4 * math.sqrt(0.16 / 4000)


def test_the_order_of_rows_does_not_matter_to_the_kind_of_result():
    """Rows sorted by class: statistics that take a part of the rows draw them at random."""
    x = torch.cat([_sample("null", n=400) - 1.0, _sample("null", n=400, seed=1) + 1.0])
    energy = next(t for t in diagnose(x - x.mean(0), **OPTIONS).tests if t.name == "energy")
    assert energy.rows == 256
    shuffled = x[torch.randperm(800, generator=torch.Generator().manual_seed(0))]
    again = next(t for t in diagnose(shuffled - x.mean(0), **OPTIONS).tests if t.name == "energy")
    assert energy.statistic == pytest.approx(again.statistic, rel=0.5)


def test_one_feature_more_features_than_rows_and_far_rows():
    one = diagnose(_sample("null", dim=1), **OPTIONS)
    assert one.num_slices == 1
    assert "N(0, 1)" in one.verdict
    wide = diagnose(_sample("null", n=12, dim=30), **OPTIONS)
    assert {t.remark for t in wide.tests if t.statistic is None} == {"needs 90 rows or more"}
    assert any("span at most 11 of the 30" in line for line in wide.explanation)
    assert "rank-deficient" not in wide.verdict
    far = diagnose(1e7 * _sample("null"), **OPTIONS)
    assert next(t for t in far.tests if t.name == "energy").pvalue == pytest.approx(1 / 500)
    assert next(t for t in far.tests if t.name == "bhep").statistic is not None


def test_same_arguments_same_findings_and_other_seeds_other_slices():
    x = _sample("null")
    assert diagnose(x, **OPTIONS) == diagnose(x, **OPTIONS)
    assert diagnose(x, seed=1, **OPTIONS).slice_statistics != diagnose(x, **OPTIONS).slice_statistics


@pytest.mark.parametrize(
    ("sample", "options", "reason"),
    [
        (torch.zeros(7, 3), {}, "at least 8"),
        (torch.zeros(10), {}, "at least 2 dimension"),
        (torch.zeros(2, 10, 3), {}, "must have shape"),
        (torch.full((10, 3), math.nan), {}, "NaN"),
        (torch.full((10, 3), 1e70, dtype=torch.float64), {}, "drop those rows"),
        (torch.randn(10, 3), {"alpha": 1.5}, "alpha"),
        (torch.randn(10, 3), {"num_slices": 0}, "num_slices"),
        (torch.randn(10, 3), {"replicates": 50}, "replicates"),
    ],
)
def test_bad_arguments_are_refused(sample, options, reason):
    with pytest.raises(ValueError, match=reason):
        diagnose(sample, **options)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e-90])
def test_small_rows_are_not_called_equal_and_their_shape_is_measured(scale):
    x = _sample("null")
    findings, usual = diagnose(scale * x, **OPTIONS), diagnose(x, **OPTIONS)
    assert "are equal" not in findings.verdict
    assert ("Collapsed: the 200 rows differ by" in findings.verdict) == (scale == 1e-300)
    assert findings.effective_rank == pytest.approx(usual.effective_rank, rel=1e-6)
    assert findings.condition_number == pytest.approx(usual.condition_number, rel=1e-6)
    pvalues, expected = ({t.name: t.pvalue for t in f.tests} for f in (findings, usual))
    for name in (*laws.NAMES["whitened_statistics"], "feature_normality", "square_correlation"):
        assert pvalues[name] == pytest.approx(expected[name], abs=1e-9)
    assert all(std == pytest.approx(scale, rel=0.5) for _, _, std in findings.extreme_features)
    least = next(d for d in usual.worst if d.label == "axis of least variance")
    small = next(d for d in findings.worst if d.label == "axis of least variance")
    assert small.std == pytest.approx(scale * least.std, rel=1e-6)
    assert small.skewness == pytest.approx(math.copysign(least.skewness, small.skewness), rel=1e-6)


def test_rows_that_differ_by_rounding_alone_are_equal():
    x = torch.full((40, 3), 0.7, dtype=torch.float64)
    x[::2] += 1e-16
    assert diagnose(x, **OPTIONS).verdict == "Collapsed: all 40 rows are equal."


def test_wide_samples_take_memory_of_their_own_size():
    """A K x K matrix would take 80 GB."""
    dim = 100_000
    x = torch.randn(10, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    findings = diagnose(x, num_slices=16, replicates=100, alpha=0.1)
    axes = {d.label: d for d in findings.worst}
    direct = torch.linalg.svdvals(x - x.mean(0))
    assert axes["axis of most variance"].std == pytest.approx(float(direct[0]) / 3, rel=1e-6)
    assert axes["axis of least variance"].std == pytest.approx(0, abs=1e-9)
    assert sum(d.label.startswith("feature ") for d in findings.worst) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_slices": 10**12}, r"1,000,000,000,000 slices take .* GB, the limit is 2 \(max_gigabytes, --max-gb\)"),
        ({"max_gigabytes": 1e-6}, r"the limit is 1e-06 \(max_gigabytes, --max-gb\); lower --slices"),
        ({"max_minutes": 1e-3}, r"are about 0\.\d+ minutes of work, the limit is 0.001 \(max_minutes, --max-minutes\)"),
        ({"max_minutes": math.nan}, "must be positive"),
        ({"max_gigabytes": 0.0}, "must be positive"),
    ],
)
def test_memory_and_time_are_bounded_before_the_work(monkeypatch, options, message):
    monkeypatch.setattr(laws, "slice_values", None)  # nothing is computed
    with pytest.raises(ValueError, match=message):
        diagnose(_sample("null"), **{"num_slices": 32} | options)


def test_missing_values_of_a_frame_are_refused_with_the_remedy_that_works():
    frame = pd.DataFrame(_sample("null").numpy(), columns=list("abcdef"))
    frame.loc[3, "b"] = math.nan
    with pytest.raises(ValueError, match=r"sample holds 1 NaN .*nan_policy='omit' leaves NaN out"):
        diagnose(frame, **OPTIONS)
    assert diagnose(frame, nan_policy="omit", **OPTIONS).num_rows == N - 1
    frame["g"] = math.nan
    with pytest.raises(ValueError, match=r"fewer than 8 values of 1 feature\(s\): g; leave it out, as sample.drop"):
        diagnose(frame, nan_policy="omit", **OPTIONS)
    with pytest.raises(ValueError, match=r"feature\(s\): 6; leave it out$"):
        diagnose(frame.to_numpy(), nan_policy="omit", **OPTIONS)


def test_an_array_with_more_columns_than_rows_gets_a_hint():
    assert "is the table transposed?" in diagnose(_sample("null", n=12, dim=30), **OPTIONS).notes[0]
    assert not diagnose(_sample("null", n=30, dim=12), **OPTIONS).notes


def test_features_may_share_a_name():
    sample = Sample(_sample("x", n=800), ("a", *"bbbbb"), "e", 800)
    assert diagnose(sample, **OPTIONS).pairs[0][:2] == ("a", "b")
