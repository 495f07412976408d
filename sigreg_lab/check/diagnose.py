"""How far a sample of embeddings is from N(0, I), in which way, and along which directions.

The tests fall in two groups. Against N(0, I): the mean, the covariance, and slices, on which location, scale and shape
all tell. Against any normal law: the sample whitened first, on which only the shape tells. P-values are corrected for
the number of tests by Holm's method: of checks of samples from N(0, I) at most a share alpha reports a departure.

Rows of one group, such as views of one image, may depend on each other in any way. Such a sample is cut into views,
each of which takes one row of every group: the rows of a view are independent, and its p-values hold. Those of all
views are combined to one, twice their median, which holds however the views depend on each other.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from sigreg_lab import diagnostics
from sigreg_lab.arrays import ArrayLike, as_tensor
from sigreg_lab.check import laws, verdict
from sigreg_lab.check.findings import DirectionFinding, Findings, TestFinding
from sigreg_lab.check.reader import LARGEST_VALUE, Sample
from sigreg_lab.check.request import LEAST_ROWS, MAX_GIGABYTES, one_row_a_sample
from sigreg_lab.nulls import NullLaw, combine_pvalues, split_groups
from sigreg_lab.slicing import make_directions, project, seeded_generator
from sigreg_lab.univariate import AndersonDarling, EppsPulley
from sigreg_lab.validation import check_sample

NUM_SLICES = 256
ALPHA = 0.05
MAX_MINUTES = 10.0
DIRECTIONS_KIND = "orthogonal"
#: A principal axis counts as collapsed below this share of the variance that N(0, I), scaled to the sample's mean
#: variance, would have there: a standard deviation of 1% of what is usual.
COLLAPSED = 1e-4
_LOADINGS = 5
_DECOMPOSITIONS = 20  # operations of the singular values of the sample, over N K min(N, K)
_NEARLY_SINGULAR = 1e-12  # of the covariance; beyond it whitening returns rounding errors

_N = "N(0, I)"
_ANY = "any normal law"
#: name: (label, null hypothesis, what it is sensitive to)
TESTS = {
    "mean": ("mean", _N, "location"),
    "covariance": ("covariance (Ledoit-Wolf)", _N, "scale and correlation"),
    "slice_mean": ("Epps-Pulley, mean slice", _N, "what many directions share"),
    "slice_max": ("Epps-Pulley, largest slice", _N, "what few directions show"),
    "slice_anderson_darling": ("Anderson-Darling, worst slice", _N, "tails of the projections"),
    "feature_anderson_darling": ("Anderson-Darling, worst feature", _N, "single features"),
    "energy": ("energy distance", _N, "location and scale most"),
    "mardia_kurtosis": ("Mardia's kurtosis", _ANY, "tails: lengths of the rows"),
    "alternative_skewness": ("skewness of |y|²y", _ANY, "asymmetry"),
    "bhep": ("BHEP of width 1/√K", _ANY, "any shape, few dimensions"),
    "square_correlation": ("correlation of squares", _ANY, "dependent pairs, as in an 'X'"),
}


def diagnose(
    sample: Sample | ArrayLike,
    *,
    groups: ArrayLike | None = None,
    nan_policy: Literal["raise", "omit"] = "raise",
    num_slices: int = NUM_SLICES,
    seed: int = 0,
    alpha: float = ALPHA,
    replicates: int | None = None,
    max_gigabytes: float = MAX_GIGABYTES,
    max_minutes: float = MAX_MINUTES,
    on_simulate: Callable[[int], None] | None = None,
) -> Findings:
    """Measure a sample against N(0, I).

    Args:
        sample: what ``read_sample`` returned, or a tensor, array or DataFrame of shape (N, K), N at least 8.
        groups: of a sample whose rows are not independent: labels, shape (N,), equal for rows that depend on each
            other, such as the number of the image; at least 8 groups. A ``Sample`` brings its own.
        nan_policy: of rows that hold a NaN: "raise" refuses them, "omit" leaves them out, which a note then says.
        num_slices: M, random directions; one for K = 1.
        seed: of the directions, and of the order in which rows are taken where a statistic takes only some.
        alpha: level of the verdict.
        replicates: samples simulated for the null laws; 499 to 999 by their cost if not given.
        max_gigabytes: what sample, directions and projections may take together, in float64.
        max_minutes: what the work may take, estimated for one core from its number of operations.
        on_simulate: called with their number before a simulation, which takes seconds; not if the cache has the laws.

    Returns:
        ``Findings``; the same for the same arguments.

    Raises:
        ValueError: a sample that is not (N, K), a tensor that is not floating point, values that are not finite, fewer
            than 8 rows, or values beyond 1e60; ``groups`` of another length or fewer than 8; an unknown ``nan_policy``;
            ``alpha`` outside (0, 1); ``num_slices`` below 1, ``replicates`` below 100; more memory or time than
            ``max_gigabytes`` and ``max_minutes``.
    """
    if nan_policy not in ("raise", "omit"):
        raise ValueError(f"nan_policy must be 'raise' or 'omit' here, got {nan_policy!r}")
    if not isinstance(sample, Sample):
        sample = _of_array_like(sample, groups, nan_policy)
    elif groups is not None:
        raise ValueError("groups go with a tensor or array; a Sample brings its own, read_sample(..., group=...)")
    check_sample(sample.x, "sample", ndim=2, min_samples=LEAST_ROWS)
    if sample.x.ndim != 2:
        shape, remedy = tuple(sample.x.shape), one_row_a_sample(sample.x.ndim, "sample", "groups=")
        raise ValueError(f"sample must have shape (N, K), got {shape}; {remedy}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie inside (0, 1), got {alpha}; 0.05 is usual")
    x = sample.x.detach().cpu().double()
    if float(x.abs().max()) > LARGEST_VALUE:
        raise ValueError(f"sample holds values beyond {LARGEST_VALUE:g}, as no sample of N(0, I) does; drop those rows")
    places = _views(sample.groups, len(x), seed)
    num_views, n = places.shape
    dim = x.shape[1]
    num_slices = num_slices if dim > 1 else 1
    if replicates is None and num_slices > 0:
        replicates = laws.replicates_by_cost(n, dim, num_slices)
    _check_limits(n, dim, num_slices, replicates or 0, max_gigabytes, max_minutes)
    directions = make_directions(
        DIRECTIONS_KIND, dim, num_slices, generator=seeded_generator(seed), dtype=torch.float64
    )
    null = laws.NullLaws(
        n, dim, directions, f"{DIRECTIONS_KIND}|slices={num_slices}|seed={seed}",
        replicates=replicates, on_start=on_simulate,
    )  # fmt: skip
    tests = _adjusted(_combined([_tests(x[rows], directions, null) for rows in places]))

    notes = (*sample.notes, *_note_on_groups(sample.groups, num_views, n))
    x = x[places[0]]
    slices = laws.slice_values(x, directions)
    mean, size = x.mean(0), float(x.abs().max())
    spread = float((x.amax(0) - x.amin(0)).max())
    rounding = 8 * torch.finfo(torch.float64).eps * size
    constant = spread <= rounding
    spread = 0.0 if constant else spread
    # Over the spread, so that squares of the smallest numbers do not vanish.
    scaled = (x - mean) / (spread or 1.0)
    relative = torch.zeros(dim, dtype=x.dtype) if constant else diagnostics.spectrum(scaled)
    variances = relative * spread**2
    std = scaled.std(0) * (spread or 1.0)
    std = torch.where(std <= rounding, 0.0, std)
    y, _ = _whitened(x)

    order = slices.argsort(descending=True)
    pairs, pair_points = _pairs(y)
    found = {test.name for test in tests if test.adjusted is not None and test.adjusted < alpha}
    worst = _worst(x, sample.features, directions[:, order], pairs if "square_correlation" in found else ())
    expected = diagnostics.expected_spectrum(n, dim)
    distance = torch.maximum(mean.abs(), (std - 1).abs() / math.sqrt(0.5))
    extreme = distance.argsort(descending=True)[:_LOADINGS].tolist()
    middle = order[len(order) // 2]
    level = alpha / len(tests) / (1 if num_views == 1 else 2)
    findings = Findings(
        verdict="",
        explanation=(),
        source=sample.source,
        total_rows=sample.total_rows,
        notes=notes,
        num_rows=n,
        num_features=dim,
        num_views=num_views,
        alpha=alpha,
        tests=tests,
        mean_length=float(mean.norm()),
        detectable_mean=_detectable_mean(n, dim, level),
        mean_variance=float(variances.mean()),
        spread=spread,
        effective_rank=0.0 if constant else float(diagnostics.effective_rank(x)),
        condition_number=math.nan if constant else float(diagnostics.condition_number(x)),
        spectrum=tuple(variances.tolist()),
        expected_spectrum=tuple(expected.tolist()),
        extreme_features=tuple((sample.features[i], float(mean[i]), float(std[i])) for i in extreme),
        num_slices=num_slices,
        directions_kind=DIRECTIONS_KIND,
        seed=seed,
        replicates=null.replicates,
        slice_statistics=tuple(slices.tolist()),
        slice_threshold=EppsPulley().critical_value(alpha, n, "asymptotic"),
        max_threshold=null.law("slice_max").critical_value(alpha),
        worst=worst,
        typical=_direction(x, sample.features, f"slice {int(middle)} (median)", directions[:, middle]),
        pairs=tuple((sample.features[i], sample.features[j], r) for i, j, r in pairs),
        pair_points=pair_points,
    )
    off_centre = constant or _mean_pvalue(mean / spread, relative, n) < alpha / len(tests)
    return verdict.with_verdict(findings, collapsed=collapsed_axes(relative, expected, n), off_centre=off_centre)


def _of_array_like(data: ArrayLike, groups: ArrayLike | None, nan_policy: str) -> Sample:
    """A sample of rows that the caller has; features by the columns' names if it is a DataFrame."""
    x, labels = as_tensor(data, "sample")
    total, dim = (len(x), x.shape[-1]) if x.ndim else (0, 0)
    is_frame = labels is not None and len(labels) == 2
    names = tuple(map(str, labels[1] if is_frame and labels else range(dim)))
    source = "tensor" if labels is None else "DataFrame" if is_frame else "array"
    notes = []
    if groups is not None and not isinstance(groups, Tensor):
        _, codes = np.unique(np.asarray(groups), return_inverse=True)
        groups = torch.from_numpy(codes)
    if nan_policy == "omit" and x.ndim == 2 and x.is_floating_point():
        complete = ~x.isnan().any(-1)
        if not complete.all():
            notes.append(f"excluded {int((~complete).sum()):,} row(s) with missing values")
            x = x[complete]
            if groups is not None and len(groups) == total:
                groups = groups[complete.to(groups.device)]
    return Sample(x, names, source, total, notes=tuple(notes), groups=groups)


