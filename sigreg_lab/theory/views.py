"""Gradients of SIGReg and of the prediction loss for views z = A x of standard normal samples that correlate.

With f(s) = N L(s) + b(s), the mean of Epps-Pulley under N(0, s^2) (``theory.epps_pulley``),

    E dR/dA = E_a[f'(s_a)/s_a a a'] A,   s_a^2 = a'A A'a,   a uniform on the sphere

All V N embeddings of V views at once (flattened), correlation rho between views of a sample, in one dimension:

    E T = V N L(s) + int w (1 + (V - 1) exp(-t^2 s^2 (1 - rho)) - V exp(-t^2 s^2)) dt

whose slope in rho is positive: it pushes the views of a sample apart.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]
Grid = tuple[Array, Array, Array]


def flattened_mean(sd: float, rho: float, n: int, num_views: int, grid: Grid) -> tuple[float, float, float]:
    """Mean of Epps-Pulley over V N rows in which V views of a sample correlate, and its slopes in sd and rho.

    Args:
        sd: s.
        rho: correlation of two views of a sample.
        n: N.
        num_views: V; 1 for one view.
        grid: nodes t > 0, targets and weights.
    """
    t, target, weight = grid
    phi = np.exp(-((sd * t) ** 2) / 2)
    alike = np.exp(-((sd * t) ** 2) * (1 - rho))
    others = num_views - 1
    value = num_views * n * (phi - target) ** 2 + 1 + others * alike - num_views * phi**2
    in_sd = -2 * sd * t**2 * (num_views * n * (phi - target) * phi + others * (1 - rho) * alike - num_views * phi**2)
    in_rho = others * (sd * t) ** 2 * alike
    return float((weight * value).sum()), float((weight * in_sd).sum()), float((weight * in_rho).sum())


def _sphere_coordinate(dim: int) -> tuple[Array, Array]:
    """Nodes and weights of the law of one coordinate of a uniform direction."""
    nodes, weights = special.roots_gegenbauer(64, (dim - 2) / 2)
    return nodes.astype(np.float64), (weights / weights.sum()).astype(np.float64)


def mean_gradient(scales: Array, n: int, grid: Grid) -> Array:
    """Diagonal of E dR/dA at A = diag(scales), all entries 1 but the last, or all equal; the rest of it is 0."""
    last, first, dim = scales[-1], scales[0], len(scales)
    nodes, weights = _sphere_coordinate(dim)
    squares = nodes**2
    lengths = np.sqrt(first**2 * (1 - squares) + last**2 * squares)
    pull = np.array([flattened_mean(length, 0.0, n, 1, grid)[1] for length in lengths]) / lengths
    diagonal = np.full(dim, first * (weights * pull * (1 - squares)).sum() / (dim - 1))
    diagonal[-1] = last * (weights * pull * squares).sum()
    return diagonal


def embedding_square(sd: float, n: int, dim: int, num_slices: float, grid: Grid) -> float:
    """E |dR/dz|^2 for one of N embeddings under N(0, sd^2 I), R the mean over independent slices, ``math.inf`` of all.

    dT/dp_i = 2 sum_k w_k t_k D_k(p_i),   D_k(p_i) = 1/N sum_j sin(t_k (p_j - p_i)) + tau_k sin(t_k p_i), so that the
    mean product of two slices at the angle arccos(c) needs E sin sin of normal variables with correlation c alone.
    """
    t, target, weight = grid
    phi = np.exp(-((sd * t) ** 2) / 2)
    squares, products = np.add.outer(t**2, t**2), np.multiply.outer(t, t)

    def sines(c: float, variance: float) -> Array:
        low, high = (np.exp(-variance * (squares + sign * 2 * c * products) / 2) for sign in (-1, 1))
        return np.asarray(low - high) / 2

    pairs = (n - 1) / n**2
    own = pairs * (n - 2) * np.outer(phi, phi) + np.outer(target, target)
    own -= (n - 1) / n * (np.outer(phi, target) + np.outer(target, phi))
    factor = 4 * np.outer(weight * t, weight * t)

    def product(c: float) -> float:
        return float((factor * (pairs * sines(c, 2 * sd**2) + own * sines(c, sd**2))).sum())

    different = sum(w * c * product(c) for c, w in zip(*_sphere_coordinate(dim), strict=True))
    return product(1.0) / num_slices + (1 - 1 / num_slices) * different


def prediction_gradients(num_global: int, views: int) -> dict[str, float]:
    """Mean values of eq. 5 and 6, and of their gradients' squares and product, in units of one view's scatter.

    eq. 5 = eq. 6 + 1/V_g sum_g |z_g - mu|^2, so that eq. 5 = 2 eq. 6 if all views are global. Eq. 6 pulls locals to the
    centre and the centre to the locals; both equations pull the global views together.
    """
    local = views - num_global
    shared = local * (1 + 1 / num_global) + (local**2 / num_global + local) / num_global
    together, stronger = num_global - 1, 1 + views / num_global
    return {
        "eq. 6": 1 - 2 / views + 1 / num_global,
        "eq. 5": 2 - 2 / views,
        "eq. 6, gradient": 4 / views**2 * (shared + together),
        "eq. 5, gradient": 4 / views**2 * (shared + together * stronger**2),
        "product of gradients": 4 / views**2 * (shared + together * stronger),
    }
