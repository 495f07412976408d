"""What a comparison found, as numbers and sentences: the terminal, the page and the files tell it from here."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sigreg_lab.check.plain import plain
from sigreg_lab.compare.estimates import (
    LEVEL,
    NOTHING,
    Estimate,
    Spread,
    accuracy,
    beaten,
    corrected,
    difference,
    spreads,
)
from sigreg_lab.compare.protocol import Plan, lam_of, score
from sigreg_lab.compare.runs import Outcome, Settings
from sigreg_lab.experiment import mean_interval
from sigreg_lab.experiment.cells import Row

FEATURES = ("backbone", "projector")
#: Probes in words, in the order of tables.
PROBES = {
    "linear_all": "linear",
    "knn_all": "20 nearest neighbours",
    "few-shot_10": "10 labels a class",
    "few-shot_1": "1 label a class",
}
KEYS = tuple(f"{features}_{probe}" for features in FEATURES for probe in PROBES)
#: Those that may tune and rank.
CRITERIA = tuple(name for name in KEYS if name.endswith("_all"))


class Line(NamedTuple):
    """What was found of one regulariser.

    Attributes:
        name: of the regulariser.
        beaten_by: the others that are better; None where there is nothing to rank.
        lam: the tuned lambda; None for a control, or where tuning is not finished.
        at_edge: whether it is the least or largest lambda that was tried.
        accuracy: of the probe that ranks, over all sources of error.
        over_seeds: the same over seeds alone.
        less_first: difference to the first regulariser named; its p-value is Holm's.
        pairs: seeds that the difference is over.
        probes: all probes.
        spread: what tuning leaves open.
        seeds: reported runs that finished.
        made: runs made, tuning among them.
        broke: how many of them broke.
        reported_broke: how many of those reported.
        collapsed: how many finished ones collapsed.
        reasons: why runs broke, and how often.
        seconds: of a step of the regulariser, over its runs.
        mib: memory of a step of the regulariser; None if unknown.
        ranks: mean effective ranks at backbone and projector of the reported runs.
        kept: that of the backbone over what it was before training; a run below a third has collapsed.
        std: mean standard deviation of the projector's dimensions.
        missing: tuning runs and reported runs that were not made.
    """

    name: str
    beaten_by: set[str] | None
    lam: float | None
    at_edge: bool
    accuracy: Estimate
    over_seeds: Estimate
    less_first: Estimate
    pairs: int
    probes: dict[str, Estimate]
    spread: Spread
    seeds: int
    made: int
    broke: int
    reported_broke: int
    collapsed: int
    reasons: dict[str, int]
    seconds: Estimate
    mib: float | None
    ranks: dict[str, float]
    kept: float
    std: float
    missing: tuple[int, int]

    @property
    def rank(self) -> int | None:
        """One more than the number of those that are better; None where there is nothing to rank."""
        return None if self.beaten_by is None else 1 + len(self.beaten_by)


class Findings(NamedTuple):
    """What a comparison found.

    Attributes:
        settings: what all runs shared.
        outcome: the runs.
        lines: one a regulariser and control, the best first.
        first: the regulariser that the others are compared with.
    """

    settings: Settings
    outcome: Outcome
    lines: list[Line]
    first: str


def find(settings: Settings, outcome: Outcome) -> Findings:
    """Estimate everything."""
    protocol, plans = settings.protocol, outcome.plans
    probe, form = protocol.criterion, settings.base.form
    open_ = spreads(plans, protocol, form)
    variances = {name: spread.variance(probe) for name, spread in open_.items()}
    better = beaten(plans, probe, open_)
    first = plans[0]
    versus = [
        difference(plan.reported, first.reported, probe, variances[plan.name] + variances[first.name])
        for plan in plans[1:]
    ]
    pvalues = corrected([estimate for estimate, _ in versus])
    told: dict[str, tuple[Estimate, int]] = {first.name: (NOTHING, 0)}
    for plan, (estimate, seeds), pvalue in zip(plans[1:], versus, pvalues, strict=True):
        told[plan.name] = estimate._replace(pvalue=pvalue), len(seeds)
    lines = [_line(plan, settings, open_[plan.name], better[plan.name], *told[plan.name]) for plan in plans]
    order = {plan.name: index for index, plan in enumerate(plans)}
    lines.sort(key=lambda line: (line.rank or math.inf, -_or_least(line.accuracy.value), order[line.name]))
    return Findings(settings, outcome, lines, first.name)


def _line(
    plan: Plan,
    settings: Settings,
    spread: Spread,
    beaten_by: set[str] | None,
    less_first: Estimate,
    pairs: int,
) -> Line:
    probe = settings.protocol.criterion
    reported = [row for _, row in sorted(plan.reported.items())]
    rows = [row for tried in plan.tried.values() for row in tried.values()] + reported
    known = [name for name in KEYS if any(score(row, f"test_{name}") is not None for row in reported)]
    finished = [row for row in rows if not row.get("broke")]
    over_seeds = accuracy([_without_images(row) for row in reported], probe)
    seconds = [float(row["regularizer_seconds"]) for row in finished if "regularizer_seconds" in row]
    mib = [float(row["regularizer_mib"]) for row in finished if "regularizer_mib" in row]
    return Line(
        plan.name,
        beaten_by,
        None if plan.chosen is None else lam_of(plan.chosen, settings.base.form),
        plan.at_edge,
        accuracy(reported, probe, spread.variance(probe)),
        over_seeds,
        less_first,
        pairs,
        {name: accuracy(reported, name, spread.variance(name)) for name in known},
        spread,
        sum(score(row, f"test_{probe}") is not None for row in reported),
        len(rows),
        len(rows) - len(finished),
        sum(bool(row.get("broke")) for row in reported),
        sum(bool(row.get("collapsed")) for row in finished),
        dict(Counter(str(row["broke"]) for row in rows if row.get("broke"))),
        Estimate(sum(seconds) / len(seconds), *mean_interval(seconds), "runs") if seconds else NOTHING,
        sum(mib) / len(mib) if mib else None,
        {
            name: _mean(reported, column)
            for name, column in zip(FEATURES, ("embedding_rank", "projection_rank"), strict=True)
        },
        _mean(reported, "embedding_rank") / _mean(reported, "initial_rank"),
        _mean(reported, "projection_std"),
        plan.missing(),
    )


def _without_images(row: Row) -> Row:
    return {key: value for key, value in row.items() if key not in ("right", "images")}


def _mean(rows: Sequence[Row], name: str) -> float:
    values = [v for row in rows if (v := score(row, name)) is not None]
    return sum(values) / len(values) if values else math.nan


def _or_least(value: float) -> float:
    return -math.inf if math.isnan(value) else value


# Words


def about(found: Findings) -> str:
    """What was compared, and how, in two sentences."""
    settings, protocol = found.settings, found.settings.protocol
    base = settings.base
    seeds = f"{protocol.seeds} seed{'s' if protocol.seeds > 1 else ''}"
    planned = " (planned)" if any(line.missing[1] for line in found.lines) else ""
    return (
        f"{settings.data['name']}, {base.backbone}, {base.steps} training steps, batch size {base.batch_size}: test "
        f"accuracy of the {words(protocol.criterion)} probe over {seeds}{planned}. {tuned(found)}"
    )


def tuned(found: Findings) -> str:
    """How lambda was tuned; where that is not finished, what is planned and what was done."""
    protocol = found.settings.protocol
    how = f"{protocol.tuning_runs} runs on {protocol.tuning_seeds} other seed{'s' if protocol.tuning_seeds > 1 else ''}"
    if not any(line.missing[0] for line in found.lines):
        return f"The lambda of each regulariser was tuned by {how}."
    made = [(plan.name, sum(map(len, plan.tried.values()))) for plan in found.outcome.plans if not plan.control]
    done = ", ".join(f"{name} {count}" for name, count in made)
    return f"Lambda is to be tuned by {how} for each regulariser; run so far: {done}."


def words(probe: str) -> str:
    """A probe in words."""
    where, _, what = probe.partition("_")
    return f"{PROBES[what]} ({where})"


def verdict(found: Findings) -> list[str]:
    """What to believe, in sentences: the order, then against the first, then what is to be known of the runs."""
    ranked = [line for line in found.lines if line.rank is not None]
    told = [] if ranked else ["Nothing to rank yet."]
    if ranked:
        top = [line for line in ranked if line.rank == 1]
        if all(top[0].name in (line.beaten_by or ()) for line in ranked if line is not top[0]):
            told.append(f"{top[0].name} is better than every other here: {interval(top[0].accuracy)}.")
        else:
            names = ", ".join(line.name for line in top)
            told.append(f"We cannot tell which of {names} is best. The largest mean is {interval(top[0].accuracy)}.")
    others = [line for line in found.lines if not math.isnan(line.less_first.pvalue)]
    for sign, adjective in ((1, "Better"), (-1, "Worse")):
        clear = [line for line in others if clearly(line) and sign * line.less_first.value > 0]
        if clear:
            parts = ", ".join(f"{line.name} by {interval(line.less_first, sign)}" for line in clear)
            told.append(f"{adjective} than {found.first}: {parts}.")
    if any(clearly(line) and line.rank == found.lines[0].rank == _rank(found, found.first) for line in others):
        told.append(f"These are corrected for the comparisons with {found.first} alone, the ranks for all pairs.")
    unclear = [line.name for line in others if not clearly(line)]
    if unclear:
        told.append(f"We cannot tell {', '.join(unclear)} from {found.first}.")
    alone = [line for line in others if not clearly(line) and not line.less_first.low <= 0 <= line.less_first.high]
    for line in alone:
        told.append(
            f"The interval of {line.name} leaves out 0 by itself; among {len(others)} comparisons with {found.first} "
            f"that is not enough (p = {pvalue(line.less_first.pvalue)} after Holm's correction)."
        )
    return told


def _rank(found: Findings, name: str) -> int | None:
    return next(line.rank for line in found.lines if line.name == name)


def clearly(line: Line) -> bool:
    """Whether the difference to the first is told apart from 0, after Holm's correction."""
    return line.less_first.pvalue < 1 - LEVEL


