"""Epps-Pulley of clustered rows, against simulated batches and against the null of independent ones."""

import math

import numpy as np
import pytest
import torch

from sigreg_lab.regularizers import CentredResiduals, SIGReg
from sigreg_lab.slicing import seeded_generator
from sigreg_lab.theory import clusters, minimizers, null_means
from sigreg_lab.theory.views import flattened_mean
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
def test_the_mean_is_that_of_simulated_batches_and_of_views_taken_as_one_sample(between, within, count, size):
    value = EppsPulley()(rows(between, within, count, size, 4000, seed=1)).flatten()
    expected, error = clusters.mean_value(between, within, count, size, GRID), float(value.std()) / math.sqrt(4000)
    assert abs(float(value.mean()) - expected) < 4 * error
    assert error < 0.1 * expected
    sd = math.hypot(between, within)
    assert expected == pytest.approx(flattened_mean(sd, (between / sd) ** 2, count, size, GRID)[0], rel=1e-12)


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


DIMS, COUNT, SIZE = (1, 3), 12, 8


def _slopes(between, within, earlier=0, centred=False):
    """Means of simulated derivatives by log b and log s, and their errors, in K = 4; others' batches without gradient.

    The derivatives are those of N times the statistic over that of all rows.
    """
    replicates, dim, p = 3000, sum(DIMS), DIMS[0]
    rng = np.random.default_rng(2)
    logs = torch.zeros(replicates, 2, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([between, within]) * logs.exp()
    scale = torch.cat((scale[:, :1].expand(-1, p), scale[:, 1:].expand(-1, dim - p)), 1)[:, None]
    inputs = rng.standard_normal((replicates, 1 + earlier, COUNT, SIZE, dim))
    inputs[..., :p] = inputs[..., :1, :p]
    x = torch.from_numpy(inputs)
    x = (x - x.mean(3, keepdim=True) if centred else x).flatten(2, 3)
    z = torch.cat([x[:, 0] * scale, *(x[:, place] * scale.detach() for place in range(1, 1 + earlier))], 1)
    directions = torch.nn.functional.normalize(torch.from_numpy(rng.standard_normal((replicates, dim, 4))), dim=1)
    (slopes,) = torch.autograd.grad(EppsPulley().unchecked(z @ directions).mean(1).sum(), logs)
    return slopes.mean(0).tolist(), (slopes.std(0) / math.sqrt(replicates)).tolist()


@pytest.mark.parametrize("earlier", [0, 3])
def test_simulated_slopes_vanish_at_the_minimum_and_nowhere_near_it(earlier):
    """With earlier batches as in a queue, which counts as several times as many clusters."""
    best = clusters.best_scatters(DIMS, (1 + earlier) * COUNT, SIZE, GRID)
    assert 0.5 < best[0] < best[1]
    slopes, errors = _slopes(*best, earlier)
    assert all(abs(slope) < 4 * error for slope, error in zip(slopes, errors, strict=True))
    for place, sign in ((0, -1), (0, 1), (1, -1), (1, 1)):
        moved = list(best)
        moved[place] *= 1 + sign * 0.2
        slopes, errors = _slopes(*moved, earlier)
        assert sign * slopes[place] > 4 * errors[place]


def test_simulated_slopes_of_centred_rows_vanish_at_their_minimum():
    best = clusters.best_within_of_centred(DIMS, COUNT, SIZE, GRID)
    (between, within), (_, error) = _slopes(0.4, best, centred=True)
    assert between == pytest.approx(0, abs=1e-12)
    assert abs(within) < 4 * error
    (_, within), (_, error) = _slopes(0.4, 1.1 * best, centred=True)
    assert within > 4 * error


def test_the_minimum_has_less_scatter_between_clusters_the_fewer_they_are_and_the_more_dimensions():
    def ratio(dim, count, size=8):
        between, within = clusters.best_scatters((dim // 2, dim // 2), count, size, GRID)
        return between / within

    by_count = [ratio(8, count) for count in (2, 8, 32, 128, 10**6)]
    assert by_count == sorted(by_count)
    assert by_count[0] == 0
    assert by_count[-1] == pytest.approx(1, abs=1e-3)
    by_dim = [ratio(dim, 32) for dim in (2, 8, 32, 512)]
    assert by_dim == sorted(by_dim, reverse=True)
    assert by_dim[0] > 0.9
    assert by_dim[-1] == 0


def test_of_independent_rows_all_scatters_are_those_of_the_minimum_of_one_sample():
    expected = minimizers.least(minimizers.epps_pulley(*GRID, 64, biased=True))
    assert clusters.best_scatters((3, 5), 64, 1, GRID) == pytest.approx((expected, expected), abs=1e-6)
