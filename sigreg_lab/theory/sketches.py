"""What Weak-SIGReg's sketch does to its minimum.

The regulariser is |S C S' - I|_F with S of shape (k, K), entries N(0, 1/K), drawn anew at each call, C the covariance
(``regularizers.WeakSIGReg``). A = S S' is a Wishart matrix over K, E A = I and E A^2 = (1 + (k + 1)/K) I, so that for
C = s^2 I

    E |S C S' - I|_F^2 = s^4 k (1 + (k + 1)/K) - 2 s^2 k + k

is least at s^2 = K/(K + k + 1), below 1, and k (k + 1)/K at C = I. No other covariance does better: the mean, of the
norm as of its square, is convex in C and does not change when C is rotated, so that the mean of a minimum over all
rotations, a multiple of I, is a minimum too.

[1] Mardia, Kent & Bibby (1979), Multivariate Analysis, section 3.4 (moments of Wishart matrices).
"""

import math


def mean_square(scale: float, rows: int, dim: int) -> float:
    """E |S C S' - I|_F^2 at C = scale^2 I, of a sketch of k = ``rows`` rows in R^dim."""
    return rows * (scale**4 * (1 + (rows + 1) / dim) - 2 * scale**2 + 1)


def best_scale(rows: int, dim: int) -> float:
    """The standard deviation at which that is least."""
    return math.sqrt(dim / (dim + rows + 1))
