"""The rules are the same for each regulariser, and tuning finds the top of a curve wherever it lies."""

import math

import pytest

from sigreg_lab.compare.protocol import FIRST_TUNING_SEED, Plan, Protocol, lam_of, weight_of
from tests.compare.surrogate import CRITERION, Surrogate, candidates, run, settings

pytestmark = pytest.mark.usefixtures("light")


def _walk(protocol, value):
    """A plan whose validation accuracy is ``value(weight, seed)``; None: the run broke. All that it asked for."""
    plan, asked = Plan("one", protocol), []
    for batch in plan.batches():
        for wanted in batch:
            asked.append(wanted)
            number = value(wanted.weight, wanted.seed)
            row = {"broke": "it broke"} if number is None else {f"validation_{CRITERION}": number}
            plan.record(wanted, row)
    return plan, asked


@pytest.mark.parametrize("top", [0.002, 0.06, 1.0, 30.0])
@pytest.mark.parametrize("tuning_seeds", [1, 2, 4, 8])
def test_each_gets_the_same_number_of_tuning_runs_and_none_on_a_reported_seed(top, tuning_seeds):
    protocol = Protocol(tuning_seeds=tuning_seeds)
    plan, asked = _walk(protocol, lambda w, seed: -abs(math.log(w / top)))
    tuning = [item for item in asked if item.stage == "tuning"]
    assert len(tuning) == protocol.tuning_runs == len({*tuning})
    assert {item.seed for item in tuning} == {*range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + tuning_seeds)}
    assert [item.seed for item in asked if item.stage == "report"] == [0, 1, 2, 3, 4]
    assert {item.weight for item in asked if item.stage == "report"} == {plan.chosen}
    assert abs(math.log(plan.chosen / top)) <= math.log(2) + 1e-9, "the grid goes by 4, and was refined"
    assert not plan.at_edge
    assert plan.missing() == (0, 0)


@pytest.mark.parametrize(("top", "end"), [(1e-9, min), (1e9, max)])
def test_a_grid_is_widened_up_to_the_stated_limit(top, end):
    protocol = Protocol(extra=3)
    plan, _ = _walk(protocol, lambda w, seed: -abs(math.log(w / top)))
    assert len(plan.tried) == len(protocol.weights) + 3
    assert plan.chosen == end(plan.tried)
    assert plan.at_edge
    assert end(plan.tried) / end(protocol.weights) == pytest.approx(4.0 ** (3 if end is max else -3))


def test_halving_keeps_the_better_half_and_compares_on_the_same_seeds():
    plan, _ = _walk(Protocol(extra=0, weights=(1, 2, 3, 4, 5, 6, 7, 8)), lambda w, seed: w)
    had = {weight: len(rows) for weight, rows in plan.tried.items()}
    assert had == {1: 1, 2: 1, 3: 1, 4: 1, 5: 2, 6: 2, 7: 4, 8: 4}
    assert plan.chosen == 8


def test_a_lambda_at_which_a_run_breaks_is_not_chosen_and_one_for_which_all_break_is_given_up():
    plan, _ = _walk(Protocol(), lambda w, seed: None if w > 0.1 else w)
    assert plan.chosen <= 0.1
    plan, asked = _walk(Protocol(), lambda w, seed: None)
    assert plan.chosen is None
    assert plan.missing() == (0, 0)
    assert all(item.stage == "tuning" for item in asked)


def test_controls_are_not_tuned_and_runs_of_one_seed_share_it():
    surrogate = Surrogate()
    outcome = run(settings(surrogate, seeds=3), candidates("a", "b"))
    assert [len(plan.tried) for plan in outcome.plans] == [9, 9, 0, 0]
    assert all(sorted(plan.reported) == [0, 1, 2] for plan in outcome.plans)
    assert {steps for name, _, _, steps in surrogate.calls if name == "none"} == {0, 300}


@pytest.mark.parametrize("form", ["convex", "additive"])
def test_weights_and_lambdas_are_each_others_inverse(form):
    for weight in (1e-4, 0.3, 5.0):
        assert weight_of(lam_of(weight, form), form) == pytest.approx(weight)
    assert lam_of(1.0, "convex") == 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": (0.1,)}, "two values or more"),
        ({"weights": (0.1, math.inf)}, "inside its range"),
        ({"weights": (0.2, 0.1)}, "ascending, each value once"),
        ({"weights": (0.1, 0.1)}, "ascending, each value once"),
        ({"tuning_seeds": 3}, "power of two"),
        ({"tuning_seeds": 0}, "power of two"),
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"extra": -1}, "extra at least 0"),
        ({"first_seed": FIRST_TUNING_SEED}, "below those of tuning"),
        ({"first_seed": -1}, "below those of tuning"),
    ],
)
def test_rules_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Protocol(**options)


@pytest.mark.parametrize(("lam", "form"), [(0, "convex"), (1, "convex"), (0, "additive"), (math.nan, "convex")])
def test_a_lambda_without_weight_or_without_prediction_is_refused(lam, form):
    with pytest.raises(ValueError, match="lambda must lie"):
        weight_of(lam, form)
