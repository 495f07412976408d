"""How far a sample of embeddings is from N(0, I), in which way, and along which directions.

The tests fall in three groups. Against N(0, I): the mean, the covariance, and slices, on which location, scale and
shape all tell. Against any normal law: the sample whitened first, so that only the shape tells, and neither units nor
axes count. Against normal features: each feature by itself and pairs of them, whatever their units. P-values are
corrected for the number of tests by Holm's method: of checks of samples from N(0, I) at most a share alpha reports a
departure.

With ``standardise`` each feature has mean 0 and variance 1 before the first group, whose laws are simulated likewise:
it then tells of correlations and shape.

Rows of one group, such as views of one image, may depend on each other in any way. Such a sample is cut into views,
each of which takes one row of every group: the rows of a view are independent, and its p-values hold. Those of all
views are combined to one, twice their median, which holds however the views depend on each other.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sigreg_lab import diagnostics
from sigreg_lab.arrays import ArrayLike, as_tensor
from sigreg_lab.check import laws, verdict
from sigreg_lab.check.carriers import carriers
from sigreg_lab.check.classical import classical_findings
from sigreg_lab.check.features import discrete_features, feature_findings, feature_tests
from sigreg_lab.check.findings import DirectionFinding, Findings, TestFinding
from sigreg_lab.check.reader import LARGEST_VALUE, Sample
from sigreg_lab.check.request import LEAST_ROWS, MAX_GIGABYTES, empty_features, note_on_shape, one_row_a_sample, some
from sigreg_lab.nulls import NullLaw, combine_pvalues, split_groups
from sigreg_lab.nulls.dependence import holm
from sigreg_lab.slicing import make_directions, project, seeded_generator
from sigreg_lab.univariate import AndersonDarling, EppsPulley
from sigreg_lab.validation import check_sample

NUM_SLICES = 256
ALPHA = 0.05
MAX_MINUTES = 10.0
DIRECTIONS_KIND = "orthogonal"
#: A principal axis of the standardised features counts as collapsed below this share of the variance that N(0, I) would
#: have there: a standard deviation of 0.1% of what is usual. On correlations, so that units do not count.
COLLAPSED = 1e-6
_LOADINGS = 5
_DECOMPOSITIONS = 20  # operations of the singular values of the sample, over N K min(N, K)
_NEARLY_SINGULAR = 1e-12  # of the correlations; beyond it whitening returns rounding errors

_N = "N(0, I)"
_Z = "N(0, I), each feature standardised"
_ANY = "any normal law"
_FEATURES = "normal features, whatever their units"
#: name: (label, null hypothesis, what it is sensitive to)
TESTS = {
    "mean": ("mean", _N, "location"),
    "covariance": ("covariance (Ledoit-Wolf)", _N, "scale and correlation"),
    "correlation": ("correlations, sum of squares", _Z, "correlated features"),
    "slice_mean": ("Epps-Pulley, mean slice", _N, "what many directions share"),
    "slice_max": ("Epps-Pulley, largest slice", _N, "what few directions show"),
    "slice_anderson_darling": ("Anderson-Darling, worst slice", _N, "tails of the projections"),
    "feature_anderson_darling": ("Anderson-Darling, worst feature", _N, "single features"),
    "energy": ("energy distance", _N, "location and scale most"),
    "mardia_skewness": ("Mardia's skewness", _ANY, "asymmetry of any kind"),
    "mardia_kurtosis": ("Mardia's kurtosis", _ANY, "heavy (+) or light (-) tails"),
    "alternative_skewness": ("skewness of |y|²y", _ANY, "asymmetry, many dimensions"),
    "kurtosis_matrix": ("kurtosis matrix", _ANY, "tails of some directions, dependence"),
    "bhep": ("BHEP of width 1/√K", _ANY, "any shape, few dimensions"),
    "feature_normality": ("worst feature", _FEATURES, "shape of single features"),
    "square_correlation": ("worst pair, squares", _FEATURES, "dependent pairs, as in an 'X'"),
}


def diagnose(
    sample: Sample | ArrayLike,
    *,
    groups: ArrayLike | None = None,
    nan_policy: Literal["raise", "omit"] = "raise",
    standardise: bool = False,
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
        standardise: bring each feature to mean 0 and variance 1 first, for features whose units mean nothing.
        num_slices: M, random directions; one for K = 1.
        seed: of the directions, and of the order in which rows are taken where a statistic takes only some.
        alpha: level of the verdict.
        replicates: samples simulated for the null laws; 599 to 999 by their cost if not given.
        max_gigabytes: what sample, directions and projections may take together, in float64.
        max_minutes: what the work may take, estimated for one core from its number of operations.
        on_simulate: called with their number before a simulation, which takes seconds; not if the cache has the laws.

    Returns:
        ``Findings``; the same for the same arguments.

    Raises:
        ValueError: a sample that is not (N, K), a tensor that is not floating point, values that are not finite, fewer
            than 8 rows, with ``nan_policy="omit"`` a feature of fewer than 8 values, or values beyond 1e60; ``groups``
            of another length or fewer than 8; an unknown ``nan_policy``; ``alpha`` outside (0, 1); ``num_slices`` below
            1, ``replicates`` below 100; more memory or time than ``max_gigabytes`` and ``max_minutes``.
    """
    if nan_policy not in ("raise", "omit"):
        raise ValueError(f"nan_policy must be 'raise' or 'omit' here, got {nan_policy!r}")
    can_omit = not isinstance(sample, Sample)
    if not isinstance(sample, Sample):
        sample = _of_array_like(sample, groups, nan_policy)
    elif groups is not None:
        raise ValueError("groups go with a tensor or array; a Sample brings its own, read_sample(..., group=...)")
    check_sample(sample.x, "sample", ndim=2, min_samples=LEAST_ROWS, can_omit=can_omit)
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
    if num_slices < 1:
        raise ValueError(f"num_slices must be at least 1, got {num_slices} (--slices)")
    num_slices = num_slices if dim > 1 else 1
    if replicates is None:
        replicates = laws.replicates_by_cost(n, dim, num_slices)
    _check_limits(n, dim, num_slices, replicates or 0, max_gigabytes, max_minutes)
    directions = make_directions(
        DIRECTIONS_KIND, dim, num_slices, generator=seeded_generator(seed), dtype=torch.float64
    )
    first = x[places[0]]
    z, std = _standardised(first)
    rank = dim
    if n > dim <= laws.MOST_WHITENED:  # fewer rows do not show it
        rank = min(_whitened(x[rows], laws.whitened_rows(n, dim) or n)[1] for rows in places)
    null = laws.NullLaws(
        n, dim, directions, f"{DIRECTIONS_KIND}|slices={num_slices}|seed={seed}",
        rank=rank, standardised=standardise, replicates=replicates, on_start=on_simulate,
    )  # fmt: skip
    views = [_tests(x[rows], directions, null, rank) for rows in places]
    tests = _adjusted(_combined([view.rows for view in views]))
    pvalues = combine_pvalues(torch.stack([view.pvalues for view in views]).nan_to_num(2.0).clamp_max(1.0))
    pvalues[:, std == 0] = torch.nan
    pvalues[views[0].statistics.isnan()] = torch.nan

    notes = (*sample.notes, *_note_on_discrete(x, sample.features), *_note_on_groups(sample.groups, num_views, n))
    adjusted = holm(pvalues).nan_to_num(1.0).amin(0)
    x = z if standardise else first
    slices = laws.slice_values(x, directions)
    mean = x.mean(0)
    spread = float((first.amax(0) - first.amin(0)).max())
    constant = not std.any()
    spread = 0.0 if constant else spread
    # Over the spread, so that squares of the smallest numbers do not vanish.
    unit = 1.0 if standardise else spread or 1.0
    relative = torch.zeros(dim, dtype=x.dtype) if constant else diagnostics.spectrum((x - mean) / unit)
    variances = relative * unit**2
    y = views[0].y

    order = slices.argsort(descending=True)
    pairs, pair_points = _pairs(y, dim)
    found = {test.name for test in tests if test.adjusted is not None and test.adjusted < alpha}
    off_centre = constant or (not standardise and _mean_pvalue(mean / unit, relative, n) < alpha / len(tests))
    carried = {} if constant else carriers(
        x, variances, mean="mean" in found and off_centre, covariance=bool(found & {"covariance", "correlation"}),
        standardised=standardise,
    )  # fmt: skip
    bad_shape = adjusted < alpha if "feature_normality" in found else torch.zeros(dim, dtype=torch.bool)
    features = feature_findings(
        first, std, sample.features, views[0].statistics, pvalues, adjusted, bad_shape=bad_shape, carried=carried
    )
    worst = _worst(x, sample.features, directions[:, order], pairs if "square_correlation" in found else ())
    expected = diagnostics.expected_spectrum(n, dim)
    distance = torch.maximum(first.mean(0).abs(), (std - 1).abs() / math.sqrt(0.5))
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
        standardised=standardise,
        rank=min(n - 1, dim) - (0 if constant else collapsed_axes(diagnostics.spectrum(z), expected, n)),
        features=features,
        num_not_normal=int((adjusted < alpha).sum()),
        classical=() if y is None else classical_findings(y),
        mean_length=float(mean.norm()),
        detectable_mean=_detectable_mean(n, dim, level),
        mean_variance=float(variances.mean()),
        spread=spread,
        effective_rank=0.0 if constant else float(diagnostics.effective_rank(x)),
        condition_number=math.nan if constant else float(diagnostics.condition_number(x)),
        spectrum=tuple(variances.tolist()),
        expected_spectrum=tuple(expected.tolist()),
        extreme_features=tuple((sample.features[i], float(first[:, i].mean()), float(std[i])) for i in extreme),
        num_slices=num_slices,
        directions_kind=DIRECTIONS_KIND,
        seed=seed,
        replicates=null.replicates,
        slice_statistics=tuple(slices.tolist()),
        slice_threshold=(
            null.law(laws.ONE_SLICE).critical_value(alpha)
            if standardise
            else EppsPulley().critical_value(alpha, n, "asymptotic")
        ),
        max_threshold=null.law("slice_max").critical_value(alpha),
        worst=worst,
        typical=_direction(x, sample.features, f"slice {int(middle)} (median)", directions[:, middle]),
        pairs=tuple((sample.features[i], sample.features[j], r) for i, j, r in pairs),
        pair_points=pair_points,
    )
    return verdict.with_verdict(findings, off_centre=off_centre)


