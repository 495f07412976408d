"""Epps-Pulley of clustered rows, against simulated batches and against the null of independent ones."""

import math

import numpy as np
import pytest
import torch

from sigreg_lab.regularizers import CentredResiduals, SIGReg
from sigreg_lab.slicing import seeded_generator
from sigreg_lab.theory import clusters, null_means
from sigreg_lab.univariate import EppsPulley

GRID = EppsPulley().nodes()


def rows(between, within, count, size, replicates, dim=1, seed=0):
    """Rows of a cluster beside one another: (replicates, N, dim)."""
    rng = np.random.default_rng(seed)
    x = between * rng.standard_normal((replicates, count, 1, dim)) + within * rng.standard_normal(
        (replicates, count, size, dim)
    )
    return torch.from_numpy(x.reshape(replicates, count * size, dim))


@pytest.mark.parametrize(
    ("between", "within", "count", "size"), [(0.8, 0.6, 4, 8), (0.3, 1.1, 12, 3), (0.0, 1.0, 6, 5)]
)
def test_mean_and_slope_are_those_of_simulated_batches(between, within, count, size):
    rng = np.random.default_rng(1)
    u, e = (torch.from_numpy(rng.standard_normal((4000, count, width))) for width in (1, size))
    b = torch.full((4000, 1, 1), between, dtype=torch.float64, requires_grad=True)
    value = EppsPulley()((b * u + within * e).flatten(1)[..., None]).flatten()
    (slope,) = torch.autograd.grad(value.sum(), b)
    place = (between, within, count, size, GRID)
    for found, expected in ((value, clusters.mean_value(*place)), (slope, clusters.slope_between(*place))):
        error = float(found.detach().std()) / math.sqrt(4000)
        assert abs(float(found.detach().mean()) - expected) < 4 * error
        assert error < 0.1 * clusters.mean_value(*place)


def test_at_the_null_clusters_have_the_larger_mean_and_independent_rows_the_known_one():
    independent = null_means.epps_pulley(GRID[1], GRID[2])
    for within in (0.2, 0.6, 0.9):
        between = math.sqrt(1 - within**2)
        assert clusters.mean_value(between, within, 8, 4, GRID) > 1.001 * independent
    assert clusters.mean_value(0.0, 1.0, 8, 4, GRID) == pytest.approx(independent)
    assert clusters.mean_value(0.6, 0.8, 32, 1, GRID) == pytest.approx(independent)


@pytest.mark.parametrize(("within", "count", "size"), [(0.5, 16, 8), (0.3, 4, 4)])
def test_rows_less_the_mean_of_their_cluster_are_those_of_the_regulariser(within, count, size):
    z = rows(0.7, within, count, size, 3000, dim=2)
    centred = CentredResiduals(SIGReg(EppsPulley(), 4), window=size)
    found = torch.stack([centred(part, seeded_generator(0, i)) for i, part in enumerate(z.split(10))])
    error = float(found.std()) / math.sqrt(len(found))
    expected = clusters.mean_of_centred(within, count, size, GRID)
    assert abs(float(found.mean()) - expected) < 4 * error
    assert error < 0.02 * expected


def test_the_minimum_has_less_scatter_between_clusters_than_the_right_law():
    """And all of it where clusters are many, or of one row; the slope vanishes there."""
    within = 0.6
    found = {count: clusters.best_between(within, count, 8, GRID) for count in (2, 8, 32, 10**6)}
    values = list(found.values())
    assert values == sorted(values)
    assert values[0] < values[2] < 0.8
    assert values[-1] == pytest.approx(0.8, abs=1e-3)
    for count, between in found.items():
        if between:
            slope = clusters.slope_between(between, within, count, 8, GRID)
            assert slope == pytest.approx(0, abs=1e-6 * (1 + count))
            assert clusters.slope_between(1.1 * between, within, count, 8, GRID) > 0
    assert found[32] > 0
