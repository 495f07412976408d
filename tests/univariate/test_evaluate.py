"""Bulk evaluation: the same numbers as one statistic at a time, whatever the layout."""

import numpy as np
import pytest
import torch

from sigreg_lab import univariate as u
from tests.univariate.cases import CASES


@pytest.mark.parametrize("n", [8, 101])
@pytest.mark.parametrize("layout", ["rows", "columns"])
def test_each_row_is_its_statistic(n, layout):
    x = torch.from_numpy(np.random.default_rng(n).standard_normal((n, 700)) * 1.3 + 0.2)
    x[:, 5] *= 8
    x[0, 6], x[1, 6] = 50.0, -50.0  # a tail that underflows: Anderson-Darling goes back to log space
    x = x.T.contiguous().T if layout == "columns" else x
    before = x.clone()
    values = u.evaluate(list(CASES.values()), x)
    assert values.shape == (len(CASES), 700)
    assert values.dtype == torch.float64
    assert torch.equal(x, before)
    for row, statistic in zip(values, CASES.values(), strict=True):
        torch.testing.assert_close(row, statistic(x), rtol=1e-11, atol=1e-12)


def test_float32_is_evaluated_in_float64():
    x = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    (value,) = u.evaluate([u.AndersonDarling()], x)
    torch.testing.assert_close(value, u.AndersonDarling()(x.double()), rtol=1e-12, atol=0)


def test_bad_arguments_are_refused():
    x = torch.zeros(10, 2)
    with pytest.raises(ValueError, match="tests is empty"):
        u.evaluate([], x)
    with pytest.raises(ValueError, match="shape"):
        u.evaluate([u.Watson()], x[None])
    with pytest.raises(ValueError, match="at least 8 are needed"):
        u.evaluate([u.Watson(), u.DAgostinoK2()], x[:5])
