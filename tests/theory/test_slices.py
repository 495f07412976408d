"""Errors of slices against simulated samples and directions, and against the sum over Hermite polynomials."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from sigreg_lab.slicing import infinite_slice_epps_pulley, make_directions, seeded_generator
from sigreg_lab.theory import slices
from sigreg_lab.univariate import EppsPulley, MeanStd, VCReg

GRID = EppsPulley().nodes()
PAGE = (Path(__file__).parents[2] / "docs" / "slices.md").read_text()


def gradients(x, statistic, directions):
    """g of each direction, as columns: (N, M)."""
    p = (x @ directions).detach().requires_grad_()
    return torch.autograd.grad(statistic(p).sum(), p)[0]


def test_the_two_squares_are_those_of_simulated_samples():
    n, dim, generator = 14, 4, torch.Generator().manual_seed(3)
    x = torch.randn(4000, n, dim, generator=generator, dtype=torch.float64, requires_grad=True)
    a = make_directions("iid", dim, 4000, generator=generator, dtype=torch.float64)
    p = (x.detach() @ a.T[:, :, None]).requires_grad_()  # a direction for each sample
    one = torch.autograd.grad(EppsPulley()(p).sum(), p)[0].square().sum((1, 2))
    all_of_them = torch.autograd.grad(infinite_slice_epps_pulley(x).sum(), x)[0].square().sum((1, 2))
    for found, num_slices in ((one, 1), (all_of_them, math.inf)):
        expected = n * slices.embedding_square(1.0, n, dim, num_slices, GRID)
        error = float(found.std()) / math.sqrt(len(found))
        assert abs(float(found.mean()) - expected) < 4 * error < 0.15 * expected
    assert slices.spread(n, dim, GRID) == pytest.approx(float(one.mean() / all_of_them.mean()), rel=0.1)


@pytest.mark.parametrize("n", [16, 10**6])
def test_the_limit_is_reached_at_the_rate_of_the_dimension(n):
    limit = slices.slices_per_dimension("iid", GRID)
    gaps = [slices.spread(10**6, dim, GRID) / dim / limit - 1 for dim in (256, 1024)]
    assert gaps[0] == pytest.approx(4 * gaps[1], rel=0.05)
    assert 0 < abs(gaps[1]) < 0.02
    one, two = (slices.spread(n, dim, GRID) / dim for dim in (256, 1024))
    assert one == pytest.approx(two, rel=0.05)  # of small samples too it is proportional to K


def test_the_limits_are_sums_over_hermite_polynomials():
    """T = N sum_de c_de h_d h_e with h_d the mean of He_d; the square of the gradient's part is 4 c_de^2 d! e e!."""
    t, target, weight = GRID
    size = {}
    for d in range(1, 60):
        for e in range(1, 60):
            if (d + e) % 2 == 0:
                logs = (d + e) * np.log(t) - math.lgamma(d + 1) - math.lgamma(e + 1)
                c = (weight * target**2 * np.exp(logs)).sum()
                size[d, e] = 4 * c**2 * e * math.exp(math.lgamma(d + 1) + math.lgamma(e + 1))
    kept = {
        "iid": lambda d, e: True,
        "orthogonal": lambda d, e: (d, e) != (1, 1),
        "degree 1": lambda d, e: min(d, e) > 1,
        "degree 2": lambda d, e: min(d, e) > 2,
    }
    for kind, keep in kept.items():
        expected = sum(value for place, value in size.items() if keep(*place)) / size[1, 1]
        assert slices.slices_per_dimension(kind, GRID) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", ["degree 1", "degree 2"])
