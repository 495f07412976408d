"""Intervals against brute force, and the whole protocol on regularisers that do not differ."""

import math
import re

import numpy as np
import pytest
from scipy import stats

from sigreg_lab.compare.estimates import Estimate, accuracy, crossed_interval, difference, seeds_interval
from sigreg_lab.compare.measure import packed, unpacked
from sigreg_lab.compare.tables import find, interval, notes, pvalue, show, verdict
from sigreg_lab.experiment import rate_interval
from tests.compare.surrogate import CRITERION, FEW, Surrogate, candidates, run, settings

pytestmark = pytest.mark.usefixtures("light")


def _lines(found):
    return {line.name: line for line in found.lines}


@pytest.mark.parametrize("options", [{}, {"curvature": 0.0}, {"noise": 0.05, "curvature": 0.1}])
def test_two_copies_of_a_regulariser_are_told_apart_in_at_most_5_of_100_comparisons(options):
    told = 0
    for trial in range(100):
        shared = settings(Surrogate(trial, **options))
        line = _lines(find(shared, run(shared, candidates("one", "two"))))["two"]
        assert line.seeds == 5
        told += line.less_first.pvalue < 0.05
    assert told <= 5


def test_an_untrained_encoder_under_two_names_is_told_apart_in_at_most_5_of_100_comparisons():
    """Drawn anew under the second name: as controls, without tuning, where the first is another control."""
    told = 0
    for trial in range(100):
        shared = settings(Surrogate(trial), seeds=5)
        one, two = (run(shared, candidates()).plans[-1], run(settings(Surrogate(trial + 1000)), candidates()).plans[-1])
        estimate, seeds = difference(one.reported, two.reported, CRITERION)
        assert len(seeds) == 5
        told += estimate.pvalue < 0.05
    assert told <= 5


def test_the_same_runs_under_two_names_differ_by_nothing():
    shared = settings(Surrogate())
    rows = run(shared, candidates("one")).plans[0].reported
    estimate, _ = difference(rows, rows, CRITERION)
    assert estimate[:3] == (0, 0, 0)
    assert estimate.pvalue == 1


def test_a_regulariser_that_is_better_is_found():
    shared = settings(Surrogate(gain={"good": 1.0, "bad": -1.0}, noise=0.1, images=1000))
    found = find(shared, run(shared, candidates("fair", "good", "bad")))
    lines = _lines(found)
    assert found.lines[0].name == "good"
    assert lines["good"].rank == 1
    assert lines["good"].less_first.value > 0 > lines["bad"].less_first.value
    assert max(lines["good"].less_first.pvalue, lines["bad"].less_first.pvalue) < 0.05
    assert lines["bad"].rank > 2
    text = verdict(found)
    assert text[0].startswith("good is better than every other here")
    assert any(line.startswith("Better than fair: good by ") for line in text)
    assert any(line.startswith("Worse than fair: ") and "bad by " in line for line in text)
    assert "good" in show(found)


def test_an_interval_that_leaves_out_0_beside_a_corrected_p_value_is_explained():
    shared = settings(Surrogate())
    found = find(shared, run(shared, candidates("one", "two", "three")))
    told = {"two": Estimate(0.02, 0.001, 0.039, "seeds", 0.08), "three": Estimate(0.0, -0.01, 0.01, "seeds", 0.9)}
    lines = [line._replace(less_first=told[line.name]) for line in found.lines if line.name in told]
    text = verdict(found._replace(lines=[line for line in found.lines if line.name == "one"] + lines))
    cannot, why = text[-2:]
    assert cannot.startswith("We cannot tell ")
    assert {"two", "three"} <= set(re.findall(r"\w+", cannot.partition(" from one")[0]))
    assert why == (
        "The interval of two leaves out 0 by itself; among 2 comparisons with one that is not enough "
        "(p = 0.08 after Holm's correction)."
    )
    assert not any("alone, the ranks" in line for line in text)
    certain = [line._replace(less_first=told["two"]._replace(pvalue=0.04)) for line in lines if line.name == "two"]
    first = [line for line in found.lines if line.name == "one"]
    text = verdict(found._replace(lines=[line._replace(beaten_by=set()) for line in first + certain]))
    assert not any("by itself" in line for line in text)
    assert text[0].startswith("We cannot tell which of one, two is best.")
    assert text[1].startswith("Better than one: two by 0.020")
    assert text[2] == "These are corrected for the comparisons with one alone, the ranks for all pairs."


