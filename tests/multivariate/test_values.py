"""Closed forms against the integrals and expectations they stand for, and against published values."""

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import integrate, stats
from sklearn.datasets import load_iris

from sigreg_lab import multivariate as mv
from sigreg_lab.multivariate.energy import _mean_distance, gamma_ratio
from sigreg_lab.univariate import EppsPulley
from tests.multivariate.cases import sample


def grid(dim, end=16.0, nodes=801):
    """Nodes and step^K of the trapezoidal rule on a cube, exact to rounding for analytic, decaying integrands."""
    t = np.linspace(-end, end, nodes)
    return np.stack(np.meshgrid(*[t] * dim, indexing="ij"), -1).reshape(-1, dim), (t[1] - t[0]) ** dim


@pytest.fixture(params=[1, 2], ids=["K1", "K2"])
def integral(request):
    """x, t, |t|^2, t'x_j, and the integral of values at t."""
    x = sample(7, request.param, 20)
    x[2] = x[5]
    t, cell = grid(request.param)
    return x, t, (t**2).sum(1), t @ x.numpy().T, lambda values: values.sum() * cell


@pytest.mark.parametrize("beta", [0.1, 0.7, 1.4])
def test_bhep_is_its_integral(integral, beta):
    x, t, squared, projections, total = integral
    weight = (2 * np.pi * beta**2) ** (-t.shape[1] / 2) * np.exp(-squared / (2 * beta**2))
    distance = np.abs(np.exp(1j * projections).mean(1) - np.exp(-squared / 2)) ** 2
    # near the null at beta = 0.1 the value is the difference of terms of size N
    assert mv.BHEP(beta)(x).item() == pytest.approx(len(x) * total(distance * weight), rel=1e-10, abs=1e-14)


@pytest.mark.parametrize("beta", [2.5, 10.0])
def test_bhep_m_is_its_integral(integral, beta):
    x, _, squared, projections, total = integral
    moment = np.exp(projections - beta * squared[:, None] / 2).mean(1)
    value = len(x) * total((moment - np.exp((1 - beta) * squared / 2)) ** 2)
    assert mv.BHEP_M(beta=beta)(x).item() == pytest.approx(value, rel=1e-10)
    assert mv.BHEP_M(beta=beta, log=True)(x).item() == pytest.approx(math.log(value), abs=1e-10)


@pytest.mark.parametrize("gamma", [0.7, 5.0])
def test_comb_is_its_integrals(integral, gamma):
    x, _, squared, projections, total = integral
    root = np.exp(-gamma * squared / 2)
    process = math.sqrt(len(x)) * (np.cos(projections).mean(1) * np.exp(projections).mean(1) - 1)
    simplified, product = total(process * root * root), total((process * root) ** 2)
    assert mv.COMB(gamma)(x).item() == pytest.approx(simplified, rel=1e-10)
    assert mv.COMB(gamma, form="product")(x).item() == pytest.approx(product, rel=1e-10)
    assert mv.COMB(gamma, form="product", log=True)(x).item() == pytest.approx(math.log(product), abs=1e-10)


@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_hv_is_its_integral(integral, gamma):
    x, t, squared, projections, total = integral
    decayed = np.exp(projections - gamma * squared[:, None] / 2)
    defect = (decayed[:, :, None] * (x.numpy()[None] - t[:, None, :])).mean(1)
    value = len(x) * total((defect**2).sum(1))
    assert mv.HV(gamma)(x).item() == pytest.approx(value, rel=1e-10)
    assert mv.HV(gamma, log=True)(x).item() == pytest.approx(math.log(value), abs=1e-10)


def test_the_simplified_product_statistic_may_be_negative():
    x = sample(50, 2, 21)
    assert mv.COMB(gamma=2.0)(x) < 0
    assert mv.COMB(gamma=2.0, form="product")(x) > 0


