"""Regularisers towards the uniform law on the sphere, against loops and Bessel functions."""

import math

import numpy as np
import pytest
import torch
from scipy import special

from sigreg_lab.regularizers import KoLeo, SphereSlicing, Uniformity
from sigreg_lab.slicing import DIRECTIONS, make_directions, seeded_generator


def embeddings(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.4


def unit(z: torch.Tensor) -> np.ndarray:
    return z.numpy() / np.linalg.norm(z.numpy(), axis=-1, keepdims=True)


@pytest.mark.parametrize("t", [2.0, 0.5])
def test_uniformity_equals_a_loop_over_pairs(t):
    z = embeddings(2, 6, 3)
    values = []
    for u in unit(z):
        pairs = [math.exp(-t * np.sum((u[i] - u[j]) ** 2)) for i in range(6) for j in range(i)]
        values.append(math.log(sum(pairs) / len(pairs)))
    assert float(Uniformity(t)(z, seeded_generator(0))) == pytest.approx(np.mean(values), rel=1e-12)


def test_koleo_equals_a_loop_over_neighbours():
    z = embeddings(2, 6, 3)
    values = []
    for u in unit(z):
        nearest = [min(np.linalg.norm(u[i] - u[j]) for j in range(6) if j != i) for i in range(6)]
        values.append(-np.mean(np.log(nearest)))
    assert float(KoLeo()(z, seeded_generator(0))) == pytest.approx(np.mean(values), abs=1e-6)  # the code's 1e-8


@pytest.mark.parametrize(("dim", "kind"), [(2, "iid"), (5, "iid"), (64, "iid"), *((4, kind) for kind in DIRECTIONS)])
def test_sphere_slicing_equals_a_loop_with_bessel_functions(dim, kind):
    """phi(t) = Gamma(K/2) (2/r)^(K/2-1) J_(K/2-1)(r), r = t sqrt(K), another form of 0F1."""
    z = embeddings(2, 6, dim)
    directions = make_directions(kind, dim, 4, generator=seeded_generator(1), dtype=torch.float64).numpy()
    nodes = np.linspace(0, 3, 17)[1:]
    r, order = nodes * math.sqrt(dim), dim / 2 - 1
    target = np.exp(special.gammaln(dim / 2) + order * np.log(2 / r)) * special.jv(order, r)
    weight = 2 * 3 / 16 * np.exp(-(nodes**2) / 2)
    weight[-1] /= 2
    values = []
    for u in unit(z):
        for a in directions.T:
            wave = np.exp(1j * nodes[:, None] * (math.sqrt(dim) * (u @ a))).mean(1)
            values.append(6 * np.sum(weight * np.abs(wave - target) ** 2))
    value = SphereSlicing(4, directions=kind)(z, seeded_generator(1))
    assert float(value) == pytest.approx(np.mean(values), rel=1e-9)


@pytest.mark.parametrize("regularizer", [Uniformity(), KoLeo(), SphereSlicing(8)])
def test_length_of_embeddings_does_not_matter(regularizer):
    z = embeddings(2, 6, 3)
    length = torch.rand(2, 6, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.5
    expected = regularizer(z, seeded_generator(0))
    torch.testing.assert_close(regularizer(length * z, seeded_generator(0)), expected, rtol=1e-7, atol=1e-9)


def test_bad_options_are_refused_by_name():
    with pytest.raises(ValueError, match="t must be positive"):
        Uniformity(0.0)
    with pytest.raises(ValueError, match="num_slices must be at least 1"):
        SphereSlicing(0)
    with pytest.raises(ValueError, match="n_points >= 2"):
        SphereSlicing(n_points=1)
    with pytest.raises(ValueError, match="a sphere needs at least 2"):
        SphereSlicing(2)(embeddings(2, 4, 1), seeded_generator(0))
