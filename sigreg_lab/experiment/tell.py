"""The text of a study: its template, the words that each verdict chooses, numbers by lookup.

``studies/NAME/findings.md.j2`` is a Jinja template of blocks. A block that has a claim's id holds its words:

    {% block small_batches_shrink %}
    {% if holds %}In small batches the loss is smallest at {{ least | span }}.
    {% elif fails %}No batch size moves the minimum.
    {% else %}We cannot tell whether the minimum moves.
    {% endif %}
    {% endblock %}

Where a verdict has no words, plain ones are made of the claim's statement. Inside a block are known: ``holds``,
``fails`` and ``unclear``; the claim's evidence by its names; and in every block

    at(quantity, n=64)       the one estimate at a place; written, it is a number with its interval
    of(quantity, n=64)       several; ``| length``, ``.least()``, ``.largest()``
    axis("n")                the values of an axis
    settings.replicates      a setting of the run
    table(...)               a Markdown table of estimates
    more_than(1)             instead of a value of an axis; likewise less_than, other_than
    x | span(3), x | percent, x | points, x | number, x | label, xs | list_of

Blocks of other names are ``tables``, which follows the findings, and ``details``, which goes into the fold.

The first claim of a study is its headline. At most six others are findings; those marked ``detail`` are in the fold.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sigreg_lab.experiment.cells import Config
from sigreg_lab.experiment.claims import Claim, Decision, Verdict
from sigreg_lab.experiment.estimates import Estimate, Estimates
from sigreg_lab.experiment.tables import markdown_table
from sigreg_lab.names import AXES, axis_symbol, label

if TYPE_CHECKING:
    import jinja2

TEMPLATE = "findings.md.j2"
MOST_FINDINGS = 6
OTHER_BLOCKS = ("tables", "details")


class Told(NamedTuple):
    """What became of a claim: its verdict, and the words for it."""

    claim: Claim
    decision: Decision
    words: str

    def record(self) -> dict[str, str | bool]:
        """As it is stored beside the results, for report and ledger."""
        verdict = self.decision.verdict
        return {
            "id": self.claim.id,
            "statement": self.claim.statement,
            "source": self.claim.source,
            "verdict": str(verdict),
            "called": self.claim.verdicts.get(verdict, str(verdict)),
            "words": self.words,
            "detail": self.claim.detail,
        }


def tell(claims: Sequence[Claim], template: str, estimates: Estimates, settings: Config) -> list[Told]:
    """Decide every claim and find its words.

    Args:
        claims: the study's claims.
        template: the text of its template.
        estimates: its table.
        settings: the settings of the run.

    Raises:
        ValueError: more than six findings beside the headline, or a block that no claim has.
    """
    findings = [claim for claim in claims[1:] if not claim.detail]
    if len(findings) > MOST_FINDINGS:
        raise ValueError(f"{len(findings)} findings beside the headline; mark all but {MOST_FINDINGS} as detail")
    compiled, known = _compiled(template, estimates, settings)
    stray = {*compiled.blocks} - {claim.id for claim in claims} - {*OTHER_BLOCKS}
    if stray:
        raise ValueError(f"block {stray.pop()!r} of the template is no claim of the study")
    return [
        Told(claim, found, words(claim, found, compiled, known))
        for claim in claims
        for found in [claim.decision(estimates)]
    ]


def words(claim: Claim, decision: Decision, template: "jinja2.Template", known: Mapping[str, Any]) -> str:
    """The words of a verdict: the template's, else plain ones."""
    verdict = decision.verdict
    if claim.id in template.blocks and verdict != Verdict.NOT_RUN:
        flags = {"holds": Verdict.HOLDS, "fails": Verdict.FAILS, "unclear": Verdict.UNCLEAR}
        context = {**known, **decision.evidence, **{name: verdict == one for name, one in flags.items()}}
        text = _block(template, claim.id, context)
        if text:
            return text
    start = {
        Verdict.HOLDS: "It holds that",
        Verdict.FAILS: "It does not hold that",
        Verdict.UNCLEAR: "We cannot tell whether",
        Verdict.NOT_RUN: "Not run with these settings: whether",
    }[verdict]
    return f"{start} {claim.statement.rstrip('.')}."


