"""Epps-Pulley: every discretisation and estimator against quadrature, unbiasedness, limit laws, blocks of pairs."""

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import integrate, stats

from sigreg_lab.univariate import EppsPulley, evaluate
from sigreg_lab.univariate.epps_pulley import AUTO_GRID
from tests.univariate.cases import SAMPLES

every = pytest.mark.parametrize("x", SAMPLES.values(), ids=SAMPLES.keys())
estimators = pytest.mark.parametrize("estimator", ["v", "u", "split"])


def _squared_distance(x, t, estimator):
    """|phi_P - phi|^2 at the nodes t by each estimator, from the pairs or from complex exponentials."""
    target = np.exp(-(t**2) / 2)
    phi = lambda y: np.exp(1j * np.multiply.outer(t, y)).mean(-1)  # noqa: E731
    if estimator == "split":
        half = x.size // 2
        return ((phi(x[:half]) - target) * np.conj(phi(x[half:]) - target)).real
    if estimator == "v":
        return np.abs(phi(x) - target) ** 2
    pairs = (np.abs(x.size * phi(x)) ** 2 - x.size) / (x.size * (x.size - 1))
    return pairs - 2 * target * phi(x).real + target**2


@estimators
@pytest.mark.parametrize(
    ("t_max", "n_points", "sigma"), [(3.0, 17, math.sqrt(2)), (5.0, 9, math.sqrt(2)), (4.0, 41, 1)]
)
@every
def test_grid_is_the_trapezoidal_rule(x, t_max, n_points, sigma, estimator):
    t = np.linspace(-t_max, t_max, 2 * n_points - 1)
    integrand = _squared_distance(x, t, estimator) * np.exp(-((t / sigma) ** 2))
    expected = x.size * integrate.trapezoid(integrand, t)
    value = float(EppsPulley(t_max, n_points, sigma=sigma, estimator=estimator)(torch.from_numpy(x)))
    assert value == pytest.approx(expected, rel=1e-10)


@estimators
@pytest.mark.parametrize("sigma", [math.sqrt(2), 0.6])
@every
def test_closed_form_is_the_integral_over_the_line(x, sigma, estimator):
    # The trapezoidal rule on the line: aliasing below exp(-(2 pi/h - 100)^2 sigma^2/4) = 1e-60 for values up to 50.
    t = np.arange(0, 6.5 * sigma, 2 * math.pi / 160)
    integrand = _squared_distance(x, t, estimator) * np.exp(-((t / sigma) ** 2))
    expected = x.size * 2 * (integrate.trapezoid(integrand, t))
    value = float(EppsPulley(integration="exact", sigma=sigma, estimator=estimator)(torch.from_numpy(x)))
    assert value == pytest.approx(expected, rel=1e-10)


def test_closed_form_by_mpmath():
    x = [float(v) for v in SAMPLES["5 normal"]]

    def integrand(t):
        phi = sum(mpmath.exp(1j * t * v) for v in x) / 5
        return abs(phi - mpmath.exp(-(t**2) / 2)) ** 2 * mpmath.exp(-(t**2) / 2)

    expected = float(5 * 2 * mpmath.quad(integrand, [0, 2, 4, 6, 9, 13]))
    assert float(EppsPulley(integration="exact")(torch.tensor(x, dtype=torch.float64))) == pytest.approx(
        expected, rel=1e-12
    )


def test_official_names():
    x = torch.from_numpy(SAMPLES["100 normal"])
    assert EppsPulley(num_points=9)(x) == EppsPulley(n_points=9)(x)
    assert EppsPulley(3, 17, "trapezoid")(x) == EppsPulley()(x)


@pytest.mark.parametrize("integration", ["trapezoid", "exact"])
def test_unbiased_estimators_have_the_integral_as_their_mean(integration):
    # For N(0.3, 1) and N(0, 1), |phi_P - phi|^2 = 2 exp(-t^2) (1 - cos 0.3 t); 40,000 samples of size 6.
    rng = np.random.default_rng(3)
    x = torch.from_numpy(rng.standard_normal((40_000, 6)) + 0.3).T
    t = np.linspace(-3, 3, 33) if integration == "trapezoid" else np.linspace(-9, 9, 601)
    distance = 2 * np.exp(-(t**2)) * (1 - np.cos(0.3 * t)) * np.exp(-(t**2) / 2)
    expected = 6 * integrate.trapezoid(distance, t)
    for estimator in ("u", "split"):
        value = EppsPulley(integration=integration, estimator=estimator)(x)
        assert abs(float(value.mean()) - expected) < 4 * float(value.std()) / 200
    biased = EppsPulley(integration=integration)(x)
    excess = integrate.trapezoid((1 - np.exp(-(t**2))) * np.exp(-(t**2) / 2), t)  # (1 - |phi_P|^2)/N, times N
    assert abs(float(biased.mean()) - expected - excess) < 4 * float(biased.std()) / 200


