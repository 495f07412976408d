"""Descent on samples: the paper's Figures 6, 16 and 7, with intervals over seeds."""

from typing import Any

from sigreg_lab import univariate
from sigreg_lab.experiment import Decision, Picture, Study, claim, every, presets, some
from sigreg_lab.experiment.cells import Cell, Config
from sigreg_lab.experiment.estimates import Estimates
from sigreg_lab.figures.kinds import clouds, curves, scatter
from sigreg_lab.theory import null_means

from .estimates import AHEAD_EQUAL, AHEAD_FEW, AXES, FEW, STEPS, estimate
from .measure import STATISTICS, measure

SPAN = 3.6  # of the coordinates drawn


def few_win(e: Estimates, training: str) -> Decision:
    """Against the largest fixed set, wherever both were trained."""
    gaps = e.of(AHEAD_FEW, training=training).table
    largest = gaps.groupby(["num_samples", "dim"])["num_slices"].transform("max")
    return every(Estimates(gaps[gaps["num_slices"] == largest]), above=0.0).also(few=FEW)


@claim("few directions drawn anew beat the largest fixed set once step lengths shrink to 0")
def few_win_with_shrinking_steps(e: Estimates) -> Decision:
    return few_win(e, "adam_cosine")


@claim(
    "few directions drawn anew beat thousands of fixed ones, with steps of one length as printed",
    source="Fig. 7",
    fails="false as printed, holds once steps shrink",
)
def few_win_as_printed(e: Estimates) -> Decision:
    return few_win(e, "adam")


@claim("directions drawn anew are at least as good as equally many fixed ones, once steps shrink")
def anew_wins_at_equal_slices(e: Estimates) -> Decision:
    return ~some(e.of(AHEAD_EQUAL, training="adam_cosine"), below=0.0)


@claim("Epps-Pulley on most slices turns the 'X' in few dimensions into a Gaussian: its plane ends below the null mean")
def x_undone(e: Estimates) -> Decision:
    shown = e.of("points", training="adam", directions="iid")
    ends = e.of(training="adam", directions="iid", statistic="epps_pulley", dim=shown.first("dim"),
                num_samples=shown.first("num_samples"), num_slices=shown.last("num_slices"))  # fmt: skip
    null, after = null_means.energy_of_plane(), ends.at("plane")
    return every(after, below=null).also(before=ends.at("start_plane"), after=after, null=null)


@claim("Adam moves samples outside the span of the directions it was given")
def adam_moves_outside(e: Estimates) -> Decision:
    return every(e.of("motion_outside", training=[*STEPS]), above=0.1)


def points(e: Estimates) -> Any:
    """The first two coordinates of one seed, before and after, by K and M and by statistic."""
    table = clouds(e.of(["points", "start_points"], training="adam", directions="iid"), ["before", *STATISTICS])
    table = table[table[["x", "y"]].abs().max(axis=1) <= SPAN]
    table["row"] = [f"K = {k}, M = {m}" for k, m in zip(table["K"], table["M"], strict=True)]
    return scatter(
        table, x="x", y="y", row="row", column="panel", hue="panel", size=(1.7, 1.6), x_label="first coordinate",
        y_label="second coordinate",
    )  # fmt: skip


def ends(e: Estimates) -> Any:
    runs = e.of("infinite", training=[*STEPS], statistic="epps_pulley")
    table = runs.of(num_samples=runs.table["num_samples"].iloc[0]).table
    kinds = {"iid": "drawn anew", "fixed": "fixed"}
    lines = [f"{kinds[d]}, {STEPS[t]}" for d, t in zip(table["directions"], table["training"], strict=True)]
    return curves(
        Estimates(table.assign(line=lines)), x="num_slices", hue="line", column="dim", log_y=True, legend_columns=2,
        y_label="Epps-Pulley over all slices, at the end",
    )  # fmt: skip


def keep(cell: Cell, settings: Config) -> bool:
    """The columns of Fig. 6 for every statistic; the curves of Fig. 7, plain descent and the null for Epps-Pulley."""
    n, dim, num_slices = int(cell["num_samples"]), int(cell["dim"]), int(cell["num_slices"])
    first, least = n == settings["column_samples"], min(settings["curve_slices"])
    in_column = num_slices in settings["column_slices"] and dim in settings["column_dims"] and first
    if cell["training"] == "adam" and cell["directions"] == "iid" and in_column:
        return True
    if cell["statistic"] != "epps_pulley" or num_slices not in settings["curve_slices"]:
        return False
    if cell["training"] == "none":
        return first and cell["directions"] == "iid" and num_slices == least
    if cell["training"] == "gradient_descent":
        return first and cell["directions"] == "fixed" and num_slices == least and least < dim
    if not first:  # what Figure 7's claim compares
        compared = FEW if cell["directions"] == "iid" else settings["other_fixed"]
        return dim in settings["other_dims"] and num_slices == compared
    return dim * num_slices <= settings["most_coordinates"] and num_slices <= 128 * dim


DIMS, COLUMNS, CURVE = [16, 128, 1024], [10, 100], [16, 256, 2048]

STUDY = Study(
    name="sample_descent",
    title="Descent on samples: fixed or resampled directions",
    question="Which statistic, on how many slices, turns an 'X' hidden in many dimensions into a Gaussian, and do "
    "few directions drawn anew at every step beat many fixed ones?",
    expectation="16 directions drawn anew beat fixed sets smaller than K; sets of several K close the gap. With a "
    "constant learning rate few slices leave a floor of noise. Moment statistics leave the 'X' as it "
    "is.",
    topic="slices",
    seed=20251122,
    axes=AXES,
    paired=("statistic", "directions", "training", "num_slices"),
    keep=keep,
    presets=presets(
        "statistic num_samples column_samples dim column_dims num_slices column_slices curve_slices steps seeds "
        "null_seeds most_coordinates",
        smoke=(["epps_pulley", "vcreg"], [32], 32, [8], [8], [4, 10, 16], [10], [4, 16], 60, 2, 20, 2**19),
        quick=(STATISTICS, [100], 100, [16, 128], [16, 128], [10, 16, 100, 256], COLUMNS, [16, 256], 380, 2, 40, 2**17),
        standard=(STATISTICS, [100, 400], 100, DIMS, DIMS, [10, *CURVE[:1], 100, *CURVE[1:]], COLUMNS, CURVE, 1520, 3,
                  60, 2**18),
        paper=(STATISTICS, [100, 400, 1600], 100, DIMS, DIMS, [4, 10, 16, 64, 100, 256, 2048, 16384], COLUMNS,
               [4, 16, 64, 256, 2048, 16384], 1520, 20, 1000, 2**24),
        directions=["fixed", "iid"],
        training=["none", "gradient_descent", *STEPS],
        other_dims=[128],
        other_fixed=2048,
    ),
    choices={"statistic": sorted(univariate.REGISTRY)},
    measure=measure,
    estimate=estimate,
    claims=(few_win_with_shrinking_steps, few_win_as_printed, anew_wins_at_equal_slices, x_undone, adam_moves_outside),
    pictures={
        "fixed_or_resampled": Picture(
            "Loss over all slices after training with Epps-Pulley, by number of slices (the paper's Fig. 7).", ends
        ),
        "samples": Picture(
            "First two coordinates of one sample before and after training with each statistic (the paper's "
            "Figs. 6 and 16).", points
        ),
    },
)  # fmt: skip
