"""Findings on the terminal."""

import io

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sigreg_lab.check.findings import DirectionFinding, FeatureFinding, Findings, TestFinding
from sigreg_lab.check.plain import plain
from sigreg_lab.check.verdict import null_law

#: What each group of tests asks, by the null hypothesis.
QUESTIONS = {
    "N(0, I)": "Is it N(0, I)? Mean, scale, correlation and shape all count.",
    "N(0, I), each feature standardised": "Is it N(0, I), once each feature is standardised? Correlation and shape "
    "count.",
    "any normal law": "Is its shape normal, of any mean and covariance? Units and axes do not count.",
    "normal features, whatever their units": "Are single features normal, and pairs of them independent but for their "
    "correlation? Units do not count.",
}
SHOWN_FEATURES = 10
EXPLANATION_TITLE = "What this says, and what not"


def show(findings: Findings, console: Console) -> None:
    """Print verdict, features, notes, tests, mean and covariance, directions, and what stands behind the verdict."""
    f = findings
    _show_main(f, console)
    if f.classical:
        console.print()
        console.print(_text("The classical tests of shape by their limit laws, as R's MVN prints them:", "bold"))
        console.print(_pairs(classical(f)))
    console.print()
    console.print(_text("Mean and covariance", "bold"))
    console.print(_pairs(summary(f)))
    console.print()
    console.print(_text(directions_title(f), "bold"))
    console.print(_directions(f))
    console.print()
    console.print(_text(EXPLANATION_TITLE, "bold"))
    for line in f.explanation:
        console.print(_text(line))


def brief(findings: Findings, width: int = 100) -> str:
    """Verdict, features, notes and tests as text, in lines of at most ``width`` characters."""
    console = Console(file=io.StringIO(), width=width, record=True)
    _show_main(findings, console)
    return "\n".join(line.rstrip() for line in console.export_text().splitlines())


def _show_main(f: Findings, console: Console) -> None:
    console.print(_text(f.verdict, "bold"))
    console.print()
    console.print(_text(f"Checked: {f.source}, {size(f)}, against {null_law(f)}."))
    if f.features:
        console.print()
        console.print(_text(features_title(f), "bold"))
        console.print(_features(f))
        console.print(_text(f"  {FEATURES_REMARK}", "dim"))
    if f.notes:
        console.print()
    for note in f.notes:
        console.print(_text(f"Note: {note}"))
    for question, tests in groups(f):
        console.print()
        console.print(_text(question, "bold"))
        console.print(_tests(f, tests))


def groups(f: Findings) -> list[tuple[str, list[TestFinding]]]:
    """The tests by what they ask."""
    found: dict[str, list[TestFinding]] = {}
    for test in f.tests:
        found.setdefault(QUESTIONS[test.null_hypothesis], []).append(test)
    return list(found.items())


def classical(f: Findings) -> list[tuple[str, str]]:
    """The classical tests in lines of (name, value)."""
    lines = []
    for test in f.classical:
        if test.degrees is not None:
            value = f"chi-squared({test.degrees:,}) = {test.statistic:.4g}"
        elif test.estimate != test.statistic:
            value = f"z = {test.statistic:.4g}"
        else:
            value = f"HZ = {test.statistic:.4g}"
        shown = pvalue(test.pvalue)
        lines.append((test.test, f"{value}, p {shown if shown.startswith('<') else f'= {shown}'}"))
    return lines


def directions_title(f: Findings) -> str:
    """What the table of directions holds, in its order."""
    if f.num_features == 1:
        return "Directions"
    return "Directions: those furthest from N(0, 1), two principal axes, the median slice"


def features_title(f: Findings) -> str:
    """What the table of features holds."""
    if f.num_features == 1:
        return "The feature against a normal law of any mean and variance"
    shown = min(SHOWN_FEATURES, len(f.features))
    which = "" if shown == f.num_features else f" ({shown} of {f.num_features:,} shown)"
    return f"Features, the largest departures first{which}"


def feature_row(d: FeatureFinding) -> tuple[str, ...]:
    """A feature's name and numbers."""
    shape = ("-" if v is None else f"{v:.2g}" for v in (d.skewness, d.excess_kurtosis))
    statistics = ("-" if v is None else f"{v:.3f}" for v in (d.shapiro_wilk, d.anderson_darling))
    values = f"{d.num_values:,}"
    departs = ", ".join(d.departs)
    return (d.name, f"{d.mean:.3g}", f"{d.std:.3g}", *shape, values, *statistics, pvalue(d.adjusted), departs)


FEATURES_REMARK = (
    "distinct: number of different values. p: of a normal shape, the smaller of Shapiro-Wilk (W) and Anderson-Darling "
    "(A²), by Holm over all features. departs in: mean, std or correlation if few features make most of that "
    "departure, this one among them; shape if it is not normal."
)
FEATURE_COLUMNS = (
    "feature", "mean", "std", "skewness", "excess kurtosis", "distinct", "W", "A²", "p, Holm", "departs in",
)  # fmt: skip