def _of_array_like(data: ArrayLike, groups: ArrayLike | None, nan_policy: str) -> Sample:
    """A sample of rows that the caller has; features by the columns' names if it is a DataFrame."""
    x, labels = as_tensor(data, "sample")
    total, dim = (len(x), x.shape[-1]) if x.ndim else (0, 0)
    is_frame = labels is not None and len(labels) == 2
    names = tuple(map(str, labels[1] if is_frame and labels else range(dim)))
    source = "tensor" if labels is None else "DataFrame" if is_frame else "array"
    notes = list(note_on_shape(total, dim)) if x.ndim == 2 else []
    if groups is not None and not isinstance(groups, Tensor):
        _, codes = np.unique(np.asarray(groups), return_inverse=True)
        groups = torch.from_numpy(codes)
    if nan_policy == "omit" and x.ndim == 2 and x.is_floating_point():
        complete = ~x.isnan().any(-1)
        if not complete.all():
            notes.append(f"excluded {int((~complete).sum()):,} row(s) with missing values")
            empty = empty_features(x.isnan().cpu().numpy(), names)
            if empty and len(empty) < dim:
                raise ValueError(
                    f"sample holds fewer than {LEAST_ROWS} values of {len(empty)} feature(s): {some(empty)}; leave "
                    f"{'it' if len(empty) == 1 else 'them'} out{', as sample.drop(columns=...) does' * is_frame}"
                )
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