def _check_limits(n: int, dim: int, num_slices: int, replicates: int, max_gigabytes: float, max_minutes: float) -> None:
    """Raise ``ValueError`` where memory or time would exceed their limits, before either is taken."""
    if not max_gigabytes > 0 or not max_minutes > 0:
        raise ValueError(f"max_gigabytes and max_minutes must be positive, got {max_gigabytes} and {max_minutes}")
    what = f"{n:,} rows x {dim:,} features on {num_slices:,} slices"
    gigabytes = 8e-9 * (3 * n * dim + 2 * dim * num_slices + 2 * n * num_slices)
    if gigabytes > max_gigabytes:
        raise ValueError(
            f"{what} take {gigabytes:,.1f} GB, the limit is {max_gigabytes:g} (max_gigabytes, --max-gb); lower "
            "--slices or --max-rows"
        )
    operations = replicates * laws.operations(n, dim, num_slices) + _DECOMPOSITIONS * n * dim * min(n, dim)
    minutes = operations / laws.OPERATIONS_PER_MINUTE
    if minutes > max_minutes:
        raise ValueError(
            f"{what} are about {minutes:,.2g} minutes of work, the limit is {max_minutes:g} (max_minutes, "
            "--max-minutes); lower --slices or --max-rows"
        )


def _views(groups: Tensor | None, n: int, seed: int) -> Tensor:
    """Rows of each view, shape (V, G), in random order: view v takes the v-th row, at random, of each of G groups.

    V is the size of the smallest group, so that every view has all groups; without groups there is one view of N rows.
    """
    generator = seeded_generator(seed, 1)
    order = torch.randperm(n, generator=generator)
    if groups is None:
        return order[None]
    if groups.shape != (n,) or groups.is_floating_point() or groups.is_complex():
        raise ValueError(
            f"groups must be integers of shape ({n},), one a row, got {groups.dtype} {tuple(groups.shape)}"
        )
    count = len(groups.unique())
    if count < LEAST_ROWS:
        raise ValueError(f"sample holds {count} group(s), at least {LEAST_ROWS} are needed")
    return split_groups(order, groups.cpu()[order])[:, torch.randperm(count, generator=generator)]