def findings(told: Sequence[Told], template: str, estimates: Estimates, settings: Config) -> str:
    """The text of ``findings.md``: headline, findings, tables, and the fold."""
    compiled, known = _compiled(template, estimates, settings)
    head, *rest = told
    parts = [f"**{head.words}**", "\n".join(f"- {one.words}" for one in rest if not one.claim.detail)]
    parts.append(_block(compiled, "tables", known, join=False))
    details = ["\n".join(f"- {one.words}" for one in rest if one.claim.detail)]
    details += [_block(compiled, "details", known, join=False), _checked(estimates)]
    fold = "\n\n".join(part for part in details if part)
    if fold:
        parts.append(f"<details>\n<summary>Details</summary>\n\n{fold}\n\n</details>")
    return "\n\n".join(part for part in parts if part) + "\n"


def _checked(estimates: Estimates) -> str:
    known = sum(estimates.table["exact"].notna())
    return (
        f"{known} of {len(estimates)} estimates are also known exactly, and none contradicts its exact value."
        if known
        else ""
    )


def _compiled(
    template: str, estimates: Estimates, settings: Config
) -> tuple["jinja2.Template", dict[str, Callable[..., Any] | Config]]:
    import jinja2

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"span": _span, "percent": _percent, "points": _points, "number": _number}
    environment.filters |= {"label": _label, "list_of": _list_of}
    known: dict[str, Callable[..., Any] | Config] = {
        "at": estimates.at,
        "of": estimates.of,
        "axis": estimates.axis,
        "settings": settings,
        "table": lambda *args, **kwargs: pivot(estimates, *args, **kwargs),
        "more_than": lambda bound: lambda value: value > bound,
        "less_than": lambda bound: lambda value: value < bound,
        "other_than": lambda other: lambda value: value != other,
    }
    return environment.from_string(template), known


def _block(template: "jinja2.Template", name: str, known: Mapping[str, Any], join: bool = True) -> str:
    """A block's text; ``join``: on one line."""
    if name not in template.blocks:
        return ""
    text = "".join(template.blocks[name](template.new_context(dict(known)))).strip()
    return re.sub(r"\s+", " ", text) if join else text


def _span(number: Estimate, digits: int | None = None) -> str:
    return number.span(digits)


def _percent(number: Estimate | float, digits: int | None = None) -> str:
    return number.span(digits, percent=True) if isinstance(number, Estimate) else f"{100 * number:.{digits or 0}f}%"


def _points(number: Estimate, digits: int | None = None) -> str:
    """A share, such as accuracy, in percentage points."""
    return f"{_percent(number, digits).replace('%', '')} points"


def _number(number: float, form: str = ",.4g") -> str:
    return format(number, form)


def _label(key: object) -> str:
    return label(str(key))


def _list_of(items: Sequence[object], last: str = "and") -> str:
    """One, two and three."""
    texts = [f"{item:g}" if isinstance(item, float) else str(item) for item in items]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} {last} {texts[-1]}" if texts else "none"


def pivot(
    estimates: Estimates,
    quantity: str | Sequence[str],
    *,
    rows: str | Sequence[str],
    columns: str,
    heads: Mapping[Any, str] | str = "",
    digits: int | None = None,
    percent: bool = False,
    names: Mapping[str, str] | None = None,
    **where: Any,
) -> str:
    """A Markdown table of estimates with their intervals; a dash where there is none.

    Args:
        estimates: the study's table.
        quantity: which, or several.
        rows: the axis, or axes, whose values are the rows.
        columns: the axis whose values are the columns; "quantity" for several quantities side by side.
        heads: a column's heading: by its value, or a text with {} for it; N = {} and the like if not given.
        digits: decimals; those that are known if not given.
        percent: whether to write percentages.
        names: headings of the row axes; N, K and M where not given.
        where: the place, as ``Estimates.of`` takes it.
    """
    chosen = estimates.of(quantity, **where)
    axes = [rows] if isinstance(rows, str) else list(rows)
    across = [*quantity] if columns == "quantity" and not isinstance(quantity, str) else chosen.axis(columns)
    cells = {(*(getattr(e, axis) for axis in axes), getattr(e, columns)): e for e in chosen}
    places = list(dict.fromkeys(key[:-1] for key in cells))
    titles = [(names or {}).get(axis, axis_symbol(axis)) for axis in axes]
    heads = heads or (f"{axis_symbol(columns)} = {{}}" if columns in AXES else "{}")
    titles += [heads.format(_text(c)) if isinstance(heads, str) else heads.get(c, _text(c)) for c in across]
    lines = [
        [*map(_text, place), *(cells[*place, c].span(digits, percent) if (*place, c) in cells else "-" for c in across)]
        for place in places
    ]
    return markdown_table(titles, lines)


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else label(value) if isinstance(value, str) else str(value)
