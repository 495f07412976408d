"""What a check finds, as data: everything that the terminal, the page and the JSON show."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class TestFinding:
    """One test.

    Attributes:
        name: in registries and JSON.
        label: for readers.
        null_hypothesis: "N(0, I)", also with standardised features; "any normal law", whatever the units and axes;
            "normal features", one by one and in pairs, whatever their units.
        statistic: None if it was not computed; ``remark`` then says why.
        pvalue: by itself.
        adjusted: Holm's p-value over all tests of the check.
        sensitive_to: what it reacts to.
        law: where the p-value comes from.
        rows: how many rows it took.
        remark: what to know about this value.
    """

    name: str
    label: str
    null_hypothesis: str
    sensitive_to: str
    law: str = ""
    rows: int = 0
    statistic: float | None = None
    pvalue: float | None = None
    adjusted: float | None = None
    remark: str = ""


@dataclass(frozen=True)
class DirectionFinding:
    """A direction, the sample's projection on it, and the features that load on it.

    Attributes:
        label: which direction.
        statistic: Epps-Pulley of the projection against N(0, 1).
        mean, std, skewness, excess_kurtosis: of the projection; the last two are None where the std is 0.
        expected_std: under N(0, I); not 1 for a principal axis, which is chosen by its variance.
        loadings: (feature, coefficient) of the largest coefficients of the unit vector.
        projection: shape (N,); not part of the JSON.
    """

    label: str
    statistic: float
    mean: float
    std: float
    skewness: float | None
    excess_kurtosis: float | None
    expected_std: float
    loadings: tuple[tuple[str, float], ...]
    projection: Tensor = field(repr=False, compare=False)


@dataclass(frozen=True)
class FeatureFinding:
    """One feature against a normal law of any mean and variance.

    Attributes:
        name: of the feature.
        mean, std, skewness, excess_kurtosis: the last two are None where the std is 0.
        num_values: how many different values it has.
        shapiro_wilk, shapiro_wilk_pvalue: W, and its p-value by itself; None for a constant feature and beyond 5,000
            rows.
        anderson_darling, anderson_darling_pvalue: the same of A2.
        adjusted: the smaller of its two p-values by Holm's method over all features and both tests.
        departs: in what it departs: "mean", "std" and "correlation" where it is among the few that carry most of that
            departure of the whole sample (see ``sigreg_lab.check.carriers``), "shape" where it is not normal.
    """

    name: str
    mean: float
    std: float
    skewness: float | None
    excess_kurtosis: float | None
    num_values: int
    shapiro_wilk: float | None
    anderson_darling: float | None
    shapiro_wilk_pvalue: float | None
    anderson_darling_pvalue: float | None
    adjusted: float | None
    departs: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClassicalFinding:
    """A classical test of a normal law by its limit law, as other packages print it.

    Attributes:
        test: its name.
        estimate: Mardia's b1 or b2, or HZ.
        statistic: chi-squared, z or HZ.
        degrees: of freedom of the chi-squared law; None for the others.
        pvalue: by the limit law.
    """

    test: str
    estimate: float
    statistic: float
    degrees: int | None
    pvalue: float


@dataclass(frozen=True, repr=False)
class Findings:
    """What ``diagnose`` returns; printed, it gives the verdict, the features and the tests as the command does.

    Attributes:
        verdict: one plain sentence.
        explanation: what stands behind it, and what it does not say.
        source, total_rows, notes: as in ``Sample``.
        num_rows, num_features: N and K of what was checked, in each view.
        num_views: V, views of one row of each group; 1 if all rows are independent.
        alpha: level of the verdict, over all tests together.
        tests: one each.
        standardised: whether each feature was brought to mean 0 and variance 1 first; features keep their own units.
        rank: how many directions vary, judged on the features' correlations, so that units do not count.
        features: at most 512, those that carry most of a departure of mean or covariance first, then those furthest
            from a normal law.
        num_not_normal: how many features are not normal, Holm's p-values below alpha.
        classical: tests of a normal law by the limit laws that other packages print; of the first view.
        mean_length: Euclidean length of the mean vector.
        detectable_mean: the length of the mean that the mean's test finds in 8 of 10 samples of this size.
        mean_variance: trace of the covariance over K; 1 for N(0, I).
        spread: the largest difference of two values of one feature; 0 if all rows are equal to rounding.
        effective_rank, condition_number: see ``sigreg_lab.diagnostics``.
        spectrum, expected_spectrum: variances along principal axes, and those to expect of N(0, I) at this size.
        extreme_features: (feature, mean, std) of those whose mean or std is furthest from 0 and 1.
        num_slices, directions_kind, seed, replicates: how the slices and laws were made.
        slice_statistics: Epps-Pulley of each slice.
        slice_threshold: what one slice named in advance exceeds with probability alpha under N(0, 1).
        max_threshold: what the largest of all slices exceeds with probability alpha under N(0, I).
        worst: slices, features and diagonals, the furthest from N(0, 1) first; then the extreme principal axes.
        typical: the slice of the median statistic.
        pairs: (feature, feature, correlation of their squares) after whitening, largest first.
        pair_points: the whitened columns of the first pair, shape (N, 2), or None; not part of the JSON.
    """

    verdict: str
    explanation: tuple[str, ...]
    source: str
    total_rows: int
    notes: tuple[str, ...]
    num_rows: int
    num_features: int
    num_views: int
    alpha: float
    tests: tuple[TestFinding, ...]
    standardised: bool
    rank: int
    features: tuple[FeatureFinding, ...]
    num_not_normal: int
    classical: tuple[ClassicalFinding, ...]
    mean_length: float
    detectable_mean: float
    mean_variance: float
    spread: float
    effective_rank: float
    condition_number: float
    spectrum: tuple[float, ...]
    expected_spectrum: tuple[float, ...]
    extreme_features: tuple[tuple[str, float, float], ...]
    num_slices: int
    directions_kind: str
    seed: int
    replicates: int
    slice_statistics: tuple[float, ...]
    slice_threshold: float
    max_threshold: float
    worst: tuple[DirectionFinding, ...]
    typical: DirectionFinding
    pairs: tuple[tuple[str, str, float], ...]
    pair_points: Tensor | None = field(repr=False, compare=False)

    def __repr__(self) -> str:
        return f"Findings({self.verdict!r}, {self.num_rows:,} rows, {self.num_features:,} features)"

    def __str__(self) -> str:
        from sigreg_lab.check.text import brief  # which reads findings itself

        return brief(self)

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists and numbers; what is not finite (a condition number) becomes None."""
        plain: dict[str, Any] = _plain(self)
        return plain


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        items = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: _plain(item) for name, item in items if name not in ("projection", "pair_points")}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
