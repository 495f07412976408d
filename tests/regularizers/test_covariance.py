"""VICReg, Weak-SIGReg and the covariance's distance to the identity against NumPy."""

import numpy as np
import pytest
import torch

from sigreg_lab.regularizers import VICReg, WeakSIGReg
from sigreg_lab.slicing import seeded_generator


def embeddings(*shape: int) -> torch.Tensor:
    scale = torch.linspace(0.2, 1.8, shape[-1], dtype=torch.float64)
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.3


@pytest.mark.parametrize(("variance", "covariance", "gamma", "eps"), [(25, 1, 1, 1e-4), (2, 3, 1.5, 0.1)])
def test_vicreg_equals_a_loop(variance, covariance, gamma, eps):
    z = embeddings(3, 6, 4)
    values = []
    for view in z.numpy():
        matrix = np.cov(view, rowvar=False)
        hinge = sum(max(0.0, gamma - np.sqrt(matrix[j, j] + eps)) for j in range(4)) / 4
        others = sum(matrix[i, j] ** 2 for i in range(4) for j in range(4) if i != j) / 4
        values.append(variance * hinge + covariance * others)
    value = VICReg(variance, covariance, gamma=gamma, eps=eps)(z, seeded_generator(0))
    assert float(value) == pytest.approx(np.mean(values), rel=1e-12)


def test_weak_sigreg_equals_numpy_on_the_sketched_embeddings():
    z = embeddings(2, 7, 5)
    normal = torch.randn(5, 3, generator=seeded_generator(4))  # the one draw, in float32
    sketch = normal.double().numpy() / np.sqrt(5)
    expected = [np.linalg.norm(np.cov(view @ sketch, rowvar=False) - np.eye(3)) for view in z.numpy()]
    assert float(WeakSIGReg(3)(z, seeded_generator(4))) == pytest.approx(np.mean(expected), rel=1e-6)


@pytest.mark.parametrize("sketch_dim", [None, 5, 64])
def test_without_a_sketch_it_is_the_exact_distance(sketch_dim):
    z = embeddings(2, 7, 5)
    generator = seeded_generator(4)
    before = generator.get_state()
    expected = [np.linalg.norm(np.cov(view, rowvar=False) - np.eye(5)) for view in z.numpy()]
    assert float(WeakSIGReg(sketch_dim)(z, generator)) == pytest.approx(np.mean(expected), rel=1e-12)
    assert torch.equal(before, generator.get_state())


def test_whitened_embeddings_have_none_of_it():
    """An orthonormal sample of 5 in 4 dimensions, scaled to covariance I, is at the minimum of all three."""
    columns = torch.linalg.qr(torch.cat((torch.ones(8, 1, dtype=torch.float64), embeddings(1, 8, 4)[0]), 1)).Q[:, 1:]
    z = (columns * 7**0.5).unsqueeze(0)
    assert float(WeakSIGReg(None)(z, seeded_generator(0))) < 1e-12
    assert float(VICReg(gamma=1.0)(z, seeded_generator(0))) < 1e-12


def test_bad_options_are_refused_by_name():
    with pytest.raises(ValueError, match="variance and covariance must be 0 or more"):
        VICReg(-1.0)
    with pytest.raises(ValueError, match="eps must be positive"):
        VICReg(eps=0.0)
    with pytest.raises(ValueError, match="sketch_dim must be at least 1 or None"):
        WeakSIGReg(0)
