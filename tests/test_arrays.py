"""Arrays, lists and frames in, the caller's kind out: the same numbers as of tensors, and axis and NaN as in SciPy."""

import copy
import pickle
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from sigreg_lab import diagnostics, nulls
from sigreg_lab import multivariate as mv
from sigreg_lab import univariate as u
from sigreg_lab.arrays import as_tensor, columns, rows
from sigreg_lab.check import diagnose
from sigreg_lab.multivariate import SlicingUnivariateTest

X = np.random.default_rng(20260401).standard_normal((30, 3)) * 1.1 + 0.1
FRAME = pd.DataFrame(X, columns=["a", "b", "c"])
HOLES = X.copy()
HOLES[3, 1] = HOLES[7, 1] = HOLES[2, 2] = np.nan
ASYMPTOTIC = {"method": "asymptotic"}
quick = u.AndersonDarling()


@pytest.fixture(autouse=True, scope="module")
def _laws_of_few_replicates():
    """The laws' own tests look at how good they are."""
    patch = pytest.MonkeyPatch()
    patch.setattr("sigreg_lab.univariate.base.MOST_REPLICATES", 2000)
    patch.setattr("sigreg_lab.multivariate.base.MOST_REPLICATES", 2000)
    nulls.forget_laws()
    yield
    patch.undo()
    nulls.forget_laws()


def _same(found, expected):
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-12, atol=0)


# What comes in, and what goes out


@pytest.mark.parametrize("statistic", [cls() for cls in u.REGISTRY.values()], ids=lambda s: s.name)
def test_every_univariate_statistic_gives_back_the_callers_kind(statistic):
    expected = statistic(torch.from_numpy(X))
    for one in (X[:, 0], list(X[:, 0]), tuple(X[:, 0]), pd.Series(X[:, 0])):
        value = statistic(one)
        assert type(value) is float
        assert value == pytest.approx(float(expected[0]), rel=1e-12)
    for several in (X, X.tolist()):
        assert type(statistic(several)) is np.ndarray
        _same(statistic(several), expected)
    series = statistic(FRAME)
    assert isinstance(series, pd.Series)
    assert list(series.index) == ["a", "b", "c"]
    assert series.name == statistic.name
    _same(series, expected)
    assert isinstance(statistic(torch.from_numpy(X)), torch.Tensor)


@pytest.mark.parametrize("statistic", [quick, u.JarqueBera()], ids=str)
def test_results_of_tests_are_of_the_callers_kind_too(statistic):
    expected = statistic.test(torch.from_numpy(X), **ASYMPTOTIC)
    assert isinstance(expected.pvalue, torch.Tensor)
    one, several, frame = (statistic.test(x, **ASYMPTOTIC) for x in (X[:, 0], X, FRAME))
    assert [type(v) for v in (*one, *several)] == [float, float, np.ndarray, np.ndarray]
    assert [v.name for v in frame] == ["statistic", "pvalue"]
    for i, value in enumerate(expected):
        _same(one[i], value[0])
        _same(several[i], value)
        _same(frame[i], value)
    rows_tested = statistic.test(FRAME.T, axis=1, **ASYMPTOTIC)
    assert list(rows_tested.pvalue.index) == ["a", "b", "c"]
    _same(rows_tested.pvalue, expected.pvalue)


def test_multivariate_statistics():
    expected = mv.Energy().test(torch.from_numpy(X))
    for x in (X, X.tolist(), FRAME):
        value = mv.Energy()(x)
        assert isinstance(value, torch.Tensor), "as the official classes"
        statistic, pvalue = mv.Energy().test(x)
        assert type(statistic) is type(pvalue) is float
        assert statistic == pytest.approx(float(value), rel=1e-12)
        assert pvalue == float(expected.pvalue)
    several = mv.Energy().test(np.stack([X, 2 * X]))
    assert type(several.pvalue) is np.ndarray
    assert several.pvalue.shape == (2,)
    _same(mv.Energy()(X.T, axis=1), mv.Energy()(X))
    _same(mv.Energy()(np.stack([X, 2 * X], axis=1), axis=0), mv.Energy()(np.stack([X, 2 * X])))


