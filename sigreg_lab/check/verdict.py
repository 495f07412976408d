"""The verdict of a check in one plain sentence, and what stands behind it."""

import dataclasses
import math

from sigreg_lab.check.findings import Findings


def with_verdict(findings: Findings, *, collapsed: int, off_centre: bool) -> Findings:
    """``findings`` with its verdict and explanation.

    Args:
        findings: all but these two.
        collapsed: number of principal axes that carry next to no variance.
        off_centre: whether the mean differs from 0 by more than the sample's own variance explains.
    """
    return dataclasses.replace(
        findings,
        verdict=_sentence(findings, collapsed, off_centre),
        explanation=tuple(_explanation(findings, collapsed)),
    )


def _rejected(f: Findings) -> list[str]:
    return [test.name for test in f.tests if test.adjusted is not None and test.adjusted < f.alpha]


def _sentence(f: Findings, collapsed: int, off_centre: bool) -> str:
    size = f"{f.num_rows:,} rows of {f.num_features:,} {'features' if f.num_features > 1 else 'feature'}"
    if f.num_views > 1:
        size = f"{f.num_views} views of {size}"
    if f.spread == 0:
        return f"Collapsed: all {f.num_rows:,} rows are equal."
    if f.spectrum[0] == 0:
        return f"Collapsed: the {f.num_rows:,} rows differ by {f.spread:.2g} at most."
    seen = min(f.num_rows - 1, f.num_features)
    if collapsed:
        left = seen - collapsed
        share = sum(f.spectrum[:left]) / sum(f.spectrum)
        text = f"Rank-deficient: {left} of {seen} directions {'carries' if left == 1 else 'carry'} {_percent(share)}"
        return f"{text} of the variance{', and the mean is off centre' if off_centre else ''}."
    if not _rejected(f):
        law = "N(0, 1)" if f.num_features == 1 else "N(0, I)"
        return f"No departure from {law} found in {size}, at level {f.alpha:.0%} over {_count(f)} tests."
    return f"Not N(0, {'1' if f.num_features == 1 else 'I'}): {'; '.join(_departures(f, off_centre))}."


def _departures(f: Findings, off_centre: bool) -> list[str]:
    rejected = _rejected(f)
    shape = [test for test in f.tests if test.null_hypothesis != "N(0, I)"]
    parts = []
    if "mean" in rejected and off_centre:
        parts.append(f"off centre, mean of length {f.mean_length:.2g}")
    if "covariance" in rejected:
        parts.append(_covariance(f))
    bad_shape = [test.label for test in shape if test.name in rejected]
    if bad_shape:
        parts.append(f"the shape is not normal ({', '.join(bad_shape)})")
    elif parts and all(test.pvalue is not None for test in shape):
        parts.append("no departure of shape found")
    if not parts and rejected:
        labels = ", ".join(test.label for test in f.tests if test.name in rejected)
        parts.append(f"projections depart from N(0, 1) ({labels})")
    return parts


def _covariance(f: Findings) -> str:
    if f.num_features == 1:
        return f"variance {f.mean_variance:.3g}, not 1"
    least, most = f.spectrum[min(f.num_rows - 1, f.num_features) - 1], f.spectrum[0]
    low, high = f.expected_spectrum[min(f.num_rows - 1, f.num_features) - 1], f.expected_spectrum[0]
    return (
        f"covariance not I, variances of {least:.2g} to {most:.2g} along principal axes "
        f"({low:.2g} to {high:.2g} expected)"
    )


def _explanation(f: Findings, collapsed: int) -> list[str]:
    lines = []
    if "square_correlation" in _rejected(f) and f.pairs:
        first, second, r = f.pairs[0]
        lines.append(
            f"Features {first} and {second} are uncorrelated after whitening, but their squares are not (r = {r:.2f})."
        )
    if f.spectrum[0] == 0 < f.spread:
        return ["The rows differ, but their variances are too small for a number: look at the encoder or at the file."]
    if f.spread == 0:
        return ["Nothing varies, so there is no shape to speak of: look at the encoder or at how the file was made."]
    if not _rejected(f) and not collapsed:
        lines.append(
            f"That is no proof. With {f.num_rows:,} rows, a mean of length {f.detectable_mean:.2g} would be found in 8 "
            "of 10 samples; weaker departures, and changes of shape confined to a few of many directions, would "
            "often be missed. More rows see more."
        )
    else:
        lines.append(
            "A small p-value says that there is a departure, not that it is large: its size is in the means, variances "
            "and directions below."
        )
    if f.num_rows <= f.num_features:
        lines.append(
            f"{f.num_rows:,} rows span at most {f.num_rows - 1:,} of the {f.num_features:,} dimensions: the others "
            "cannot be seen, and a condition number does not exist."
        )
    still = [name for name, _, std in f.extreme_features if std == 0]
    if still:
        lines.append(f"Constant features: {', '.join(still)}{' (and maybe more)' if len(still) == 5 else ''}.")
    least = 1 / (f.replicates + 1)
    error = math.sqrt(f.alpha * (1 - f.alpha) / f.replicates)
    lines.append(
        f"'p, Holm' is corrected for the {_count(f)} tests. Where p is from {f.replicates} simulated samples, "
        f"it is {least:.2g} at least, and its standard error is {error:.1g} at {f.alpha:g}."
    )
    return lines


def _count(f: Findings) -> int:
    return sum(test.pvalue is not None for test in f.tests)


def _percent(share: float) -> str:
    """A share close to 1 is not rounded up to it."""
    return f"{100 * share:.2f}%" if share < 0.9999 else "over 99.99%" if share < 1 - 1e-9 else "all"