def test_each_column_of_the_terminal_that_is_no_plain_word_is_explained():
    shared = settings(Surrogate())
    text = show(find(shared, run(shared, candidates("one", "two"))))
    for words in (
        "rank: ",
        "less first: ",
        "p, Holm: ",
        "Intervals: 95%, over ",
        "factor: ",
        "collapsed: ",
        "MiB: time",
    ):
        assert f"\n{words}" in text or f", {words}" in text
    assert "tuned by 17 runs on 4 other seeds." in text


def test_a_p_value_near_the_level_shows_its_side():
    shown = [pvalue(value) for value in (0.04972, 0.0503, 0.048, 0.3, 1e-5, math.nan)]
    assert shown == ["0.0497", "0.0503", "0.048", "0.3", "<0.0001", "-"]


def test_without_tuning_noise_the_interval_would_be_too_narrow():
    """What the variance of tuning is there for: a lambda far off costs more than seeds say."""
    shared = settings(Surrogate(curvature=0.0, noise=0.4), tuning_seeds=2)
    line = _lines(find(shared, run(shared, candidates("one"))))["one"]
    assert line.spread.variance(CRITERION) > 0
    plain = accuracy([{**row} for row in run(shared, candidates("one")).plans[0].reported.values()], CRITERION)
    assert line.accuracy.low < plain.low
    assert line.accuracy.high > plain.high
    assert line.accuracy.over == "seeds, tuning, test images"


def test_a_probe_that_depends_on_lambda_more_than_the_one_that_tunes_has_an_interval_that_covers():
    """Lambda is chosen by a probe that hardly tells lambdas apart; that of few labels does."""
    truth = {}
    for trial in range(100):
        shared = settings(Surrogate(trial, curvature=0.005, slope=0.02))
        line = _lines(find(shared, run(shared, candidates("one"))))["one"]
        assert line.probes[FEW].over == "seeds, tuning"
        truth[trial] = line.probes[FEW]
    mean = np.mean([one.value for one in truth.values()])
    covered = sum(one.low <= mean <= one.high for one in truth.values())
    assert 88 <= covered <= 100  # 95 and three standard errors


def test_the_variance_over_seeds_and_images_is_unbiased_and_the_interval_covers():
    rng = np.random.default_rng(5)
    seeds, images, covered, variances, means = 4, 30, 0, [], []
    for _ in range(2000):
        x = 0.3 * rng.standard_normal((seeds, 1)) + 0.8 * rng.standard_normal(images)
        x = x + rng.standard_normal((seeds, images))
        low, high, _ = crossed_interval(x)
        covered += low <= 0 <= high
        of_seeds, of_images = x.mean(1), x.mean(0)
        rest = x - of_seeds[:, None] - of_images + x.mean()
        parts = of_seeds.var(ddof=1) / seeds, of_images.var(ddof=1) / images
        variances.append(sum(parts) - (rest**2).sum() / ((seeds - 1) * (images - 1) * seeds * images))
        means.append(x.mean())
    truth = 0.09 / seeds + 0.64 / images + 1 / (seeds * images)
    assert np.mean(variances) == pytest.approx(truth, abs=4 * np.std(variances) / math.sqrt(2000))
    assert np.var(means) == pytest.approx(truth, abs=4 * truth * math.sqrt(2 / 2000))
    assert covered / 2000 > 0.95 - 4 * math.sqrt(0.95 * 0.05 / 2000)


def test_seeds_alone_give_students_interval_and_test():
    x = np.array([0.3, 0.1, 0.4, 0.2])
    low, high, pvalue = seeds_interval(x)
    expected = stats.ttest_1samp(x, 0)
    assert (low, high) == pytest.approx(tuple(expected.confidence_interval()))
    assert pvalue == pytest.approx(expected.pvalue)
    assert seeds_interval(x[:1]) == (-math.inf, math.inf, 1.0)