@pytest.mark.parametrize("reduction", ["mean", "sum", "max", None])
def test_the_sliced_test(reduction):
    def fresh():
        return SlicingUnivariateTest(u.EppsPulley(), 4, reduction)

    batch = np.stack([X, 1.5 * X])
    for x in (X, batch):
        expected, value = fresh()(torch.from_numpy(x)), fresh()(x)
        assert type(value) is (float if expected.ndim == 0 else np.ndarray)
        _same(value, expected)
        tested, result = fresh().test(torch.from_numpy(x), replicates=100), fresh().test(x, replicates=100)
        _same(result.statistic, tested.statistic)
        _same(result.pvalue, tested.pvalue)
    _same(fresh()(FRAME), fresh()(X))
    test = fresh()
    test(X)
    assert int(test.global_step) == 1


def test_evaluate():
    tests = [u.Watson(), u.JarqueBera()]
    expected = u.evaluate(tests, torch.from_numpy(X))
    assert type(u.evaluate(tests, X)) is np.ndarray
    _same(u.evaluate(tests, X), expected)
    frame = u.evaluate(tests, FRAME)
    assert list(frame.index) == ["watson", "jarque_bera"]
    assert list(frame.columns) == ["a", "b", "c"]
    _same(frame, expected)


def test_diagnostics():
    for measure in (diagnostics.effective_rank, diagnostics.condition_number, diagnostics.spectrum):
        expected = measure(torch.from_numpy(X))
        assert type(measure(X)) is (float if expected.ndim == 0 else np.ndarray)
        _same(measure(X), expected)
        _same(measure(FRAME), expected)
        _same(measure(HOLES, nan_policy="omit"), measure(HOLES[~np.isnan(HOLES).any(1)]))
    mean, covariance = diagnostics.mean_test(FRAME), diagnostics.covariance_test(FRAME)
    assert (mean.law, covariance.law) == ("exact", "asymptotic")
    assert mean.pvalue == float(diagnostics.mean_test(torch.from_numpy(X)).pvalue)


def test_laws_and_combined_pvalues():
    law = nulls.ChiSquared(2)
    assert type(law.pvalue(3.0)) is float
    _same(law.pvalue([1.0, 3.0]), stats.chi2(2).sf([1.0, 3.0]))
    assert law.pvalue(pd.Series([1.0], index=["a"])).index[0] == "a"
    assert type(law.critical_value(0.05)) is float
    _same(law.critical_value([0.01, 0.05]), stats.chi2(2).isf([0.01, 0.05]))
    assert isinstance(law.critical_value(torch.tensor([0.01])), torch.Tensor)
    assert list(law.critical_value(pd.Series([0.1, 0.2], index=["x", "y"])).index) == ["x", "y"]
    pvalues = np.array([[0.01, 0.2], [0.03, 0.4], [0.5, 0.9]])
    _same(nulls.combine_pvalues(pvalues), nulls.combine_pvalues(torch.from_numpy(pvalues)))
    assert type(nulls.combine_pvalues(pvalues[:, 0])) is float
    assert list(nulls.combine_pvalues(pd.DataFrame(pvalues, columns=["a", "b"])).index) == ["a", "b"]
    assert list(nulls.combine_pvalues(pd.DataFrame(pvalues, columns=["a", "b"]), dim=1).index) == [0, 1, 2]
    split = nulls.split_groups(X, np.arange(30) % 10)
    assert type(split) is np.ndarray
    _same(split, nulls.split_groups(torch.from_numpy(X), torch.arange(30) % 10))


def test_critical_values_at_several_levels():
    single = [quick.critical_value(alpha, 200) for alpha in (0.01, 0.05)]
    assert all(type(value) is float for value in single)
    _same(quick.critical_value([0.01, 0.05], 200), single)
    assert type(quick.critical_value([0.01, 0.05], 200)) is np.ndarray
    assert isinstance(quick.critical_value(torch.tensor([0.01, 0.05], dtype=torch.float64), 200), torch.Tensor)
    _same(mv.MardiaKurtosis().critical_value([0.05], 30, 2, "asymptotic")[0], mv.MardiaKurtosis().critical_value(
        0.05, 30, 2, "asymptotic"))  # fmt: skip
    sliced = SlicingUnivariateTest(u.EppsPulley(), 3)
    _same(sliced.critical_value([0.2], 20, 2, replicates=100)[0], sliced.critical_value(0.2, 20, 2, replicates=100))
    for wrong in (0.0, [0.05, 1.0], float("nan")):
        with pytest.raises(ValueError, match=r"alpha must lie inside \(0, 1\)"):
            u.Moments().critical_value(wrong, 10**9)  # before the law, which is refused


