"""Findings on the terminal."""

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from sigreg_lab.check.findings import DirectionFinding, Findings
from sigreg_lab.check.plain import plain


def show(findings: Findings, console: Console) -> None:
    """Print verdict, tests, mean and covariance, and directions."""
    f = findings
    console.print(_text(f.verdict, "bold"))
    console.print()
    console.print(_text(f"Checked: {f.source}, {size(f)}, against N(0, I)."))
    for note in f.notes:
        console.print(_text(f"Note: {note}"))
    for line in f.explanation:
        console.print(_text(line))
    console.print()
    console.print(_tests(f))
    console.print()
    console.print(Group(*(_text(f"{name:22} {value}") for name, value in summary(f))))
    console.print()
    console.print(_directions(f))


def size(f: Findings) -> str:
    """How many rows and features."""
    views = f"{f.num_views} views of " if f.num_views > 1 else ""
    return f"{views}{f.num_rows:,} rows x {f.num_features:,} feature{'s' if f.num_features > 1 else ''}"


def summary(f: Findings) -> list[tuple[str, str]]:
    """Mean and covariance in a few lines of (name, value)."""
    seen = min(f.num_rows - 1, f.num_features)
    condition = f"{f.condition_number:.3g}" if f.condition_number < float("inf") else "infinite or undefined"
    lines = [
        ("mean", f"length {f.mean_length:.3g}; 0 asked"),
        ("variance per feature", f"{f.mean_variance:.3g} on average; 1 asked"),
    ]
    if f.num_features > 1:
        lines += [
            ("effective rank", f"{f.effective_rank:.1f} of {seen}"),
            (
                "principal variances",
                f"{f.spectrum[0]:.3g} down to {f.spectrum[seen - 1]:.3g}; for N(0, I) at this size "
                f"{f.expected_spectrum[0]:.3g} down to {f.expected_spectrum[seen - 1]:.3g}",
            ),
            ("condition number", condition),
        ]
    shown = "; ".join(f"{name}: {mean:.3g}, {std:.3g}" for name, mean, std in f.extreme_features[:3])
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


def loadings(direction: DirectionFinding, most: int = 5) -> str:
    """The features of a direction, the largest coefficients first."""
    return ", ".join(f"{name} ({weight:+.2f})" for name, weight in direction.loadings[:most])


def _text(words: str, style: str = "") -> Text:
    """Words as they are: neither markup of rich nor escape sequences of a terminal act."""
    return Text(plain(words), style=style, overflow="fold")


def _tests(f: Findings) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("test", no_wrap=True)
    for name in ("value", "p", "p, Holm"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("sensitive to")
    null = ""
    for test in f.tests:
        if test.null_hypothesis != null:
            null = test.null_hypothesis
            table.add_row(f"against {null}", style="dim")
        rejected = test.adjusted is not None and test.adjusted < f.alpha
        told = _text(test.sensitive_to if test.statistic is not None else f"not computed: {test.remark}")
        cells = (f"  {test.label}", number(test.statistic), pvalue(test.pvalue), pvalue(test.adjusted))
        table.add_row(*cells, told, style="bold red" if rejected else None)
    return table


def _directions(f: Findings) -> Table:
    table = Table("direction", box=None, pad_edge=False, header_style="bold")
    for name in ("Epps-Pulley", "mean", "std"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("features that load on it")
    for direction in (*f.worst, f.typical):
        std = f"{direction.std:.3g}"
        if direction.expected_std != 1:
            std += f" ({direction.expected_std:.2g} expected)"
        label, load = _text(direction.label), _text(loadings(direction, 3))
        table.add_row(label, number(direction.statistic), f"{direction.mean:.2g}", std, load)
    return table
