"""VCReg and mean^2 + (std - 1)^2: values by hand, and the law drawn from two numbers against that of whole samples."""

import numpy as np
import pytest
import torch
from scipy import stats

from sigreg_lab.univariate import MeanStd, VCReg
from sigreg_lab.univariate.base import UnivariateTest
from tests.univariate.cases import SAMPLES


@pytest.mark.parametrize("x", SAMPLES.values(), ids=SAMPLES.keys())
def test_values(x):
    n, mean, variance = x.size, x.mean(), x.var(ddof=1)
    # The two terms are the squared one-sample t statistic and the squared z statistic of the variance.
    vcreg = stats.ttest_1samp(x, 0).statistic ** 2 + ((variance - 1) / np.sqrt(2 / (n - 1))) ** 2
    assert float(VCReg()(torch.from_numpy(x))) == pytest.approx(vcreg, rel=1e-10)
    assert float(MeanStd()(torch.from_numpy(x))) == pytest.approx(mean**2 + (np.sqrt(variance) - 1) ** 2, rel=1e-10)


@pytest.mark.parametrize("statistic", [VCReg(), MeanStd()])
def test_law_from_mean_and_variance_is_the_law_from_samples(statistic):
    short = statistic.simulate(np.random.default_rng(1), 20_000, 9)
    full = UnivariateTest.simulate(statistic, np.random.default_rng(2), 20_000, 9)
    assert stats.ks_2samp(short, full).pvalue > 1e-3
    assert stats.ks_2samp(short * 1.1, full).pvalue < 1e-6  # the comparison can fail
