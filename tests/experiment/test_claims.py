"""Claims: what decides, and how often it decides wrongly."""

import math

import numpy as np
import pytest

from sigreg_lab.experiment.claims import Claim, Decision, Verdict, every, some
from sigreg_lab.experiment.estimates import Estimate, Estimates, about, exactly, tabulate

HOLDS, FAILS, UNCLEAR, NOT_RUN = Verdict


def _numbers(*values, error=0.1):
    return [Estimate(about("x", value, error)) for value in values]


@pytest.mark.parametrize(
    ("values", "all_above", "one_above"),
    [
        ((1.0, 2.0), HOLDS, HOLDS),
        ((1.0, -1.0), FAILS, HOLDS),
        ((-1.0, -2.0), FAILS, FAILS),
        ((1.0, 0.1), UNCLEAR, HOLDS),
        ((-1.0, 0.1), FAILS, UNCLEAR),
        ((0.05,), UNCLEAR, UNCLEAR),
    ],
)
def test_every_and_some_above_a_bound(values, all_above, one_above):
    assert every(_numbers(*values), above=0.0).verdict == all_above
    assert some(_numbers(*values), above=0.0).verdict == one_above
    mirrored = _numbers(*(-value for value in values))
    assert every(mirrored, below=0.0).verdict == all_above
    assert some(mirrored, below=0.0).verdict == one_above


def test_exact_numbers_decide_without_error_and_evidence_is_at_hand():
    decision = every([Estimate(exactly("x", value)) for value in (1.0, 2.0, 3.0)], above=1.5)
    assert decision.verdict == FAILS
    assert (decision.evidence["least"].value, decision.evidence["largest"].value) == (1.0, 3.0)
    assert (decision.evidence["yes"], decision.evidence["no"], decision.evidence["total"]) == (2, 1, 3)


def test_the_number_shown_is_one_that_decides_and_not_a_larger_one_that_is_less_certain():
    noisy, sure = _numbers(5.0, error=4.0) + _numbers(2.0)
    assert some([noisy, sure], above=0.0).evidence["largest"].value == sure.value
    assert every([noisy, sure], below=1.0).evidence["largest"].value == sure.value
    assert some([noisy, sure], above=3.0).evidence["largest"].value == noisy.value, "nothing is decided"


def test_equivalence_needs_the_whole_interval_inside():
    assert every(_numbers(0.0, error=0.1), above=-1.0, below=1.0).verdict == HOLDS
    assert every(_numbers(0.0, error=1.0), above=-1.0, below=1.0).verdict == UNCLEAR
    assert every(_numbers(3.0, error=0.1), above=-1.0, below=1.0).verdict == FAILS
    assert every(_numbers(math.nan), above=0.0).verdict == UNCLEAR


def test_of_many_null_effects_one_in_twenty_studies_finds_some():
    """Bonferroni: with 20 true zeros, "some" holds in at most 2.5% (one-sided); without it, it would in 40%."""
    rng, studies = np.random.default_rng(0), 2000
    found = sum(some(_numbers(*rng.standard_normal(20), error=1.0), above=0.0).verdict == HOLDS for _ in range(studies))
    assert abs(found / studies - 0.025) < 4.5 * math.sqrt(0.025 * 0.975 / studies)


def test_the_best_of_many_comes_with_an_interval_that_holds_although_it_was_chosen():
    """20 true zeros: the largest lies above its own 95% interval in 1 - 0.975^20 = 40% of studies."""
    rng, studies = np.random.default_rng(1), 1000
    draws = [_numbers(*rng.standard_normal(20), error=1.0) for _ in range(studies)]
    chosen = [some(numbers, above=0.0).evidence["largest"] for numbers in draws]
    plain = [max(numbers, key=lambda one: one.value) for numbers in draws]
    assert [one.value for one in chosen] == [one.value for one in plain]
    assert sum(one.low <= 0 <= one.high for one in chosen) / studies > 0.95
    assert sum(one.low <= 0 <= one.high for one in plain) / studies < 0.7


def test_verdicts_combine():
    a, b, c = (Decision(verdict, {"who": str(verdict)}) for verdict in (HOLDS, FAILS, UNCLEAR))
    assert ((a & a).verdict, (a & c).verdict, (c & b).verdict) == (HOLDS, UNCLEAR, FAILS)
    assert ((b | b).verdict, (b | c).verdict, (c | a).verdict) == (FAILS, UNCLEAR, HOLDS)
    assert ((~a).verdict, (~b).verdict, (~c).verdict) == (FAILS, HOLDS, UNCLEAR)
    assert (a & b).evidence["who"] == "holds"
    assert (a & Decision(NOT_RUN)).verdict == NOT_RUN
    assert a.also(x=1).evidence == {"who": "holds", "x": 1}


def test_a_claim_whose_rows_are_missing_is_not_run():
    table = Estimates(tabulate([exactly("x", 1.0, n=8)]))
    assert Claim("c", "it is", lambda e: every(e.of("x", n=9))).decision(table).verdict == NOT_RUN
    assert Claim("c", "it is", lambda e: every(e.at("x", n=8), above=0.5)).decision(table).verdict == HOLDS
