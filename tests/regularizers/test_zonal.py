"""Discrepancies to the uniform law on the sphere: polynomials against SciPy, values against double loops, integrals
over the sphere, and the slices that they are the mean of."""

import functools
import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import integrate, special
from torch import Tensor

from sigreg_lab.regularizers import SphereKL, SphereKSD, SphereMMD
from sigreg_lab.regularizers.zonal import _log_heat_kernel, zonal_series
from sigreg_lab.slicing import seeded_generator

KERNELS = [("heat", {"time": 2.0}), ("heat", {"time": 5.0}), ("bandlimited", {"degree": 3}), ("sliced", {})]


def embeddings(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.4


def polynomial(order: int, dim: int, c: float, slope: int = 0) -> float:
    """SciPy's Gegenbauer polynomial, or a derivative of it, over its value at 1; cos(l arccos c) on the circle."""
    if dim == 2:
        return float(np.polynomial.Chebyshev.basis(order).deriv(slope)(c))
    half = (dim - 2) / 2
    raised = 2**slope * special.poch(half, slope)  # d^m/dc^m C_l^(a) = 2^m (a)_m C_(l-m)^(a+m)
    value = special.eval_gegenbauer(order - slope, half + slope, c) if order >= slope else 0.0
    return float(raised * value / special.eval_gegenbauer(order, half, 1.0))


def multiplicity(order: int, dim: int) -> int:
    """Harmonic polynomials of that degree: all homogeneous ones less those divisible by |x|^2."""
    return math.comb(order + dim - 1, order) - (math.comb(order + dim - 3, order - 2) if order > 1 else 0)


@functools.lru_cache
def coefficients_of(name: str, dim: int, time: float, degree: int) -> list[float]:
    t, count = time / dim, degree + 1 if name == "bandlimited" else 45
    weights = [multiplicity(k, dim) * math.exp(-t * k * (k + dim - 2)) for k in range(count)]
    return [w / math.fsum(weights) for w in weights]


def kernel(name: str, dim: int, c: float, slope: int = 0, *, time: float = 0.0, degree: int = 0) -> float:
    """phi(c), phi(1) = 1, or a derivative, from its definition."""
    if name == "sliced":  # the substitution a = sin s takes the singularity of the circle's density away
        density = lambda s: math.cos(s) ** (dim - 2)  # noqa: E731
        ends = (-math.pi / 2, math.pi / 2)
        part = integrate.quad(lambda s: math.exp(-(1 - c) * math.sin(s) ** 2) * density(s), *ends, epsabs=1e-13)[0]
        return part / integrate.quad(density, *ends, epsabs=1e-13)[0]
    return math.fsum(a * polynomial(k, dim, c, slope) for k, a in enumerate(coefficients_of(name, dim, time, degree)))


def sphere_mean(function, dim: int) -> float:
    """Mean of a function of u'w over uniform w, by Gauss-Gegenbauer quadrature."""
    nodes, weights = special.roots_gegenbauer(40, (dim - 2) / 2) if dim > 2 else special.roots_chebyt(40)
    return float(sum(w * function(c) for c, w in zip(nodes, weights, strict=True)) / weights.sum())


@pytest.mark.parametrize("dim", [2, 3, 8, 33])
def test_series_are_gegenbauer_polynomials_and_so_are_their_slopes(dim):
    c = torch.tensor([-1.0, -0.4, 0.0, 0.7, 1.0], dtype=torch.float64, requires_grad=True)
    for order in (1, 2, 5, 11):
        coefficients = (*([0.0] * order), 1.0)
        value = zonal_series(c, coefficients, dim)
        (gradient,) = torch.autograd.grad(value.sum(), c, create_graph=True)
        (second,) = torch.autograd.grad(gradient.sum(), c, allow_unused=order == 1)
        for slope, actual in enumerate((value, gradient, second if order > 1 else torch.zeros(5))):
            expected = [polynomial(order, dim, float(x), slope) for x in c.detach()]
            np.testing.assert_allclose(actual.detach(), expected, rtol=1e-11, atol=1e-11)
    assert torch.autograd.gradcheck(lambda c: zonal_series(c, (0.3, -0.2, 0.5, 0.1), dim), c)
    assert torch.autograd.gradgradcheck(lambda c: zonal_series(c, (0.3, -0.2, 0.5, 0.1), dim), c)


@pytest.mark.parametrize(("name", "options"), KERNELS)
@pytest.mark.parametrize("dim", [2, 3, 16])
def test_mmd_equals_a_double_loop(dim, name, options):
    """(E phi - C) / (1 - C) with C an integral over the sphere."""
    z = embeddings(2, 4, dim)
    constant = sphere_mean(lambda c: kernel(name, dim, c, **options), dim)
    values = []
    for u in (z / z.norm(dim=-1, keepdim=True)).numpy():
        mean = np.mean([kernel(name, dim, min(1.0, float(a @ b)), **options) for a in u for b in u])
        values.append((mean - constant) / (1 - constant))
    value = SphereMMD(name, **options)(z, seeded_generator(0))
    assert float(value) == pytest.approx(np.mean(values), rel=1e-9)


@pytest.mark.parametrize(("name", "options"), KERNELS[:3])
@pytest.mark.parametrize("dim", [3, 16])
def test_ksd_equals_a_double_loop_with_derivatives_of_the_kernel(dim, name, options):
    """The paper's equation 12: ((c^2 - 1) phi'' + c (K - 1) phi') / 2, over its value at c = 1."""
    z = embeddings(2, 3, dim)

    def stein(c: float) -> float:
        first, second = (kernel(name, dim, c, slope, **options) for slope in (1, 2))
        return ((c * c - 1) * second + c * (dim - 1) * first) / 2

    values = []
    for u in (z / z.norm(dim=-1, keepdim=True)).numpy():
        values.append(np.mean([stein(float(a @ b)) if a is not b else stein(1.0) for a in u for b in u]) / stein(1.0))
    value = SphereKSD(name, **options)(z, seeded_generator(0))
    assert float(value) == pytest.approx(np.mean(values), rel=1e-8)


@pytest.mark.parametrize("time", [1.0, 2.0])
@pytest.mark.parametrize("dim", [2, 5, 32])
def test_kl_equals_a_loop_and_its_constant_is_the_integral_over_the_sphere(dim, time):
    z = embeddings(2, 5, dim)
    constant = sphere_mean(lambda c: kernel("heat", dim, c, time=time), dim)
    values = []
    for u in (z / z.norm(dim=-1, keepdim=True)).numpy():
        densities = [
            sum(kernel("heat", dim, float(u[i] @ u[j]), time=time) for j in range(5) if j != i) / 4 for i in range(5)
        ]
        values.append(1 - np.mean(np.log(densities)) / math.log(constant))
    assert float(SphereKL(time)(z, seeded_generator(0))) == pytest.approx(np.mean(values), rel=1e-9)


@pytest.mark.parametrize(("dim", "time"), [(2, 0.5), (32, 0.6), (64, 2.0), (512, 2.0)])
def test_logarithm_of_the_heat_kernel_where_its_series_cancels(dim, time):
    """At c = -1 the terms are up to e^100 times their sum."""
    coefficients, log_mean = _log_heat_kernel(time, dim)
    with mpmath.workdps(400):
        t = mpmath.mpf(time) / dim
        weights = [multiplicity(k, dim) * mpmath.exp(-t * k * (k + dim - 2)) for k in range(500)]
        total = mpmath.fsum(weights)
        at_minus_one = mpmath.fsum(w * (-1) ** k for k, w in enumerate(weights))  # P_l(-1) = (-1)^l
        expected = float(mpmath.log(at_minus_one / total))
        assert log_mean == pytest.approx(float(mpmath.log(weights[0] / total)), rel=1e-13)
    ends = zonal_series(torch.tensor([-1.0, 1.0], dtype=torch.float64), coefficients, 2)
    assert float(ends[0]) == pytest.approx(expected, rel=1e-11)
    assert abs(float(ends[1])) < 1e-11


def test_sliced_is_the_mean_over_directions_of_slices_of_the_uniform_law():
    """In the plane: int |phi_hat - phi|^2 dN(0, 1) over 512 angles; a slice of the circle has phi = J_0."""
    z = embeddings(1, 6, 2)
    u = (z / z.norm(dim=-1, keepdim=True))[0]
    t = torch.linspace(-9, 9, 1441, dtype=torch.float64)
    weight = torch.exp(-(t**2) / 2) / math.sqrt(2 * math.pi) * (t[1] - t[0])
    angle = torch.arange(512, dtype=torch.float64) * math.pi / 512
    slices = u @ torch.stack((angle.cos(), angle.sin()))
    wave = torch.exp(1j * t[:, None, None] * slices).mean(1)
    target = torch.from_numpy(special.j0(t.numpy()))[:, None]
    expected = float((weight[:, None] * (wave - target).abs().square()).sum(0).mean())
    constant = sphere_mean(lambda c: kernel("sliced", 2, c), 2)
    value = SphereMMD("sliced")(z, seeded_generator(0))
    assert float(value) * (1 - constant) == pytest.approx(expected, rel=1e-9)


REGULARIZERS = [*(cls(name, **options) for cls in (SphereMMD, SphereKSD) for name, options in KERNELS), SphereKL()]


@pytest.mark.parametrize("regularizer", REGULARIZERS, ids=repr)
def test_zero_for_the_uniform_law_and_one_at_a_point(regularizer):
    """Of independent uniform directions the V-statistics have the mean 1/N: their pairs i = j are 1, the others 0."""
    n, views, dim = 40, 400, 8
    z = torch.randn(views, n, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float(regularizer(torch.ones(2, 5, dim), seeded_generator(0))) == pytest.approx(1.0, rel=1e-6)
    values = torch.stack([regularizer(view[None], seeded_generator(0)) for view in z])
    error = float(values.std()) / views**0.5
    if isinstance(regularizer, SphereKL):  # by Jensen's inequality below 0
        assert -0.1 < float(values.mean()) < 0
    else:
        assert abs(float(values.mean()) - 1 / n) < 4 * error
        assert error < 0.1 / n


@pytest.mark.parametrize("regularizer", REGULARIZERS, ids=repr)
def test_rotation_and_length_do_not_matter(regularizer):
    z = embeddings(2, 7, 4)
    rotation = torch.linalg.qr(embeddings(4, 4, seed=1))[0]
    length = torch.rand(2, 7, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.5
    expected = regularizer(z, seeded_generator(0))
    torch.testing.assert_close(regularizer(length * z @ rotation, seeded_generator(0)), expected, rtol=1e-9, atol=1e-11)
    assert torch.autograd.gradcheck(lambda z: regularizer(z, seeded_generator(0)), z[:, :4].requires_grad_())


def test_the_kernel_keeps_its_shape_over_dimensions_unless_a_time_is_given():
    """Share of the value that is the squared mean of u: half at most by default, nearly all at the published time."""
    for dim in (2, 8, 32, 256, 1024):
        assert 0.3 < SphereMMD()._coefficients(dim)[1] < 0.5
    assert SphereMMD(time=5.0)._coefficients(256) == SphereMMD()._coefficients(256)
    assert SphereMMD(time=5.0)._coefficients(32)[1] == pytest.approx(0.91, abs=0.005)
    assert SphereMMD()._coefficients(256)[1] == pytest.approx(0.39, abs=0.005)


def test_kl_in_blocks_of_rows_is_the_same(monkeypatch):
    z = embeddings(2, 40, 5).requires_grad_()
    regularizer = SphereKL()
    value = regularizer(z, seeded_generator(0))
    gradient = torch.autograd.grad(value, z)[0]
    monkeypatch.setattr("sigreg_lab.regularizers.zonal.BLOCK", 2 * 40 * 7)
    blocked = regularizer(z, seeded_generator(0))
    torch.testing.assert_close(blocked, value, rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.autograd.grad(blocked, z)[0], gradient, rtol=1e-10, atol=1e-13)


def test_bad_options_are_refused_by_name():
    with pytest.raises(ValueError, match="kernel must be one of heat, bandlimited, sliced, got 'poisson'"):
        SphereMMD("poisson")  # type: ignore[arg-type]
    for wrong in (0.0, math.inf):
        with pytest.raises(ValueError, match="time must be positive and finite"):
            SphereMMD(time=wrong)
        with pytest.raises(ValueError, match="time must be positive and finite"):
            SphereKL(wrong)
    with pytest.raises(ValueError, match="degree must be at least 1"):
        SphereKSD("bandlimited", degree=0)
    for regularizer in (SphereMMD(), SphereKSD(), SphereKL()):
        with pytest.raises(ValueError, match="a sphere needs at least 2"):
            regularizer(embeddings(2, 4, 1), seeded_generator(0))
    with pytest.raises(ValueError, match=r"time=1e-08 is too small"):
        SphereMMD(time=1e-8)(embeddings(2, 4, 3), seeded_generator(0))
    with pytest.raises(ValueError, match=r"time=0\.0001 is too small"):
        SphereKL(1e-4)(embeddings(2, 4, 2), seeded_generator(0))