def notes(found: Findings) -> list[str]:
    """What a reader must know of these runs: what is missing, broke, collapsed or lies at an edge."""
    told = []
    missing = [line for line in found.lines if any(line.missing)]
    if missing:
        parts = [f"{line.name}: {_missing(line, found.settings.protocol.seeds)}" for line in missing]
        why = "The time ran out" if found.outcome.out_of_time else "The comparison is not complete"
        told.append(f"{why}. Not run: {'; '.join(parts)}. The same command goes on from here.")
    if found.settings.protocol.seeds == 1:
        told.append("With one seed no difference can be tested; take --seeds 3 or more.")
    for line in found.lines:
        if line.reported_broke and not line.seeds:
            told.append(f"{line.name}: all of its {line.reported_broke} reported runs broke; it is not ranked.")
        elif line.reported_broke:
            told.append(
                f"{line.name}: {line.reported_broke} of {len_reported(line)} reported runs broke; its accuracy is over "
                f"the {line.seeds} that finished, which favours it."
            )
        if line.broke and line.lam is None and not line.missing[0] and not len_reported(line):
            told.append(f"{line.name}: no lambda was found at which all tuning runs finished; it is not ranked.")
    edges = [f"{line.name} ({line.lam:.3g}, the {_edge(found, line)})" for line in found.lines if line.at_edge]
    if edges:
        told.append(
            f"The best lambda lies at the edge of those tried: {', '.join(edges)}. More may do better: --extra."
        )
    collapsed = [f"{line.name} {line.collapsed} of {line.made}" for line in found.lines if line.collapsed]
    if collapsed:
        told.append(f"Runs that collapsed: {', '.join(collapsed)}.")
    return told


