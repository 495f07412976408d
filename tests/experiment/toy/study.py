"""A study that takes no time: the engine's tests copy its folder."""

from matplotlib.figure import Figure

from sigreg_lab.experiment import Claim, Picture, Study, every
from sigreg_lab.experiment.estimates import mean

from .measure import measure

PRESET = {"shift": [0.0, 1.0], "seed": [0, 1, 2], "draws": 5, "pause": 0.0, "fail_at": -1, "scale": 1.0, "log": True}
PRESET |= {"word": "red"}


def estimate(rows, settings):
    return [
        mean("mean", part["mean"], exact=shift if shift < 100 else 0.0, shift=shift)
        for shift, part in rows.groupby("shift")
    ]


def draw(estimates):
    figure = Figure()
    figure.subplots().plot(estimates.table["shift"], estimates.table["estimate"])
    return figure


STUDY = Study(
    name="toy",
    title="A toy",
    question="Is the mean where it should be?",
    expectation="Yes.",
    seed=7,
    axes=("shift", "seed"),
    paired=("shift",),
    presets={name: PRESET for name in ("smoke", "quick", "standard", "paper")},
    choices={"word": ("blue",)},
    measure=measure,
    estimate=estimate,
    claims=(
        Claim("below_two", "the means lie below two", lambda e: every(e.of("mean"), below=2.0).also(bound=2.0)),
        Claim("above_three", "the means lie above three", lambda e: every(e.of("mean"), above=3.0), "Theorem 1"),
        Claim("elsewhere", "it holds elsewhere", lambda e: every(e.of("mean", shift=77.0)), detail=True),
    ),
    pictures={"toy": Picture("Means against shifts.", draw)},
)