@pytest.mark.parametrize(
    ("make", "same"),
    [
        (lambda: X[:, 0].astype(np.float32), lambda: X[:, 0].astype(np.float32).astype(np.float64)),
        (lambda: X[::-2, 0], lambda: X[::-2, 0].copy()),
        (lambda: X[:, 0].astype(">f8"), lambda: X[:, 0]),
        (lambda: X[:, 0].astype(np.longdouble), lambda: X[:, 0]),
        (lambda: np.round(3 * X[:, 0]).astype(np.int8), lambda: np.round(3 * X[:, 0])),
        (lambda: X[:, 0] > 0, lambda: (X[:, 0] > 0).astype(float)),
        (lambda: pd.Series([1, 2, 5, 9, -3] * 3, dtype="Int64"), lambda: np.array([1.0, 2, 5, 9, -3] * 3)),
        (lambda: pd.Series([True, False, True] * 4), lambda: np.array([1.0, 0, 1] * 4)),
        (lambda: [torch.tensor(value) for value in X[:, 0]], lambda: torch.from_numpy(X[:, 0])),
    ],
)
def test_numbers_of_any_type_are_taken_as_scipy_takes_them(make, same):
    _same(quick.test(make(), **ASYMPTOTIC).statistic, quick.test(same(), **ASYMPTOTIC).statistic)
    if not isinstance(make(), list):
        shifted = stats.cramervonmises(np.asarray(make(), dtype=float), "norm").statistic
        assert u.CramerVonMises().test(make(), **ASYMPTOTIC).statistic == pytest.approx(shifted, rel=1e-12)


def test_float32_arrays_stay_float32_in_a_call_and_frames_too():
    assert quick(X.astype(np.float32)).dtype == np.float32
    assert quick(FRAME.astype(np.float32)).dtype == np.float32
    assert quick(X.astype(np.float32).tolist()).dtype == np.float64


def test_what_is_no_array_of_numbers_is_refused_by_name():
    for bad, message in (
        ("text", "x must hold real numbers, got str"),
        (None, "x must hold real numbers, got NoneType"),
        ([1.0, None, 2.0], "x must hold real numbers, got list of object"),
        ([[1.0, 2.0], [3.0]], "x must be an array of numbers, all rows of one length"),
        (X[:, 0] + 1j, "x must hold real numbers, got ndarray of complex128"),
        (FRAME.assign(name="n", when=pd.Timestamp(0)), r"x has 2 column\(s\) that are not real numbers: name, when"),
        (pd.Series(["a", "b"]), r"x has 1 column\(s\) that are not real numbers"),
        (torch.arange(9), "x must be floating point"),
        (X[:1], r"x holds 1 sample\(s\)"),
        (X[:0], "x is empty"),
        (3.0, "x must have at least 1 dimension"),
        (HOLES, r"x holds 3 NaN or infinite value\(s\) out of 90; .*nan_policy='omit' leaves NaN out"),
        (np.where(X > 1, np.inf, X), "NaN or infinite"),
    ):
        for call in (quick, quick.test):
            with pytest.raises(ValueError, match=message):
                call(bad)
    for call in (quick, quick.test, mv.Energy(), mv.Energy().test, SlicingUnivariateTest(quick, 2)):
        with pytest.raises(ValueError, match="nan_policy must be one of raise, omit, propagate, got 'drop'"):
            call(X, nan_policy="drop")
        with pytest.raises(ValueError, match=r"axis must lie in -2 .. 1 for x of shape \(30, 3\), got 2"):
            call(X, axis=2)
        for policy in ("omit", "propagate"):
            with pytest.raises(ValueError, match="NaN or infinite"):
                call(np.where(X > 1, np.inf, X), nan_policy=policy)
    with pytest.raises(ValueError, match="axis must be a whole number"):
        mv.Energy()(X, axis=None)
    with pytest.raises(ValueError, match=r"axis must be 0 for x of shape \(30,\), got 1"):
        quick(X[:, 0], axis=1)


