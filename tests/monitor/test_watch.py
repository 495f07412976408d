"""The monitor in a plain loop: what it says of a run that collapses, when it measures, and what it costs."""

import itertools
import math
import warnings

import pytest
import torch

from sigreg_lab import monitor
from sigreg_lab.monitor import CollapseAlarm, CollapseWarning, HealthMonitor
from sigreg_lab.monitor import watch as watching
from sigreg_lab.regularizers import LeJEPALoss, make_regularizer

pytest.importorskip("torchmetrics", reason="torchmetrics is not installed; make setup installs it")


def train(lam, *, steps=161, dim=8, monitor_every=20, break_at=None):
    """A network with two noisy views; without a regulariser only the prediction loss is left, and it collapses."""
    torch.manual_seed(0)
    x = torch.randn(256, 32)
    net = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.ReLU(), torch.nn.Linear(64, dim))
    loss_fn = LeJEPALoss(make_regularizer("sigreg-ep", num_slices=64), lam=lam)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    watch = HealthMonitor(monitor.EmbeddingHealth(dim, max_samples=256), every_n_steps=monitor_every, max_share=None)
    found = []
    for step in range(steps):
        views = torch.stack([net(x + 0.3 * torch.randn(256, 32)) for _ in range(2)])
        numbers = watch(step, views)
        if numbers is not None:
            found.append((step, numbers))
        if break_at == step:
            with torch.no_grad():
                next(net.parameters())[0, 0] = math.nan
            continue
        if break_at is None or step < break_at:
            optimizer.zero_grad()
            loss_fn(views).total.backward()
            optimizer.step()
    return watch, found


def test_a_run_that_collapses_is_warned_of_in_words_with_the_step():
    with pytest.warns(CollapseWarning, match=r"^step \d+: the embeddings collapse to ") as caught:
        watch, found = train(lam=0.0)
    assert [step for step, _ in found] == [20, 40, 60, 80, 100, 120, 140, 160]
    assert [str(one.message) for one in caught] == watch.messages
    step = int(watch.messages[0].split()[1].rstrip(":"))
    numbers = dict(found)[step]
    assert numbers["variance_mean"] < 0.01 or numbers["effective_rank"] < 4
    assert found[-1][1]["variance_mean"] < 1e-4, "it has collapsed"
    assert any("to a point" in message for message in watch.messages)
    assert len(watch.messages) == len({message.split(": ", 1)[1].split(":")[0] for message in watch.messages}), "once"


def test_a_run_that_does_not_collapse_is_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watch, found = train(lam=0.5)
    assert watch.messages == []
    assert found[-1][1]["effective_rank"] > 7


def test_values_that_are_not_finite_are_said():
    with pytest.warns(CollapseWarning, match=r"step 60: 100\.0% of the embeddings hold NaN"):
        watch, found = train(lam=0.5, break_at=45, steps=81)
    assert len(watch.messages) == 1, "once, though step 80 finds it again"
    assert math.isnan(found[-1][1]["effective_rank"])


BASE = {
    "nonfinite_share": 0.0, "effective_rank": 40.0, "effective_rank_low": 60.0, "effective_rank_high": 62.0,
    "variance_mean": 1.0, "distance_mean": 0.1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, None),
        ({"effective_rank": 21.0}, None),
        ({"effective_rank": 19.0}, "to few dimensions: their effective rank is 19.0, 40.0 at step 10 "),
        ({"variance_mean": 2e-4}, None),
        ({"variance_mean": 0.9e-4}, "to a point: their variance is 9e-05"),
        ({"variance_mean": 1.0, "distance_mean": 99.0}, None),
        ({"variance_mean": 1.0, "distance_mean": 101.0}, "to a point"),
        ({"nonfinite_share": 0.01}, "1.0% of the embeddings hold NaN"),
    ],
)
def test_where_the_alarm_begins(change, said):
    alarm = CollapseAlarm()
    assert alarm(10, BASE) == []
    found = alarm(20, BASE | change)
    assert (found == []) if said is None else (found[0].startswith("step 20: ") and said in found[0])
    assert alarm(30, BASE | change) == [], "once"
    assert alarm(40, BASE) == []
    assert bool(alarm(50, BASE | change)) == (said is not None), "again after it has ended"


def test_few_dimensions_from_the_start_are_said_where_there_could_be_more():
    low = BASE | {"effective_rank": 1.5}
    assert "effective rank is 1.5 (60.0 to 62.0 under N(0, I))" in CollapseAlarm()(0, low)[0]
    assert CollapseAlarm()(0, low | {"effective_rank_low": 1.9}) == [], "in two dimensions that is no collapse"


