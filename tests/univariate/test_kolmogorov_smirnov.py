"""Kolmogorov-Smirnov: SciPy's value and exact p-value; not a loss."""

import pytest
import torch
from scipy import stats

from sigreg_lab.univariate import KolmogorovSmirnov
from tests.univariate.cases import SAMPLES


@pytest.mark.parametrize("x", SAMPLES.values(), ids=SAMPLES.keys())
def test_value_and_pvalue_are_scipys(x):
    expected = stats.kstest(x, "norm", method="exact")
    result = KolmogorovSmirnov().test(torch.from_numpy(x))
    assert float(result.statistic) == pytest.approx(expected.statistic, rel=1e-10)
    assert float(result.pvalue) == pytest.approx(expected.pvalue, rel=1e-10)


def test_gradient_reaches_one_sample_only():
    x = torch.from_numpy(SAMPLES["100 normal"]).requires_grad_()
    KolmogorovSmirnov()(x).backward()
    assert int((x.grad != 0).sum()) == 1
    assert not KolmogorovSmirnov.suitable_as_loss