def test_the_callers_data_stay_as_they_are():
    array, frame = HOLES.copy(), pd.DataFrame(HOLES)
    array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick.test(array, axis=0, nan_policy="propagate", **ASYMPTOTIC)
        quick.test(frame, nan_policy="omit")
    np.testing.assert_array_equal(array, HOLES)
    pd.testing.assert_frame_equal(frame, pd.DataFrame(HOLES))


def test_masked_values_are_missing():
    masked = np.ma.array(X[:, 0], mask=np.arange(30) == 4)
    with pytest.raises(ValueError, match="NaN"):
        quick(masked)
    assert quick(masked, nan_policy="omit") == pytest.approx(quick(np.delete(X[:, 0], 4)), rel=1e-12)


def test_pandas_is_imported_only_by_who_hands_in_a_frame(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "pandas"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pandas", None)  # whoever imports it now gets an error
    x = np.random.default_rng(0).standard_normal((40, 2))
    assert len(u.AndersonDarling().test(x, "asymptotic", nan_policy="omit").pvalue) == 2
    assert mv.MardiaSkewness().test(x, "asymptotic").reject((0.01, 0.05)) is not None


# Tensors


def test_a_tensor_keeps_its_gradient_along_every_axis_and_without_its_missing_values():
    x = torch.tensor(X, requires_grad=True)
    (expected,) = torch.autograd.grad(quick(x).sum(), x)
    y = torch.tensor(X.T, requires_grad=True)
    (along,) = torch.autograd.grad(quick(y, axis=1).sum(), y)
    torch.testing.assert_close(along.T, expected)
    z = torch.tensor(HOLES, requires_grad=True)
    value = quick(z, nan_policy="omit")
    (gradient,) = torch.autograd.grad(value.sum(), z)
    assert torch.equal(gradient == 0, z.isnan())
    assert torch.autograd.gradcheck(
        lambda v: quick(torch.where(z.isnan(), torch.nan, v), nan_policy="omit"), torch.tensor(X, requires_grad=True)
    )
    value = mv.Energy()(z, nan_policy="omit")
    (gradient,) = torch.autograd.grad(value, z)
    assert torch.equal((gradient == 0).all(1), z.isnan().any(1))
    torch.testing.assert_close(value, mv.Energy()(z[~z.isnan().any(1)]))


def test_a_training_step_does_nothing_but_look_at_the_type(monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("converted")

    for module in ("univariate.base.columns", "multivariate.base.rows", "multivariate.sliced.rows"):
        monkeypatch.setattr(f"sigreg_lab.{module}", never)
    x = torch.tensor(X, requires_grad=True)
    quick(x).sum().backward()
    mv.Energy()(x).backward()
    SlicingUnivariateTest(quick, 2)(x).backward()


# As in SciPy

PEERS = {
    "jarque_bera": (u.JarqueBera(), stats.jarque_bera, lambda s: s, ASYMPTOTIC),
    "normaltest": (u.DAgostinoK2(), stats.normaltest, lambda s: s, ASYMPTOTIC),
    "shapiro": (u.ShapiroWilk(), stats.shapiro, lambda s: 1 - s, ASYMPTOTIC),
    "kstest": (u.KolmogorovSmirnov(), lambda x, **k: stats.kstest(x, "norm", **k), lambda s: s, {}),
    "cramervonmises": (u.CramerVonMises(), lambda x, **k: stats.cramervonmises(x, "norm", **k), lambda s: s, None),
}
CUBE = np.random.default_rng(5).standard_normal((14, 20, 16))
CUBE_HOLES = np.where(np.random.default_rng(6).random(CUBE.shape) < 0.02, np.nan, CUBE)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, None])
@pytest.mark.parametrize("name", PEERS)
def test_axis_is_scipys(name, axis):
    statistic, peer, converted, options = PEERS[name]
    expected = peer(CUBE, axis=axis)
    _close(statistic(CUBE, axis=axis), converted(expected.statistic))
    if options is not None:
        result = statistic.test(CUBE, axis=axis, **options)
        assert np.shape(result.pvalue) == np.shape(expected.pvalue)
        np.testing.assert_allclose(result.pvalue, expected.pvalue, rtol=1e-5, atol=1e-12)