def test_an_alarm_goes_on_where_it_was():
    alarm = CollapseAlarm()
    alarm(10, BASE)
    alarm(20, BASE | {"effective_rank": 10.0})
    again = CollapseAlarm()
    again.load_state_dict(alarm.state_dict())
    assert again(30, BASE | {"effective_rank": 10.0}) == []
    assert again.best == (40.0, 10)


class Clock:
    """Time that passes where the test says: a step, an update, a measurement."""

    def __init__(self, monkeypatch, step, measurement):
        self.now, self.step, self.measuring = 0.0, step, 0.0
        monkeypatch.setattr(watching.time, "perf_counter", lambda: self.now)
        compute = monitor.EmbeddingHealth.compute

        def slow(metric):
            self.now += measurement
            self.measuring += measurement
            return compute(metric)

        monkeypatch.setattr(monitor.EmbeddingHealth, "compute", slow)


@pytest.mark.parametrize(("measurement", "expected"), [(0.001, 10), (0.5, 496)])
def test_measurements_take_their_share_of_the_time_at_most(monkeypatch, measurement, expected):
    """Steps of 0.1 s and a measurement of 0.5 s: 1% leaves one in 495 steps, and one more for the rounding; the first
    ten are made whatever they cost."""
    clock = Clock(monkeypatch, 0.1, measurement)
    health = monitor.EmbeddingHealth(4, max_samples=32)
    watch = HealthMonitor(health, every_n_steps=10)
    x = torch.randn(32, 4)
    watch(0, x)
    assert clock.measuring == 0, "nothing is measured at the first call"
    found = []
    for step in range(1, 200 if expected == 10 else 2000):
        clock.now += clock.step
        if watch.is_due(step) and watch(step, x) is not None:
            found.append(step)
            if len(found) == watching.FIRST:
                clock.measuring, begin = 0.0, clock.now
    assert found[: watching.FIRST] == list(range(10, 101, 10))
    later = found[watching.FIRST - 1 :]
    assert len(later) > 3
    assert all(b - a == pytest.approx(expected, abs=1) for a, b in itertools.pairwise(later))
    assert clock.measuring / (clock.now - begin) <= 0.0101


def test_by_default_a_collapse_in_a_short_run_of_fast_steps_is_found_at_the_first_measurement():
    """A thousand steps of no time at all, in which one measurement takes far more than 1%."""
    watch = HealthMonitor(monitor.EmbeddingHealth(8, max_samples=512))
    random = torch.Generator().manual_seed(0)
    line = torch.randn(1, 8, generator=random)
    with pytest.warns(CollapseWarning, match=r"^step 103: the embeddings collapse to few dimensions"):
        found = [
            step
            for step in range(1000)
            if watch(step, torch.randn(128, 1, generator=random) * line + 0.01 * torch.randn(128, 8, generator=random))
        ]
    assert found == list(range(103, 1000, 100))


def test_embeddings_of_another_width_are_refused_at_the_first_call():
    watch = HealthMonitor(monitor.EmbeddingHealth(32))
    with pytest.raises(
        ValueError, match=r"of shape \(N, 32\) or .*, got torch\.float32 \(128, 16\); make .* dim= their"
    ):
        watch(0, torch.randn(128, 16))
    with pytest.raises(ValueError, match=r"^embeddings must be a torch\.Tensor, got ndarray$"):
        watch(0, torch.randn(128, 32).numpy())


def test_a_measurement_takes_as_many_steps_as_fill_the_sample():
    watch = HealthMonitor(monitor.EmbeddingHealth(4, max_samples=64), every_n_steps=10, max_share=None)
    found = [step for step in range(40) if watch(step, torch.randn(20, 4)) is not None]
    assert found == [13, 23, 33], "begun every ten steps, and told when the fourth has filled the sample"
    assert float(watch.health.seen) == 0, "the sample begins anew"


def test_a_short_or_an_empty_batch_at_the_beginning_does_not_draw_a_measurement_out():
    watch = HealthMonitor(monitor.EmbeddingHealth(4, max_samples=64), every_n_steps=10, max_share=None)
    rows = {10: 1, 20: 0}
    found = [step for step in range(40) if watch(step, torch.randn(rows.get(step, 32), 4)) is not None]
    assert found == [12, 22, 31]


@pytest.mark.parametrize(("option", "value"), [("every_n_steps", 0), ("max_share", 0.0), ("max_share", 2.0)])
def test_bad_options_are_refused_by_name(option, value):
    with pytest.raises(ValueError, match=f"{option} must"):
        HealthMonitor(monitor.EmbeddingHealth(4), **{option: value})
