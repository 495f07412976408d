"""Statistics that are functions of sample means, against pair sums, quadrature, NumPy and Monte Carlo."""

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import integrate

from sigreg_lab.regularizers import CharacteristicDistance, MeanAndScale
from sigreg_lab.regularizers.sums import as_sum_statistic
from sigreg_lab.univariate import AndersonDarling, EppsPulley

NODES = np.linspace(0, 3, 17)
WEIGHTS = 2 * 3 / 16 * np.exp(-(NODES**2) / 2) * np.array([0.5] + [1.0] * 15 + [0.5])


def sample(n: int, m: int, *, mean: float = 0.3, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, m, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + mean


@pytest.mark.parametrize("grid", [{}, {"t_max": 5.0, "n_points": 9}, {"t_max": 2.0, "n_points": 2, "sigma": 1.0}])
def test_biased_distance_is_epps_pulley(grid):
    x = sample(11, 3)
    torch.testing.assert_close(CharacteristicDistance(**grid)(x), EppsPulley(**grid)(x), rtol=1e-12, atol=0)
    torch.testing.assert_close(as_sum_statistic(EppsPulley(**grid))(x), EppsPulley(**grid)(x), rtol=1e-12, atol=0)


def test_statistics_that_are_no_sums_are_left_alone():
    assert as_sum_statistic(AndersonDarling()) is None
    assert as_sum_statistic(EppsPulley(integration="exact")) is None


def test_unbiased_equals_the_sum_over_distinct_pairs():
    x = sample(6, 1)
    values = x.squeeze(1).tolist()
    n, total = 6, 0.0
    for t, weight in zip(NODES, WEIGHTS, strict=True):
        pairs = [math.cos(t * (values[i] - values[j])) for i in range(n) for j in range(n) if i != j]
        target = math.exp(-t * t / 2)
        real = sum(math.cos(t * value) for value in values) / n
        total += weight * (sum(pairs) / (n * (n - 1)) - 2 * real * target + target**2)
    assert float(CharacteristicDistance(unbiased=True)(x)) == pytest.approx(n * total, rel=1e-12)


@pytest.mark.parametrize("mean", [0.0, 0.5])
def test_expectations_of_both_distances(mean):
    """E[EP_U] = N L and E[EP] = N L + sum_k w_k (1 - |phi_P|^2), for samples of 5 from N(mean, 1)."""
    n, replicates = 5, 20_000
    x = sample(n, replicates, mean=mean, seed=5)
    distance = n * float(
        (WEIGHTS * np.abs(np.exp(1j * mean * NODES - NODES**2 / 2) - np.exp(-(NODES**2) / 2)) ** 2).sum()
    )
    bias = float((WEIGHTS * (1 - np.exp(-(NODES**2)))).sum())
    for statistic, expected in (
        (CharacteristicDistance(unbiased=True), distance),
        (CharacteristicDistance(), distance + bias),
    ):
        values = statistic(x)
        error = float(values.std()) / math.sqrt(replicates)
        assert abs(float(values.mean()) - expected) < 4 * error
        assert error < 0.02  # the biased one lies 1.02 above: the two cannot be confused


def slice_density(u: float, dim: int) -> float:
    return (1 - u * u) ** ((dim - 3) / 2)


@pytest.mark.parametrize("dim", [2, 3, 8, 512, 8192])
def test_sphere_target_is_the_characteristic_function_of_a_slice(dim):
    """Against quadrature of cos(t sqrt(K) u) over the density (1 - u^2)^((K-3)/2), and against mpmath."""
    distance = CharacteristicDistance(sphere_dim=dim)
    origin = torch.zeros(2, 1, dtype=torch.float64)  # c = 1, s = 0: the value shows the target
    expected = 0.0
    for t, weight in zip(NODES, WEIGHTS, strict=True):
        target = float(mpmath.hyp0f1(dim / 2, -dim * t * t / 4))
        expected += 2 * weight * (1 - target) ** 2
        if dim > 2:
            wave, _ = integrate.quad(lambda u, t=t: math.cos(t * math.sqrt(dim) * u) * slice_density(u, dim), -1, 1)
            mass, _ = integrate.quad(slice_density, -1, 1, args=(dim,))
            assert wave / mass == pytest.approx(target, abs=1e-9)
    assert float(distance(origin)) == pytest.approx(expected, rel=1e-10)


def test_sphere_target_tends_to_the_normal_one():
    x = sample(9, 2)
    gap = [
        float((CharacteristicDistance(sphere_dim=dim)(x) - CharacteristicDistance()(x)).abs().max())
        for dim in (4, 40, 400)
    ]
    assert gap[0] > 8 * gap[1] > 64 * gap[2] > 0


def test_mean_and_scale_equals_numpy():
    x = sample(7, 3)
    expected = x.numpy().mean(0) ** 2 + (x.numpy().std(0, ddof=1) - 1) ** 2
    np.testing.assert_allclose(MeanAndScale()(x).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(
    "statistic", [CharacteristicDistance(unbiased=True), CharacteristicDistance(sphere_dim=4), MeanAndScale()]
)
def test_gradcheck(statistic):
    assert torch.autograd.gradcheck(statistic, sample(5, 2).requires_grad_())


def test_bad_options_are_refused_by_name():
    with pytest.raises(ValueError, match="n_points must be at least 2"):
        CharacteristicDistance(n_points=1)
    with pytest.raises(ValueError, match="sphere_dim must be at least 2"):
        CharacteristicDistance(sphere_dim=1)
