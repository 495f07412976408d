"""Claims: what a study may conclude, and the rows that decide it.

A claim is a statement with a predicate on estimates and their intervals. Three verdicts are possible: it holds, it
fails, or the intervals do not tell; a fourth where the settings of a run have no row that it needs. Nothing is
concluded in any other way: the words of a finding stand in the study's template, one wording for each verdict.

    holds      the interval of what is claimed lies where the statement says
    fails      it lies where the statement cannot be right
    unclear    neither

Where a claim is about several numbers, "every" fails, and "some" holds, only at a level corrected for their count
(Bonferroni); a statement that needs all of them at once needs no correction. The words show what decided: the number
furthest from the bound among those that are certain, with the interval of the level that decided. The best of 20 equal
ones lies above its own 95% interval in two of five studies.
"""

import dataclasses
import enum
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sigreg_lab.experiment.estimates import LEVEL, Estimate, Estimates


class Verdict(enum.StrEnum):
    """What the rows say of a statement."""

    HOLDS = "holds"
    FAILS = "fails"
    UNCLEAR = "cannot be told"
    NOT_RUN = "not run"


@dataclasses.dataclass(frozen=True)
class Decision:
    """A verdict, and the rows by which it was reached: a finding's words look them up by name."""

    verdict: Verdict
    evidence: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __and__(self, other: "Decision") -> "Decision":
        """Both statements: holds if both do, fails if one does. The evidence of the first goes before."""
        both = {self.verdict, other.verdict}
        order = (Verdict.NOT_RUN, Verdict.FAILS, Verdict.UNCLEAR, Verdict.HOLDS)
        return Decision(next(v for v in order if v in both), {**other.evidence, **self.evidence})

    def __or__(self, other: "Decision") -> "Decision":
        """One of two statements, or both: holds if one does, fails if both do."""
        both = {self.verdict, other.verdict}
        order = (Verdict.NOT_RUN, Verdict.HOLDS, Verdict.UNCLEAR, Verdict.FAILS)
        return Decision(next(v for v in order if v in both), {**other.evidence, **self.evidence})

    def __invert__(self) -> "Decision":
        """The contrary statement."""
        turned = {Verdict.HOLDS: Verdict.FAILS, Verdict.FAILS: Verdict.HOLDS}
        return Decision(turned.get(self.verdict, self.verdict), self.evidence)

    def also(self, **evidence: Any) -> "Decision":
        """The same with more evidence for the words."""
        return Decision(self.verdict, {**self.evidence, **evidence})


@dataclasses.dataclass(frozen=True)
class Claim:
    """A statement that the rows decide.

    Attributes:
        id: its name, that of its block in the study's template.
        statement: a clause that can follow "It holds that" and "We cannot tell whether".
        decide: estimates to a decision. A ``LookupError`` in it means that the settings have no row that it needs.
        source: where the statement comes from, such as "Theorem 4"; a claim with a source has a row in the ledger.
        verdicts: what the ledger calls a verdict, where it is not "holds", "fails" or "cannot be told".
        detail: whether it goes into the fold instead of among the findings.
    """

    id: str
    statement: str
    decide: Callable[[Estimates], Decision]
    source: str = ""
    verdicts: Mapping[Verdict, str] = dataclasses.field(default_factory=dict)
    detail: bool = False

    def decision(self, estimates: Estimates) -> Decision:
        """What the estimates say of it."""
        try:
            return self.decide(estimates)
        except LookupError as missing:
            return Decision(Verdict.NOT_RUN, {"missing": str(missing)})


def claim(
    statement: str, *, source: str = "", detail: bool = False, **verdicts: str
) -> Callable[[Callable[[Estimates], Decision]], Claim]:
    """Make a claim of the function that decides it, which gives it its name.

    Args:
        statement: as of ``Claim``; so are ``source`` and ``detail``.
        verdicts: what the ledger calls ``holds``, ``fails`` or ``unclear``.
    """
    called = {Verdict[name.upper()]: text for name, text in verdicts.items()}
    return lambda decide: Claim(decide.__name__, statement, decide, source, called, detail)


Numbers = Estimate | Iterable[Estimate]


def every(numbers: Numbers, *, above: float = -math.inf, below: float = math.inf) -> Decision:
    """Every number lies above ``above`` and below ``below``.

    Evidence: ``least`` and ``largest`` of them, ``total``, and how many of them certainly do (``yes``) and do not
    (``no``), each at its corrected level. Where some certainly do not, the end at which they lie is the furthest of
    these: a number further out may be less certain. The ends have their own intervals if the statement holds, else
    corrected ones.

    Raises:
        LookupError: no numbers.
    """
    rows, corrected, yes, no = _sorted(numbers, above, below)
    counts = {"total": len(rows), "yes": len(yes), "no": len(no)}
    if all(row.low > above and row.high < below for row in rows):
        return Decision(Verdict.HOLDS, _ends(rows, rows) | counts)
    low, high = [row for row in no if row.high <= above], [row for row in no if row.low >= below]
    return Decision(Verdict.FAILS if no else Verdict.UNCLEAR, _ends(low or corrected, high or corrected) | counts)


def some(numbers: Numbers, *, above: float = -math.inf, below: float = math.inf) -> Decision:
    """At least one number lies above ``above`` and below ``below``.

    Evidence as for ``every``, with corrected intervals. Where some certainly do, the largest is the largest of these
    if there is a bound below them, the least the least of these if there is one above.

    Raises:
        LookupError: no numbers.
    """
    rows, corrected, yes, no = _sorted(numbers, above, below)
    counts = {"total": len(rows), "yes": len(yes), "no": len(no)}
    outside = all(row.high <= above or row.low >= below for row in rows)
    verdict = Verdict.HOLDS if yes else Verdict.FAILS if outside else Verdict.UNCLEAR
    low, high = (yes if yes and math.isfinite(bound) else corrected for bound in (below, above))
    return Decision(verdict, _ends(low, high) | counts)


def _sorted(
    numbers: Numbers, above: float, below: float
) -> tuple[list[Estimate], list[Estimate], list[Estimate], list[Estimate]]:
    """The numbers, the same with corrected intervals, and those of these that certainly lie inside, and outside."""
    rows = _rows(numbers)
    corrected = [row.at_level(1 - (1 - LEVEL) / len(rows)) for row in rows]
    inside = [row for row in corrected if row.low > above and row.high < below]
    return rows, corrected, inside, [row for row in corrected if row.high <= above or row.low >= below]


def _rows(numbers: Numbers) -> list[Estimate]:
    rows = [numbers] if isinstance(numbers, Estimate) else list(numbers)
    if not rows:
        raise LookupError("no estimates to decide by")
    return rows


def _ends(low: list[Estimate], high: list[Estimate]) -> dict[str, Estimate]:
    """The least of some numbers and the largest of others; NaN is neither, unless nothing else is there."""
    least, largest = ([row for row in rows if not math.isnan(row.value)] or rows for rows in (low, high))
    return {"least": min(least, key=lambda row: row.value), "largest": max(largest, key=lambda row: row.value)}
