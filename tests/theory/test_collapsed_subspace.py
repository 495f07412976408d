"""Exact expectations of collapsed samples, by other ways."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from sigreg_lab.slicing.infinite import infinite_slice_epps_pulley
from sigreg_lab.theory.collapsed_subspace import break_even, expected_loss
from sigreg_lab.univariate import EppsPulley

GRID = EppsPulley().nodes()


@pytest.mark.parametrize(("dim", "defect"), [(16, 1), (16, 8), (512, 4)])
def test_the_expectation_is_the_mean_of_univariate_ones_over_the_beta_law_of_the_lost_share(dim, defect):
    t = np.linspace(0, 3, 17)[1:]
    weight = 3 / 8 * np.exp(-(t**2) / 2) * np.where(t == 3, 0.5, 1)
    law = stats.beta(defect / 2, (dim - defect) / 2)

    def univariate(u):  # E T of 100 samples of N(0, 1 - B), B the quantile at u^2: smooth at u = 0
        phi = np.exp(-(t[:, None] ** 2) * (1 - law.ppf(u**2)) / 2)
        values = 100 * (phi - np.exp(-(t[:, None] ** 2) / 2)) ** 2 + 1 - phi**2
        return weight @ values * 2 * u

    found = integrate.quad_vec(lambda u: univariate(np.array([u])), 0, 1, epsabs=1e-9)[0][0]
    assert sum(expected_loss(*GRID, 100, dim, defect)) == pytest.approx(found, rel=1e-6)


def test_the_expectation_is_that_of_the_exact_mean_over_all_directions():
    x = torch.randn(3000, 20, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x[..., 5:] = 0
    values = infinite_slice_epps_pulley(x)
    assert abs(values.mean() - sum(expected_loss(*GRID, 20, 8, 3))) < 4 * values.std() / 3000**0.5


def test_the_break_even_is_near_four_k_plus_two_over_defect_plus_two():
    for dim, defect in [(64, 1), (512, 1), (512, 8), (4096, 4)]:
        assert break_even(*GRID, dim, defect) == pytest.approx(4 * (dim + 2) / (defect + 2), rel=0.1)
