"""Data sets that statisticians know, with the numbers and verdicts that other packages print of them.

[1] Korkmaz, Goksuluk & Zararsiz (2014), MVN: An R Package for Assessing Multivariate Normality, The R Journal 6/2:
    mardiaTest and hzTest of iris setosa.
[2] MVN 6, https://selcukorkmaz.github.io/mvn-tutorial/tutorials/mvn-tests.html: setosa's first two columns.
[3] R's dprep, https://rdrr.io/cran/dprep/man/mardia.html: mardia(iris) by species, the covariance with divisor n - 1.
[4] pingouin 0.7.0, pingouin.multivariate_normality(x), printed to 6 digits.
[5] R 4, shapiro.test and nortest::ad.test of each column of iris.
[6] NumPy, numpy.linalg.matrix_rank of the standardised columns.
"""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import torch
from scipy import stats
from sklearn import datasets

from sigreg_lab.check import diagnose
from sigreg_lab.check.classical import classical_findings
from sigreg_lab.check.diagnose import _standardised, _whitened
from sigreg_lab.check.features import feature_tests

IRIS = datasets.load_iris().data
OPTIONS = {"num_slices": 8, "replicates": 599}


def _frame(name):
    if hasattr(datasets, f"load_{name}"):
        return pd.DataFrame(getattr(datasets, f"load_{name}")().data)
    return getattr(sm.datasets, name).load_pandas().data


def _classical(x):
    y, _ = _whitened(torch.from_numpy(np.array(x, dtype=float)), len(x))
    return classical_findings(y)


@pytest.mark.parametrize(
    ("rows", "chi_squared", "degrees", "p_skewness", "z", "p_kurtosis", "hz", "p_hz"),
    [
        (IRIS[:50], 25.66434, 20, 0.1771859, 1.294992, 0.1953229, 0.9488453, 0.04995356),  # [1]
        (IRIS[:50, :2], 0.760, 4, 0.944, 0.093, 0.926, 0.286, 0.915),  # [2]
    ],
)
def test_iris_setosa_as_mvn_prints_it(rows, chi_squared, degrees, p_skewness, z, p_kurtosis, hz, p_hz):
    skewness, kurtosis, henze = _classical(rows)
    digits = {"abs": 5e-4} if degrees == 4 else {"rel": 1e-6}
    assert skewness.degrees == degrees
    for found, expected in (
        (skewness.statistic, chi_squared),
        (skewness.pvalue, p_skewness),
        (kurtosis.statistic, z),
        (kurtosis.pvalue, p_kurtosis),
        (henze.statistic, hz),
        (henze.pvalue, p_hz),
    ):
        assert found == pytest.approx(expected, **digits)


@pytest.mark.parametrize(
    ("species", "skewness", "kurtosis"),
    [(0, 24.15508, 0.7587116), (1, 23.70393, -1.034219), (2, 24.72568, -0.3384283)],
)
def test_iris_by_species_as_dprep_prints_it(species, skewness, kurtosis):  # [3]
    found = _classical(IRIS[50 * species : 50 * species + 50])
    other = 49 / 50  # the ratio of the divisors
    assert found[0].statistic * other**3 == pytest.approx(skewness, rel=1e-6)
    z = (found[1].estimate * other**2 - 24) / np.sqrt(8 * 24 / 50)
    assert z == pytest.approx(kurtosis, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "hz", "pvalue"),
    [
        ("iris", 2.336394, 4.141312e-19),
        ("wine", 1.074339, 1.177237e-68),
        ("breast_cancer", 1.185999, 0.0),
        ("diabetes", 1.422987, 0.0),
        ("linnerud", 0.796552, 0.06978065),
        ("anes96", 2.049842, 0.0),
        ("ccard", 3.930830, 1.846646e-71),
        ("stackloss", 0.934479, 0.02260151),
        ("longley", 0.906529, 0.1968994),
        ("star98", 1.628300, 0.0),
    ],
)
def test_henze_zirkler_as_pingouin_prints_it(name, hz, pvalue):  # [4]
    found = _classical(_frame(name))[2]
    assert found.statistic == pytest.approx(hz, rel=1e-6)
    assert found.pvalue == pytest.approx(pvalue, rel=1e-5, abs=1e-300)


