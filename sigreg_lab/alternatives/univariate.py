"""Univariate laws that a test of N(0, 1) is tried on, each with its moments and its characteristic function.

    normal mixture      sum_k w_k N(m_k, s_k^2)          phi(t) = sum_k w_k exp(i t m_k - t^2 s_k^2 / 2)
    Laplace             variance 1                       phi(t) = 1 / (1 + t^2 / 2)                          [1, ch. 24]
    logistic            variance 1                       phi(t) = sqrt(3) t / sinh(sqrt(3) t)                [1, ch. 23]
    uniform             on [-sqrt 3, sqrt 3]             phi(t) = sin(sqrt(3) t) / (sqrt(3) t)               [1, ch. 26]
    beta(2, 2)          on [-sqrt 5, sqrt 5]             phi(t) = 3 (sin u - u cos u) / u^3, u = sqrt(5) t   [1, ch. 25]
    Student t5          times sqrt(3/5)                  phi(t) = (1 + z + z^2/3) exp(-z), z = sqrt(3) |t|    [2]
    chi-squared_k       minus k, over sqrt(2 k)          phi(t) = exp(-i u k) (1 - 2 i u)^(-k/2), u = t / sqrt(2 k)
    skew-normal         standardised                     phi(u) = exp(-u^2/2) (1 + i erfi(d u / sqrt 2))      [3]
    Gauss-Hermite_n     n atoms: the first 2 n - 1 moments are those of N(0, 1)

The laws of shape (all but location and scale) have mean 0 and variance 1, so that only their shape gives them away.
Kurtosis is E (x - m)^4 / v^2, 3 for a normal law.

[1] Johnson, Kotz & Balakrishnan (1995), Continuous Univariate Distributions, vol. 2, Wiley.
[2] Hurst (1995), The characteristic function of the Student t distribution, ANU research report FMRR006-95.
[3] Azzalini (1985), Scandinavian Journal of Statistics 12, 171-178; with erfi for his integral of exp(x^2/2).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import ArrayLike, NDArray
from scipy import special

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Size = int | tuple[int, ...]


@dataclass(frozen=True)
class UnivariateAlternative:
    """A law on the line.

    Attributes:
        name: the name in registries, grids and rows.
        mean, variance, skewness, kurtosis: its moments; kurtosis is 3 for a normal law.
        characteristic_function: t -> E exp(i t x), complex, of the shape of t.
        sample: (numpy generator, size) -> float64 array of that size; the generator is the only randomness.
        density: x -> probability density; None for a discrete law.
        atoms: (points, probabilities) of a discrete law, else None.
    """

    name: str
    mean: float
    variance: float
    skewness: float
    kurtosis: float
    characteristic_function: Callable[[ArrayLike], Complex]
    sample: Callable[[np.random.Generator, Size], Real]
    density: Callable[[ArrayLike], Real] | None = None
    atoms: tuple[Real, Real] | None = None


def normal_mixture(
    name: str, weights: Sequence[float], means: Sequence[float], scales: Sequence[float], *, standardise: bool = False
) -> UnivariateAlternative:
    """A mixture of normal laws.

    Args:
        name: its name.
        weights: probabilities of the components; they sum to 1.
        means: the components' means.
        scales: the components' standard deviations, positive.
        standardise: shift and scale the mixture to mean 0 and variance 1.

    Raises:
        ValueError: weights that are negative or do not sum to 1, or a scale that is not positive.
    """
    w, m, s = (np.asarray(v, dtype=np.float64) for v in (weights, means, scales))
    if (w < 0).any() or abs(w.sum() - 1) > 1e-12:
        raise ValueError(f"weights must be probabilities that sum to 1, got {list(weights)}")
    if (s <= 0).any():
        raise ValueError(f"scales must be positive, got {list(scales)}")
    mean = float(w @ m)
    variance = float(w @ (s**2 + (m - mean) ** 2))
    if standardise:
        m, s = (m - mean) / math.sqrt(variance), s / math.sqrt(variance)
        mean, variance = 0.0, 1.0
    d = m - mean
    third = float(w @ (d**3 + 3 * d * s**2))
    fourth = float(w @ (d**4 + 6 * d**2 * s**2 + 3 * s**4))

    def characteristic_function(t: ArrayLike) -> Complex:
        u = np.asarray(t, dtype=np.float64)[..., None]
        return np.exp(1j * u * m - (u * s) ** 2 / 2) @ w.astype(np.complex128)

    def density(x: ArrayLike) -> Real:
        z = (np.asarray(x, dtype=np.float64)[..., None] - m) / s
        return np.exp(-(z**2) / 2) @ (w / (s * math.sqrt(2 * math.pi)))

    def sample(rng: np.random.Generator, size: Size) -> Real:
        z = rng.standard_normal(size)
        if len(w) == 1:
            return m[0] + s[0] * z
        component = np.searchsorted(np.cumsum(w)[:-1], rng.random(size), side="right")
        return m[component] + s[component] * z

    return UnivariateAlternative(
        name=name,
        mean=mean,
        variance=variance,
        skewness=third / variance**1.5,
        kurtosis=fourth / variance**2,
        characteristic_function=characteristic_function,
        sample=sample,
        density=density,
    )


def location(mean: float) -> UnivariateAlternative:
    """N(mean, 1), named ``location_<mean>``."""
    return normal_mixture(f"location_{mean:g}", [1.0], [mean], [1.0])


def scale(sd: float) -> UnivariateAlternative:
    """N(0, sd^2), named ``scale_<sd>``; ``sd`` is the standard deviation."""
    return normal_mixture(f"scale_{sd:g}", [1.0], [0.0], [sd])


def laplace() -> UnivariateAlternative:
    """Laplace law of variance 1 (scale 1/sqrt 2): heavier tails than normal."""
    return UnivariateAlternative(
        name="laplace",
        mean=0.0,
        variance=1.0,
        skewness=0.0,
        kurtosis=6.0,
        characteristic_function=lambda t: (1 / (1 + np.asarray(t, dtype=np.float64) ** 2 / 2)).astype(np.complex128),
        sample=lambda rng, size: rng.laplace(0.0, math.sqrt(0.5), size),
        density=lambda x: np.exp(-math.sqrt(2.0) * np.abs(x)) / math.sqrt(2.0),
    )


def uniform() -> UnivariateAlternative:
    """Uniform law on [-sqrt 3, sqrt 3]: variance 1, no tails."""
    end = math.sqrt(3.0)
    return UnivariateAlternative(
        name="uniform",
        mean=0.0,
        variance=1.0,
        skewness=0.0,
        kurtosis=1.8,
        characteristic_function=lambda t: np.sinc(np.asarray(t, dtype=np.float64) * end / np.pi).astype(np.complex128),
        sample=lambda rng, size: rng.uniform(-end, end, size),
        density=lambda x: np.where(np.abs(x) <= end, 1 / (2 * end), 0.0),
    )


def logistic() -> UnivariateAlternative:
    """Logistic law of variance 1 (scale sqrt(3)/pi): near the normal law, kurtosis 4.2."""
    spread = math.sqrt(3.0) / math.pi

    def characteristic_function(t: ArrayLike) -> Complex:
        u = np.abs(math.sqrt(3.0) * np.asarray(t, dtype=np.float64))
        # u / sinh u without overflow; 1 at 0
        safe = np.where(u > 0, u, 1.0)
        return np.where(u > 0, 2 * safe * np.exp(-safe) / -np.expm1(-2 * safe), 1.0).astype(np.complex128)

    return UnivariateAlternative(
        name="logistic",
        mean=0.0,
        variance=1.0,
        skewness=0.0,
        kurtosis=4.2,
        characteristic_function=characteristic_function,
        sample=lambda rng, size: rng.logistic(0.0, spread, size),
        density=lambda x: special.expit(np.asarray(x) / spread) * special.expit(-np.asarray(x) / spread) / spread,
    )


def beta_2() -> UnivariateAlternative:
    """Beta(2, 2) law on [-sqrt 5, sqrt 5] (Epanechnikov's kernel): variance 1, tails that end, kurtosis 15/7."""
    end = math.sqrt(5.0)
    return UnivariateAlternative(
        name="beta_2",
        mean=0.0,
        variance=1.0,
        skewness=0.0,
        kurtosis=15 / 7,
        # 3 j_1(u) / u with the spherical Bessel function j_1 is 0F1(; 5/2; -u^2/4)
        characteristic_function=lambda t: special.hyp0f1(2.5, -5 * np.asarray(t, dtype=np.float64) ** 2 / 4).astype(
            np.complex128
        ),
        sample=lambda rng, size: end * (2 * rng.beta(2.0, 2.0, size) - 1),
        density=lambda x: np.maximum(0.75 / end * (1 - (np.asarray(x, dtype=np.float64) / end) ** 2), 0.0),
    )


def student_t5() -> UnivariateAlternative:
    """Student's t with 5 degrees of freedom, scaled to variance 1: the fourth moment exists, the fifth does not."""
    shrink = math.sqrt(3.0 / 5.0)
    constant = special.gamma(3.0) / (math.sqrt(5 * math.pi) * special.gamma(2.5)) / shrink

    def characteristic_function(t: ArrayLike) -> Complex:
        z = math.sqrt(3.0) * np.abs(np.asarray(t, dtype=np.float64))
        return ((1 + z + z**2 / 3) * np.exp(-z)).astype(np.complex128)

    return UnivariateAlternative(
        name="t5",
        mean=0.0,
        variance=1.0,
        skewness=0.0,
        kurtosis=9.0,
        characteristic_function=characteristic_function,
        sample=lambda rng, size: shrink * rng.standard_t(5.0, size),
        density=lambda x: constant * (1 + np.asarray(x, dtype=np.float64) ** 2 / 3) ** -3.0,
    )


def chi_squared(df: int) -> UnivariateAlternative:
    """Chi-squared law with ``df`` degrees of freedom, standardised: skewness sqrt(8/df), named ``chi_squared_<df>``."""
    if df < 1:
        raise ValueError(f"df must be at least 1, got {df}")
    spread = math.sqrt(2.0 * df)

    def characteristic_function(t: ArrayLike) -> Complex:
        u = np.asarray(t, dtype=np.float64) / spread
        return np.exp(-1j * u * df) * (1 - 2j * u) ** (-df / 2)

    def density(x: ArrayLike) -> Real:
        y = df + spread * np.asarray(x, dtype=np.float64)
        inside = np.where(y > 0, y, 1.0)
        log = special.xlogy(df / 2 - 1, inside) - inside / 2 - df / 2 * math.log(2) - special.gammaln(df / 2)
        return np.where(y > 0, spread * np.exp(log), 0.0)

    return UnivariateAlternative(
        name=f"chi_squared_{df}",
        mean=0.0,
        variance=1.0,
        skewness=math.sqrt(8.0 / df),
        kurtosis=3 + 12 / df,
        characteristic_function=characteristic_function,
        sample=lambda rng, size: (rng.chisquare(df, size) - df) / spread,
        density=density,
    )


def skew_normal(shape: float) -> UnivariateAlternative:
    """Azzalini's skew-normal law, standardised; ``shape`` 0 is normal; named ``skew_normal_<shape>``."""
    delta = shape / math.sqrt(1 + shape**2)
    centre = delta * math.sqrt(2 / math.pi)
    spread = math.sqrt(1 - centre**2)

    def characteristic_function(t: ArrayLike) -> Complex:
        u = np.asarray(t, dtype=np.float64) / spread
        # exp(-u^2/2) erfi(delta u / sqrt 2), by Dawson's integral so that nothing overflows
        odd = 2 / math.sqrt(math.pi) * np.exp(-(u**2) * (1 - delta**2) / 2) * special.dawsn(delta * u / math.sqrt(2))
        return np.exp(-1j * u * centre) * (np.exp(-(u**2) / 2) + 1j * odd)

    def density(x: ArrayLike) -> Real:
        z = centre + spread * np.asarray(x, dtype=np.float64)
        return spread * 2 * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * special.ndtr(shape * z)

    def sample(rng: np.random.Generator, size: Size) -> Real:
        half, free = np.abs(rng.standard_normal(size)), rng.standard_normal(size)
        return (delta * half + math.sqrt(1 - delta**2) * free - centre) / spread

    return UnivariateAlternative(
        name=f"skew_normal_{shape:g}",
        mean=0.0,
        variance=1.0,
        skewness=(4 - math.pi) / 2 * (centre / spread) ** 3,
        kurtosis=3 + 2 * (math.pi - 3) * (centre / spread) ** 4,
        characteristic_function=characteristic_function,
        sample=sample,
        density=density,
    )


def gauss_hermite(num_atoms: int) -> UnivariateAlternative:
    """The discrete law on the Gauss-Hermite nodes: its first 2 ``num_atoms`` - 1 moments are those of N(0, 1).

    No test on those moments alone can tell it from N(0, 1), whatever the sample size. Named ``gauss_hermite_<n>``.
    """
    if num_atoms < 2:
        raise ValueError(f"num_atoms must be at least 2 (one atom has variance 0), got {num_atoms}")
    points, weights = hermegauss(num_atoms)
    probabilities = weights / weights.sum()
    edges = np.cumsum(probabilities)[:-1]

    def characteristic_function(t: ArrayLike) -> Complex:
        u = np.asarray(t, dtype=np.float64)[..., None]
        return np.exp(1j * u * points) @ probabilities.astype(np.complex128)

    return UnivariateAlternative(
        name=f"gauss_hermite_{num_atoms}",
        mean=0.0,
        variance=1.0,
        skewness=0.0,
        kurtosis=1.0 if num_atoms == 2 else 3.0,
        characteristic_function=characteristic_function,
        sample=lambda rng, size: points[np.searchsorted(edges, rng.random(size), side="right")],
        atoms=(points, probabilities),
    )


#: Every univariate law by its name. "null" is N(0, 1) itself: every study has it as a cell.
REGISTRY: dict[str, UnivariateAlternative] = {
    law.name: law
    for law in (
        normal_mixture("null", [1.0], [0.0], [1.0]),
        location(0.3),
        scale(1.25),
        scale(0.8),
        laplace(),
        logistic(),
        uniform(),
        beta_2(),
        student_t5(),
        chi_squared(2),
        chi_squared(5),
        skew_normal(4.0),
        normal_mixture("bimodal", [0.5, 0.5], [-1.0, 1.0], [0.6, 0.6], standardise=True),
        normal_mixture("skewed_mixture", [0.8, 0.2], [0.0, 2.0], [1.0, 0.5], standardise=True),
        normal_mixture("contaminated", [0.95, 0.05], [0.0, 0.0], [1.0, 3.0], standardise=True),
        normal_mixture("outliers", [0.95, 0.05], [0.0, 4.0], [1.0, 0.5], standardise=True),
        gauss_hermite(2),
        gauss_hermite(3),
        gauss_hermite(5),
        gauss_hermite(10),
    )
}
#: Their names, in order.
UNIVARIATE: tuple[str, ...] = tuple(REGISTRY)
