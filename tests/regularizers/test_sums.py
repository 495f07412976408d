"""Statistics as functions of sample means: the same values and gradients as the statistics themselves."""

import functools
import math

import pytest
import torch

from sigreg_lab.kernels import gaussian_grid
from sigreg_lab.regularizers.sums import reduced_statistic
from sigreg_lab.univariate import (
    KSD,
    AndersonDarling,
    EppsPulley,
    ExtendedJarqueBera,
    Grid,
    MeanStd,
    Moments,
    ShapiroWilk,
    UnivariateTest,
    VCReg,
    Wasserstein,
    characteristic_sums,
)

STATISTICS = [
    EppsPulley(),
    EppsPulley(5.0, 9),
    EppsPulley(2.0, 2, sigma=1.0),
    EppsPulley(estimator="u"),
    ExtendedJarqueBera(),
    VCReg(),
    MeanStd(),
    Moments(5),
    KSD(),
    KSD(1.5, estimator="u"),
]


def sample(n: int, m: int, *, mean: float = 0.3) -> torch.Tensor:
    return torch.randn(2, n, m, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + mean


@pytest.mark.parametrize("mean", [0.3, 1000.0])
@pytest.mark.parametrize("statistic", STATISTICS, ids=repr)
def test_equals_the_statistic(statistic: UnivariateTest, mean: float):
    form = statistic.sum_form()
    assert form is not None
    x = sample(11, 3, mean=mean).requires_grad_()
    value, expected = reduced_statistic(x, form), statistic(x)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)
    gradients = [torch.autograd.grad(y.sum(), x)[0] for y in (value, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "statistic",
    [AndersonDarling(), Wasserstein(), ShapiroWilk(), EppsPulley(integration="exact"), EppsPulley(estimator="split")],
    ids=repr,
)
def test_others_are_left_alone(statistic: UnivariateTest):
    assert statistic.sum_form() is None


def test_unbiased_equals_the_sum_over_distinct_pairs():
    values = sample(6, 1)[0].squeeze(1).tolist()
    total = 0.0
    for k in range(1, 17):
        t = 3 * k / 16
        pairs = [math.cos(t * (values[i] - values[j])) for i in range(6) for j in range(6) if i != j]
        real = sum(math.cos(t * value) for value in values) / 6
        distance = sum(pairs) / 30 - 2 * real * math.exp(-t * t / 2) + math.exp(-t * t)
        total += (1 if k < 16 else 0.5) * 2 * 3 / 16 * math.exp(-t * t / 2) * distance
    grid = Grid(3.0, 17, functools.partial(gaussian_grid, 3.0, 17, math.sqrt(2)))
    form = characteristic_sums(grid, unbiased=True)
    value = reduced_statistic(torch.tensor(values, dtype=torch.float64)[:, None], form)
    assert float(value) == pytest.approx(6 * total, rel=1e-12)
