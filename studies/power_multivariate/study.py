"""Power of multivariate and sliced statistics: sizes, powers, and what slices gain."""

from typing import Any

from sigreg_lab import alternatives
from sigreg_lab.experiment import Decision, Picture, Study, claim, every, presets, some
from sigreg_lab.experiment.cells import Cell, Config
from sigreg_lab.experiment.estimates import Estimates
from sigreg_lab.figures.kinds import curves, heat_map
from sigreg_lab.names import label

from .estimates import estimate
from .measure import SLICED, measure

LAWS = list(alternatives.MULTIVARIATE)
#: Least dimension of the laws that need more than 2.
LEAST_DIM = {"x_pairs": 4, "rank_defect_4": 5}
#: Laws whose power is drawn against the number of slices, and laws whose projections are nearly normal.
CURVES, HIDDEN = ["location_0.3", "rank_defect_1", "x", "hypercube", "elliptical_t5"], ["x", "hypercube", "sphere"]
NEARLY_NORMAL = 128  # dimensions from which on they are


def main_n(e: Estimates) -> int:
    """The number of samples shown: the largest of those tried in the highest dimension."""
    return int(max(e.of("power", dim=e.last("dim")).axis("n")))


def rank_one(e: Estimates, quantity: str, **where: Any) -> Estimates:
    """Epps-Pulley against one lost dimension, over the most slices."""
    found = e.of(quantity, alternative="rank_defect_1", statistic=SLICED[0], n=main_n(e), **where)
    return found.of(num_slices=found.last("num_slices"))


def high(dim: float) -> bool:
    return dim >= NEARLY_NORMAL


@claim("in high dimension the maximum over slices gains less than a tenth of power on the mean, of one lost dimension")
def maximum_no_better(e: Estimates) -> Decision:
    return every(rank_one(e, "gain of the maximum", dim=high), below=0.1).also(n=main_n(e))


@claim("in 16 dimensions the maximum over slices detects one lost dimension more often than the mean")
def maximum_gains_in_few(e: Estimates) -> Decision:
    return every(rank_one(e, "gain of the maximum", dim=16), above=0.0).also(n=main_n(e))


@claim(
    "the maximum over directions has power towards 1 against every defect, at usable numbers of slices",
    source="Theorem 2",
    fails="vacuous in practice: blind in high dimension at usable M",
)
def maximum_consistent(e: Estimates) -> Decision:
    return every(rank_one(e, "power", reduction="max"), above=0.5).also(n=main_n(e))


@claim("no sliced test rejects laws with nearly normal projections in a quarter of samples, in high dimension")
def hidden_laws(e: Estimates) -> Decision:
    powers = e.of("power", alternative=HIDDEN, statistic=SLICED, dim=high, n=main_n(e))
    return every(powers, below=0.25).also(n=main_n(e), dims=powers.axis("dim"))


@claim("more slices can cost the maximum its power")
def more_slices_cost(e: Estimates) -> Decision:
    return some(e.of("gain of the most slices", n=main_n(e)), below=0.0).also(n=main_n(e))


@claim("some test rejects some law less often than the null")
def below_level(e: Estimates) -> Decision:
    level = next(iter(e.of("power", alternative="null"))).exact
    return some(e.of("power", alternative=lambda law: law != "null"), below=level).also(level=level)


@claim("every statistic is a test in every dimension, in float64", detail=True)
def always_a_test(e: Estimates) -> Decision:
    constant = e.of("constant in float64", alternative="null")
    found = [one for one in constant if one.value]
    least = min((one.dim for one in found), default=0)
    return every(constant, below=0.5).also(names=sorted({one.test for one in found}), least_dim=least)


def _heat_map(e: Estimates) -> Any:
    near = min(e.axis("num_slices"), key=lambda slices: abs(slices - 256))
    shown = e.of("power", n=main_n(e), num_slices=[0, near])  # 0 of a test that does not slice
    return heat_map(
        shown, x="dim", y="test", column="alternative", limits=(0, 1), form="{:.2f}", x_label="dimension K",
        value_label=f"rejection rate at n = {main_n(e)}", wrap=4,
    )  # fmt: skip


def _slices(e: Estimates) -> Any:
    found = e.of("power", alternative=CURVES, statistic=SLICED, n=main_n(e)).table
    lines = [f"{label(s)}, {r}" for s, r in zip(found["statistic"], found["reduction"], strict=True)]
    return curves(
        Estimates(found.assign(line=lines)), x="num_slices", hue="line", row="alternative", column="dim",
        y_label="power", references={"level": 0.05}, limits=(-0.03, 1.03), size=(2.6, 1.8),
    )  # fmt: skip


def keep(cell: Cell, settings: Config) -> bool:
    n, dim = int(cell["n"]), int(cell["dim"])
    least, most = settings["dims_per_sample"]
    affordable = least * n <= dim <= most * n and n**2 * dim <= settings["most_pair_operations"]
    return affordable and dim >= LEAST_DIM.get(str(cell["alternative"]), 2)


THREE, FOUR = ["null", "rank_defect_1", "scale_1.1"], ["null", "rank_defect_1", "x", "elliptical_t5"]
MOST = [law for law in LAWS if law not in ("vertices", "iid_laplace")]
DIMS = [2, 16, 128, 512]

STUDY = Study(
    name="power_multivariate",
    title="Power of multivariate and sliced statistics",
    question="Which departures from N(0, I) do multivariate and sliced tests detect, as the dimension grows?",
    expectation="In high dimension the mean over slices detects what all directions share (scale, elliptical "
    "tails) and misses a defect of rank 1, which the calibrated maximum finds with enough slices. No "
    "sliced test detects the 'X' at K = 128, nor a hypercube or sphere, whose projections are nearly "
    "normal. BHEP with a fixed width goes blind as K grows. Pairwise statistics detect the sphere by "
    "its radius. Some tests reject a narrower law, or one of light tails, less often than the null.",
    topic="tests",
    seed=20251121,
    axes=("n", "dim", "alternative"),
    paired=("alternative",),
    keep=keep,
    presets=presets(
        "alternative n dim num_slices replicates operations most_values most_pair_operations dims_per_sample",
        smoke=(THREE, [32], [2, 16], [1, 16], [100, 100], 1e9, 2**12, 1e6, [0.0, 8.0]),
        quick=(FOUR, [64], [2, 16, 128], [1, 16, 256], [200, 1000], 1e9, 2**14, 1e7, [0.0, 8.0]),
        standard=(MOST, [16, 64, 256, 1024], DIMS, [1, 16, 256, 4096], [200, 500], 1.4e9, 2**16, 4e7, [1 / 128, 8.0]),
        paper=(LAWS, [8, 16, 32, 64, 128, 256, 512, 1024], DIMS, [1, 4, 16, 64, 256, 1024, 4096], [2_000, 20_000],
               1e12, 2**22, 1e9, [0.0, 64.0]),
        alpha=0.05,
    ),
    measure=measure,
    estimate=estimate,
    claims=(maximum_no_better, maximum_gains_in_few, maximum_consistent, hidden_laws, more_slices_cost, below_level,
            always_a_test),
    pictures={
        "power_multivariate": Picture("Power of every test against every law, by dimension K; sliced tests with "
        "about 256 slices.", _heat_map),
        "power_multivariate_slices": Picture("Power of sliced tests by number of slices M.", _slices),
    },
)  # fmt: skip