def len_reported(line: Line) -> int:
    """Reported runs that were made."""
    return line.seeds + line.reported_broke


def _missing(line: Line, seeds: int) -> str:
    tuning, report = line.missing
    parts = [f"{tuning} tuning runs" if tuning else "", f"{report} of {seeds} seeds" if report else ""]
    return " and ".join(part for part in parts if part)


def _edge(found: Findings, line: Line) -> str:
    plan = next(plan for plan in found.outcome.plans if plan.name == line.name)
    return "least" if plan.chosen == min(plan.tried) else "largest"


def interval(estimate: Estimate, sign: int = 1, digits: int = 3) -> str:
    """An estimate with its interval: 0.967 (0.955, 0.979)."""
    if math.isnan(estimate.value):
        return "-"
    value, *ends = (
        f"{round(sign * number, digits) + 0.0:.{digits}f}"  # + 0.0: -0.0 is 0
        for number in (estimate.value, *sorted((estimate.low, estimate.high), key=lambda end: sign * end))
    )
    return f"{value} ({', '.join(ends)})" if math.isfinite(estimate.low) else f"{value} (one run)"


def lam_range(line: Line) -> str:
    """The range of lambda within one point of the best: 0.01 to 0.2; "or less" where it goes on beyond those tried."""
    spread = line.spread
    if line.lam is None:
        return "-"
    low, high = f"{spread.low:.2g}", f"{spread.high:.2g}"
    return f"{low}{' or less' if spread.open_low else ''} to {high}{' or more' if spread.open_high else ''}"


