"""p-values and thresholds: size under the null, agreement of the two, what is refused."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from sigreg_lab import nulls
from sigreg_lab import univariate as u
from sigreg_lab.nulls import MonteCarlo
from sigreg_lab.univariate import base
from tests.univariate.cases import DEFAULTS

registered = pytest.mark.parametrize("statistic", DEFAULTS.values(), ids=DEFAULTS.keys())
CALIBRATION, FRESH = 40_000, 20_000


@pytest.fixture
def _fewer_replicates(monkeypatch):
    monkeypatch.setattr(base, "MOST_REPLICATES", CALIBRATION)
    nulls.forget_laws()


@registered
@pytest.mark.parametrize("n", [8, 300])
@pytest.mark.usefixtures("_fewer_replicates")
def test_type_one_error_is_the_level(statistic, n):
    fresh = FRESH if n == 8 else FRESH // 4
    values = torch.from_numpy(statistic.simulate(np.random.default_rng([n, 99]), fresh, n))
    pvalues = statistic.null_law(n).pvalue(values)
    for alpha in (0.01, 0.05, 0.1, 0.5):
        # Both the fresh samples and the simulated law err; 4 standard errors, 128 comparisons.
        error = math.sqrt(alpha * (1 - alpha) * (1 / fresh + 1 / CALIBRATION))
        assert abs(float((pvalues <= alpha).double().mean()) - alpha) < 4 * error
        rejected = (values > statistic.critical_value(alpha, n)).double().mean()
        assert abs(float(rejected) - alpha) < 4 * error


@registered
@pytest.mark.usefixtures("_fewer_replicates")
def test_statistic_and_pvalue_are_batched(statistic):
    x = torch.randn(2, 12, 3, generator=torch.Generator().manual_seed(1))
    result = statistic.test(x)
    assert result.statistic.shape == result.pvalue.shape == (2, 3)
    torch.testing.assert_close(result.statistic, statistic(x.double()), rtol=0, atol=0)
    assert ((result.pvalue > 0) & (result.pvalue <= 1)).all()
    single = statistic.test(x[1, :, 2])
    assert single.pvalue.shape == ()
    torch.testing.assert_close(single.pvalue, result.pvalue[1, 2], rtol=1e-10, atol=1e-12)
    # p-values fall as the statistic rises, and meet alpha at the threshold: a simulated law steps over it there.
    order = result.statistic.flatten().argsort()
    assert (result.pvalue.flatten()[order].diff() <= 1e-12).all()
    law, threshold = statistic.null_law(12), statistic.critical_value(0.05, 12)
    at, above = law.pvalue(torch.tensor([1.0, 1 + 1e-9], dtype=torch.float64) * threshold).tolist()
    if isinstance(law, MonteCarlo):
        assert above <= 0.05 < at
        assert at - above <= 0.1 * law.standard_error(0.05) + 1 / CALIBRATION
    else:
        assert at == pytest.approx(0.05, rel=1e-6)


@pytest.mark.usefixtures("_fewer_replicates")
def test_no_level_is_exceeded_where_the_statistic_has_an_atom():
    statistic = u.NLL(alpha=0.02, k=1)  # 0 unless the least value lies in the tails of its own law: in 96% of samples
    x = torch.randn(20, FRESH, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    value, pvalue = statistic.test(x)
    assert (value == 0).double().mean() == pytest.approx(0.96, abs=4 * math.sqrt(0.04 * 0.96 / FRESH))
    assert (pvalue[value == 0] == 1).all()
    for alpha in (0.01, 0.03, 0.05, 0.5):
        size = min(alpha, 0.04)  # nothing lies between the atom's p-value, 1, and the next
        error = math.sqrt(size * (1 - size) * (1 / FRESH + 1 / CALIBRATION))
        assert abs((pvalue <= alpha).double().mean() - size) < 4 * error
        assert torch.equal(value > statistic.critical_value(alpha, 20), pvalue <= alpha)


class _Count(u.UnivariateTest):
    """How many values lie beyond 2."""

    name, sensitive_to = "count", "tails"

    def _statistic(self, x):
        return (x.abs() > 2).to(x.dtype).mean(-2)


@pytest.mark.usefixtures("_fewer_replicates")
def test_a_statistic_that_counts_keeps_its_level():
    x = torch.randn(20, FRESH, generator=torch.Generator().manual_seed(4))
    tail = stats.binom(20, 2 * stats.norm.sf(2))
    value, pvalue = _Count().test(x)
    exact = torch.from_numpy(tail.sf(np.rint(20 * value.numpy()) - 1))
    torch.testing.assert_close(pvalue, exact, rtol=0, atol=4 * 0.5 / math.sqrt(CALIBRATION))
    size = float(tail.sf(tail.isf(0.05)))  # 0.0116: the level is between two atoms
    error = math.sqrt(size * (1 - size) / FRESH)
    assert abs((pvalue <= 0.05).double().mean() - size) < 4 * error


@registered
@pytest.mark.usefixtures("_fewer_replicates")
def test_far_from_the_null_is_rejected(statistic):
    x = torch.randn(40, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert float(statistic.test(3 * (1.5 * x).exp()).pvalue) < 1e-3


def test_auto_takes_the_asymptotic_law_from_its_stated_size_on():
    statistic = u.EppsPulley()
    first = statistic.asymptotic_from
    assert statistic.null_law(first).pvalue(torch.tensor(1.0)) == statistic.null_law(first, "asymptotic").pvalue(
        torch.tensor(1.0)
    )
    assert not isinstance(statistic.null_law(first), MonteCarlo)


@pytest.mark.usefixtures("_fewer_replicates")
def test_auto_simulates_below_it():
    statistic = u.CramerVonMises()
    assert isinstance(statistic.null_law(20), MonteCarlo)
    assert statistic.null_law(20) is u.CramerVonMises().null_law(20)  # simulated once
    assert statistic.null_law(20).replicates == CALIBRATION


@pytest.mark.usefixtures("_fewer_replicates")
def test_parameters_have_laws_of_their_own():
    thresholds = {u.Moments(k).critical_value(0.05, 10) for k in (1, 2, 3, 4)}
    assert len(thresholds) == 4


class _Power(u.UnivariateTest):
    """A statistic as a user writes it: parameters, no ``extra_repr``."""

    name, sensitive_to = "power", "mean"

    def __init__(self, power: float, weight: float = 1.0):
        super().__init__()
        self.power = power
        self.register_buffer("weight", torch.tensor(weight))

    def _statistic(self, x):
        return self.weight * x.mean(-2).abs() ** self.power


@pytest.mark.usefixtures("_fewer_replicates")
def test_parameters_that_no_text_shows_have_laws_of_their_own():
    first = _Power(1.0).critical_value(0.05, 10)
    assert _Power(2.0).critical_value(0.05, 10) == pytest.approx(first**2, rel=1e-3)
    assert _Power(1.0, 3.0).critical_value(0.05, 10) == pytest.approx(3 * first, rel=1e-3)
    assert first == pytest.approx(1.96 / math.sqrt(10), rel=0.02)


class _Weighted(u.UnivariateTest):
    """A weighted sum of the order statistics' sizes, and of another statistic."""

    name, sensitive_to, uses_order = "weighted", "location", True

    def __init__(self, weight, other=None):
        super().__init__()
        self.weight = weight
        self.other = other

    def _statistic(self, x):
        own = torch.as_tensor(self.weight, dtype=x.dtype) @ x.abs()
        return own if self.other is None else own + self.other(x)


