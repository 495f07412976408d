"""Findings as one HTML page: pictures and style inside, nothing fetched."""

import html
from collections.abc import Callable
from typing import TYPE_CHECKING

from sigreg_lab.check import pictures
from sigreg_lab.check.findings import Findings, TestFinding
from sigreg_lab.check.plain import plain
from sigreg_lab.check.text import (
    EXPLANATION_TITLE,
    FEATURE_COLUMNS,
    FEATURES_REMARK,
    SHOWN_FEATURES,
    classical,
    directions_title,
    feature_row,
    features_title,
    groups,
    loadings,
    number,
    pvalue,
    size,
    std_in_words,
    summary,
)
from sigreg_lab.check.verdict import null_law, rejected
from sigreg_lab.experiment.provenance import now, provenance

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NARROW = "45em"
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; }
body { max-width: 62em; margin: 2.5em auto; padding: 0 1.2em; }
h1 { font-size: 1.35em; line-height: 1.35; margin: 0.2em 0 0.6em; overflow-wrap: anywhere; }
h2 { font-size: 1.05em; margin: 2.2em 0 0.4em; } h3 { font-size: 0.95em; margin: 1.4em 0 0.3em; }
p, li { max-width: 52em; overflow-wrap: anywhere; } .about, .small { color: #666; font-size: 0.88em; }
.wide { overflow-x: auto; } img { width: 100%; max-width: 820px; display: block; } img.half { max-width: 400px; }
table { border-collapse: collapse; font-size: 0.88em; }
th { text-align: left; font-weight: 600; border-bottom: 1px solid #bbb; }
th, td { padding: 0.28em 0.9em 0.28em 0; vertical-align: top; } td { border-bottom: 1px solid #eee; }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
tr.found td { color: #a63a00; font-weight: 600; } tr.left td { color: #777; }
@media (max-width: NARROW) {
  body { margin: 1em auto; }
  table, tbody, tr { display: block; } tr.head { display: none; }
  tr { border-bottom: 1px solid #ddd; padding: 0.4em 0; }
  td { display: inline-block; border: 0; padding: 0 1.1em 0 0; overflow-wrap: anywhere; }
  td.n { text-align: left; } td:first-child { display: block; font-weight: 600; } td:empty { display: none; }
  td[data-name]:not(:first-child)::before { content: attr(data-name) "\\00a0"; color: #777; font-weight: 400; }
}
""".replace("NARROW", _NARROW)


def render(findings: Findings) -> str:
    """The page as text."""
    f = findings
    made = provenance()
    commit = (made["git"]["commit"] or "unknown")[:12]
    sections = [
        f'<p class="about">{escape(f.source)} &middot; {size(f)} &middot; checked against {escape(null_law(f))}</p>',
        f"<h1>{escape(f.verdict)}</h1>",
        _features(f) if f.features else "",
        _list(f.notes),
        f"<h2>{EXPLANATION_TITLE}</h2>",
        "".join(f"<p>{escape(line)}</p>" for line in f.explanation),
        "<h2>Tests</h2>",
        *(f"<h3>{escape(question)}</h3>{_tests(f, tests)}" for question, tests in groups(f)),
        f'<p class="small">Coloured: departures at level {f.alpha:.0%} over all tests together.</p>',
    ]
    if f.classical:
        sections += [
            "<h3>The classical tests of shape by their limit laws, as R's MVN prints them</h3>",
            _table(("", ""), [("", list(line)) for line in classical(f)], set()),
            '<p class="small">Limit laws hold for many rows. The tests above are decided by simulation at this number '
            "of rows.</p>",
        ]
    sections += ["<h2>Mean and covariance</h2>", _summary(f)]
    if f.num_features > 1:
        sections += [
            "<h2>Spectrum</h2>",
            _picture(pictures.spectrum_figure, f, "variances along the principal axes"),
            '<p class="small">A sample of N(0, I) has no flat spectrum: the dashed line is what to expect of it (law '
            "of Marchenko and Pastur).</p>",
            "<h2>Statistic by slice</h2>",
            _picture(pictures.slices_figure, f, "Epps-Pulley statistic of each slice"),
            f'<p class="small">{f.num_slices} random directions ({f.directions_kind}, seed {f.seed}).</p>',
        ]
    sections += [
        f"<h2>{escape(directions_title(f))}</h2>",
        _directions(f),
        '<p class="small">Chosen from this sample for being extreme, so their values have no p-value of their own. A '
        "random slice loads on all features a little; look at features and principal axes for names.</p>",
        _picture(pictures.projections_figure, f, "histograms of projections against N(0, 1)"),
    ]
    if "square_correlation" in rejected(f):
        sections += [
            "<h2>A dependent pair</h2>",
            f'<img class=half alt="scatter plot of the pair" src="{pictures.as_svg(pictures.pair_figure(f))}">',
        ]
    sections.append(
        f'<p class="small">sigreg-lab {escape(made["versions"].get("sigreg-lab", ""))}, commit {escape(commit)}, torch '
        f"{escape(made['versions'].get('torch', ''))}, {escape(now())}, seed {f.seed}.</p>"
    )
    title = escape(f"{f.source}: check")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{_STYLE}</style></head>\n<body>\n" + "\n".join(sections) + "\n</body></html>\n"
    )


def escape(words: str) -> str:
    """Words as they are: neither HTML nor marks of direction act."""
    return html.escape(plain(words))


def _list(lines: tuple[str, ...]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>" if lines else ""


def _tests(f: Findings, tests: list[TestFinding]) -> str:
    rows: list[tuple[str, list[str]]] = []
    for test in tests:
        done = test.statistic is not None
        kind = "found" if test.adjusted is not None and test.adjusted < f.alpha else "" if done else "left"
        told = test.sensitive_to if done else f"not computed: {test.remark}"
        cells = [test.label, number(test.statistic), pvalue(test.pvalue), pvalue(test.adjusted)]
        rows.append((kind, [*cells, f"{test.rows:,}" if done else "-", test.law or "-", told]))
    return _table(("test", "value", "p", "p, Holm", "rows", "law of p", "sensitive to"), rows, {1, 2, 3, 4})


def _features(f: Findings) -> str:
    rows = [("found" if d.departs else "", [*feature_row(d)]) for d in f.features[:SHOWN_FEATURES]]
    table = _table(FEATURE_COLUMNS, rows, {*range(1, len(FEATURE_COLUMNS) - 1)})
    return f'<h2>{escape(features_title(f))}</h2>{table}<p class="small">{escape(FEATURES_REMARK)}</p>'


def _summary(f: Findings) -> str:
    return _table(("", ""), [("", [name, value]) for name, value in summary(f)], set())


def _directions(f: Findings) -> str:
    header = ("direction", "Epps-Pulley", "mean", "std", "skewness", "excess kurtosis", "features that load on it")
    rows = []
    for d in (*f.worst, f.typical):
        shape = ["-" if v is None else f"{v:.2g}" for v in (d.skewness, d.excess_kurtosis)]
        rows.append(("", [d.label, number(d.statistic), f"{d.mean:.2g}", std_in_words(d), *shape, loadings(d)]))
    return _table(header, rows, {1, 2, 3, 4, 5})


def _table(header: tuple[str, ...], rows: list[tuple[str, list[str]]], numbers: set[int]) -> str:
    """A table; on a narrow screen each row is a block of its own, with the columns' names before the values."""

    def cell(tag: str, place: int, value: str) -> str:
        name = f' data-name="{escape(header[place])}"' if tag == "td" and header[place] else ""
        return f"<{tag}{' class=n' if place in numbers else ''}{name}>{escape(value)}</{tag}>"

    def cells(tag: str, values: tuple[str, ...] | list[str]) -> str:
        return "".join(cell(tag, place, value) for place, value in enumerate(values))

    head = f"<tr class=head>{cells('th', header)}</tr>" if any(header) else ""
    body = "".join(f"<tr{f' class={kind}' if kind else ''}>{cells('td', values)}</tr>" for kind, values in rows)
    return f'<div class="wide"><table>{head}{body}</table></div>'


def _picture(draw: Callable[[Findings, float], "Figure"], f: Findings, words: str) -> str:
    """A figure, drawn anew for narrow screens, on which the wide one could not be read."""
    wide, narrow = (pictures.as_svg(draw(f, width)) for width in (pictures.WIDE, pictures.NARROW))
    source = f'<source media="(max-width: {_NARROW})" srcset="{narrow}">'
    return f'<picture>{source}<img alt="{escape(words)}" src="{wide}"></picture>'
