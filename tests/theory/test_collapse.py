"""Rates, exponents and periods by other means."""

import numpy as np
import pytest
import torch

from sigreg_lab import univariate
from sigreg_lab.theory import null_means
from sigreg_lab.theory.collapse import gradient_exponent, growth_rate, linear_terms, period
from sigreg_lab.univariate import EppsPulley

GRIDS = [EppsPulley(), EppsPulley(5.0, 9)]


@pytest.mark.parametrize("test", GRIDS, ids=repr)
def test_the_rates_of_growth_are_the_eigenvalues_of_the_hessian_at_collapse(test):
    n = 6
    hessian = torch.autograd.functional.hessian(test.unchecked, torch.zeros(n, dtype=torch.float64))
    values = torch.linalg.eigvalsh(hessian).numpy()
    np.testing.assert_allclose(values[: n - 1], -growth_rate(*test.nodes()), rtol=1e-12)
    assert values[-1] == pytest.approx(2 * linear_terms(*test.nodes())[1], rel=1e-12)


@pytest.mark.parametrize("name", ["epps_pulley", "vcreg", "extended_jarque_bera", "mean_std", "watson", "wasserstein"])
@pytest.mark.parametrize("shape", ["point", "offset", "ties"])
def test_exponents_are_those_of_gradients_near_collapse(name, shape):
    z, sizes = np.random.default_rng(6).standard_normal(32), []
    for eps in (1e-3, 1e-4):
        x = {"point": eps * z, "offset": 1 + eps * z, "ties": np.concatenate([z[:16], z[:16] + eps * z[16:]])}[shape]
        point = torch.from_numpy(x)[:, None].requires_grad_()
        (slope,) = torch.autograd.grad(univariate.REGISTRY[name]().unchecked(point).sum(), point)
        size = slope[:16] - slope[16:] if shape == "ties" else slope
        sizes.append(float(size.square().mean().sqrt()))
    assert np.log10(sizes[0] / sizes[1]) == pytest.approx(gradient_exponent(name, shape), abs=0.03)


@pytest.mark.parametrize("test", GRIDS, ids=repr)
def test_a_grid_does_not_see_whole_periods_and_the_full_line_does(test):
    rng = np.random.default_rng(5)
    x = torch.from_numpy(rng.standard_normal(200))
    moved = x + period(test.nodes()[0]) * torch.from_numpy(rng.integers(-3, 4, 200).astype(float))
    assert float(test(moved)) == pytest.approx(float(test(x)), abs=1e-10)
    assert float(EppsPulley(integration="exact")(moved)) > 50 * float(test(x))


@pytest.mark.parametrize(
    "name", ["epps_pulley", "anderson_darling", "cramer_von_mises", "watson", "vcreg", "mean_std", "jarque_bera"]
)
def test_null_means_are_those_of_samples(name):
    n, statistic = 12, univariate.REGISTRY[name]()
    values = statistic(torch.from_numpy(np.random.default_rng(8).standard_normal((n, 40_000))))
    expected = (
        null_means.epps_pulley(*statistic.nodes()[1:]) if name == "epps_pulley" else null_means.null_mean(name, n)
    )
    assert abs(float(values.mean()) - expected) < 4 * float(values.std()) / 40_000**0.5
    assert np.isnan(null_means.null_mean("entropy", n))