def test_mean_under_the_null_is_the_sum_of_the_eigenvalues():
    # int (1 - exp(-t^2)) exp(-t^2/2) dt = sqrt(2 pi) - sqrt(2 pi/3).
    values = EppsPulley(integration="exact").eigenvalues()
    assert values.sum() == pytest.approx(math.sqrt(2 * math.pi) - math.sqrt(2 * math.pi / 3), rel=1e-12)
    # The variance, 2 sum lambda^2, is 2 int int K(s, t)^2 w(s) w(t) ds dt.
    covariance = lambda s, t: np.exp(-((s - t) ** 2) / 2) - np.exp(-(s**2 + t**2) / 2)  # noqa: E731
    t = np.linspace(-8, 8, 401)
    weight = np.exp(-(t**2) / 2) * (t[1] - t[0])
    expected = weight @ covariance(t[:, None], t[None, :]) ** 2 @ weight
    assert (values**2).sum() == pytest.approx(expected, rel=1e-10)


@estimators
def test_limit_law_is_that_of_many_samples(estimator):
    for statistic in (EppsPulley(estimator=estimator), EppsPulley(integration="exact", sigma=0.8, estimator=estimator)):
        values = statistic.simulate(np.random.default_rng(11), 20_000, 200)
        pvalues = statistic.asymptotic_law(200).pvalue(torch.from_numpy(values))
        assert stats.kstest(pvalues, "uniform").pvalue > 1e-3
        assert stats.kstest(pvalues**1.1, "uniform").pvalue < 1e-6  # the comparison can fail


@estimators
def test_simulation_grid_agrees_with_the_closed_form(estimator):
    for sigma in (0.5, math.sqrt(2), 4.0):
        exact = EppsPulley(integration="exact", sigma=sigma, estimator=estimator)
        x = torch.from_numpy(np.random.default_rng(1).standard_normal((50, 40)))
        torch.testing.assert_close(exact._full_line_grid()(x), exact(x), rtol=1e-10, atol=1e-12)


@estimators
def test_blocks_of_pairs_change_nothing(estimator, monkeypatch):
    from sigreg_lab.univariate import epps_pulley

    statistic = EppsPulley(integration="exact", estimator=estimator)
    x = torch.from_numpy(SAMPLES["100 normal"]).reshape(50, 2).requires_grad_()
    whole = statistic(x)
    (whole_gradient,) = torch.autograd.grad(whole.sum(), x)
    monkeypatch.setattr(epps_pulley, "_PAIRS_PER_BLOCK", 700)  # 7 rows at a time, the last block odd
    blocks = statistic(x)
    (gradient,) = torch.autograd.grad(blocks.sum(), x)
    torch.testing.assert_close(blocks, whole, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient, whole_gradient, rtol=1e-10, atol=1e-13)
    assert torch.autograd.gradcheck(statistic, (x[:15].detach().requires_grad_(),))


def test_gradient_bound_of_the_paper_holds():
    # Theorem 4 of arXiv:2511.08544, for the statistic without its factor N: |dEP/dx_i| <= 4 sigma^2/N.
    x = torch.from_numpy(np.concatenate(list(SAMPLES.values())))[:, None].requires_grad_()
    statistic = EppsPulley(integration="exact", sigma=1.0)
    (gradient,) = torch.autograd.grad(statistic(x).sum(), x)
    assert float(gradient.abs().max()) <= 4.0  # N times the bound, for N times the statistic


@pytest.mark.parametrize(
    "arguments",
    [
        {"t_max": 0.0},
        {"t_max": math.inf},
        {"n_points": 1},
        {"integration": "simpson"},
        {"sigma": -1.0},
        {"estimator": "w"},
    ],
    ids=lambda a: next(iter(a)),
)
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        EppsPulley(**arguments)


def test_evaluation_in_bulk_keeps_the_order_that_split_needs():
    x = torch.from_numpy(SAMPLES["100 normal"]).reshape(50, 2)
    statistic = EppsPulley(estimator="split")
    torch.testing.assert_close(evaluate([statistic], x)[0], statistic(x), rtol=1e-12, atol=1e-12)


def test_the_automatic_grid_is_nine_points_up_to_3_2():
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for options in ({"n_points": "auto"}, {"num_points": "auto"}, {"n_points": "auto", "t_max": 3.2}):
        test = EppsPulley(**options)
        assert (test.t_max, test.n_points) == AUTO_GRID == (3.2, 9)
        assert torch.equal(test(x), EppsPulley(3.2, 9)(x))
    assert EppsPulley(n_points="auto", estimator="u").n_points == 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_points": "auto", "t_max": 5.0}, "chooses t_max too"),
        ({"n_points": "auto", "sigma": 1.0}, "chooses t_max too"),
        ({"n_points": "many"}, "a whole number or 'auto'"),
    ],
)
def test_the_automatic_grid_is_for_its_own_range_and_weight(options, message):
    with pytest.raises(ValueError, match=message):
        EppsPulley(**options)