@pytest.mark.parametrize("n", [5, 20, 100, 1023])
def test_bhep_in_one_dimension_is_the_full_line_epps_pulley_statistic(n):
    x = sample(n, 1, 22)
    x[: n // 3] *= 10  # up to |x| about 40
    expected = EppsPulley(integration="exact")(x).item() / math.sqrt(2 * math.pi)
    assert mv.BHEP(beta=1.0)(x).item() == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("dim", [1, 2, 3, 16, 512, 2048])
def test_gamma_ratio_and_distance_to_normal_equal_mpmath(dim):
    x = sample(4, dim, 23)
    with mpmath.workdps(40):
        half = mpmath.mpf(dim) / 2
        ratio = mpmath.gamma(half + 0.5) / mpmath.gamma(half)
        assert gamma_ratio(dim) == pytest.approx(float(ratio), rel=2e-14)
        expected = 0
        for row in x.tolist():
            expected += 2 * mpmath.sqrt(2) * ratio * mpmath.hyp1f1(-0.5, half, -mpmath.fsum(v * v for v in row) / 2)
        rows = x.tolist()
        expected -= 4 * 2 * ratio
        for a in rows:
            for b in rows:
                expected -= mpmath.sqrt(mpmath.fsum((u - v) ** 2 for u, v in zip(a, b, strict=True))) / 4
    assert mv.Energy()(x).item() == pytest.approx(float(expected), rel=1e-10)


def test_energy_in_one_dimension_is_twice_the_integral_of_the_squared_cdf_difference():
    x = sample(20, 1, 24)  # Szekely & Rizzo: E = 2 N int (F_N - Phi)^2 dx
    s = np.sort(x.numpy().ravel())
    edges = np.concatenate([[-np.inf], s, [np.inf]])
    value = sum(
        integrate.quad(lambda u, i=i: (i / 20 - stats.norm.cdf(u)) ** 2, edges[i], edges[i + 1], epsabs=1e-14)[0]
        for i in range(21)
    )
    assert mv.Energy()(x).item() == pytest.approx(2 * 20 * value, rel=1e-10)


@pytest.mark.parametrize("dim", [1, 2, 3, 16, 63, 64, 512, 2048])
def test_mean_distance_to_a_normal_vector_and_its_derivatives_equal_mpmath_near_and_far(dim):
    border = math.sqrt(max(400, 128 * dim))
    radii = [0.0, 0.999 * border, 1.0001 * border, 1.1 * border, 3 * border, 9.9e3, 1e6, 1e12]
    q = torch.tensor(radii, dtype=torch.float64).square().requires_grad_()
    value = _mean_distance(q, dim, max(radii))
    (first,) = torch.autograd.grad(value.sum(), q, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), q)
    with mpmath.workdps(60):
        b = mpmath.mpf(dim) / 2
        constant = mpmath.sqrt(2) * mpmath.gamma(b + 0.5) / mpmath.gamma(b)
        z = [mpmath.mpf(u) / 2 for u in q.tolist()]
        exact = [float(constant * mpmath.hyp1f1(-0.5, b, -u)) for u in z]
        slope = [float(constant / 4 / b * mpmath.hyp1f1(0.5, b + 1, -u)) for u in z]
        curvature = [float(-constant / 16 / b / (b + 1) * mpmath.hyp1f1(1.5, b + 2, -u)) for u in z]
    np.testing.assert_allclose(value.detach(), exact, rtol=1e-13)
    np.testing.assert_allclose(first.detach(), slope, rtol=1e-13)
    np.testing.assert_allclose(second, curvature, rtol=1e-13)


@pytest.mark.parametrize("scale", [3e3, 1e5, 1e9, 1e30])
def test_energy_takes_rows_at_any_distance(scale):
    x = scale * sample(20, 1, 24)
    s = np.sort(x.numpy().ravel())
    across = 2 * (s * (2 * stats.norm.cdf(s) - 1) + 2 * stats.norm.pdf(s)).sum()
    within = 2 * ((2 * np.arange(20) - 19) * s).sum() / 20  # sum of |x_j - x_k| over a sorted sample
    assert mv.Energy()(x).item() == pytest.approx(across - 20 * 2 / math.sqrt(math.pi) - within, rel=1e-12)
    x = (scale * sample(20, 3, 24)).requires_grad_()
    value, pvalue = mv.Energy().test(x)
    (gradient,) = torch.autograd.grad(mv.Energy()(x), x)
    assert value > scale
    assert pvalue == 1 / (mv.Energy().null_law(20, 3).replicates + 1)
    assert gradient.norm(dim=-1).amax() <= 2 * 2  # 2 |grad E|x - Z|| and 2/N times a sum of N unit vectors
    # homogeneous, far out
    assert (gradient * x.detach()).sum() == pytest.approx(value.item(), rel=max(40 / scale, 1e-12))


def test_energy_refuses_rows_whose_square_is_infinite():
    with pytest.raises(ValueError, match="x holds rows longer than 1e154"):
        mv.Energy()(1e155 * sample(20, 3, 24))


def test_moment_statistics_equal_loops():
    x = sample(11, 3, 25)
    y = x.numpy()
    skewness = sum((a @ b) ** 3 for a in y for b in y) / 121
    alternative = sum((a @ b) * (a @ a) * (b @ b) for a in y for b in y) / 121
    kurtosis = (sum((a @ a) ** 2 for a in y) / 11 - 15) ** 2
    assert mv.MardiaSkewness()(x).item() == pytest.approx(skewness, rel=1e-12)
    assert mv.AlternativeSkewness()(x).item() == pytest.approx(alternative, rel=1e-12)
    assert mv.MardiaKurtosis()(x).item() == pytest.approx(kurtosis, rel=1e-12)


