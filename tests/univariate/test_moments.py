"""Moments: values by SciPy's moments of N(0, 1)."""

import numpy as np
import pytest
import torch
from scipy import stats

from sigreg_lab.univariate import Moments
from tests.univariate.cases import SAMPLES


@pytest.mark.parametrize("k_max", [1, 2, 4, 7])
@pytest.mark.parametrize("x", SAMPLES.values(), ids=SAMPLES.keys())
def test_values(x, k_max):
    expected = abs(x.mean()) + sum(np.exp(-k) * abs(np.mean(x**k) - stats.norm.moment(k)) for k in range(2, k_max + 1))
    assert float(Moments(k_max)(torch.from_numpy(x))) == pytest.approx(expected, rel=1e-10)


def test_bad_order_is_refused():
    with pytest.raises(ValueError, match="k_max"):
        Moments(0)
