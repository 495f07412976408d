"""Probes on embeddings of a known law: ridge, kernel and nearest neighbours; Fisher informations; slices of VICReg.

Laws of the embedding in R^K, all of total variance tr Cov = K: the isotropic Gaussian, Gaussians whose covariance has a
geometric spectrum of condition number c, and laws of covariance I that are not Gaussian; "ball power m" has the density
(1 - |x|^2/R^2)^m on a ball, with J(p) = K m (K + 2 m)/((m - 1) R^2), R^2 = K + 2 m + 2.

    ridge    Given a design with X'X/n = Lambda and a ridge rho n, the task beta has the squared bias
                 |rho (Lambda + rho)^-1 beta|^2              of the weights, beta on the unit sphere (Lemma 1)
                 |rho (Lambda + rho)^-1 Lambda^1/2 beta|^2   of the predictions, for the same beta
    kernel   Nadaraya-Watson with N(0, h^2 I) on a Gaussian, tasks sqrt 2 cos(w'x + b), w ~ N(0, I/l^2), b uniform: with
             s_j = h^2 l_j/(h^2 + l_j), c_j = 1 - s_j/h^2, the integrated squared bias is
                 1 + prod (1 + 2 s_j/l^2)^-1/2 - 2 prod (1 + (s_j + c_j^2 l_j)/l^2)^-1/2
             With h^2 = r^2/(K + 2) that of k-NN in a radius r has the same leading terms,
                 h^4 (J(p)/l^2 + K (K + 2)/(4 l^4)) + o(h^4)
             of which Theorem 1 writes the first, tau_g^2 = 1/l^2, and leaves the other in O(r^4).
    Fisher   J(p) = E |grad log p|^2; of a Gaussian it is tr Sigma^-1
    slices   mean^2 + (std - 1)^2 over all directions (B.14): |m|^2/K + tr C/K + 1 - 2 E sqrt(a'C a)
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import integrate, optimize, special, stats

from sigreg_lab.alternatives import MULTIVARIATE

Array = NDArray[np.float64]

CONDITIONS = (4, 16, 64)
ROTATED = "condition 16, rotated"  # the same law but for a rotation: all differences are exactly zero
BALL_POWER = 4
MODE, SPREAD = 0.8, 0.6  # of the mixture's coordinates: N(+-0.8, 0.36), variance 1
CONSTRAINTS: dict[str, Callable[[Array], float]] = {  # each is 1 for the identity
    "trace": lambda eigenvalues: float(eigenvalues.mean()),
    "determinant": lambda eigenvalues: math.exp(float(np.log(eigenvalues).mean())),
    "Frobenius": lambda eigenvalues: math.sqrt(float((eigenvalues**2).mean())),
    "spectral": lambda eigenvalues: float(eigenvalues.max()),
}


@dataclasses.dataclass(frozen=True)
class Law:
    """An embedding: draws of shape (*size, K), log density up to a constant, J(p), covariance."""

    sample: Callable[[np.random.Generator, tuple[int, ...]], Array]
    log_density: Callable[[Array], Array]
    fisher: float
    covariance: Array


def spectrum(dim: int, condition: float) -> Array:
    """Geometric, of that condition number and mean 1."""
    values = float(condition) ** -np.linspace(0, 1, dim)
    return values / values.mean()


def gaussian(eigenvalues: Array, axes: Array | None = None) -> Law:
    axes = np.eye(len(eigenvalues)) if axes is None else axes
    return Law(
        lambda rng, size: (rng.standard_normal((*size, len(eigenvalues))) * np.sqrt(eigenvalues)) @ axes.T,
        lambda x: -((x @ axes) ** 2 / eigenvalues).sum(-1) / 2,
        float((1 / eigenvalues).sum()),
        axes @ np.diag(eigenvalues) @ axes.T,
    )


def ball(dim: int, power: int) -> Law:
    """Density (1 - |x|^2/R^2)^power on the ball of radius R; power 0 is uniform, with a step at the edge."""
    square = dim + 2 * power + 2

    def sample(rng: np.random.Generator, size: tuple[int, ...]) -> Array:
        z = rng.standard_normal((*size, dim))
        radius = np.sqrt(square * rng.beta(dim / 2, power + 1, (*size, 1)))
        return z * radius / np.linalg.norm(z, axis=-1, keepdims=True)

    def log_density(x: Array) -> Array:
        inside = 1 - (x**2).sum(-1) / square
        return np.where(inside > 0, power * np.log(np.maximum(inside, 1e-300)), -np.inf)

    fisher = dim * power * (dim + 2 * power) / ((power - 1) * square) if power > 1 else math.inf
    return Law(sample, log_density, fisher, np.eye(dim))


def mixture_fisher() -> float:
    """J of a coordinate of the mixture, by quadrature."""
    x = np.linspace(-8, 8, 8001)
    parts: Array = stats.norm.pdf(x[:, None], [-MODE, MODE], SPREAD) / 2
    slope = -(parts * (x[:, None] - [-MODE, MODE])).sum(1) / SPREAD**2
    return float(np.trapezoid(slope**2 / parts.sum(1), x))


def laws(dim: int) -> dict[str, Law]:
    """All laws that have a density."""
    eye = np.eye(dim)
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((dim, dim)))[0]

    def mixture(rng: np.random.Generator, size: tuple[int, ...]) -> Array:
        return MODE * rng.choice([-1.0, 1.0], (*size, dim)) + SPREAD * rng.standard_normal((*size, dim))

    return {
        "Gaussian": gaussian(np.ones(dim)),
        **{f"condition {c}": gaussian(spectrum(dim, c)) for c in CONDITIONS},
        ROTATED: gaussian(spectrum(dim, 16), rotation),
        f"ball power {BALL_POWER}": ball(dim, BALL_POWER),
        "mixture": Law(
            mixture,
            lambda x: np.logaddexp(-((x - MODE) ** 2) / 2 / SPREAD**2, -((x + MODE) ** 2) / 2 / SPREAD**2).sum(-1),
            dim * mixture_fisher(),
            eye,
        ),
        "Laplace": Law(
            MULTIVARIATE["iid_laplace"](dim).sample,
            lambda x: -math.sqrt(2) * np.abs(x).sum(-1),
            2.0 * dim,
            eye,
        ),
        "Student t5": Law(
            MULTIVARIATE["elliptical_t5"](dim).sample,
            lambda x: -(5 + dim) / 2 * np.log1p((x**2).sum(-1) / 3),
            5 * dim * (dim + 5) / (3 * (dim + 7)),
            eye,
        ),
        "uniform in a ball": ball(dim, 0),
        "uniform in a cube": Law(
            MULTIVARIATE["hypercube"](dim).sample,
            lambda x: np.where((np.abs(x) < math.sqrt(3)).all(-1), 0.0, -np.inf),
            math.inf,
            eye,
        ),
    }


def ridge_biases(eigenvalues: Array, ridge: float) -> dict[str, Array]:
    """Weights of the squares of a unit vector in the squared bias, by what is fixed and what is measured."""
    shrink = (ridge / (eigenvalues + ridge)) ** 2
    return {"weights": shrink, "predictions": eigenvalues * shrink}


def kernel_terms(eigenvalues: Array, width: float) -> tuple[Array, Array]:
    """s_j and s_j + c_j^2 l_j: variance around the query that the probe sees, and that plus the shift's."""
    seen = width**2 * eigenvalues / (width**2 + eigenvalues)
    return seen, seen + (1 - seen / width**2) ** 2 * eigenvalues