def test_features_of_iris_as_r_prints_them():  # [5]
    statistics, pvalues = feature_tests(_standardised(torch.from_numpy(IRIS))[0])
    shapiro = [(0.97609, 0.01018), (0.98492, 0.1012), (0.87627, 7.412e-10), (0.90183, 1.68e-8)]
    anderson = [(0.8892, 0.02251), (0.90796, 0.02023), (7.6785, 0.0), (5.1057, 1.125e-12)]
    for test, expected in enumerate((shapiro, anderson)):
        for k, (statistic, pvalue) in enumerate(expected):
            assert float(statistics[test, k]) == pytest.approx(statistic, rel=1e-4)
            assert float(pvalues[test, k]) == pytest.approx(pvalue, rel=1e-3, abs=1e-16)


def test_pvalues_of_features_are_those_of_statsmodels_and_scipy():
    from statsmodels.stats.diagnostic import normal_ad

    rng = np.random.default_rng(0)
    for n in (8, 20, 150, 6000):
        for x in (rng.standard_normal(n), rng.exponential(size=n), rng.uniform(size=n), 1e8 + rng.standard_normal(n)):
            statistics, pvalues = feature_tests(_standardised(torch.from_numpy(x)[:, None])[0])
            statistic, pvalue = normal_ad(x)
            assert float(statistics[1, 0]) == pytest.approx(statistic, rel=1e-6)
            assert float(pvalues[1, 0]) == pytest.approx(pvalue, rel=1e-5, abs=1e-25)
            if n <= 5000:
                assert float(pvalues[0, 0]) == pytest.approx(stats.shapiro(x).pvalue, rel=1e-5)
            else:
                assert pvalues[0].isnan().all()


def test_a_far_outlier_and_a_constant_give_no_nan_where_there_is_an_answer():
    x = torch.zeros(50, 3, dtype=torch.float64)
    x[0, 0], x[1:, 0] = 1e300, torch.linspace(-1, 1, 49, dtype=torch.float64)
    x[:, 2] = torch.linspace(-1, 1, 50, dtype=torch.float64)
    _, pvalues = feature_tests(_standardised(x)[0])
    assert (pvalues[:, 0] < 1e-10).all()
    assert pvalues[:, 1].isnan().all()
    assert (pvalues[:, 2] > 1e-3).all()


@pytest.mark.parametrize("name", ["wine", "anes96", "star98", "longley", "ccard"])
def test_data_in_several_units_are_of_full_rank(name):  # [6]
    frame = _frame(name)
    z = (frame - frame.mean()) / frame.std()
    assert np.linalg.matrix_rank(z) == frame.shape[1]
    findings = diagnose(frame, **OPTIONS)
    assert findings.rank == frame.shape[1]
    assert "rank-deficient" not in findings.verdict
    if name != "longley":  # of 16 rows, too few to judge the shape; pingouin's p is 0.20
        assert "the shape is not normal" in findings.verdict
        assert findings.classical[0].pvalue < 1e-6
    in_units = diagnose(frame * np.logspace(-6, 6, frame.shape[1]), **OPTIONS)
    assert in_units.rank == frame.shape[1]
    expected, found = (
        {t.name: (t.statistic, t.pvalue) for t in f.tests if "normal" in t.null_hypothesis}
        for f in (findings, in_units)
    )
    for test, (statistic, pvalue) in expected.items():
        assert found[test][0] == (statistic if statistic is None else pytest.approx(statistic, rel=1e-6)), test
        assert found[test][1] == (pvalue if pvalue is None else pytest.approx(pvalue, rel=1e-6)), test


def test_iris_is_skewed_and_its_features_are_named():
    findings = diagnose(pd.DataFrame(IRIS, columns=["a", "b", "c", "d"]), **OPTIONS)
    skewness = next(test for test in findings.tests if test.name == "mardia_skewness")
    assert skewness.statistic == pytest.approx(67.43051, rel=1e-6)
    assert skewness.adjusted < 0.05
    limit, kurtosis, _ = findings.classical
    assert (limit.degrees, limit.pvalue) == (20, pytest.approx(4.757998e-07, rel=1e-6))
    assert (kurtosis.statistic, kurtosis.pvalue) == pytest.approx((-0.2301121, 0.8180047), rel=1e-6)
    assert "Mardia's skewness" in findings.verdict
    assert {feature.name for feature in findings.features[: findings.num_not_normal]} == {"a", "c", "d"}
