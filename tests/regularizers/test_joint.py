"""Barlow Twins and W-MSE against NumPy."""

from itertools import combinations

import numpy as np
import pytest
import torch

from sigreg_lab.regularizers import WMSE, BarlowTwins
from sigreg_lab.slicing import seeded_generator


def embeddings(*shape: int) -> torch.Tensor:
    """Views that share half of their variance."""
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(shape[1:], generator=generator, dtype=torch.float64)
    return common + torch.randn(*shape, generator=generator, dtype=torch.float64) + 0.4


@pytest.mark.parametrize("redundancy", [0.0051, 1.5])
def test_barlow_twins_equals_a_loop(redundancy):
    z = embeddings(3, 7, 4)
    y = [(view - view.mean(0)) / np.sqrt(view.var(0) + 1e-5) for view in z.numpy()]
    values = []
    for v, w in combinations(range(3), 2):
        total = 0.0
        for i in range(4):
            for j in range(4):
                c = np.mean(y[v][:, i] * y[w][:, j])
                total += (1 - c) ** 2 if i == j else redundancy * c**2
        values.append(total)
    value = BarlowTwins(redundancy)(z, seeded_generator(0))
    assert float(value) == pytest.approx(np.mean(values), rel=1e-12)


@pytest.mark.parametrize("eps", [0.0, 1e-4, 0.3])
def test_w_mse_equals_a_loop(eps):
    z = embeddings(3, 9, 4)
    u = []
    for view in z.numpy():
        shrunk = (1 - eps) * np.cov(view, rowvar=False) + eps * np.eye(4)
        white = (view - view.mean(0)) @ np.linalg.inv(np.linalg.cholesky(shrunk)).T
        if eps == 0:
            np.testing.assert_allclose(np.cov(white, rowvar=False), np.eye(4), atol=1e-12)
        u.append(white / np.linalg.norm(white, axis=1, keepdims=True))
    expected = np.mean([np.sum((u[v][n] - u[w][n]) ** 2) for v, w in combinations(range(3), 2) for n in range(9)])
    assert float(WMSE(eps)(z, seeded_generator(0))) == pytest.approx(expected, rel=1e-10)


def test_equal_views_leave_only_redundancy():
    z = embeddings(1, 9, 4).expand(2, 9, 4)
    assert abs(float(WMSE()(z, seeded_generator(0)))) < 1e-12
    assert float(BarlowTwins(0.0)(z, seeded_generator(0))) < 1e-8


def test_bad_input_is_refused_by_name():
    with pytest.raises(ValueError, match=r"z holds 1 view\(s\); BarlowTwins needs at least 2"):
        BarlowTwins()(embeddings(1, 5, 3), seeded_generator(0))
    with pytest.raises(ValueError, match=r"z holds 1 view\(s\); WMSE needs at least 2"):
        WMSE()(embeddings(1, 5, 3), seeded_generator(0))
    with pytest.raises(ValueError, match="redundancy must be 0 or more"):
        BarlowTwins(-1.0)
    with pytest.raises(ValueError, match=r"eps must lie in 0 \.\. 1"):
        WMSE(1.5)