def kernel_bias(eigenvalues: Array, width: float, length: float, *, data: bool = False) -> float:
    """Integrated squared bias of Nadaraya-Watson for a Gaussian; ``data``: mean over tasks drawn in the data."""
    first, second = (terms / eigenvalues if data else terms for terms in kernel_terms(eigenvalues, width))
    ends = [0.5 * np.log1p(c * v / length**2).sum() for c, v in ((2, first), (1, second))]
    return float(2 * -np.expm1(-ends[1]) + np.expm1(-ends[0]))


def kernel_bound(dim: int, length: float) -> float:
    """Theorem 1's bound (mu_2/2)^2 (2 B^2 + 8 L^2 J(p)) for the isotropic Gaussian, in units of h^4, mean over tasks.

    Of the task sqrt 2 cos(w'x + b): B = sqrt 2 |w|^2, L = sqrt 2 |w|; E |w|^2 = K/l^2, E |w|^4 = K (K + 2)/l^4, J = K.
    """
    return dim * (dim + 2) / length**4 + 4 * dim**2 / length**2


def least_trace(dim: int, constraint: str, rng: np.random.Generator) -> float:
    """The least tr Sigma^-1 that an optimiser finds under a constraint, from a random spectrum."""

    def scaled(logs: Array) -> float:  # of degree 0 in the spectrum: no constraint is left
        return CONSTRAINTS[constraint](np.exp(logs)) * float(np.exp(-logs).sum())

    def plain(logs: Array) -> float:
        return float(np.exp(-logs).sum())

    start = rng.standard_normal(dim)
    if constraint == "spectral":
        return float(optimize.minimize(plain, -abs(start), bounds=[(None, 0.0)] * dim).fun)
    return float(optimize.minimize(scaled, start, method="BFGS").fun)


def correlated(dim: int, correlation: float) -> Array:
    """A covariance with variances 1 and one correlation."""
    covariance = np.eye(dim)
    covariance[0, 1] = covariance[1, 0] = correlation
    return covariance


def limit_of_slices(mean: Array, covariance: Array) -> float:
    """mean^2 + (std - 1)^2 averaged over all directions.

    E sqrt(a'Ca) = E sqrt(g'Cg)/E |g| for g ~ N(0, I), E sqrt Q = 1/(2 sqrt pi) int (1 - E exp(-s Q)) s^-3/2 ds.
    """
    dim = len(mean)
    values = np.linalg.eigvalsh(covariance)

    def integrand(u: float) -> float:  # s = exp(u)
        return -math.expm1(-0.5 * float(np.log1p(2 * math.exp(u) * values).sum())) * math.exp(-u / 2)

    root = integrate.quad(integrand, -60, 60, limit=400, points=[0.0])[0] / (2 * math.sqrt(math.pi))
    length = math.sqrt(2) * math.exp(special.gammaln((dim + 1) / 2) - special.gammaln(dim / 2))
    return float(mean @ mean / dim + values.mean() + 1 - 2 * root / length)
