"""Which features are not normal: two omnibus tests of each, whatever its mean and variance.

    Shapiro-Wilk        W, p-value by Royston (SciPy, as R's shapiro.test); up to 5,000 rows                       [1]
    Anderson-Darling    A2 of the standardised feature, p-value by D'Agostino and Stephens (as R's nortest)        [2]

Shapiro-Wilk has the most power against most alternatives, Anderson-Darling is close to it and knows no largest N. Of
all 2 K p-values together, Holm's correction says which features depart.

[1] Royston (1995), Applied Statistics 44, 547-551 (AS R94).
[2] Stephens (1986), in D'Agostino & Stephens, Goodness-of-Fit Techniques, table 4.9.
"""

import itertools
import warnings
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from sigreg_lab.check.findings import FeatureFinding
from sigreg_lab.nulls.law import Array
from sigreg_lab.univariate import AndersonDarling

MOST_ROWS_OF_SHAPIRO = 5000  # what Royston's approximation was fitted to
MOST_FEATURES = 512  # of those kept in findings, the smallest p-values first
#: A feature of so few different values is discrete, whatever the values.
FEW_VALUES = 10
# Upper ends of A2* = A2 (1 + 0.75/n + 2.25/n^2), and log p or log (1 - p) as a polynomial, highest power first.
_STEPS = (
    (0.2, False, (-223.73, 101.14, -13.436)),
    (0.34, False, (-59.938, 42.796, -8.318)),
    (0.6, True, (-1.38, -4.279, 0.9177)),
    (13.0, True, (0.0186, -5.709, 1.2937)),
)


def feature_tests(z: Tensor) -> tuple[Tensor, Tensor]:
    """Statistics W and A2, and their p-values, of each feature.

    Args:
        z: standardised features, shape (N, K), float64; constant ones hold zeros.

    Returns:
        Two tensors of shape (2, K); NaN for constant features, and W beyond 5,000 rows.
    """
    from scipy import stats

    n, dim = z.shape
    varies = (z != 0).any(0)
    y = z[:, varies]
    statistics, pvalues = torch.full((2, 2, dim), torch.nan, dtype=torch.float64)
    if y.shape[1]:
        if n <= MOST_ROWS_OF_SHAPIRO:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a range that is small: z is what it is
                found = stats.shapiro(y.numpy(), axis=0)
            statistics[0, varies], pvalues[0, varies] = (torch.from_numpy(np.asarray(v)) for v in found)
        with torch.no_grad():
            squared = AndersonDarling()(y)
        statistics[1, varies] = squared
        pvalues[1, varies] = torch.from_numpy(_pvalue(squared.numpy() * (1 + 0.75 / n + 2.25 / n**2)))
    return statistics, pvalues


def _pvalue(value: Array) -> Array:
    """By D'Agostino and Stephens' table; 0 beyond A2* = 13, where p is below 1e-30."""
    found = np.zeros_like(value)
    below = -np.inf
    for upper, is_log_p, coefficients in _STEPS:
        here = (value >= below) & (value < upper)
        log = np.polyval(coefficients, value[here])
        found[here] = np.exp(log) if is_log_p else -np.expm1(log)
        below = upper
    return found.clip(0.0, 1.0)


def feature_findings(
    x: Tensor,
    std: Tensor,
    names: tuple[str, ...],
    statistics: Tensor,
    pvalues: Tensor,
    adjusted: Tensor,
    *,
    bad_shape: Tensor,
    carried: Mapping[int, tuple[str, ...]],
) -> tuple[FeatureFinding, ...]:
    """A finding for each of at most 512 features: those of ``carried`` first, then by the smallest p-value.

    Args:
        x: the sample, shape (N, K), float64.
        std: of each feature, 0 if it is constant.
        names: of the features.
        statistics, pvalues: of ``feature_tests``; the p-values may be combined from several views.
        adjusted: the smaller of each feature's two by Holm's method, shape (K,).
        bad_shape: which features are found not normal, shape (K,).
        carried: what departures of mean and covariance are carried by which feature, see ``carriers``.
    """
    least = pvalues.nan_to_num(2.0).amin(0)
    others = (k for k in least.argsort(stable=True).tolist() if k not in carried)
    chosen = [*carried, *itertools.islice(others, MOST_FEATURES - len(carried))]
    found = []
    for k in chosen:
        column = x[:, k]
        mean, scale = float(column.mean()), float(std[k])
        skewness = kurtosis = None
        if scale:
            y = (column - mean) / (column - mean).abs().max()
            y = y / y.std(correction=0)
            skewness, kurtosis = float(y.pow(3).mean()), float(y.pow(4).mean()) - 3
        values = [None if v != v else v for v in (*statistics[:, k].tolist(), *pvalues[:, k].tolist())]
        found.append(
            FeatureFinding(
                name=names[k],
                mean=mean,
                std=scale,
                skewness=skewness,
                excess_kurtosis=kurtosis,
                num_values=len(column.unique()),
                shapiro_wilk=values[0],
                anderson_darling=values[1],
                shapiro_wilk_pvalue=values[2],
                anderson_darling_pvalue=values[3],
                adjusted=float(adjusted[k]) if scale else None,
                departs=(*carried.get(k, ()), *(("shape",) if bad_shape[k] else ())),
            )
        )
    return tuple(found)


def discrete_features(x: Tensor) -> list[int]:
    """Features of whole numbers alone, or of at most 10 different values (half the rows in a small sample).

    Constant features are none. What counts are the values, not how a file writes them: 7.0 is 7.
    """
    few = min(FEW_VALUES, len(x) // 2)
    ordered = x.sort(0).values
    count = 1 + (ordered[1:] != ordered[:-1]).sum(0)
    whole = (x == x.round()).all(0)
    return torch.nonzero((count > 1) & (whole | (count <= few))).flatten().tolist()