def _note_on_groups(groups: Tensor | None, num_views: int, n: int) -> tuple[str, ...]:
    if groups is None:
        return ()
    note = f"{len(groups):,} rows in {n:,} groups: {num_views} view(s) of {n:,} rows, one of each group"
    left = len(groups) - num_views * n
    if left:
        note += f"; {left:,} rows beyond the smallest group's number are not used"
    if num_views > 1:
        note += "; sizes, spectrum and directions are those of the first view"
    return (note,)


def _combined(views: Sequence[list[TestFinding]]) -> list[TestFinding]:
    """One finding a test: the combined p-value, beside the statistic of the view of the median p-value."""
    if len(views) == 1:
        return views[0]
    found = []
    for rows in zip(*views, strict=True):
        pvalues = [row.pvalue for row in rows if row.pvalue is not None]
        if len(pvalues) < len(rows):
            found.append(next(row for row in rows if row.pvalue is None))
            continue
        row = sorted(rows, key=lambda row: row.pvalue or 0.0)[(len(rows) - 1) // 2]
        pvalue = float(combine_pvalues(torch.tensor(pvalues, dtype=torch.float64)))
        found.append(dataclasses.replace(row, pvalue=pvalue, law=f"{row.law}; combined from {len(rows)} views"))
    return found


def collapsed_axes(variances: Tensor, expected: Tensor, n: int) -> int:
    """How many principal axes carry next to nothing, among those that ``n`` rows can show."""
    seen = slice(0, min(n - 1, len(variances)))
    scale = variances.mean() / expected.mean()
    return int((variances[seen] < COLLAPSED * scale * expected[seen]).sum())


def _mean_pvalue(mean: Tensor, variances: Tensor, n: int) -> float:
    """Whether the mean differs from 0 whatever the covariance: N |mean|^2 as a scaled chi-squared of equal mean and
    variance (Box), so that the mean's test is not read as a shift where it only sees a large variance. The same for
    mean and variances in any unit."""
    from scipy import stats

    total, squares = float(variances.sum()), float(variances.square().sum())
    return float(stats.chi2.sf(n * float(mean.square().sum()) * total / squares, total**2 / squares))


def _tests(x: Tensor, directions: Tensor, null: laws.NullLaws) -> list[TestFinding]:
    """All tests of independent rows, uncorrected."""
    n, dim = x.shape
    y, reason = _whitened(x)
    rows = _tests_of_the_whole(x, n, dim)
    rows += _slice_tests(x, project(x, directions))
    rows += _simulated(laws.known_statistics, (x, laws.slice_values(x, directions)), null, n, "")
    rows += _simulated(laws.whitened_statistics, (y,), null, 0 if y is None else len(y), reason)
    return [row for row in rows if _applies(row.name, dim)]


def _tests_of_the_whole(x: Tensor, n: int, dim: int) -> list[TestFinding]:
    mean, covariance = diagnostics.mean_test(x), diagnostics.covariance_test(x)
    return [
        _row("mean", float(mean.statistic), float(mean.pvalue), f"chi-squared({dim}), exact", n),
        _row("covariance", float(covariance.statistic), float(covariance.pvalue), "chi-squared, limit law", n),
    ]


def _slice_tests(x: Tensor, projections: Tensor) -> list[TestFinding]:
    """The worst of many univariate tests, each by its own law, times their number (Bonferroni)."""
    rows = []
    test = AndersonDarling()
    for name, columns in (("slice_anderson_darling", projections), ("feature_anderson_darling", x)):
        statistic, pvalue = test.test(columns)
        count = columns.shape[1]
        times = f", times {count}" if count > 1 else ""
        rows.append(
            _row(name, float(statistic.max()), min(1.0, count * float(pvalue.min())), f"its law{times}", len(x))
        )
    return rows


def _simulated(
    statistics: Callable[..., dict[str, float]],
    arguments: Sequence[Tensor | None],
    null: laws.NullLaws,
    rows: int,
    reason: str,
) -> list[TestFinding]:
    names = [name for name in TESTS if name in laws.NAMES[statistics.__name__]]
    values: dict[str, float] = {}
    if not reason:
        values = statistics(*arguments)
    found = []
    for name in names:
        if name not in values:
            found.append(_row(name, remark=reason))
            continue
        law: NullLaw = null.law(name)
        pvalue = law.pvalue(torch.tensor(values[name], dtype=torch.float64))
        used = laws.pair_rows(rows, null.dim) if name in ("energy", "bhep") else rows
        found.append(_row(name, values[name], float(pvalue), f"{null.replicates} simulations", used))
    return found


def _row(
    name: str,
    statistic: float | None = None,
    pvalue: float | None = None,
    law: str = "",
    rows: int = 0,
    remark: str = "",
) -> TestFinding:
    label, null_hypothesis, sensitive_to = TESTS[name]
    return TestFinding(name, label, null_hypothesis, sensitive_to, law, rows, statistic, pvalue, None, remark)


def _applies(name: str, dim: int) -> bool:
    """With one feature there is one slice, and nothing to correlate."""
    return dim > 1 or name not in ("slice_mean", "feature_anderson_darling", "square_correlation")


def _adjusted(rows: list[TestFinding]) -> tuple[TestFinding, ...]:
    """Holm's p-values, in the order of ``TESTS``."""
    from statsmodels.stats.multitest import multipletests

    rows = sorted(rows, key=lambda row: list(TESTS).index(row.name))
    pvalues = [row.pvalue for row in rows if row.pvalue is not None]
    adjusted = iter(multipletests(pvalues, method="holm")[1].tolist())
    return tuple(row if row.pvalue is None else dataclasses.replace(row, adjusted=next(adjusted)) for row in rows)


def _whitened(x: Tensor) -> tuple[Tensor | None, str]:
    """The sample centred and multiplied by S^(-1/2), so that its columns still belong to the features; or why not."""
    n, dim = x.shape
    rows = laws.whitened_rows(n, dim)
    if not rows:
        if dim > laws.MOST_WHITENED:
            return None, f"takes up to {laws.MOST_WHITENED} features"
        return None, f"needs {max(laws.ROWS_PER_FEATURE * dim, LEAST_ROWS):,} rows or more"
    centred = x[:rows] - x[:rows].mean(0)
    centred = centred / (float(centred.abs().max()) or 1.0)  # the result is the same, and no square vanishes
    values, vectors = torch.linalg.eigh(centred.T @ centred / rows)
    if not float(values[0]) > _NEARLY_SINGULAR * float(values[-1]):
        return None, "singular covariance"
    return centred @ (vectors * values.rsqrt()) @ vectors.T, ""


def _pairs(y: Tensor | None) -> tuple[tuple[tuple[int, int, float], ...], Tensor | None]:
    """The pairs of features whose squares correlate most, and the points of the first."""
    if y is None or y.shape[1] < 2:
        return (), None
    correlations = laws.square_correlations(y)
    dim = len(correlations)
    upper = torch.triu_indices(dim, dim, 1)
    values = correlations[upper[0], upper[1]]
    top = values.abs().topk(min(3, len(values))).indices
    chosen = tuple((int(upper[0][i]), int(upper[1][i]), float(values[i])) for i in top)
    return chosen, y[:, list(chosen[0][:2])].clone()


def _worst(
    x: Tensor, features: Sequence[str], slices: Tensor, pairs: Sequence[tuple[int, int, float]]
) -> tuple[DirectionFinding, ...]:
    """The worst slices, features and, if any depend on each other, diagonals of a pair; then the extreme axes."""
    dim = len(features)
    found = []
    if dim > 1:
        found += [_direction(x, features, f"slice, rank {i + 1}", slices[:, i]) for i in range(min(2, slices.shape[1]))]
    single = laws.feature_values(x).argsort(descending=True)
    for k in single[:2].tolist():
        found.append(_direction(x, features, f"feature {features[k]}", _unit(dim, {k: 1.0})))
    for i, j, _ in pairs[:1]:
        for sign, word in ((1.0, "sum"), (-1.0, "difference")):
            a = _unit(dim, {i: math.sqrt(0.5), j: sign * math.sqrt(0.5)})
            found.append(_direction(x, features, f"{word} of {features[i]} and {features[j]}", a))
    found.sort(key=lambda direction: -direction.statistic)
    if dim == 1:
        return tuple(found)
    expected = diagnostics.expected_spectrum(len(x), dim).sqrt()
    axes = _principal_axes(x)
    found.append(_direction(x, features, "axis of most variance", axes[:, 0], float(expected[0])))
    found.append(_direction(x, features, "axis of least variance", axes[:, -1], float(expected[-1])))
    return tuple(found)


def _unit(dim: int, coefficients: dict[int, float]) -> Tensor:
    a = torch.zeros(dim, dtype=torch.float64)
    for k, value in coefficients.items():
        a[k] = value
    return a


def _principal_axes(x: Tensor) -> Tensor:
    """The first and the last principal axis, shape (K, 2); memory of the size of the sample, however wide."""
    centred = x - x.mean(0)
    centred = centred / (float(centred.abs().max()) or 1.0)
    if x.shape[0] < x.shape[1]:
        return torch.linalg.svd(centred, full_matrices=False)[2][[0, -1]].T
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    return vectors[:, [-1, 0]]


def _direction(
    x: Tensor, features: Sequence[str], label: str, a: Tensor, expected_std: float = 1.0
) -> DirectionFinding:
    projection = x @ a
    mean = float(projection.mean())
    scale = float((projection - mean).abs().max()) or 1.0
    centred = (projection - mean) / scale
    std = scale * float(centred.std())
    skewness = kurtosis = None
    if std > 1e-12 * float(projection.abs().max()):
        z = centred / centred.std(correction=0)
        skewness, kurtosis = float(z.pow(3).mean()), float(z.pow(4).mean()) - 3
    top = a.abs().argsort(descending=True)[:_LOADINGS].tolist()
    loadings = tuple((features[k], float(a[k])) for k in top if abs(float(a[k])) > 1e-6)
    value = float(EppsPulley()(projection))
    return DirectionFinding(label, value, mean, std, skewness, kurtosis, expected_std, loadings, projection)


def _detectable_mean(n: int, dim: int, alpha: float, power: float = 0.8) -> float:
    """The |mean| at which N |mean|^2, non-central chi-squared, exceeds its threshold with the given probability."""
    from scipy import optimize, stats

    threshold = stats.chi2.isf(alpha, dim)

    def shortfall(noncentrality: float) -> float:
        return float(stats.ncx2.sf(threshold, dim, noncentrality)) - power

    high = 10.0
    while shortfall(high) < 0:
        high *= 2
    return math.sqrt(float(optimize.brentq(shortfall, 1e-9, high)) / n)