def test_a_single_seed_has_wilsons_interval_over_test_images():
    right = np.arange(50) < 40
    name = f"test_{CRITERION}"
    row = {name: 0.8, "right": {CRITERION: packed(right)}, "images": 50}
    estimate = accuracy([row], CRITERION)
    assert estimate[1:4] == (*rate_interval(40, 50), "test images")
    assert accuracy([{name: 0.8}], CRITERION).over == ""
    assert math.isnan(accuracy([{"broke": "it broke"}], CRITERION).value)


def test_bits_survive_packing():
    right = np.random.default_rng(0).random(37) < 0.5
    assert np.array_equal(unpacked(packed(right), 37), right)


class Breaking(Surrogate):
    """Breaks on some seeds, or beyond a weight."""

    def __init__(self, seeds=(), above=math.inf, name="two", **options):
        super().__init__(**options)
        self.seeds, self.above, self.name = seeds, above, name

    def __call__(self, config):
        if config.regularizer == self.name and (config.seed in self.seeds or config.lam > self.above):
            raise FloatingPointError("the loss is nan at step 7")
        return super().__call__(config)


def test_runs_that_break_are_counted_aloud_and_not_averaged_in_silence():
    shared = settings(Breaking(seeds=(1, 3)))
    found = find(shared, run(shared, candidates("one", "two")))
    line = _lines(found)["two"]
    assert (line.seeds, line.reported_broke, line.less_first.value == line.less_first.value) == (3, 2, True)
    assert line.reasons == {"FloatingPointError: the loss is nan at step 7": 2}
    assert any("two: 2 of 5 reported runs broke; its accuracy is over the 3 that finished" in n for n in notes(found))
    assert "3 of 5" in show(found)


@pytest.mark.parametrize("name", ["two", "none"])
def test_one_whose_reported_runs_all_break_is_not_ranked(name):
    shared = settings(Breaking(seeds=range(5), name=name))
    found = find(shared, run(shared, candidates("one", "two")))
    assert _lines(found)[name].rank is None
    broken = [note for note in notes(found) if note.startswith(f"{name}:")]
    assert broken == [f"{name}: all of its 5 reported runs broke; it is not ranked."]


def test_one_whose_every_run_breaks_is_not_ranked():
    shared = settings(Breaking(above=0.0))
    found = find(shared, run(shared, candidates("one", "two")))
    line = _lines(found)["two"]
    assert line.rank is None
    assert line.broke == line.made == shared.protocol.tuning_runs
    assert any("two: no lambda was found at which all tuning runs finished" in note for note in notes(found))
    assert interval(line.accuracy) == "-"


def test_the_range_of_lambda_within_a_point_is_that_of_the_curve():
    """Without noise: accuracy 0.9 - 0.002 log(w / 0.0625)^2 is one point below its top at sqrt(5) on the logarithm."""

    def measure(config):
        weight = config.lam / (1 - config.lam)
        value = 0.9 - 0.002 * math.log(weight / 0.0625) ** 2 if weight else 0.5
        return {f"{split}_{CRITERION}": value for split in ("validation", "test")}

    grid = tuple(0.0625 * 1.2**k for k in range(-20, 21))
    shared = settings(measure, weights=grid, extra=0)
    spread = _lines(find(shared, run(shared, candidates("one"))))["one"].spread
    assert spread.factor == pytest.approx(math.exp(2 * math.sqrt(5)), rel=0.01)
    assert spread.factor_low == spread.factor == spread.factor_high
    assert spread.variance(CRITERION) == 0
    assert (spread.open_low, spread.open_high, spread.open_factor) == (False, False, False)
    narrow = settings(measure, weights=(0.05, 0.0625, 0.08), extra=0)
    spread = _lines(find(narrow, run(narrow, candidates("one"))))["one"].spread
    assert spread.open_low
    assert spread.open_high
