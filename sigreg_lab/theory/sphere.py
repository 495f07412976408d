"""Theorem 5 of LeJEPA: what a slice on the sphere says of its neighbours, by the smoothness alpha of the law.

If Epps-Pulley is 0 on M directions, its mean over all of them is at most C(K, alpha) M^(-2 alpha/(K-1)) times a Sobolev
norm of order alpha, with

    C(K, alpha) = 2^(2 alpha) pi^((K-1)/2) Gamma(alpha + (K-1)/2) / ((K-1) Gamma(alpha) Gamma((K-1)/2))

as printed. On the sphere of three dimensions functions of a given smoothness are drawn by their spectrum: a Gaussian
field whose coefficients of degree l have the variance (l (l+1))^-(alpha+1) lies in the Sobolev space of order s exactly
if s < alpha, because degree l has 2l+1 of them.

[1] Balestriero & LeCun (2025), arXiv 2511.08544, Theorem 5. [2] Lang & Schwab (2015), Annals of Applied Probability 25,
3047-3094, section 4 (the spectrum).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Array = NDArray[np.float64]


def log_bound(alpha: ArrayLike, dim: int, num_slices: int = 1) -> Array:
    """Natural logarithm of C(K, alpha) M^(-2 alpha/(K-1)); of the constant alone at one slice.

    Args:
        alpha: smoothness, above 0, any shape.
        dim: K, at least 2.
        num_slices: M.

    Raises:
        ValueError: an argument outside its range.
    """
    order = np.asarray(alpha, dtype=np.float64)
    if dim < 2 or num_slices < 1 or not (order > 0).all():
        raise ValueError(
            f"alpha must be above 0, dim at least 2, num_slices at least 1; got {alpha!r}, {dim}, {num_slices}"
        )
    half = (dim - 1) / 2
    constant = 2 * order * np.log(2) + half * np.log(np.pi) - np.log(dim - 1) - special.gammaln(half)
    constant = constant + special.gammaln(order + half) - special.gammaln(order)
    return np.asarray(constant - order / half * np.log(num_slices))


def spectrum(alpha: float, degree: int) -> Array:
    """Standard deviations of the field's coefficients, by degree 1 .. ``degree``."""
    degrees = np.arange(1, degree + 1)
    return (degrees * (degrees + 1.0)) ** (-(alpha + 1) / 2)


def smooth_field(rng: np.random.Generator, alpha: float, theta: Array, phi: Array, degree: int = 40) -> Array:
    """A Gaussian field of mean 0 on the sphere, of smoothness ``alpha``, on a grid of angles.

    The same generator state gives the same field, smoothed more or less.

    Args:
        rng: draws the coefficients.
        alpha: smoothness.
        theta: angles from the pole, shape (T,).
        phi: angles around it, shape (P,).
        degree: the last degree of the expansion.

    Returns:
        Shape (T, P).
    """
    field = np.zeros((len(theta), len(phi)))
    for number, spread in enumerate(spectrum(alpha, degree), 1):
        orders = np.arange(number + 1)
        legendre = special.sph_harm_y(number, orders[:, None], theta, 0.0).real  # (orders, T)
        legendre[1:] *= np.sqrt(2)
        cosine, sine = rng.standard_normal((2, number + 1))
        around = cosine[:, None] * np.cos(orders[:, None] * phi) + sine[:, None] * np.sin(orders[:, None] * phi)
        field += spread * legendre.T @ around
    return field