def test_what_low_degrees_leave_is_that_of_simulated_slices(kind):
    """One slice of many samples: the characteristic function less its part of the mean, or of mean and variance."""
    t, target, weight = GRID
    n, second, rng = 200, kind == "degree 2", np.random.default_rng(5)
    found = []
    for _ in range(10):
        p = rng.standard_normal((300, n))
        angle = p[..., None] * t
        c = np.cos(angle).mean(1) - target + second * t**2 / 2 * target * ((p**2).mean(1) - 1)[:, None]
        s = np.sin(angle).mean(1) - t * target * p.mean(1)[:, None]
        in_c = -t * np.sin(angle) + second * t**2 * target * p[..., None]
        in_s = t * np.cos(angle) - t * target
        found.append((((c * weight)[:, None] * in_c + (s * weight)[:, None] * in_s).sum(-1) * 2) ** 2)
    squares = np.concatenate(found).sum(1)
    expected = slices.slices_per_dimension(kind, GRID) * (2 * (weight * t**2 * np.exp(-(t**2))).sum()) ** 2
    error = squares.std() / math.sqrt(len(squares))
    assert abs(squares.mean() - expected) < 4 * error < 0.2 * expected


@pytest.mark.parametrize("statistic", [EppsPulley(), VCReg(), MeanStd()])
def test_errors_of_orthogonal_slices_are_those_of_drawn_ones(statistic):
    dim, draws, blocks = 5, 1500, 3
    x = torch.randn(9, dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.2
    many = make_directions("iid", dim, 200_000, generator=seeded_generator(7), dtype=torch.float64)
    g = gradients(x, statistic, many)
    exact = g @ many.T / many.shape[1]
    rho = float(g.square().sum(0).mean() / exact.square().sum())
    for kind in ("iid", "orthogonal"):
        # All draws at once: whole blocks, of which fewer slices are the first.
        a = make_directions(kind, dim, draws * blocks * dim, generator=seeded_generator(8), dtype=torch.float64)
        g = gradients(x, statistic, a).unflatten(1, (draws, -1))
        a = a.unflatten(1, (draws, -1))
        for num_slices in (3, 5, 13):
            mean = torch.einsum("nds,kds->dnk", g[..., :num_slices], a[..., :num_slices]) / num_slices
            errors = (mean - exact).square().sum((1, 2)) / exact.square().sum()
            expected = slices.squared_error(rho, dim, num_slices, orthogonal=kind == "orthogonal")
            error = float(errors.std()) / math.sqrt(draws)
            assert abs(float(errors.mean()) - expected) < 4 * error + 0.01 * expected
            assert error < 0.2 * expected


def test_whole_blocks_save_the_same_number_of_slices_whatever_the_error_is_of():
    rho, dim = 3.7 * 64, 64
    for tau in (1.0, 0.3, 0.1):
        independent, blocks = (
            slices.slices_needed(rho, dim, tau, orthogonal=orthogonal) for orthogonal in (False, True)
        )
        assert independent - blocks == pytest.approx((dim - 1) / tau**2)
    assert slices.squared_error(rho, dim, 2 * dim, orthogonal=True) == pytest.approx((rho - dim) / (2 * dim))
    assert slices.squared_error(rho, dim, 10, orthogonal=True) == pytest.approx(rho / 10 - 1)
    assert slices.slices_needed(rho, dim, 1.0, orthogonal=False) == pytest.approx(rho - 1)


#: K; slices for an error of 100%, independent and orthogonal, with standard errors: of the first published run of
#: ``slice_concentration``, one sample of 128 from N(0, I).
MEASURED = [
    (128, (439.590, 1.493), (313.701, 0.869)),
    (512, (1723.646, 5.473), (1205.236, 3.498)),
    (2048, (7581.354, 73.888), (5511.694, 21.787)),
]


@pytest.mark.parametrize(("dim", "independent", "orthogonal"), MEASURED)
def test_measured_orthogonal_slices_follow_from_independent_ones(dim, independent, orthogonal):
    predicted = slices.slices_needed(independent[0] + 1, dim, 1.0, orthogonal=True)
    assert abs(predicted - orthogonal[0]) < 4 * math.hypot(independent[1], orthogonal[1])
    assert f"{predicted:,.0f}" in PAGE
    assert f"{orthogonal[0]:,.0f}" in PAGE


def test_the_page_has_the_numbers_of_the_functions():
    rows = [[cell.strip(" %") for cell in row.split("|")[1:-1]] for row in PAGE.splitlines() if row.startswith("| ")]
    needed = [[int(cell.replace(",", "")) for cell in row] for row in rows if len(row) == 5 and row[0].isdigit()]
    assert len(needed) == 8
    for dim, percent, independent, orthogonal, limit in needed:
        rho, tau = slices.spread(256, dim, GRID), percent / 100
        assert independent == round(slices.slices_needed(rho, dim, tau, orthogonal=False))
        assert orthogonal == round(slices.slices_needed(rho, dim, tau, orthogonal=True))
        assert limit == round(slices.slices_per_dimension("degree 2", GRID) * dim / tau**2)
    limits = [float(row[3]) for row in rows if len(row) == 4 and row[3].startswith(("0.", "1.", "2.", "3."))]
    assert limits == [round(slices.slices_per_dimension(kind, GRID), 3) for kind in slices.LEFT]
    assert "3.50 K at N = K = 128" in PAGE
    assert slices.spread(128, 128, GRID) / 128 == pytest.approx(3.50, abs=0.005)


@pytest.mark.parametrize(("dim", "block"), [(4, None), (16, None), (24, 32), (100, 128)])
def test_the_least_number_of_slices_is_the_first_that_is_enough(dim, block):
    rho = slices.spread(64, dim, GRID)
    for error in (2.0, 1.0, 0.4):
        for orthogonal in (False, True):

            def square(m, orthogonal=orthogonal):
                return slices.squared_error(rho, dim, m, orthogonal=orthogonal, block=block)

            first = next(m for m in range(1, 10**6) if square(m) <= error**2 * (1 + 1e-12))
            assert slices.least_slices(rho, dim, error, orthogonal=orthogonal, block=block) == first


def test_blocks_of_the_dimension_are_those_that_are_not_cut():
    for m in (5, 16, 37):
        whole = slices.squared_error(50.0, 16, m, orthogonal=True)
        assert slices.squared_error(50.0, 16, m, orthogonal=True, block=16) == pytest.approx(whole, rel=1e-14)


@pytest.mark.parametrize(("dim", "block", "most"), [(48, 64, 128), (40, 64, 150)])
def test_errors_of_cut_blocks_are_those_of_drawn_rotations(dim, block, most):
    """Columns of uniform rotations of R^n, cut to K rows and normalised; all samples and their directions at once."""
    n, draws, statistic, generator = 40, 300, EppsPulley(), seeded_generator(11)
    x = torch.randn(draws, n, dim, generator=generator, dtype=torch.float64).requires_grad_()
    whole = make_directions("orthogonal", block, draws * 192, generator=generator, dtype=torch.float64)  # three blocks
    a = torch.nn.functional.normalize(whole[:dim], dim=0).unflatten(1, (draws, -1)).transpose(0, 1)[..., :most]
    (exact,) = torch.autograd.grad(infinite_slice_epps_pulley(x).sum(), x)
    g = gradients(x, statistic, a)
    rho = slices.spread(n, dim, GRID)
    for num_slices in (40, most):
        mean = g[..., :num_slices] @ a[..., :num_slices].mT / num_slices
        found = (mean - exact).square().sum((1, 2)) / slices.exact_square(n, dim, GRID)
        expected = slices.squared_error(rho, dim, num_slices, orthogonal=True, block=block)
        error = float(found.std()) / math.sqrt(draws)
        assert abs(float(found.mean()) - expected) < 4 * error + expected / block < 0.15 * expected
        others = slices.squared_error(rho, dim, num_slices, orthogonal=False), (rho - dim) / num_slices
        if num_slices % block:  # neither that of independent ones nor that of whole blocks
            assert min(abs(float(found.mean()) - other) for other in others) > 4 * error