def _note_on_discrete(x: Tensor, features: Sequence[str]) -> tuple[str, ...]:
    discrete = discrete_features(x)
    if not discrete:
        return ()
    names = some([features[k] for k in discrete])
    return (
        f"{len(discrete)} of {len(features)} feature(s) hold whole numbers only, or few different values: {names}; "
        "labels and ids are not features (leave them out, --drop NAME), and counts are never exactly normal",
    )


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


class _View(NamedTuple):
    """What the tests of independent rows find.

    Attributes:
        rows: all tests, uncorrected.
        statistics, pvalues: of each feature, shape (2, K).
        y: the sample whitened, or None.
    """

    rows: list[TestFinding]
    statistics: Tensor
    pvalues: Tensor
    y: Tensor | None


def _tests(x: Tensor, directions: Tensor, null: laws.NullLaws, rank: int) -> _View:
    """All tests of independent rows, uncorrected."""
    n, dim = x.shape
    z, _ = _standardised(x)
    y, reason = _shape_sample(x, rank)
    of_pairs = reason or ("" if rank == dim else "needs features of full rank")
    used = 0 if y is None else len(y)
    if null.standardised:
        rows = _simulated("standardised_statistics", (z, laws.slice_values(z, directions)), null, n, "")
    else:
        rows = _tests_of_the_whole(x, n, dim)
        rows += _slice_tests(x, project(x, directions))
        rows += _simulated("known_statistics", (x, laws.slice_values(x, directions)), null, n, "")
    rows += _simulated("whitened_statistics", (y,), null, used, reason)
    rows += _simulated("pair_statistics", (y,), null, used, of_pairs)
    statistics, pvalues = feature_tests(z)
    rows.append(_worst_feature(statistics, pvalues, n))
    if null.standardised:
        rows = [dataclasses.replace(r, null_hypothesis=_Z) if r.null_hypothesis == _N else r for r in rows]
        rows = [dataclasses.replace(r, sensitive_to="correlation and shape") if r.name == "energy" else r for r in rows]
    return _View([row for row in rows if _applies(row.name, dim)], statistics, pvalues, y)


def _shape_sample(x: Tensor, rank: int) -> tuple[Tensor | None, str]:
    """The whitened sample that shape is judged on, (rows, rank), or why there is none."""
    n, dim = x.shape
    if dim > laws.MOST_WHITENED:
        return None, f"takes up to {laws.MOST_WHITENED} features"
    rows = laws.whitened_rows(n, rank)
    if not rank:
        return None, "nothing varies"
    if not rows:
        return None, f"needs {max(laws.ROWS_PER_FEATURE * rank, LEAST_ROWS):,} rows or more"
    return _whitened(x, rows, rank)[0], ""


