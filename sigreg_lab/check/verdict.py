"""The verdict of a check in one plain sentence, and what stands behind it.

Each finding has its part in the sentence, whatever the others are.
"""

import dataclasses
import math

from sigreg_lab.check.findings import FeatureFinding, Findings

_NAMED = 3  # features that the sentence names


def with_verdict(findings: Findings, *, off_centre: bool) -> Findings:
    """``findings`` with its verdict and explanation.

    Args:
        findings: all but these two.
        off_centre: whether the mean differs from 0 by more than the sample's own variance explains.
    """
    return dataclasses.replace(
        findings, verdict=_sentence(findings, off_centre), explanation=tuple(_explanation(findings))
    )


def rejected(f: Findings) -> list[str]:
    """Names of the tests that found a departure."""
    return [test.name for test in f.tests if test.adjusted is not None and test.adjusted < f.alpha]


def null_law(f: Findings) -> str:
    """What the sample is checked against."""
    law = "N(0, 1)" if f.num_features == 1 else "N(0, I)"
    return f"{law} after standardising each feature" if f.standardised else law


def collapsed(f: Findings) -> int:
    """How many directions carry next to nothing, among those that the rows can show."""
    return min(f.num_rows - 1, f.num_features) - f.rank


def _sentence(f: Findings, off_centre: bool) -> str:
    size = f"{f.num_rows:,} rows of {f.num_features:,} {'features' if f.num_features > 1 else 'feature'}"
    if f.num_views > 1:
        size = f"{f.num_views} views of {size}"
    if f.spread == 0:
        return f"Collapsed: all {f.num_rows:,} rows are equal."
    if f.spectrum[0] == 0:
        return f"Collapsed: the {f.num_rows:,} rows differ by {f.spread:.2g} at most."
    parts = _departures(f, off_centre)
    if not parts:
        return f"No departure from {null_law(f)} found in {size}, at level {f.alpha:.0%} over {_count(f)} tests."
    return f"Not {null_law(f)}: {'; '.join(parts)}."


def _departures(f: Findings, off_centre: bool) -> list[str]:
    found = rejected(f)
    shape = [test for test in f.tests if test.null_hypothesis == "any normal law"]
    parts = []
    if collapsed(f):
        seen = min(f.num_rows - 1, f.num_features)
        directions = f"{f.rank} of {seen} directions {'varies' if f.rank == 1 else 'vary'}"
        parts.append(f"rank-deficient, {directions} (judged on correlations)")
    if "mean" in found and off_centre:
        shifted = [f"{feature.name} (mean {feature.mean:.2g})" for feature in _carriers(f, "mean")]
        parts.append(
            f"off centre, {f'mostly by {_named(shifted)}' if shifted else f'mean of length {f.mean_length:.2g}'}"
        )
    if "covariance" in found or "correlation" in found:
        parts.append(_covariance(f))
    bad_shape = [test.label for test in shape if test.name in found]
    if bad_shape:
        parts.append(f"the shape is not normal ({', '.join(bad_shape)})")
    if "feature_normality" in found and f.num_features > 1:
        names = [feature.name for feature in _carriers(f, "shape")[:_NAMED]]
        more = ", ..." if f.num_not_normal > len(names) else ""
        parts.append(f"{f.num_not_normal} of {f.num_features} features not normal ({', '.join(names)}{more})")
    elif "feature_normality" in found and not bad_shape:
        parts.append("the shape is not normal (Shapiro-Wilk, Anderson-Darling)")
    if "square_correlation" in found:
        parts.append(f"features {f.pairs[0][0]} and {f.pairs[0][1]} depend on each other beyond their correlation")
    if not parts and found:
        labels = ", ".join(test.label for test in f.tests if test.name in found)
        parts.append(f"projections depart from N(0, 1) ({labels})")
    of_shape = {test.name for test in f.tests if "normal" in test.null_hypothesis}
    untested = [test for test in f.tests if test.name in of_shape and test.pvalue is None]
    if parts and not of_shape & {*found} and not untested:
        parts.append("no departure of shape found")
    return parts


def _covariance(f: Findings) -> str:
    if f.num_features == 1:
        return f"variance {f.mean_variance:.3g}, not 1"
    what = "features are correlated" if f.standardised else "covariance not I"
    if scaled := _carriers(f, "std"):
        what += f", mostly by {_named([f'{feature.name} (std {feature.std:.2g})' for feature in scaled])}"
    elif correlated := _carriers(f, "correlation"):
        what += f", mostly by the correlation of {_named([feature.name for feature in correlated])}"
    last = min(f.num_rows - 1, f.num_features) - 1
    return (
        f"{what}, variances of {f.spectrum[last]:.3g} to {f.spectrum[0]:.3g} along principal axes "
        f"({f.expected_spectrum[last]:.2g} to {f.expected_spectrum[0]:.2g} expected)"
    )


def _carriers(f: Findings, what: str) -> list[FeatureFinding]:
    """The features that depart in ``what``, see ``FeatureFinding.departs``."""
    return [feature for feature in f.features if what in feature.departs]


def _named(features: list[str]) -> str:
    """One feature, or several, in words."""
    if len(features) == 1:
        return f"feature {features[0]}"
    return f"features {', '.join(features[:-1])} and {features[-1]}"


def _explanation(f: Findings) -> list[str]:
    found, lines = rejected(f), []
    if f.spread == 0:
        return ["Nothing varies, so there is no shape to speak of: look at the encoder or at how the file was made."]
    if f.spectrum[0] == 0:
        return ["The rows differ, but their variances are too small for a number: look at the encoder or at the file."]
    if "square_correlation" in found:
        first, second, r = f.pairs[0]
        lines.append(
            f"Features {first} and {second} are uncorrelated after whitening, but their squares are not (r = {r:.2f})."
        )
    if found or collapsed(f):
        lines.append(
            "A small p-value says that there is a departure, not that it is large: its size is in the tables of "
            "features, mean and covariance, and directions."
        )
    else:
        power = ""
        if not f.standardised:
            power = f" With {f.num_rows:,} rows, a mean of length {f.detectable_mean:.2g} would be found in 8 of 10"
            power += " samples."
        lines.append(
            f"That is no proof.{power} Weaker departures, and changes of shape confined to a few of many directions, "
            "would often be missed. More rows see more."
        )
    if {"mean", "covariance"} & {*found}:
        lines.append(
            "The first group of tests takes means and units as they are, as a loss against N(0, I) does. If the units "
            "of the features mean nothing, add --standardise; the tests of shape are the same with and without."
        )
    if f.num_rows <= f.num_features:
        lines.append(
            f"{f.num_rows:,} rows span at most {f.num_rows - 1:,} of the {f.num_features:,} dimensions: the others "
            "cannot be seen, and a condition number does not exist."
        )
    still = [feature.name for feature in f.features if feature.std == 0]
    if still:
        lines.append(f"Constant features: {', '.join(still[:5])}{f' and {len(still) - 5} more' * (len(still) > 5)}.")
    lines.append(
        f"'p, Holm' is corrected for the {_count(f)} tests. Where p comes from {f.replicates} simulated samples it is "
        f"1/{f.replicates + 1} at least, and at {f.alpha:g} its standard error is "
        f"{math.sqrt(f.alpha * (1 - f.alpha) / f.replicates):.1g}."
    )
    return lines


def _count(f: Findings) -> int:
    return sum(test.pvalue is not None for test in f.tests)
