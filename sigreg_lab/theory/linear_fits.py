"""Least squares and logistic regression refitted on many samples of one embedding: Figures 3 and 17 of LeJEPA.

The embedding is N(0, diag(eigenvalues)). Least squares on n samples with noise of variance s^2 has, over samples and
noise, the covariance s^2 / (n - K - 1) diag(1/eigenvalues): of all spectra of one trace the flat one has the least sum.

[1] Mardia, Kent & Bibby (1979), Multivariate Analysis, section 3.8 (the mean of an inverse Wishart matrix).
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def least_squares(
    rng: np.random.Generator, eigenvalues: Array, truth: Array, *, n: int, noise: float, replicates: int
) -> Array:
    """Weights that least squares finds, of ``replicates`` samples of n; shape (replicates, K)."""
    x = rng.standard_normal((replicates, n, len(eigenvalues))) * np.sqrt(eigenvalues)
    y = x @ truth + noise * rng.standard_normal((replicates, n))
    moments = x.transpose(0, 2, 1) @ x
    return np.linalg.solve(moments, np.einsum("rnk,rn->rk", x, y)[..., None])[..., 0]


def least_squares_covariance(eigenvalues: Array, *, n: int, noise: float) -> Array:
    """The exact covariance of those weights; n above K + 1."""
    dim = len(eigenvalues)
    if n <= dim + 1:
        raise ValueError(f"n must be above K + 1 = {dim + 1} for the weights to have a covariance, got {n}")
    return np.diag(noise**2 / (n - dim - 1) / eigenvalues)


def logistic(rng: np.random.Generator, eigenvalues: Array, truth: Array, *, n: int, replicates: int) -> Array:
    """Weights and, last, intercepts of logistic regression without penalty; shape (replicates, K + 1).

    Labels are 1 with probability 1 / (1 + exp(-x truth)).
    """
    from sklearn.linear_model import LogisticRegression

    found = []
    for _ in range(replicates):
        x = rng.standard_normal((n, len(eigenvalues))) * np.sqrt(eigenvalues)
        labels = rng.random(n) < 1 / (1 + np.exp(-x @ truth))
        fit = LogisticRegression(C=np.inf).fit(x, labels)
        found.append([*fit.coef_[0], *fit.intercept_])
    return np.array(found)