def factor(line: Line) -> str:
    """How wide that range is, as a factor of the weight; at 95%, between what and what it lies."""
    spread = line.spread
    if line.lam is None:
        return "-"
    more = "+" if spread.open_low or spread.open_high else ""
    most = "+" if spread.open_factor else ""
    return f"{_digits(spread.factor)}{more} ({_digits(spread.factor_low)}, {_digits(spread.factor_high)}{most})"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def pvalue(value: float) -> str:
    """A p-value to two digits; near the level to three, so that the side it lies on is seen."""
    digits = 3 if f"{value:.2g}" == f"{1 - LEVEL:.2g}" else 2
    return "-" if math.isnan(value) else "<0.0001" if value < 1e-4 else f"{value:.{digits}g}"


Columns = dict[str, Callable[[Line], str]]
#: The table of results: header, and what stands below it.
RANKING: Columns = {
    "rank": lambda line: str(line.rank or "-"),
    "regulariser": lambda line: line.name,
    "lambda": lambda line: "-" if line.lam is None else f"{line.lam:.3g}",
    "accuracy (95%)": lambda line: interval(line.accuracy),
    "runs": lambda line: f"{line.seeds} of {len_reported(line)}" if line.reported_broke else str(line.seeds),
    "less first (95%)": lambda line: interval(line.less_first),
    "p, Holm": lambda line: pvalue(line.less_first.pvalue),
}
#: The table of what it takes: how finely lambda must be tuned, which runs failed, what a step costs.
WORKING: Columns = {
    "regulariser": lambda line: line.name,
    "lambda within 1 point": lam_range,
    "factor (95%)": factor,
    "broke": lambda line: f"{line.broke} of {line.made}",
    "collapsed": lambda line: f"{line.collapsed} of {line.made}",
    "ms a step (95%)": lambda line: (
        "-" if not line.seconds.value > 0 else interval(_scaled(line.seconds, 1e3), digits=2)
    ),
    "MiB": lambda line: "-" if line.mib is None or not line.seconds.value > 0 else f"{line.mib:.3g}",
}
#: How the features lie, by where: beside the probes.
SHAPE: dict[str, Columns] = {
    "backbone": {
        "effective rank": lambda line: _known(line.ranks["backbone"], ".1f"),
        "of the start": lambda line: _known(line.kept, ".0%"),
    },
    "projector": {
        "effective rank": lambda line: _known(line.ranks["projector"], ".1f"),
        "standard deviation": lambda line: _known(line.std, ".2g"),
    },
}


