"""Multivariate laws that a test of N(0, I) is tried on, in any dimension K.

    null             N(0, I)
    location_d       N(d e_1, I)
    scale_s          N(0, s^2 I)
    x                (z, s z, rest), z and rest normal, s = +-1 fair: marginals N(0, 1), covariance I, not Gaussian [1]
    x_pairs          coordinates in independent pairs (z, s z), the last one normal if K is odd
    rank_defect_k    N(0, diag(1, .., 1, 0, .., 0)), the last k coordinates collapsed
    hypercube        uniform on [-sqrt 3, sqrt 3]^K
    vertices         uniform on {-1, 1}^K
    sphere           uniform on the sphere of radius sqrt K          phi(t) = 0F1(; K/2; -K |t|^2 / 4)
    iid_<law>        independent coordinates of a univariate law
    elliptical_t5    multivariate Student t5 scaled to covariance I  phi(t) = (1 + z + z^2/3) exp(-z), z = sqrt(3) |t|

All but location, scale, rank_defect and the null itself have mean 0 and covariance I and are not Gaussian.

[1] Balestriero & LeCun (2025), arXiv:2511.08544, Figures 5 and 6.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from sigreg_lab.alternatives.univariate import REGISTRY, Complex, Real, Size, UnivariateAlternative


@dataclass(frozen=True)
class MultivariateAlternative:
    """A law on R^K.

    Attributes:
        name: the name in registries, grids and rows.
        dim: K.
        mean: shape (K,).
        covariance: shape (K, K).
        radial_fourth_moment: E |x - mean|^4; K (K + 2) for N(0, I).
        characteristic_function: t of shape (..., K) -> E exp(i t'x), complex, shape (...).
        sample: (numpy generator, size) -> float64 array of shape (*size, K).
    """

    name: str
    dim: int
    mean: Real
    covariance: Real
    radial_fourth_moment: float
    characteristic_function: Callable[[ArrayLike], Complex]
    sample: Callable[[np.random.Generator, Size], Real]


def _shape(size: Size, dim: int) -> tuple[int, ...]:
    return (*((size,) if isinstance(size, int) else size), dim)


def _check(dim: int, least: int, name: str) -> None:
    if dim < least:
        raise ValueError(f"dim must be at least {least} for {name!r}, got {dim}")


def gaussian(name: str, mean: Real, variances: Real) -> MultivariateAlternative:
    """N(mean, diag(variances)); a variance of 0 collapses that coordinate."""
    scales = np.sqrt(variances)

    def characteristic_function(t: ArrayLike) -> Complex:
        u = np.asarray(t, dtype=np.float64)
        return np.exp(1j * (u @ mean) - (u * scales) ** 2 @ np.full(len(mean), 0.5))

    return MultivariateAlternative(
        name=name,
        dim=len(mean),
        mean=mean,
        covariance=np.diag(variances),
        radial_fourth_moment=float(variances.sum() ** 2 + 2 * (variances**2).sum()),
        characteristic_function=characteristic_function,
        sample=lambda rng, size: mean + scales * rng.standard_normal(_shape(size, len(mean))),
    )


def null(dim: int) -> MultivariateAlternative:
    """N(0, I)."""
    _check(dim, 1, "null")
    return gaussian("null", np.zeros(dim), np.ones(dim))


def location(dim: int, shift: float) -> MultivariateAlternative:
    """N(shift e_1, I)."""
    _check(dim, 1, "location")
    return gaussian(f"location_{shift:g}", shift * np.eye(dim)[0], np.ones(dim))


def rank_defect(dim: int, defect: int) -> MultivariateAlternative:
    """N(0, I) with its last ``defect`` coordinates set to 0."""
    _check(dim, defect + 1, f"rank_defect_{defect}")
    return gaussian(f"rank_defect_{defect}", np.zeros(dim), (np.arange(dim) < dim - defect).astype(np.float64))


def scale(dim: int, sd: float) -> MultivariateAlternative:
    """N(0, sd^2 I)."""
    _check(dim, 1, "scale")
    return gaussian(f"scale_{sd:g}", np.zeros(dim), np.full(dim, sd**2))


def cross(dim: int, num_pairs: int = 1) -> MultivariateAlternative:
    """The 'X': the first two coordinates lie on the two diagonals, the others are independent normal.

    With more pairs, named ``x_pairs``, each of the first ``num_pairs`` pairs of coordinates is an 'X' of its own.
    """
    name = "x" if num_pairs == 1 else "x_pairs"
    _check(dim, 2 * num_pairs, name)
    end = 2 * num_pairs

    def characteristic_function(t: ArrayLike) -> Complex:
        u = np.asarray(t, dtype=np.float64)
        plus, minus = (u[..., 0:end:2] + u[..., 1:end:2]) ** 2, (u[..., 0:end:2] - u[..., 1:end:2]) ** 2
        pairs = np.prod((np.exp(-plus / 2) + np.exp(-minus / 2)) / 2, axis=-1)
        return (pairs * np.exp(-(u[..., end:] ** 2).sum(-1) / 2)).astype(np.complex128)

    def sample(rng: np.random.Generator, size: Size) -> Real:
        x = rng.standard_normal(_shape(size, dim))
        x[..., 1:end:2] = x[..., 0:end:2] * (2 * rng.integers(0, 2, (*x.shape[:-1], num_pairs)) - 1)
        return x

    return MultivariateAlternative(
        name=name,
        dim=dim,
        mean=np.zeros(dim),
        covariance=np.eye(dim),
        radial_fourth_moment=float(8 * num_pairs + 2 * (dim - end) + dim**2),
        characteristic_function=characteristic_function,
        sample=sample,
    )


def independent(dim: int, law: UnivariateAlternative, name: str | None = None) -> MultivariateAlternative:
    """K independent coordinates of a univariate law, named ``iid_<law>`` unless a name is given."""
    name = name or f"iid_{law.name}"
    _check(dim, 1, name)
    return MultivariateAlternative(
        name=name,
        dim=dim,
        mean=np.full(dim, law.mean),
        covariance=law.variance * np.eye(dim),
        radial_fourth_moment=law.variance**2 * dim * (law.kurtosis + dim - 1),
        characteristic_function=lambda t: np.prod(law.characteristic_function(t), axis=-1),
        sample=lambda rng, size: law.sample(rng, _shape(size, dim)),
    )


def sphere(dim: int) -> MultivariateAlternative:
    """Uniform on the sphere of radius sqrt K: covariance I, no radial spread."""
    _check(dim, 1, "sphere")

    def characteristic_function(t: ArrayLike) -> Complex:
        squared = (np.asarray(t, dtype=np.float64) ** 2).sum(-1)
        return special.hyp0f1(dim / 2, -dim * squared / 4).astype(np.complex128)

    def sample(rng: np.random.Generator, size: Size) -> Real:
        z = rng.standard_normal(_shape(size, dim))
        return math.sqrt(dim) * z / np.linalg.norm(z, axis=-1, keepdims=True)

    return MultivariateAlternative(
        name="sphere",
        dim=dim,
        mean=np.zeros(dim),
        covariance=np.eye(dim),
        radial_fourth_moment=float(dim**2),
        characteristic_function=characteristic_function,
        sample=sample,
    )


def elliptical_t5(dim: int) -> MultivariateAlternative:
    """Multivariate Student t with 5 degrees of freedom, covariance I: every projection is the univariate t5 law."""
    _check(dim, 1, "elliptical_t5")

    def sample(rng: np.random.Generator, size: Size) -> Real:
        z = rng.standard_normal(_shape(size, dim))
        return z * np.sqrt(3.0 / rng.chisquare(5.0, (*z.shape[:-1], 1)))

    return MultivariateAlternative(
        name="elliptical_t5",
        dim=dim,
        mean=np.zeros(dim),
        covariance=np.eye(dim),
        radial_fourth_moment=3.0 * dim * (dim + 2),
        characteristic_function=lambda t: REGISTRY["t5"].characteristic_function(np.linalg.norm(t, axis=-1)),
        sample=sample,
    )


#: How to build each multivariate law in dimension K, by its name: ``MULTIVARIATE["x"](128)``.
MULTIVARIATE: dict[str, Callable[[int], MultivariateAlternative]] = {
    "null": null,
    "location_0.3": lambda dim: location(dim, 0.3),
    "scale_1.1": lambda dim: scale(dim, 1.1),
    "scale_0.9": lambda dim: scale(dim, 0.9),
    "x": cross,
    "x_pairs": lambda dim: cross(dim, max(2, dim // 2)),
    "rank_defect_1": lambda dim: rank_defect(dim, 1),
    "rank_defect_4": lambda dim: rank_defect(dim, 4),
    "hypercube": lambda dim: independent(dim, REGISTRY["uniform"], "hypercube"),
    "vertices": lambda dim: independent(dim, REGISTRY["gauss_hermite_2"], "vertices"),
    "sphere": sphere,
    "iid_laplace": lambda dim: independent(dim, REGISTRY["laplace"]),
    "iid_chi_squared_5": lambda dim: independent(dim, REGISTRY["chi_squared_5"]),
    "elliptical_t5": elliptical_t5,
}