def _close(found, expected):
    assert np.shape(found) == np.shape(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)  # SciPy's 1 - W has that many digits


@pytest.mark.parametrize("axis", [0, 2])
@pytest.mark.parametrize("policy", ["omit", "propagate"])
@pytest.mark.parametrize("name", PEERS)
def test_nan_policy_is_scipys(name, policy, axis):
    statistic, peer, converted, options = PEERS[name]
    expected = peer(CUBE_HOLES, axis=axis, nan_policy=policy)
    assert np.isnan(expected.statistic).any() == (policy == "propagate")
    _close(statistic(CUBE_HOLES, axis=axis, nan_policy=policy), converted(expected.statistic))
    if name in ("jarque_bera", "normaltest") or (options is not None and policy == "propagate"):
        result = statistic.test(CUBE_HOLES, axis=axis, nan_policy=policy, **options)
        np.testing.assert_allclose(result.pvalue, expected.pvalue, rtol=1e-6, atol=1e-12)
    for call in (peer, statistic, statistic.test):
        with pytest.raises(ValueError, match=r"(?i)nan"):
            call(CUBE_HOLES, axis=axis, **({"nan_policy": "raise"} if call is peer else {}))


def test_anderson_is_scipys_on_a_sample_that_is_standardised():
    x = CUBE[0, :, 0]
    peer = stats.anderson(x, "norm", method="interpolate")
    assert quick((x - x.mean()) / x.std(ddof=1)) == pytest.approx(peer.statistic, rel=1e-10)


@pytest.mark.parametrize("statistic", [u.JarqueBera(), u.KolmogorovSmirnov()], ids=str)
def test_samples_that_are_too_small_without_their_nan_are_nan_with_a_warning(statistic):
    x = X.copy()
    x[1:, 1] = np.nan
    x[:, 2] = np.nan
    with pytest.warns(RuntimeWarning, match=r"2 of 3 sample\(s\) hold fewer than [24] values that are not NaN"):
        result = statistic.test(x, nan_policy="omit", **ASYMPTOTIC)
    assert list(np.isnan(result.pvalue)) == [False, True, True]
    assert list(result.n) == [30, 1, 0]
    assert list(np.isnan(result.critical_value(0.05))) == [False, True, True]
    assert list(result.reject(0.999)) == [True, False, False]
    _same(result.pvalue[0], statistic.test(x[:, 0], **ASYMPTOTIC).pvalue)


def test_rows_with_nan_of_multivariate_samples():
    whole = HOLES[~np.isnan(HOLES).any(1)]
    batch = np.stack([HOLES, X, np.full_like(X, np.nan)])
    statistic = mv.MardiaKurtosis()
    with pytest.warns(RuntimeWarning, match="1 of 3"):
        result = statistic.test(batch, "asymptotic", nan_policy="omit")
    assert list(result.n) == [27, 30, 0]
    _same(result.statistic[:2], [float(statistic(whole)), float(statistic(X))])
    _same(result.pvalue[0], statistic.test(whole, "asymptotic").pvalue)
    propagated = statistic.test(batch, "asymptotic", nan_policy="propagate")
    assert list(np.isnan(propagated.pvalue)) == [True, False, True]
    assert propagated.n == 30
    sliced = SlicingUnivariateTest(u.EppsPulley(), 3, None)
    with pytest.warns(RuntimeWarning, match="1 of 3"):
        values = sliced(batch, nan_policy="omit")
    assert values.shape == (3, 3)
    sliced.global_step.zero_()
    _same(values[0], sliced(whole))
    assert np.isnan(values[2]).all()
    with pytest.warns(RuntimeWarning, match="1 of 1"):
        assert np.isnan(sliced.test(batch[2], nan_policy="omit").pvalue).all()


# Results


