"""Diagnostics: exact values where the spectrum is known, NumPy's elsewhere, and the level of the two tests."""

import math

import numpy as np
import pytest
import torch

from sigreg_lab.diagnostics import (
    alpha_req,
    condition_number,
    covariance_test,
    effective_rank,
    expected_spectrum,
    lidar,
    mean_test,
    spectrum,
)


def test_equal_spectrum_gives_the_full_rank():
    x = torch.eye(8, dtype=torch.float64)
    assert effective_rank(torch.cat([x, -x])).item() == pytest.approx(8.0, abs=1e-12)


def test_one_direction_gives_one_and_a_constant_gives_zero():
    line = torch.linspace(-1, 1, 20)[:, None] * torch.ones(4)
    assert effective_rank(line).item() == pytest.approx(1.0, abs=1e-6)
    assert effective_rank(torch.ones(20, 4)).item() == 0.0


def test_two_unequal_directions_follow_the_formula():
    x = torch.zeros(4, 3, dtype=torch.float64)
    x[0, 0], x[1, 0], x[2, 1], x[3, 1] = 3.0, -3.0, 1.0, -1.0
    p = torch.tensor([0.75, 0.25], dtype=torch.float64)
    assert effective_rank(x).item() == pytest.approx(float((-(p * p.log()).sum()).exp()), abs=1e-12)


def test_a_common_mean_does_not_count_and_batches_agree_with_a_loop():
    x = torch.randn(3, 30, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    batch = effective_rank(x + 100)
    assert torch.allclose(batch, torch.stack([effective_rank(part) for part in x]), atol=1e-9)


def test_bad_samples_are_refused():
    with pytest.raises(ValueError, match="at least 2 are needed"):
        effective_rank(torch.ones(1, 3))


def _normal(n, dim, seed=0):
    return torch.randn(n, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("measure", [effective_rank, spectrum, condition_number, alpha_req, mean_test, covariance_test])
def test_missing_values_are_refused_with_the_option_that_leaves_them_out(measure):
    x = np.random.default_rng(0).standard_normal((20, 3))
    x[4, 1] = np.nan
    with pytest.raises(ValueError, match=r"x holds 1 NaN .*nan_policy='omit' leaves NaN out"):
        measure(x)
    assert np.array_equal(measure(x, nan_policy="omit"), measure(np.delete(x, 4, 0)))


def test_spectrum_and_condition_number_are_those_of_numpy():
    x = _normal(40, 6) * torch.arange(1.0, 7.0)
    covariance = np.cov(x.numpy().T)
    assert spectrum(x).numpy() == pytest.approx(np.linalg.eigvalsh(covariance)[::-1], rel=1e-12)
    assert condition_number(x).item() == pytest.approx(np.linalg.cond(covariance), rel=1e-10)
    batch = torch.stack([x, 2 * x])
    assert torch.allclose(condition_number(batch)[0], condition_number(batch)[1])


def test_rank_deficient_samples_have_zeros_and_no_finite_condition_number():
    x = _normal(5, 8)
    assert (spectrum(x)[4:] < 1e-28).all()
    assert condition_number(x).item() == float("inf")
    y = _normal(30, 4)
    assert condition_number(torch.cat([y, y[:, :1] + y[:, 1:2]], 1)).item() > 1e28
    assert condition_number(torch.ones(9, 3)).isnan()


@pytest.mark.parametrize(("n", "dim"), [(400, 40), (120, 100), (30, 60), (2000, 2)])
def test_expected_spectrum_is_that_of_normal_samples(n, dim):
    expected = expected_spectrum(n, dim)
    found = torch.stack([spectrum(_normal(n, dim, seed)) for seed in range(10)]).mean(0)
    # The law holds for the bulk to O(1/K); a single eigenvalue lies within half a spacing.
    assert ((found - expected).abs() < -expected.diff().min() / 2).all()
    assert expected.mean().item() == pytest.approx(1.0, abs=1.0 / dim)
    assert (expected.diff() <= 0).all()


@pytest.mark.parametrize(
    ("test", "n", "dim"), [(mean_test, 20, 3), (covariance_test, 100, 5), (covariance_test, 30, 60)]
)
def test_tests_of_mean_and_covariance_hold_their_level(test, n, dim):
    pvalues = test(_normal(2000 * n, dim).reshape(2000, n, dim)).pvalue
    for alpha in (0.1, 0.05, 0.01):
        error = math.sqrt(alpha * (1 - alpha) / 2000)
        assert abs((pvalues < alpha).double().mean().item() - alpha) < 4 * error + 0.1 * alpha


def test_tests_of_mean_and_covariance_see_their_own_departure_alone():
    x = _normal(300, 4)
    assert mean_test(x + 0.3).pvalue < 1e-6 < covariance_test(x + 0.3).pvalue
    assert covariance_test(1.5 * x).pvalue < 1e-6
    assert covariance_test(0.6 * x).pvalue < 1e-6
    assert mean_test(x).statistic.item() == pytest.approx(300 * float((x.mean(0) ** 2).sum()), rel=1e-12)
    s = torch.from_numpy(np.cov(x.numpy().T))
    w = ((s - torch.eye(4)) ** 2).sum() / 4 - 4 / 299 * (s.trace() / 4) ** 2 + 4 / 299
    assert covariance_test(x).statistic.item() == pytest.approx(float(299 * 2 * w), rel=1e-10)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e150, 1e300])