def _worst_feature(statistics: Tensor, pvalues: Tensor, n: int) -> TestFinding:
    """The least p-value of all features' tests, times their number (Bonferroni)."""
    told = ~pvalues.isnan()
    count = int(told.sum())
    if not count:
        return _row("feature_normality", remark="nothing varies")
    test, feature = divmod(int(pvalues.nan_to_num(2.0).argmin()), pvalues.shape[1])
    name = "Shapiro-Wilk" if test == 0 else "Anderson-Darling"
    times = f", times {count}" if count > 1 else ""
    pvalue = min(1.0, count * float(pvalues[test, feature]))
    return _row("feature_normality", float(statistics[test, feature]), pvalue, f"{name}'s{times}", n)


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
    statistics: str, arguments: Sequence[Tensor | None], null: laws.NullLaws, rows: int, reason: str
) -> list[TestFinding]:
    """The statistics of a function of ``laws``, by its name, with p-values by simulation; or why there are none."""
    names = [name for name in TESTS if name in laws.NAMES[statistics]]
    values: dict[str, Tensor] = {} if reason else getattr(laws, statistics)(*arguments)
    found = []
    for name in names:
        if name not in values:
            found.append(_row(name, remark=reason))
            continue
        law: NullLaw = null.law(name)
        extreme = laws.extremeness(name, values[name], rows, null.rank)
        pvalue = law.pvalue(extreme)
        used = _rows_used(name, rows, null)
        found.append(_row(name, float(values[name]), float(pvalue), f"{null.replicates} simulations", used))
    return found


def _rows_used(name: str, rows: int, null: laws.NullLaws) -> int:
    match name:
        case "energy" | "bhep":
            return laws.pair_rows(rows)
        case "mardia_skewness":
            return laws.third_moment_rows(rows, null.rank)
    return rows


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
    """With one feature there is one slice, one moment of each order, and nothing to correlate."""
    several = ("slice_mean", "feature_anderson_darling", "correlation", "square_correlation")
    return dim > 1 or name not in (*several, "alternative_skewness", "kurtosis_matrix")


def _adjusted(rows: list[TestFinding]) -> tuple[TestFinding, ...]:
    """Holm's p-values, in the order of ``TESTS``."""
    rows = sorted(rows, key=lambda row: list(TESTS).index(row.name))
    pvalues = [math.nan if row.pvalue is None else row.pvalue for row in rows]
    adjusted = holm(torch.tensor(pvalues, dtype=torch.float64)).tolist()
    return tuple(
        row if row.pvalue is None else dataclasses.replace(row, adjusted=value)
        for row, value in zip(rows, adjusted, strict=True)
    )


def _standardised(x: Tensor) -> tuple[Tensor, Tensor]:
    """Each feature with mean 0 and variance 1 (zeros where it is constant to rounding), and the standard deviations."""
    centred = x - x.mean(0)
    largest = centred.abs().amax(0)
    rounding = 8 * torch.finfo(torch.float64).eps * x.abs().amax(0)
    varies = (x.amax(0) - x.amin(0)) > rounding
    unit = centred / torch.where(varies, largest, 1.0)  # so that no square vanishes or overflows
    spread = unit.std(0)
    z = torch.where(varies, unit / torch.where(varies, spread, 1.0), 0.0)
    return z, torch.where(varies, spread * largest, 0.0)


def _whitened(x: Tensor, rows: int, rank: int | None = None) -> tuple[Tensor, int]:
    """The first rows whitened, and the rank of their correlations.

    Of full rank it is Z R^(-1/2), Z the standardised features and R their correlations: columns still belong to
    features, and units do not count (ZCA-cor; Kessy, Lewin & Strimmer 2018, The American Statistician 72). Else it is
    the first ``rank`` principal components of Z, each of variance 1. Variances have divisor N.
    """
    z, _ = _standardised(x[:rows])
    left, singular, right = torch.linalg.svd(z, full_matrices=False)
    found = int((singular.square() > _NEARLY_SINGULAR * singular[0].square()).sum()) if float(singular[0]) else 0
    rank = found if rank is None else rank
    y = math.sqrt(len(z)) * left[:, :rank]
    return (y @ right if rank == x.shape[1] else y), found


def _pairs(y: Tensor | None, dim: int) -> tuple[tuple[tuple[int, int, float], ...], Tensor | None]:
    """The pairs of features whose squares correlate most, and the points of the first."""
    if y is None or not 1 < y.shape[1] == dim:
        return (), None
    correlations = laws.square_correlations(y)
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
