"""Closed-form laws: they are SciPy's, batched over tensors."""

import numpy as np
import pytest
import torch
from scipy import stats

from sigreg_lab.nulls import ChiSquared, KolmogorovSmirnov, LogNormal, Normal


@pytest.mark.parametrize(
    ("law", "peer"),
    [
        (ChiSquared(4), stats.chi2(4)),
        (Normal(1.0, 2.0), stats.norm(1, 2)),
        (LogNormal(-1.5, 0.4), stats.lognorm(0.4, scale=np.exp(-1.5))),
        (KolmogorovSmirnov(17), stats.kstwo(17)),
    ],
)
def test_survival_and_critical_value_are_scipys(law, peer):
    x = torch.tensor([[0.05, 0.3, 0.9], [1.5, 4.0, 9.0]], dtype=torch.float64)
    np.testing.assert_allclose(law.pvalue(x), peer.sf(x.numpy()), rtol=1e-13)
    assert law.critical_value(0.05) == pytest.approx(peer.ppf(0.95), rel=1e-10)


@pytest.mark.parametrize(("law", "argument"), [(ChiSquared, 0), (KolmogorovSmirnov, 0)])
def test_bad_parameter_is_refused(law, argument):
    with pytest.raises(ValueError, match="must be"):
        law(argument)


@pytest.mark.parametrize("law", [Normal, LogNormal])
def test_bad_spread_is_refused(law):
    with pytest.raises(ValueError, match="std must be positive"):
        law(0.0, 0.0)