def test_a_result_says_what_it_rests_on():
    result = quick.test(X)
    assert (result.n, result.law, result.replicates) == (30, "simulated", 2000)
    assert result.test == "AndersonDarling()"
    assert result.null_hypothesis == "independent values of N(0, 1)"
    law = quick.null_law(30)
    _same(result.pvalue_error, [law.standard_error(p) for p in result.pvalue])
    assert result.critical_value(0.05) == quick.critical_value(0.05, 30)
    asymptotic = u.JarqueBera().test(X[:, 0], **ASYMPTOTIC)
    assert (asymptotic.law, asymptotic.replicates, asymptotic.pvalue_error) == ("asymptotic", None, 0.0)
    assert asymptotic.null_hypothesis == "independent values of a normal law of any mean and variance"
    assert u.KolmogorovSmirnov().test(X).law == "exact"
    assert mv.Energy().test(X).null_hypothesis == "independent rows of N(0, I)"
    standardised = mv.Energy(standardise=True).test(X)
    assert standardised.null_hypothesis == "independent rows of a normal law of any mean and covariance"


def test_the_law_of_a_smaller_sample_is_named(monkeypatch):
    monkeypatch.setattr(mv.Energy, "limit_at", 24)
    assert mv.Energy().test(X).law == "simulated of 24 rows"
    assert mv.Energy().test(X[:24]).law == "simulated"


def test_decisions_at_several_levels():
    some = FRAME.assign(a=FRAME["a"] ** 3)
    result = u.JarqueBera().test(some, **ASYMPTOTIC)
    alpha = (0.001, 0.05, 0.9)
    expected = result.pvalue.to_numpy() <= np.array(alpha)[:, None]
    assert expected.any()
    assert not expected.all()
    decisions = result.reject(alpha)
    assert list(decisions.index) == list(alpha)
    assert list(decisions.columns) == ["a", "b", "c"]
    np.testing.assert_array_equal(decisions, expected)
    assert list(result.reject(0.05)) == list(expected[1])
    assert list(result.reject()) == list(expected[1])
    of_array, of_tensor = (
        u.JarqueBera().test(x, **ASYMPTOTIC) for x in (some.to_numpy(), as_tensor(some.to_numpy())[0])
    )
    np.testing.assert_array_equal(of_array.reject(alpha), expected)
    assert of_tensor.reject(alpha).dtype == torch.bool
    np.testing.assert_array_equal(of_tensor.reject(alpha), expected)
    single = u.JarqueBera().test(some["a"], **ASYMPTOTIC)
    assert single.reject(0.05) is bool(expected[1, 0])
    _same(single.critical_value(alpha), stats.chi2(2).isf(alpha))
    _same(of_tensor.critical_value(alpha), stats.chi2(2).isf(alpha))
    for wrong in (0, (0.05, 1.0)):
        with pytest.raises(ValueError, match="alpha must lie inside"):
            single.reject(wrong)


def test_with_nan_left_out_sizes_laws_and_thresholds_are_by_column():
    frame = pd.DataFrame(HOLES, columns=["a", "b", "c"])
    result = quick.test(frame, nan_policy="omit")
    assert dict(result.n) == {"a": 30, "b": 28, "c": 29}
    for name, size in result.n.items():
        alone = quick.test(frame[name].dropna())
        assert alone.n == size
        assert result.pvalue[name] == alone.pvalue
        assert result.critical_value(0.05)[name] == alone.critical_value(0.05)
        assert result.critical_value((0.1, 0.05)).loc[0.1, name] == alone.critical_value(0.1)
    whole = quick.test(FRAME, nan_policy="omit")
    assert list(whole.n) == [30, 30, 30]


def test_a_result_unpacks_prints_and_pickles():
    result = quick.test(FRAME)
    statistic, pvalue = result
    assert statistic is result.statistic is result[0]
    assert len(result) == 2
    assert isinstance(result, tuple)
    text = str(result)
    for part in (
        "AndersonDarling()",
        "independent values of N(0, 1)",
        "simulated, 2,000 replicates",
        "n: 30",
        "at 0.05",
    ):
        assert part in text
    for name, value, p in zip("abc", statistic, pvalue, strict=True):
        row = next(line for line in text.splitlines() if f" {name} " in line)
        assert row.split() == [name, f"{value:.6g}", f"{p:.4g}"]
    assert repr(quick.test(X[:, 0])).startswith("TestResult(statistic=")
    assert text.endswith("\n  3 p-values, each by itself: not corrected for their number")
    assert "not corrected" not in str(quick.test(X[:, 0]))
    assert "p-value: " in str(quick.test(X[:, 0]))
    assert "standard error" in str(quick.test(X[:, 0]))
    assert "standard error" not in str(quick.test(X[:, 0], **ASYMPTOTIC))
    assert "and 80 more" in str(quick.test(np.random.default_rng(0).standard_normal((9, 100)), **ASYMPTOTIC))
    assert "n" in str(quick.test(HOLES, nan_policy="omit")).splitlines()[3].split()
    for again in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result)):
        assert str(again) == text
        assert again.critical_value(0.05) == result.critical_value(0.05)
    bare = nulls.TestResult(1.0, 0.5)
    assert str(bare)
    with pytest.raises(ValueError, match="needs a law"):
        bare.critical_value()