def test_rank_and_condition_number_do_not_depend_on_the_scale(scale):
    x = _normal(40, 5) * torch.arange(1.0, 6.0)
    assert effective_rank(scale * x).item() == pytest.approx(effective_rank(x).item(), rel=1e-9)
    assert condition_number(scale * x).item() == pytest.approx(condition_number(x).item(), rel=1e-9)


@pytest.mark.parametrize("scale", [1e50, 1e77, 1e78, 1e155, 1e300, 1e307])
def test_huge_embeddings_are_rejected_and_give_no_nan(scale):
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((40, 6)) + 0.5)
    for test in (covariance_test, mean_test):
        statistic, pvalue = test(scale * x)
        assert float(statistic) > 1e90
        assert float(pvalue) == 0.0
    assert effective_rank(scale * x).item() == pytest.approx(effective_rank(x).item(), rel=1e-12)
    assert condition_number(scale * x).item() == pytest.approx(condition_number(x).item(), rel=1e-12)
    assert not spectrum(scale * x).isnan().any()
    batch = torch.stack([x, scale * x])
    assert covariance_test(batch).pvalue[0] == covariance_test(x).pvalue


def test_sums_that_overflow_give_no_nan():
    x = torch.full((40, 3), 1.7e308, dtype=torch.float64)
    x[::2] *= -1
    x[0] *= -1
    for test in (covariance_test, mean_test):
        assert float(test(x).pvalue) == 0.0
    assert effective_rank(x).item() == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 0.01, 1.0, 100.0])
def test_the_covariance_statistic_is_its_formula(scale):
    x = scale * np.random.default_rng(1).standard_normal((30, 4))
    n, dim, s = 29, 4, np.cov(x.T)
    w = np.trace((s - np.eye(4)) @ (s - np.eye(4))) / dim - dim / n * (np.trace(s) / dim) ** 2 + dim / n
    assert covariance_test(torch.from_numpy(x)).statistic.item() == pytest.approx(n * dim * w / 2, rel=1e-10)


def test_alpha_of_a_power_law_is_its_exponent():
    scale = torch.arange(1.0, 21.0, dtype=torch.float64) ** -0.75  # variances k^-1.5
    rows = torch.linalg.qr(torch.cat([torch.ones(200, 1, dtype=torch.float64), _normal(200, 20)], 1))[0][:, 1:]
    assert alpha_req(rows * scale).item() == pytest.approx(1.5, abs=1e-10)
    assert alpha_req(torch.stack([rows * scale, 1e-120 * rows * scale])).tolist() == pytest.approx(
        [1.5, 1.5], abs=1e-10
    )


def test_alpha_leaves_out_variances_that_are_zero():
    x = torch.cat([_normal(50, 6), torch.zeros(50, 10, dtype=torch.float64)], 1)
    values = np.linalg.eigvalsh(np.cov(x[:, :6].numpy().T))[::-1]
    assert alpha_req(x).item() == pytest.approx(-np.polyfit(np.log(np.arange(1, 7)), np.log(values), 1)[0], abs=1e-10)
    assert math.isnan(alpha_req(torch.ones(5, 3)).item())


def test_lidar_is_the_formula_of_its_paper():
    from scipy.linalg import fractional_matrix_power

    z = _normal(4 * 50, 5, seed=3).reshape(4, 50, 5) * torch.arange(1.0, 6.0) + 3 * _normal(50, 5, seed=4)
    x, delta = z.numpy(), 0.3
    means = x.mean(0)
    between = np.cov(means.T, bias=True)
    within = sum(np.outer(r, r) for view in x for r in view - means) / 200 + delta * np.eye(5)
    root = fractional_matrix_power(within, -0.5)
    values = np.linalg.eigvalsh(root @ between @ root)
    share = values / values.sum()
    assert lidar(z, delta).item() == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-10)


def test_lidar_counts_the_directions_that_tell_samples_apart():
    kept = torch.zeros(64, 8, dtype=torch.float64)
    kept[:, :3] = torch.linalg.qr(torch.cat([torch.ones(64, 1).double(), _normal(64, 3)], 1))[0][:, 1:]
    noise = 1e-6 * _normal(10 * 64, 8, seed=1).reshape(10, 64, 8)
    assert lidar(kept + noise).item() == pytest.approx(3.0, abs=1e-3)
    assert lidar(noise[:1].expand(2, 64, 8) * 0).item() == 0.0


@pytest.mark.parametrize(
    ("views", "delta", "said"),
    [
        (torch.ones(4, 3), 1e-4, "views"),
        (torch.ones(2, 1, 3), 1e-4, "at least 2"),
        (torch.ones(2, 3, 3), 0.0, "delta must be positive"),
    ],
)
def test_lidar_refuses_what_it_cannot_take(views, delta, said):
    with pytest.raises(ValueError, match=said):
        lidar(views, delta)