@pytest.mark.parametrize("n", [20, 1023])
def test_standardised_moments_in_one_dimension_are_scipys(n):
    x = sample(n, 1, 26)
    skewness, kurtosis = stats.skew(x.numpy().ravel()), stats.kurtosis(x.numpy().ravel())
    assert mv.MardiaSkewness(standardise=True)(x).item() == pytest.approx(skewness**2, rel=1e-10)
    assert mv.AlternativeSkewness(standardise=True)(x).item() == pytest.approx(skewness**2, rel=1e-10)
    assert mv.MardiaKurtosis(standardise=True)(x).item() == pytest.approx(kurtosis**2, rel=1e-10)


def test_iris_values_of_the_r_package_mvn():
    # Tutorial of the R package MVN (selcukorkmaz.github.io/mvn-tutorial, "mvn-tests"), iris[1:50, 1:2], as printed:
    # Henze-Zirkler 0.286; Mardia skewness 0.760 (chi-squared), kurtosis 0.093 (z); E-statistic 0.527.
    x = torch.from_numpy(load_iris().data[:50, :2])
    n, dim = x.shape
    assert mv.HZ(standardise=True)(x).item() == pytest.approx(0.286, abs=5e-4)
    assert n * mv.MardiaSkewness(standardise=True)(x).item() / 6 == pytest.approx(0.760, abs=5e-4)
    z = math.sqrt(n * mv.MardiaKurtosis(standardise=True)(x).item() / (8 * dim * (dim + 2)))
    assert z == pytest.approx(0.093, abs=5e-4)
    # R's energy test whitens with the divisor n - 1
    centred = x - x.mean(0)
    factor = torch.linalg.cholesky(centred.T @ centred / (n - 1))
    y = torch.linalg.solve_triangular(factor, centred.T, upper=False).T
    assert mv.Energy()(y).item() == pytest.approx(0.527, abs=5e-4)


def test_henze_zirkler_equals_its_mahalanobis_form():
    x = sample(40, 4, 27) ** 3
    y = x.numpy()
    inverse = np.linalg.inv(np.cov(y.T, ddof=0))
    centred = y - y.mean(0)
    b = ((2 * 4 + 1) * 40 / 4) ** (1 / 8) / math.sqrt(2)
    pairs = np.einsum("jkp,pq,jkq->jk", y[:, None] - y[None], inverse, y[:, None] - y[None])
    single = np.einsum("jp,pq,jq->j", centred, inverse, centred)
    value = np.exp(-(b**2) / 2 * pairs).sum() / 40 + 40 * (1 + 2 * b**2) ** -2.0
    value -= 2 * (1 + b**2) ** -2.0 * np.exp(-(b**2) / (2 * (1 + b**2)) * single).sum()
    assert mv.HZ(standardise=True)(x).item() == pytest.approx(value, rel=1e-10)
    assert mv.HZ.compute_bandwidth(40, 4) == pytest.approx(b, rel=1e-15)


@pytest.mark.parametrize("build", [lambda **k: mv.BHEP_M(beta=3.0, **k), lambda **k: mv.HV(gamma=1.0, **k)])
def test_logarithms_stay_finite_where_the_value_does_not(build):
    x = (4 * sample(5, 512, 28)).requires_grad_()
    with torch.no_grad():
        assert build()(x).isinf()
    value = build(log=True)(x)
    value.backward()
    assert value.isfinite()
    assert x.grad.isfinite().all()
    assert x.grad.abs().max() > 0


def test_log_bhep_m_equals_mpmath_in_high_dimension():
    x = 4 * sample(3, 512, 29)
    rows, b = x.tolist(), 3
    with mpmath.workdps(60):
        half = mpmath.mpf(256)
        total = 3 / mpmath.mpf(b - 1) ** half
        for a in rows:
            total -= 2 * mpmath.exp(mpmath.fsum(v * v for v in a) / (4 * b - 2)) / mpmath.mpf(b - 0.5) ** half
            for c in rows:
                squared = mpmath.fsum((u + v) ** 2 for u, v in zip(a, c, strict=True))
                total += mpmath.exp(squared / (4 * b)) / mpmath.mpf(b) ** half / 3
        expected = float(mpmath.log(total) + half * mpmath.log(mpmath.pi))
    assert mv.BHEP_M(beta=b, log=True)(x).item() == pytest.approx(expected, rel=1e-12)
