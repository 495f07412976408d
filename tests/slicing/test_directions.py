"""Directions: unit length, uniform, orthonormal where they say so, the same from the same generator state."""

import math

import pytest
import torch
from scipy import stats
from scipy.linalg import hadamard

from sigreg_lab.kernels.hadamard import hadamard_transform
from sigreg_lab.slicing import DIRECTIONS, hd3_signs, make_directions, project, seeded_generator, sliced_statistic
from sigreg_lab.univariate import EppsPulley

KINDS = list(DIRECTIONS)
DRAWN = [kind for kind in KINDS if kind != "fixed"]


def draw(kind, dim, num_slices, *seed, dtype=torch.float64):
    return make_directions(kind, dim, num_slices, generator=seeded_generator(*seed), dtype=dtype)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dim", "num_slices"), [(1, 3), (2, 1), (5, 13), (16, 16), (16, 7), (17, 64), (48, 100)])
def test_columns_have_unit_length(kind, dim, num_slices):
    if (kind, dim) == ("hd3", 5):
        with pytest.raises(ValueError, match="dim must be a power of two or at least 16"):
            draw(kind, dim, num_slices, 1)
        return
    for dtype, tolerance in ((torch.float32, 5e-7), (torch.float64, 1e-14)):
        a = draw(kind, dim, num_slices, 1, dtype=dtype)
        assert a.shape == (dim, num_slices)
        assert a.dtype == dtype
        assert (a.double().norm(dim=0) - 1).abs().max() < tolerance


@pytest.mark.parametrize("kind", ["iid", "orthogonal", "hd3"])
def test_lengths_in_float32_are_not_wrong_together(kind):
    """A mean over slices keeps an error that all directions share; rounding alone leaves 6e-8/sqrt(M) of it."""
    lengths = draw(kind, 2048, 4096 if kind == "hd3" else 256, 6, dtype=torch.float32).double().norm(dim=0)
    assert abs(lengths.mean() - 1) < 5e-8


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_and_step_give_the_same_directions_and_another_step_gives_others(kind):
    assert torch.equal(draw(kind, 8, 10, 3, 17), draw(kind, 8, 10, 3, 17))
    assert torch.equal(draw(kind, 8, 10, 3, 17), draw(kind, 8, 10, 3, 18)) == (kind == "fixed")


@pytest.mark.parametrize("kind", DRAWN)
def test_global_seed_is_neither_used_nor_moved(kind):
    before = torch.get_rng_state()
    draw(kind, 8, 10, 1)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("kind", ["iid", "orthogonal", "sobol"])
def test_each_column_is_uniform_on_the_sphere(kind):
    # (1 + a_1)/2 of a uniform direction in R^5 is Beta(2, 2); QR without its signs fails on the diagonal
    columns = torch.stack([draw(kind, 5, 3, 5, seed) for seed in range(2000)])
    for coordinate, column in ((0, 0), (2, 2), (4, 2), (1, 0)):
        assert stats.kstest((1 + columns[:, coordinate, column]).numpy() / 2, stats.beta(2, 2).cdf).pvalue > 0.001
    assert stats.kstest(columns[:, 0, 0].numpy(), stats.beta(2, 2).cdf).pvalue < 1e-6  # the check has teeth


@pytest.mark.parametrize("dim", [24, 64])
def test_hd3_columns_are_nearly_uniform(dim):
    # second and fourth moments of a_1 under the uniform law are 1/K and 3/(K (K + 2)); the latter holds to 3/n
    columns = torch.cat([draw("hd3", dim, dim, 7, seed).T for seed in range(400)])
    for coordinate in (0, dim - 1):
        square = columns[:, coordinate] ** 2
        error = square.std() / math.sqrt(len(square) / dim)  # columns of a block are dependent
        assert abs(square.mean() - 1 / dim) < 4 * error + 1e-12
        fourth = (square**2).mean()
        assert 0.7 < fourth / (3 / (dim * (dim + 2))) < 1.3


@pytest.mark.parametrize(("kind", "dim"), [("orthogonal", 6), ("orthogonal", 16), ("hd3", 16)])
def test_blocks_are_orthonormal(kind, dim):
    a = draw(kind, dim, 2 * dim + 3, 2)
    for start in (0, dim, 2 * dim):
        block = a[:, start : start + dim]
        torch.testing.assert_close(block.T @ block, torch.eye(block.shape[1], dtype=a.dtype), rtol=0, atol=1e-13)
    assert (a[:, :dim].T @ a[:, dim : 2 * dim]).abs().max() > 0.05  # blocks are independent of each other


def test_hd3_is_the_product_of_its_signs_and_hadamard_matrices():
    dim, n = 27, 32
    signs = hd3_signs(dim, 50, generator=seeded_generator(4)).double()
    assert signs.shape == (2, 3, n)
    h = torch.from_numpy(hadamard(n)).double()
    torch.testing.assert_close(hadamard_transform(torch.eye(n, dtype=torch.float64)), h, rtol=0, atol=0)
    x = torch.randn(3, dim, dtype=torch.float64, generator=seeded_generator(5))
    padded = torch.nn.functional.pad(x, (0, n - dim)).T
    expected = []
    for block in signs:
        value = padded
        for i in range(3):
            value = h @ (block[i][:, None] * value)
        expected.append(value.T)
    expected = torch.cat(expected, -1)[:, :50]
    scale = expected / project(x, draw("hd3", dim, 50, 4))
    # equal up to the length of each direction
    torch.testing.assert_close(scale, scale[:1].expand_as(scale), rtol=1e-9, atol=0)
    assert (scale > 0).all()


def test_orthogonal_directions_vary_less_than_independent_ones():
    x = torch.randn(64, 16, dtype=torch.float64, generator=seeded_generator(8)) + 0.3
    spread = {
        kind: torch.stack([sliced_statistic(x, EppsPulley(), draw(kind, 16, 16, 9, s)) for s in range(200)]).std()
        for kind in ("iid", "orthogonal")
    }
    assert spread["orthogonal"] < 0.7 * spread["iid"]


def test_bad_arguments_are_refused_by_name():
    generator = seeded_generator(0)
    with pytest.raises(ValueError, match="kind must be one of"):
        make_directions("uniform", 2, 2, generator=generator)
    for kind in KINDS:
        for dim, num_slices in ((0, 2), (2, 0)):
            with pytest.raises(ValueError, match="dim and num_slices must be"):
                make_directions(kind, dim, num_slices, generator=generator)
    with pytest.raises(ValueError, match="dim must be at most"):
        make_directions("sobol", 30000, 2, generator=generator)
