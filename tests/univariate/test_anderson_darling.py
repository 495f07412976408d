"""Anderson-Darling: values from mpmath at 40 digits and from SciPy, the published table and Marsaglia's law."""

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats

from sigreg_lab.univariate import AndersonDarling
from tests.univariate.cases import SAMPLES


@pytest.mark.parametrize("x", SAMPLES.values(), ids=SAMPLES.keys())
def test_value_by_mpmath(x):
    ordered = [mpmath.mpf(float(v)) for v in np.sort(x)]
    n = len(ordered)
    with mpmath.workdps(25):
        total = mpmath.fsum(
            (2 * i + 1) * (mpmath.log(mpmath.ncdf(ordered[i])) + mpmath.log(mpmath.ncdf(-ordered[n - 1 - i])))
            for i in range(n)
        )
        expected = float(-n - total / n)
    assert float(AndersonDarling()(torch.from_numpy(x))) == pytest.approx(expected, rel=1e-10)


def test_standardised_value_is_statsmodels():
    from statsmodels.stats.diagnostic import normal_ad

    x = SAMPLES["100 normal"]
    standardised = (x - x.mean()) / x.std(ddof=1)
    expected = normal_ad(x)[0]
    assert float(AndersonDarling()(torch.from_numpy(standardised))) == pytest.approx(expected, rel=1e-10)


def test_gradient_in_the_far_tail():
    # log Phi(-x) falls like -x^2/2, and the largest value carries it with weight 1/N: A2 has slope x/N there.
    x = torch.tensor([-0.5, 0.1, 0.4, 50.0], dtype=torch.float64, requires_grad=True)
    AndersonDarling()(x).backward()
    assert float(x.grad[-1]) == pytest.approx(50.0 / 4, rel=1e-3)


# Stephens (1974), table 1A, and, where it is known to be off, Marsaglia & Marsaglia (2004), J. Stat. Software 9(2).
PRINTED = {0.25: 1.248, 0.15: 1.610, 0.10: 1.933, 0.05: 2.492, 0.025: 3.070, 0.01: 3.857, 0.005: 4.500}
CORRECTED = {0.15: 1.6212, 0.025: 3.0775, 0.01: 3.8781, 0.005: 4.4982}


def test_asymptotic_law_gives_the_published_points():
    for alpha, point in PRINTED.items():
        value = AndersonDarling().critical_value(alpha, 100, "asymptotic")
        if alpha in CORRECTED:
            assert value == pytest.approx(CORRECTED[alpha], abs=6e-5)
            assert value != pytest.approx(point, abs=6e-4)
        else:
            assert value == pytest.approx(point, abs=6e-4)


def _marsaglia(z):
    """Marsaglia & Marsaglia (2004), function ADinf: P(A2 < z) in the limit, said to be good to 2e-6 below z = 2 and
    8e-7 above."""
    if z < 2:
        inner = 0.0347962 - (0.0116720 - 0.00168691 * z) * z
        return math.exp(-1.2337141 / z) / math.sqrt(z) * (2.00012 + (0.247105 - (0.0649821 - inner * z) * z) * z)
    inner = 0.082433 - (0.008056 - 0.0003146 * z) * z
    return math.exp(-math.exp(1.0776 - (2.30695 - (0.43424 - inner * z) * z) * z))


def test_asymptotic_law_is_marsaglias():
    z = np.array([0.3, 0.7, 1.0, 1.610, 1.9, 2.492, 3.07, 3.857, 5.0])
    expected = [1 - _marsaglia(v) for v in z]
    np.testing.assert_allclose(AndersonDarling().asymptotic_law(100).survival(z), expected, rtol=0, atol=2e-5)


def test_mean_under_the_null_is_one():
    # E A2 = 1 for every N.
    rng = np.random.default_rng(5)
    value = AndersonDarling()(torch.from_numpy(stats.norm.rvs(size=(12, 20_000), random_state=rng)))
    assert abs(float(value.mean()) - 1) < 4 * float(value.std()) / 20_000**0.5
