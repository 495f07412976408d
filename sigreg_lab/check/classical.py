"""Mardia's and Henze and Zirkler's tests of a normal law, by the limit laws that other packages print.

    skewness   N b1 / 6, chi-squared with K (K + 1) (K + 2) / 6 degrees of freedom                                 [1]
    kurtosis   z = (b2 - K (K + 2)) / sqrt(8 K (K + 2) / N), two-sided                                             [1]
    HZ         log-normal with the mean and variance that HZ has in the limit                                      [2]

The numbers are those of R's MVN and psych (skewness and kurtosis) and of MVN and pingouin (HZ), the covariance with
divisor N. Limit laws hold for many rows; the check decides by simulated laws, which hold for any number.

[1] Mardia (1970), Biometrika 57, 519-530.
[2] Henze & Zirkler (1990), Communications in Statistics - Theory and Methods 19, 3595-3617.
"""

import math

from torch import Tensor

from sigreg_lab.check.findings import ClassicalFinding
from sigreg_lab.multivariate import HZ, MardiaSkewness

#: Of the sum over all pairs, N^2 K: seconds on one core.
MOST_OPERATIONS = 4e9


def classical_findings(y: Tensor) -> tuple[ClassicalFinding, ...]:
    """The three tests of a whitened sample, shape (N, K); none if their sums over pairs would take minutes."""
    from scipy import stats

    n, dim = y.shape
    if n**2 * dim > MOST_OPERATIONS:
        return ()
    skewness = float(MardiaSkewness()(y))
    degrees = dim * (dim + 1) * (dim + 2) // 6
    kurtosis = float(y.square().sum(-1).square().mean())
    z = (kurtosis - dim * (dim + 2)) / math.sqrt(8 * dim * (dim + 2) / n)
    hz = float(HZ()(y))
    return (
        ClassicalFinding(
            "Mardia's skewness",
            skewness,
            n * skewness / 6,
            degrees,
            float(stats.chi2.sf(n * skewness / 6, degrees)),
        ),
        ClassicalFinding("Mardia's kurtosis", kurtosis, z, None, 2 * float(stats.norm.sf(abs(z)))),
        ClassicalFinding("Henze-Zirkler", hz, hz, None, _henze_zirkler_pvalue(hz, n, dim)),
    )


def _henze_zirkler_pvalue(value: float, n: int, dim: int) -> float:
    """Upper tail of the log-normal law with the limit's mean and variance [2, theorem 3.2 and section 4]."""
    from scipy import stats

    b = HZ.compute_bandwidth(n, dim) ** 2
    a = 1 + 2 * b
    w = (1 + b) * (1 + 3 * b)
    mean = 1 - a ** (-dim / 2) * (1 + dim * b / a + dim * (dim + 2) * b**2 / (2 * a**2))
    variance = (
        2 * (1 + 4 * b) ** (-dim / 2)
        + 2 * a**-dim * (1 + 2 * dim * b**2 / a**2 + 3 * dim * (dim + 2) * b**4 / (4 * a**4))
        - 4 * w ** (-dim / 2) * (1 + 3 * dim * b**2 / (2 * w) + dim * (dim + 2) * b**4 / (2 * w**2))
    )
    spread = math.log1p(variance / mean**2)
    return float(stats.lognorm.sf(value, math.sqrt(spread), scale=mean * math.exp(-spread / 2)))
