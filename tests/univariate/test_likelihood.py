"""Order-statistic likelihood: densities by mpmath and by SciPy's beta law; the tail option."""

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats

from sigreg_lab.univariate import NLL
from tests.univariate.cases import SAMPLES


@pytest.mark.parametrize("x", SAMPLES.values(), ids=SAMPLES.keys())
def test_value_by_mpmath(x):
    s, n = np.sort(x), x.size
    with mpmath.workdps(25):
        losses = []
        for k, value in enumerate(map(float, s), start=1):
            losses.append(
                -mpmath.log(mpmath.npdf(value))
                + mpmath.log(mpmath.beta(k, n + 1 - k))
                - (k - 1) * mpmath.log(mpmath.ncdf(value))
                - (n - k) * mpmath.log(mpmath.ncdf(-value))
            )
        mean, third = float(mpmath.fsum(losses) / n), float(losses[2])
    assert float(NLL()(torch.from_numpy(x))) == pytest.approx(mean, rel=1e-10)
    assert float(NLL(k=3)(torch.from_numpy(x))) == pytest.approx(third, rel=1e-10)


def test_density_of_an_order_statistic_is_that_of_a_beta():
    # Phi(x_(k)) is Beta(k, n + 1 - k), so f_(k)(x) = beta density at Phi(x), times phi(x).
    x, n = SAMPLES["20 normal"], 20
    for k in (1, 7, 20):
        value = np.sort(x)[k - 1]
        expected = -stats.beta(k, n + 1 - k).logpdf(stats.norm.cdf(value)) - stats.norm.logpdf(value)
        assert float(NLL(k=k)(torch.from_numpy(x))) == pytest.approx(expected, rel=1e-10)


def test_alpha_keeps_the_values_outside_their_central_range_only():
    x, n, alpha = SAMPLES["20 normal"] * 1.5, 20, 0.2
    s = np.sort(x)
    expected = 0.0
    for k in range(1, n + 1):
        if not alpha < stats.beta(k, n + 1 - k).cdf(stats.norm.cdf(s[k - 1])) < 1 - alpha:
            expected += float(NLL(k=k)(torch.from_numpy(x))) / n
    value = float(NLL(alpha=alpha)(torch.from_numpy(x)))
    assert value == pytest.approx(expected, rel=1e-10)
    assert value != pytest.approx(float(NLL()(torch.from_numpy(x))))


@pytest.mark.parametrize("arguments", [{"alpha": 0.0}, {"alpha": 0.6}, {"k": 0}, {"N": 0}, {"k": 5, "N": 4}])
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=r"alpha|k and N"):
        NLL(**arguments)


def test_sample_of_another_size_is_refused():
    x = torch.from_numpy(SAMPLES["20 normal"])
    assert NLL(N=20)(x) == NLL()(x)
    with pytest.raises(ValueError, match="N=10 was set"):
        NLL(N=10)(x)
    with pytest.raises(ValueError, match="at least 25 are needed"):
        NLL(k=25)(x)
