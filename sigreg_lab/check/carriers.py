"""Which features carry most of a departure of the mean or of the covariance from N(0, I).

Each departure is a sum of parts, here estimated without bias for normal rows: what chance adds is taken off. With s the
sample's covariance and n = N - 1,

    |mean|^2        mean      a part for each feature  m_k^2 - s_kk / N
    |Sigma - I|^2   variance  a part for each feature  n s_kk^2 / (n + 2) - 2 s_kk + 1
                    pair      a part for each pair     2 n (n s_jk^2 - s_jj s_kk) / ((n + 2) (n - 1))              [1]

The fewest parts of one kind that make at least 80% of the sum carry the departure, if they are three at most, and at
most half of all: else it belongs to many features.

[1] Srivastava (2005), Journal of the Japan Statistical Society 35, 251-272, whose estimates of tr Sigma^2 these sum to.
"""

import torch
from torch import Tensor

SHARE = 0.8
MOST = 3
#: Pairs are looked at up to this number of features.
MOST_FEATURES = 512


def carriers(
    x: Tensor, spectrum: Tensor, *, mean: bool, covariance: bool, standardised: bool
) -> dict[int, tuple[str, ...]]:
    """The features that carry the departures, those of the largest parts first, and what of each: "mean", "std" or
    "correlation".

    Args:
        x: the sample, shape (N, K), float64.
        spectrum: its variances along the principal axes, shape (K,).
        mean, covariance: which of the two departs.
        standardised: whether all variances are 1 by construction, so that the covariance departs by pairs alone.
    """
    n, dim = x.shape
    found: dict[int, tuple[str, ...]] = {}

    def add(features: list[int], what: str) -> None:
        for k in features:
            found[k] = (*found.get(k, ()), what)

    if mean:
        parts = mean_parts(x)
        add(_most(parts, parts.sum()), "mean")
    if covariance:
        of_variances = [] if standardised else _most(variance_parts(x), distance(spectrum, n))
        add(of_variances, "std")
        if not of_variances and 2 < dim <= MOST_FEATURES:
            parts = pair_parts(x)
            pairs = torch.triu_indices(dim, dim, 1)
            chosen = _most(parts, parts.sum() if standardised else distance(spectrum, n))
            add(list(dict.fromkeys(pairs[:, chosen].T.flatten().tolist())), "correlation")
    return found


def mean_parts(x: Tensor) -> Tensor:
    """Parts of |mean|^2 for a sample (N, K), shape (K,)."""
    return x.mean(0).square() - x.var(0) / len(x)


def variance_parts(x: Tensor) -> Tensor:
    """Parts of |Sigma - I|^2 by variances, shape (K,)."""
    n, variances = len(x) - 1, x.var(0)
    return n / (n + 2) * variances.square() - 2 * variances + 1


def pair_parts(x: Tensor) -> Tensor:
    """Parts of |Sigma - I|^2 by covariances, shape (K (K - 1) / 2,), as ``torch.triu_indices`` orders the pairs."""
    n, dim = len(x) - 1, x.shape[1]
    s = torch.cov(x.T).reshape(dim, dim)
    i, j = torch.triu_indices(dim, dim, 1)
    return 2 * n / ((n + 2) * (n - 1)) * (n * s[i, j].square() - s[i, i] * s[j, j])


def distance(spectrum: Tensor, num_rows: int) -> Tensor:
    """|Sigma - I|^2, the sum of its parts, by the variances along the principal axes: no K x K matrix is made."""
    n, trace = num_rows - 1, spectrum.sum()
    squares = n / ((n + 2) * (n - 1)) * (n * spectrum.square().sum() - trace.square())
    return squares - 2 * trace + len(spectrum)


def _most(parts: Tensor, total: Tensor) -> list[int]:
    """The fewest parts that make 80% of the total; none if more than three, or than half of all, would be needed."""
    order = parts.argsort(descending=True)[: min(MOST, max(1, len(parts) // 2))]
    enough = torch.nonzero(parts[order].cumsum(0) >= SHARE * total)
    return order[: int(enough[0]) + 1].tolist() if float(total) > 0 and len(enough) else []