def size(f: Findings) -> str:
    """How many rows and features."""
    views = f"{f.num_views} views of " if f.num_views > 1 else ""
    return f"{views}{f.num_rows:,} rows x {f.num_features:,} feature{'s' if f.num_features > 1 else ''}"


def summary(f: Findings) -> list[tuple[str, str]]:
    """Mean and covariance in a few lines of (name, value)."""
    seen = min(f.num_rows - 1, f.num_features)
    condition = f"{f.condition_number:.3g}" if f.condition_number < float("inf") else "infinite or undefined"
    lines = []
    if not f.standardised:
        lines += [
            ("mean", f"length {f.mean_length:.3g}; 0 under N(0, I)"),
            ("variance per feature", f"{f.mean_variance:.3g} on average; 1 under N(0, I)"),
        ]
    if f.num_features > 1:
        lines += [
            ("rank", f"{f.rank} of {seen}, by the correlations"),
            ("effective rank", f"{f.effective_rank:.1f} of {seen}, 1 if all variance lies along one"),
            (
                "principal variances",
                f"{f.spectrum[0]:.3g} down to {f.spectrum[seen - 1]:.3g}; for N(0, I) at this size "
                f"{f.expected_spectrum[0]:.3g} down to {f.expected_spectrum[seen - 1]:.3g}",
            ),
            ("condition number", condition),
        ]
    shown = "; ".join(f"{name}: {mean:.3g}, {std:.3g}" for name, mean, std in f.extreme_features[:3])
    if not f.standardised:
        lines.append(("furthest features", f"{shown} (mean, std)"))
    return lines


def pvalue(value: float | None) -> str:
    """A p-value to two digits."""
    if value is None:
        return "-"
    return "<1e-10" if value < 1e-10 else f"{value:.2g}"


def number(value: float | None) -> str:
    """A statistic to four digits."""
    return "-" if value is None else f"{value:.4g}"


def std_in_words(direction: DirectionFinding) -> str:
    """A direction's std, and the one to expect of N(0, I) where that is not 1."""
    expected = f" ({direction.expected_std:.2g} expected)" if direction.expected_std != 1 else ""
    return f"{direction.std:.3g}{expected}"


def loadings(direction: DirectionFinding, most: int = 5) -> str:
    """The features of a direction, the largest coefficients first."""
    return ", ".join(f"{name} ({weight:+.2f})" for name, weight in direction.loadings[:most])


def _text(words: str, style: str = "") -> Text:
    """Words as they are: neither markup of rich nor escape sequences of a terminal act."""
    return Text(plain(words), style=style)


def _tests(f: Findings, tests: list[TestFinding]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("  test", no_wrap=True, min_width=max(len(test.label) for test in f.tests) + 2)
    for name in ("value", "p", "p, Holm"):
        table.add_column(name, justify="right", no_wrap=True, min_width=8)
    table.add_column("sensitive to")
    for test in tests:
        found = test.adjusted is not None and test.adjusted < f.alpha
        told = _text(test.sensitive_to if test.statistic is not None else f"not computed: {test.remark}")
        cells = (f"  {test.label}", number(test.statistic), pvalue(test.pvalue), pvalue(test.adjusted))
        table.add_row(*cells, told, style="bold red" if found else None)
    return table


def _pairs(lines: list[tuple[str, str]]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, value in lines:
        table.add_row(_text(f"  {name}"), _text(value))
    return table


def _features(f: Findings) -> Table:
    """Without W and A², for which a terminal has no room."""
    shown = [place for place, name in enumerate(FEATURE_COLUMNS) if place and name not in ("W", "A²", "departs in")]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("  feature", no_wrap=True)
    for place in shown:
        name = FEATURE_COLUMNS[place].replace("skewness", "skew").replace("excess kurtosis", "kurt.")
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column(FEATURE_COLUMNS[-1], min_width=len("correlation"))
    for d in f.features[:SHOWN_FEATURES]:
        cells = feature_row(d)
        numbers = [cells[place] for place in shown]
        table.add_row(_text(f"  {_short(d.name, 14)}"), *numbers, cells[-1], style="bold red" if d.departs else None)
    return table


def _directions(f: Findings) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("  direction", no_wrap=True)
    for name in ("Epps-Pulley", "mean"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("std", no_wrap=True)
    table.add_column("features that load on it")
    for direction in (*f.worst, f.typical):
        load = ", ".join(f"{_short(name, 16)} ({weight:+.2f})" for name, weight in direction.loadings[:2])
        label = _text(f"  {_short(direction.label, 24)}")
        table.add_row(label, number(direction.statistic), f"{direction.mean:.2g}", std_in_words(direction), _text(load))
    return table


def _short(name: str, most: int) -> str:
    """A name no longer than its place in a table; the page has it whole."""
    name = plain(name)
    return name if len(name) <= most else f"{name[: most - 1]}…"
