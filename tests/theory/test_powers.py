"""Exact powers against quadrature and simulated likelihood ratios."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from sigreg_lab import alternatives
from sigreg_lab.alternatives.multivariate import gaussian
from sigreg_lab.theory.powers import most_powerful, power_of_mean, power_of_moments, power_of_radius


@pytest.mark.parametrize("statistic", ["vcreg", "mean_std"])
@pytest.mark.parametrize(("mean", "sd"), [(0.0, 1.0), (0.3, 1.0), (0.0, 0.8)])
def test_the_power_of_moments_equals_quadrature_over_both_moments(statistic, mean, sd):
    n, critical = 12, {"vcreg": 7.0, "mean_std": 0.25}[statistic]

    def accepted(s):
        """P(not rejected, s^2) by the noncentral chi-squared law of n m^2 / sd^2."""
        room = (
            s**2 / n * (critical - (n - 1) * (s**2 - 1) ** 2 / 2) if statistic == "vcreg" else critical - (s - 1) ** 2
        )
        density = stats.chi2.pdf((n - 1) * s**2 / sd**2, n - 1) * 2 * (n - 1) * s / sd**2
        return density * stats.ncx2.cdf(n * max(room, 0.0) / sd**2, 1, n * mean**2 / sd**2 + 1e-12)

    expected = 1 - integrate.quad(accepted, 0, 3, limit=500, epsabs=1e-9)[0]
    assert power_of_moments(statistic, critical, n, mean, sd) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("mean", "sd", "expected"), [(0.3, 1.0, 0.7765), (0.0, 1.25, 0.8211), (0.0, 0.8, 0.7912)])
def test_the_most_powerful_test_is_that_of_simulated_likelihood_ratios(mean, sd, expected):
    """Expected: the share of 400,000 samples whose log-likelihood ratio exceeds the 95% point of 400,000 null ones."""
    assert most_powerful(0.05, 64, mean, sd) == pytest.approx(expected, abs=0.004)


def test_a_law_that_is_the_null_or_differs_in_both_is_refused():
    for mean, sd in ((0.0, 1.0), (0.3, 0.8)):
        with pytest.raises(ValueError, match="one of mean and sd must differ"):
            most_powerful(0.05, 10, mean, sd)
    assert np.isfinite(most_powerful(0.05, 10, 0.3, 1.0))


@pytest.mark.parametrize(("law", "dim"), [("location_0.3", 4), ("scale_1.1", 4), ("rank_defect_1", 4), ("sphere", 4)])
def test_exact_powers_are_those_of_a_simulation(law, dim):
    n, law = 10, alternatives.MULTIVARIATE[law](dim)
    x = law.sample(np.random.default_rng(2), (40_000, n))
    mean, radius = n * (x.mean(1) ** 2).sum(-1), np.abs((x**2).sum((1, 2)) / (n * dim) - 1)
    for name, values, critical in (("mean", mean, stats.chi2.isf(0.05, dim)), ("radius", radius, 0.25)):
        if name == "mean" and law.name == "sphere":
            continue
        expected = {"mean": power_of_mean, "radius": power_of_radius}[name](critical, n, law)
        error = np.sqrt(expected * (1 - expected) / len(values))
        assert abs((values > critical).mean() - expected) <= 4 * error


def test_a_shift_to_either_side_has_the_same_powers():
    assert most_powerful(0.05, 20, -0.4, 1.0) == most_powerful(0.05, 20, 0.4, 1.0)
    for statistic, critical in (("vcreg", 7.0), ("mean_std", 0.25)):
        left, right = (power_of_moments(statistic, critical, 12, mean, 0.8) for mean in (-0.5, 0.5))
        assert left == pytest.approx(right, rel=1e-12)


def test_powers_under_a_law_that_is_shifted_and_narrow_are_those_of_a_simulation():
    n, law = 10, gaussian("location_and_scale", np.array([0.5, 0.0, 0.0]), np.array([0.5, 0.5, 0.0]))
    x = law.sample(np.random.default_rng(2), (40_000, n))
    mean, radius = n * (x.mean(1) ** 2).sum(-1), np.abs((x**2).sum((1, 2)) / (n * 3) - 1)
    for power, values, critical in ((power_of_mean, mean, 3.0), (power_of_radius, radius, 0.6)):
        expected = power(critical, n, law)
        error = math.sqrt(expected * (1 - expected) / len(values))
        assert abs((values > critical).mean() - expected) <= 4 * error
        assert 0.1 < expected < 0.9