@pytest.mark.usefixtures("_fewer_replicates")
@pytest.mark.parametrize("kind", [torch.tensor, np.array], ids=["tensor", "array"])
def test_arrays_that_their_text_does_not_tell_apart_have_laws_of_their_own(kind, monkeypatch):
    monkeypatch.setattr(base, "MOST_REPLICATES", 2000)
    n = 2000  # of which a text shows the first and the last three
    weight = np.zeros(n)
    weight[0] = 1
    moved = weight.copy()
    moved[n // 2] = 100
    assert repr(kind(weight)) == repr(kind(moved))
    # |x_(1)| alone, about 3.4, against that and 100 times the median's size, about 100 sqrt(pi/2) 1.96/sqrt(2000).
    first, second = (_Weighted(kind(w)).critical_value(0.05, n) for w in (weight, moved))
    assert second > first + 3


@pytest.mark.usefixtures("_fewer_replicates")
def test_statistics_made_of_others_have_laws_of_their_own():
    none = np.zeros(10)
    first, second = (_Weighted(none, _Power(power)).critical_value(0.05, 10) for power in (1.0, 2.0))
    assert second == pytest.approx(first**2, rel=1e-3)


@pytest.mark.usefixtures("_fewer_replicates")
def test_a_class_that_no_file_holds_has_a_law_and_typed_in_again_another():
    thresholds = []
    for factor in (1, 2):
        names = {"UnivariateTest": u.UnivariateTest, "__name__": "__main__"}
        code = f"class Typed(UnivariateTest):\n def _statistic(self, x): return {factor} * x.mean(-2).abs()\n"
        exec(compile(code, "<stdin>", "exec"), names)
        names["Typed"].__module__ = "no_such_module"
        thresholds.append(names["Typed"]().critical_value(0.05, 10))
    assert thresholds[1] == pytest.approx(2 * thresholds[0])


@pytest.mark.parametrize("n", [500, 20_000, 200_000, 400_000])
def test_a_law_is_simulated_from_as_many_numbers_as_half_a_minute_takes(n, monkeypatch):
    drawn = []
    monkeypatch.setattr(base, "simulated_law", lambda *_, replicates, **__: drawn.append(replicates * n))
    statistics = [s for s in DEFAULTS.values() if s.asymptotic_from is None or n < s.asymptotic_from]
    for statistic in statistics:
        statistic.null_law(n)
    assert len(drawn) == len(statistics) >= 6
    assert set(drawn) == {base.SIMULATED_VALUES}


def test_samples_too_large_to_simulate_are_refused_before_any_work(monkeypatch):
    def never(*arguments):
        raise AssertionError("work began")

    x = torch.zeros(400_001)
    for statistic in DEFAULTS.values():
        if statistic.asymptotic_from is None:
            monkeypatch.setattr(type(statistic), "simulate", never)
            monkeypatch.setattr(type(statistic), "_statistic", never)
            with pytest.raises(ValueError, match=r"n=400001 .* up to n=400000 .*: test a random subsample$"):
                statistic.test(x)
    with pytest.raises(ValueError, match=r"random subsample, or use method='asymptotic'$"):
        u.VCReg().null_law(400_001, "monte-carlo")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: u.Watson().null_law(20, "table"), "method"),
        (lambda: u.DAgostinoK2().null_law(7), "at least 8"),
        (lambda: u.Moments().null_law(20, "asymptotic"), "no asymptotic law"),
        (lambda: u.Watson().critical_value(1.5, 20, "asymptotic"), "alpha"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
