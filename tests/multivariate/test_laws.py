"""P-values and critical values: their level, the limit laws' moments, the refusals."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from sigreg_lab import alternatives
from sigreg_lab import multivariate as mv
from sigreg_lab.multivariate import base, sliced
from sigreg_lab.nulls import forget_laws
from sigreg_lab.univariate import EppsPulley, UnivariateTest
from tests.multivariate.cases import INSTANCES, sample

each = pytest.mark.parametrize("statistic", INSTANCES, ids=str)
MOMENTS = (mv.MardiaSkewness, mv.AlternativeSkewness, mv.MardiaKurtosis)


def normal(n, dim, seed, *batch):
    return torch.randn(*batch, n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def between(count, total, level, confidence=0.999):
    """Whether ``count`` of ``total`` is within the binomial interval of that confidence around ``level``."""
    lower, upper = stats.binom.interval(confidence, total, level)
    return lower <= count <= upper


@pytest.fixture
def few_replicates(monkeypatch):
    monkeypatch.setattr(base, "MOST_REPLICATES", 4000)
    forget_laws()


@each
def test_simulated_law_holds_its_level_and_has_power(statistic, few_replicates, monkeypatch):
    n, dim, total, size = 10, 2, 1500, 40
    if isinstance(statistic, mv.COMB) and statistic.form == "product":  # O(N^4)
        monkeypatch.setattr(base, "MOST_REPLICATES", 1000)
        total, size = 300, 12
    # a normal law that is not standard is still the null of a standardised statistic
    x = normal(n, dim, 31, total)
    x = 3 * x + 1 if statistic.standardise else x
    result = statistic.test(x)
    assert result.statistic.shape == result.pvalue.shape == (total,)
    torch.testing.assert_close(result.statistic, statistic(x))
    two_sided = isinstance(statistic, mv.COMB) and statistic.form == "simplified"
    extreme = result.statistic.abs() if two_sided else result.statistic
    for level in (0.1, 0.05):
        rejections = int((result.pvalue <= level).sum())
        assert between(rejections, total, level, 0.9999)
        assert abs(int((extreme > statistic.critical_value(level, n, dim)).sum()) - rejections) <= 2
    law = alternatives.MULTIVARIATE["iid_chi_squared_5"](dim)
    far = torch.from_numpy(law.sample(np.random.default_rng(32), (200, size))) * (1.0 if statistic.standardise else 1.6)
    rejected = int((statistic.test(far).pvalue <= 0.1).sum())
    assert rejected > stats.binom.isf(1e-4, 200, 0.1)


def test_a_law_does_not_depend_on_the_call_that_made_it(few_replicates):
    first = mv.Energy().critical_value(0.05, 12, 3)
    forget_laws()
    assert mv.Energy().critical_value(0.05, 12, 3) == first
    assert mv.Energy(standardise=True).critical_value(0.05, 12, 3) != first


def test_what_lies_under_the_statistics_is_part_of_their_laws_names():
    names = {Path(part if isinstance(part, Path) else part.__file__).name for part in base.CODE}
    assert names >= {"pairs.c", "vectors.h", "characteristic_function.c", "pairwise.py", "infinite.py", "sorting.py"}


class _Scaled(UnivariateTest):
    """A statistic as a user writes it: a parameter, no ``extra_repr``."""

    def __init__(self, scale: float):
        super().__init__()
        self.scale = scale

    def _statistic(self, x):
        return self.scale * x.mean(-2).abs()


def test_slices_of_a_users_statistic_have_a_law_for_each_of_its_parameters_and_formulas():
    def threshold(statistic):
        sliced = mv.SlicingUnivariateTest(statistic, num_slices=4)
        return sliced.critical_value(0.05, n=10, dim=3, replicates=500)

    first = threshold(_Scaled(1.0))
    assert threshold(_Scaled(2.0)) == pytest.approx(2 * first)
    for factor in (3, 4):
        names = {"UnivariateTest": UnivariateTest, "__name__": "__main__"}
        code = f"class Typed(UnivariateTest):\n def _statistic(self, x): return {factor} * x.mean(-2).abs()\n"
        exec(compile(code, "<stdin>", "exec"), names)
        names["Typed"].__module__ = "no_such_module"
        assert threshold(names["Typed"]()) == pytest.approx(factor * first)


def test_large_samples_use_the_law_at_the_limit(monkeypatch, few_replicates):
    monkeypatch.setattr(mv.BHEP, "limit_at", 16)
    law = mv.BHEP(beta=1.0)
    assert law.critical_value(0.05, 10**6, 2) == law.critical_value(0.05, 16, 2)
    assert law.critical_value(0.05, 15, 2) != law.critical_value(0.05, 16, 2)
    # Henze-Zirkler's width follows the true N
    threshold = mv.HZ().critical_value(0.05, 10**4, 2)
    assert threshold == mv.BHEP(mv.HZ.compute_bandwidth(10**4, 2)).critical_value(0.05, 16, 2)


@pytest.mark.parametrize(("statistic", "limit"), [(mv.HV, 2), (mv.BHEP_M, 2), (mv.COMB, 1)])
def test_a_statistic_without_a_limit_has_the_law_of_its_own_n(statistic, limit, monkeypatch, few_replicates):
    """The law of a smaller N would reject too often."""
    monkeypatch.setattr(statistic, "limit_at", 16)
    key = "beta" if statistic is mv.BHEP_M else "gamma"
    with_limit, without = statistic(**{key: limit + 0.5}), statistic(**{key: float(limit)})
    assert with_limit.critical_value(0.05, 40, 2) == with_limit.critical_value(0.05, 16, 2)
    assert without.critical_value(0.05, 40, 2) != without.critical_value(0.05, 16, 2)


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_case_0_limit_laws_have_the_exact_moments(dim):
    # E b = E|y|^6 / N exactly, as E (y'z)^3 = 0 for independent y, z; so is E b~; the variance of the limit of N b is
    # 2 E (y'z)^6 = 30 E|y|^6, and E (b2 - K(K+2))^2 = (E|y|^8 - (K(K+2))^2) / N
    n = 50
    sixth = dim * (dim + 2) * (dim + 4)
    eighth = sixth * (dim + 6)
    skewness = mv.MardiaSkewness().asymptotic_law(n, dim)
    assert skewness.mean == pytest.approx(sixth / n, rel=1e-12)
    assert skewness.variance == pytest.approx(30 * sixth / n**2, rel=1e-12)
    assert mv.AlternativeSkewness().asymptotic_law(n, dim).mean == pytest.approx(sixth / n, rel=1e-12)
    kurtosis = mv.MardiaKurtosis().asymptotic_law(n, dim)
    assert kurtosis.mean == pytest.approx((eighth - (dim * (dim + 2)) ** 2) / n, rel=1e-12)


@pytest.mark.parametrize("dim", [1, 4])
def test_standardised_limit_laws_are_mardias(dim):
    n, alpha = 300, 0.03
    skewness = stats.chi2(dim * (dim + 1) * (dim + 2) / 6).isf(alpha) * 6 / n
    alternative = stats.chi2(dim).isf(alpha) * 2 * (dim + 2) / n
    kurtosis = stats.norm.isf(alpha / 2) ** 2 * 8 * dim * (dim + 2) / n
    for build, expected in zip(MOMENTS, (skewness, alternative, kurtosis), strict=True):
        value = build(standardise=True).critical_value(alpha, n, dim, "asymptotic")
        assert value == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("build", MOMENTS)
def test_limit_laws_hold_their_level(build, standardise):
    statistic = build(standardise=standardise)
    x = normal(1024, 2, 33, 1200)
    assert between(int((statistic.test(x, "asymptotic").pvalue <= 0.05).sum()), 1200, 0.05)
    assert statistic.critical_value(0.05, 16_384, 2) == statistic.critical_value(0.05, 16_384, 2, "asymptotic")


def test_iris_pvalues_of_mardias_tests():
    # R package MVN, tutorial "mvn-tests", iris[1:50, 1:2]: skewness p 0.944, kurtosis p 0.926
    from sklearn.datasets import load_iris

    x = torch.from_numpy(load_iris().data[:50, :2])
    skewness = mv.MardiaSkewness(standardise=True).test(x, "asymptotic").pvalue
    kurtosis = mv.MardiaKurtosis(standardise=True).test(x, "asymptotic").pvalue
    assert skewness.item() == pytest.approx(0.944, abs=5e-4)
    assert kurtosis.item() == pytest.approx(0.926, abs=5e-4)


def test_henze_zirkler_agrees_with_the_log_normal_approximation(few_replicates):
    # Henze & Zirkler (1990): mean and variance of the limit, matched by a log-normal law; for N = 50, K = 2
    n, dim = 50, 2
    b2 = mv.HZ.compute_bandwidth(n, dim) ** 2
    a = 1 + 2 * b2
    mean = 1 - a ** (-dim / 2) * (1 + dim * b2 / a + dim * (dim + 2) * b2**2 / (2 * a**2))
    w = (1 + b2) * (1 + 3 * b2)
    variance = 2 * (1 + 4 * b2) ** (-dim / 2)
    variance += 2 * a**-dim * (1 + 2 * dim * b2**2 / a**2 + 3 * dim * (dim + 2) * b2**4 / (4 * a**4))
    variance -= 4 * w ** (-dim / 2) * (1 + 3 * dim * b2**2 / (2 * w) + dim * (dim + 2) * b2**4 / (2 * w**2))
    sigma = math.sqrt(math.log(1 + variance / mean**2))
    approximation = stats.lognorm(sigma, scale=mean / math.sqrt(1 + variance / mean**2)).isf(0.05)
    assert mv.HZ(standardise=True).critical_value(0.05, n, dim) == pytest.approx(approximation, rel=0.03)


def test_bad_arguments_are_refused_by_name():
    with pytest.raises(ValueError, match="method must be one of"):
        mv.BHEP().test(sample(8, 2, 1), method="exact")
    with pytest.raises(ValueError, match="no asymptotic law"):
        mv.BHEP().null_law(50, 2, "asymptotic")
    with pytest.raises(ValueError, match="n must be at least 4"):
        mv.Energy(standardise=True).critical_value(0.05, 3, 3)
    with pytest.raises(ValueError, match="dim must be at least 1"):
        mv.Energy().critical_value(0.05, 3, 0)
    with pytest.raises(ValueError, match="alpha must lie"):
        mv.MardiaKurtosis().critical_value(1.5, 5000, 2)


@pytest.mark.parametrize("cls", mv.REGISTRY.values(), ids=mv.REGISTRY.keys())
@pytest.mark.parametrize("standardise", [False, True])
def test_laws_that_take_more_than_ten_minutes_are_refused_before_any_work(cls, standardise, monkeypatch):
    simulated = []
    monkeypatch.setattr(base, "simulated_law", lambda *_, replicates, **__: simulated.append(replicates))
    statistic = cls(standardise=standardise)
    for n, dim in ((30_000, 512), (5_000_000, 2048), (100, 3)):
        try:
            statistic.null_law(n, dim, "monte-carlo")
        except ValueError as error:
            message = str(error)
            assert f"n={n} rows in dim={dim}" in message
            assert ("method='asymptotic'" in message) == (statistic.asymptotic_law(n, dim) is not None)
            if dim == 2048 and standardise:  # where N = 2049, the least, takes too long already
                assert "use fewer columns" in message
                continue
            most = int(re.search(r"subsample of (\d+) rows", message)[1])
            assert 1000 < most < n
            statistic.null_law(most, dim, "monte-carlo")  # the remedy is one
            with pytest.raises(ValueError, match="random subsample"):
                statistic.null_law(int(1.03 * most) + 1, dim, "monte-carlo")
    assert simulated[-1] == base.MOST_REPLICATES
    assert min(simulated) >= base.LEAST_REPLICATES
    with pytest.raises(ValueError, match="some ten minutes"):
        mv.BHEP().test(torch.zeros(1, 1).expand(40_000, 2048))


def test_slices_whose_law_takes_more_than_ten_minutes_need_a_number_of_replicates(monkeypatch):
    simulated = []
    monkeypatch.setattr(
        sliced, "simulated_law", lambda *_, replicates, chunk, **__: simulated.append((replicates, chunk))
    )
    test = mv.SlicingUnivariateTest(EppsPulley(), 1024)
    for call in (test.null_law, lambda n, dim: test.critical_value(0.05, n, dim)):
        with pytest.raises(ValueError, match=r"n=200000 rows in dim=512 .*: hand in replicates, at least 100, "):
            call(200_000, 512)
    with pytest.raises(ValueError, match="hand in replicates"):
        test.test(torch.zeros(1, 1).expand(200_000, 512))
    test.null_law(200_000, 512, replicates=100)
    test.null_law(1000, 64)
    assert simulated == [(100, 1), (4049, 8)]  # in chunks that hold no more than a few hundred megabytes
