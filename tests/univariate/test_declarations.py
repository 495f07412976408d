"""Faster ways to the same number that a statistic declares, the library's and one's own: used, and the same number."""

import importlib
import math

import numpy as np
import pytest
import torch

from sigreg_lab import slicing
from sigreg_lab import univariate as u
from sigreg_lab.kernels import characteristic_function_reference
from sigreg_lab.regularizers import SIGReg
from sigreg_lab.slicing import iid_directions, seeded_generator
from tests.univariate.cases import CASES


def sample(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1.2 + 0.3


@pytest.mark.parametrize("statistic", [u.EppsPulley(), u.EppsPulley(5.0, 9), u.EppsPulley(2.0, 2, sigma=0.7)], ids=str)
def test_the_nodes_are_those_of_the_formula(statistic):
    t, target, weight = statistic.nodes()
    assert t.dtype == target.dtype == weight.dtype == np.float64
    np.testing.assert_allclose(t, np.linspace(0, statistic.t_max, statistic.n_points)[1:], rtol=1e-14)
    np.testing.assert_allclose(target, np.exp(-(t**2) / 2), rtol=1e-14)
    full = np.linspace(-statistic.t_max, statistic.t_max, 2 * statistic.n_points - 1)
    integral = np.trapezoid(np.exp(-((full / statistic.sigma) ** 2)) * (full != 0), full)
    np.testing.assert_allclose(weight.sum(), integral, rtol=1e-13)
    x = sample(9, 1).numpy()
    phi = np.exp(1j * x * t).mean(0)
    expected = 9 * (weight * np.abs(phi - target) ** 2).sum()
    assert float(statistic(torch.from_numpy(x))) == pytest.approx(expected, rel=1e-12)


def test_only_grids_have_nodes():
    line, one = u.EppsPulley(integration="exact").nodes(), np.random.default_rng(0).standard_normal(9)
    phi = np.exp(1j * np.outer(line.t, one)).mean(1)
    value = 9 * (line.weight * np.abs(phi - line.target) ** 2).sum()
    assert value == pytest.approx(float(u.EppsPulley(integration="exact")(torch.from_numpy(one))), rel=1e-12)
    assert u.EppsPulley(estimator="split").nodes() is not None
    assert [name for name, cls in u.REGISTRY.items() if cls().nodes() is not None] == ["epps_pulley"]


class ToLaplace(u.UnivariateTest):
    """A statistic of one's own: distance to the law whose characteristic function is 1/(1 + t^2)."""

    grid = u.Grid(2.0, 9, lambda device: ToLaplace.on(device))

    @staticmethod
    def on(device):
        t = 0.25 * torch.arange(1, 9, dtype=torch.float64, device=device)
        return 1 / (1 + t**2), torch.exp(-t)

    def _statistic(self, x):
        c, s = characteristic_function_reference(x, 2.0, 9)
        target, weight = (row[:, None] for row in self.on(x.device))
        return (x.shape[-2] * (weight * ((c - target) ** 2 + s**2)).sum(-2)).to(x.dtype)

    def sum_form(self):
        return u.characteristic_sums(self.grid)


class Kuiper(u.UnivariateTest):
    """A statistic of one's own: the largest deviations of F_N from Phi on both sides."""

    uses_order = True

    def _statistic(self, x):
        return self._deviations(0.5 * torch.special.erfc(-x * math.sqrt(0.5)))

    def bulk(self, sample):
        return self._deviations(sample.cdf)

    def _deviations(self, cdf):
        n = cdf.shape[-2]
        steps = torch.arange(n, dtype=cdf.dtype)[:, None] / n
        return (steps + 1 / n - cdf).amax(-2) + (cdf - steps).amax(-2)


def test_a_grid_of_ones_own_is_projected_and_summed_in_one_operation(monkeypatch):
    calls, operation = [], slicing.estimators.sliced_epps_pulley
    monkeypatch.setattr(
        slicing.estimators, "sliced_epps_pulley", lambda *a, **k: calls.append(a[0].shape) or operation(*a, **k)
    )
    z, directions = sample(2, 30, 5).requires_grad_(), iid_directions(5, 7, generator=seeded_generator(1))
    value = SIGReg(ToLaplace(), 7)(z, seeded_generator(0), directions=directions)
    expected = ToLaplace()(z @ directions.double()).mean()
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=0)
    assert len(calls) == 1
    gradients = [torch.autograd.grad(of, z)[0] for of in (value, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-12)


def test_the_shared_sample_is_sorted_once_and_its_phi_taken_once(monkeypatch):
    evaluation = importlib.import_module("sigreg_lab.univariate.evaluate")  # the package has its function by this name
    counts = {"sort_samples": 0, "normal_cdf": 0}
    for name in counts:
        function = getattr(evaluation, name)

        def counted(x, name=name, function=function):
            counts[name] += 1
            return function(x)

        monkeypatch.setattr(evaluation, name, counted)
    tests = [u.Watson(), u.CramerVonMises(), u.AndersonDarling(), Kuiper(), u.KolmogorovSmirnov(), u.EppsPulley()]
    x = sample(20, 50)
    values = u.evaluate(tests, x)
    assert counts == {"sort_samples": 1, "normal_cdf": 1}
    for row, test in zip(values, tests, strict=True):
        torch.testing.assert_close(row, test(x), rtol=1e-11, atol=1e-12)
    u.evaluate([u.EppsPulley(), u.VCReg()], x)
    assert counts == {"sort_samples": 1, "normal_cdf": 1}, "nobody asked"


@pytest.mark.parametrize("statistic", CASES.values(), ids=CASES.keys())
def test_a_subclass_with_another_formula_inherits_no_way_to_the_base_classs_number(statistic):
    kind = type(statistic)
    twice = type("Twice", (kind,), {"_statistic": lambda self, x: 2 * super(twice, self)._statistic(x)})
    other = twice.__new__(twice)
    other.__dict__.update(statistic.__dict__)
    assert other.sum_form() is None
    assert other.nodes() is None
    x = sample(12, 5)
    torch.testing.assert_close(u.evaluate([other], x)[0], 2 * statistic(x), rtol=1e-11, atol=1e-12)
    z, directions = sample(1, 12, 4), iid_directions(4, 3, generator=seeded_generator(1), dtype=torch.float64)
    one, two = (SIGReg(of, 3)(z, seeded_generator(0), directions=directions) for of in (statistic, other))
    torch.testing.assert_close(two, 2 * one, rtol=1e-11, atol=1e-12)


def test_a_subclass_with_the_same_formula_inherits_all_of_them():
    class Named(u.EppsPulley):
        name = "mine"

    form = Named().sum_form()
    assert form is not None
    assert form.distance is not None
    assert Named().nodes() is not None
    assert Named.bulk is u.EppsPulley.bulk