def _known(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


def _scaled(estimate: Estimate, by: float) -> Estimate:
    return estimate._replace(value=by * estimate.value, low=by * estimate.low, high=by * estimate.high)


#: What the columns of the second table mean, for a terminal.
_LEGEND = """\
factor: the width of that range, upper over lower weight; in brackets what is certain and what is possible at 95%;
  + goes on beyond the values tried.
collapsed: training took the backbone's effective rank below a third of what it was.
ms a step, MiB: time and memory of the regulariser alone, value and gradient, not of a training step."""


def show(found: Findings) -> str:
    """The findings as text for a terminal."""
    sources = next((line.accuracy.over for line in found.lines if line.accuracy.over), "")
    foot = "rank: one more than the number that are better, corrected over all pairs.\n"
    foot += f"less first: test accuracy less that of {found.first}, paired by seed.\n"
    foot += "p, Holm: of that difference, corrected for the comparisons in this table; it decides what we can tell."
    foot += f"\nIntervals: 95%, over {sources}, each by itself." if sources else ""
    working = f"{_text(WORKING, found.lines)}\n\n{_LEGEND}"
    parts = [about(found), " ".join(verdict(found)), _text(RANKING, found.lines), foot, working]
    return "\n\n".join(part for part in (*parts, "\n".join(notes(found))) if part)


def _text(columns: Columns, lines: Sequence[Line]) -> str:
    """A table with aligned columns."""
    table = [list(columns)] + [[plain(column(line)) for column in columns.values()] for line in lines]
    widths = [max(len(row[i]) for row in table) for i in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
    )


def summary_rows(found: Findings) -> list[dict[str, Any]]:
    """``summary.csv``: one row a regulariser."""
    rows, probe = [], found.settings.protocol.criterion
    for line in found.lines:
        row: dict[str, Any] = {
            "regularizer": line.name,
            "rank": line.rank,
            "lam": line.lam,
            "lam_at_edge": line.at_edge,
        }
        row |= _flat("accuracy", line.accuracy) | {"accuracy_over": line.accuracy.over}
        row |= _flat("accuracy_seeds_only", line.over_seeds)
        row |= _flat("difference", line.less_first)
        row |= {"difference_over": line.less_first.over, "difference_p_holm": line.less_first.pvalue}
        row |= {"difference_seeds": line.pairs, "tuning_variance": line.spread.variance(probe)}
        row |= {
            "lam_low": line.spread.low,
            "lam_high": line.spread.high,
            "lam_low_open": line.spread.open_low,
            "lam_high_open": line.spread.open_high,
            "weight_factor": line.spread.factor,
            "weight_factor_low": line.spread.factor_low,
            "weight_factor_high": line.spread.factor_high,
            "weight_factor_open": line.spread.open_factor,
        }
        row |= {"seeds_finished": line.seeds, "seeds_broke": line.reported_broke, "runs": line.made}
        row |= {"runs_broke": line.broke, "runs_collapsed": line.collapsed}
        row |= {"tuning_runs_missing": line.missing[0], "seeds_missing": line.missing[1]}
        row |= _flat("regularizer_seconds", line.seconds) | {"regularizer_mib": line.mib}
        row |= {f"effective_rank_{features}": rank for features, rank in line.ranks.items()}
        row |= {"effective_rank_kept": line.kept, "std_projector": line.std}
        for name in KEYS:
            row |= _flat(name, line.probes.get(name, NOTHING))
        rows.append(row)
    return rows


def _flat(name: str, estimate: Estimate) -> dict[str, Any]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