def test_a_sample_without_any_value_has_no_result():
    for policy in ("omit", "propagate"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            result = quick.test(np.full(9, np.nan), nan_policy=policy)
        assert np.isnan(result.pvalue)
        assert result.reject(0.5) is False
        with pytest.raises(ValueError, match="no sample was tested"):
            result.critical_value(0.05)
        assert "nan" in str(result)


# What the mechanism does


def test_parts_hold_the_samples_of_one_size_in_order():
    samples = columns(HOLES, 0, "omit", 2)
    assert samples.sizes == [28, 29, 30]
    assert [tuple(part.shape) for part in samples.parts] == [(28, 1), (29, 1), (30, 1)]
    _same(samples.parts[0][:, 0], HOLES[~np.isnan(HOLES[:, 1]), 1])
    assert samples.n.tolist() == [30, 28, 29]
    values = [part.sum(0) for part in samples.parts]
    _same(samples.back(values), np.nansum(HOLES, axis=0))
    batch = rows(np.stack([X, HOLES, 2 * X]), -2, "omit", lambda dim: dim)
    assert [tuple(part.shape) for part in batch.parts] == [(1, 27, 3), (2, 30, 3)]
    _same(batch.back([part.sum((1, 2)) for part in batch.parts])[2], 2 * X.sum())


def test_conversion_copies():
    tensor, labels = as_tensor(X)
    assert labels == ()
    tensor.zero_()
    assert X.any()
    same = torch.ones(3)
    assert as_tensor(same)[0] is same


# The diagnosis


def test_diagnose_takes_arrays_and_frames():
    options = {"num_slices": 8, "replicates": 200}
    x = np.random.default_rng(1).standard_normal((60, 3))
    frame = pd.DataFrame(x, columns=["u", "v", "w"])
    expected = diagnose(torch.from_numpy(x), **options)
    of_array, of_frame, of_list = (diagnose(data, **options) for data in (x, frame, x.tolist()))
    assert (of_array.source, of_frame.source, expected.source) == ("array", "DataFrame", "tensor")
    for found in (of_array, of_frame, of_list):
        assert found.tests == expected.tests
    assert {name for name, _, _ in of_frame.extreme_features} == {"u", "v", "w"}
    labels = np.repeat([f"image {i:02}" for i in range(20)], 3)
    grouped = diagnose(frame, groups=labels, **options)
    assert grouped.num_views == 3
    assert grouped.tests == diagnose(torch.from_numpy(x), groups=torch.arange(20).repeat_interleave(3), **options).tests
    assert diagnose(frame, groups=pd.Series(labels), **options).num_views == 3
    frame.iloc[4, 1] = np.nan
    with pytest.raises(ValueError, match="sample holds 1 NaN"):
        diagnose(frame, **options)
    omitted = diagnose(frame, nan_policy="omit", **options)
    assert omitted.num_rows == 59
    assert omitted.total_rows == 60
    assert "excluded 1 row(s) with missing values" in omitted.notes
    assert omitted.tests == diagnose(np.delete(x, 4, axis=0), **options).tests
    assert diagnose(frame, nan_policy="omit", groups=labels, **options).num_views == 2
    with pytest.raises(ValueError, match="nan_policy must be 'raise' or 'omit' here"):
        diagnose(x, nan_policy="propagate", **options)
    with pytest.raises(ValueError, match="sample must hold real numbers"):
        diagnose("text")
