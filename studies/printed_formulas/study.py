"""Printed formulas beside right values: what can be used as it stands, and what cannot."""

import pandas as pd

from sigreg_lab.experiment import Picture, Study, presets
from sigreg_lab.experiment.cells import Config, Row
from sigreg_lab.experiment.estimates import about, exactly
from sigreg_lab.figures.kinds import curves, forest

from .claims import CHANCE, CLAIMS, OVER
from .measure import PARTS, measure

SLIPS = ["eq. 21", "eq. 51", "eq. 54", "eq. 54, corrected", "BHEP's integral", "weight"]
NAMES = {
    "eq. 52": "Blom's scores, identity",
    "eq. 53": "i/(n + 1), identity",
    "eq. 53 and 56": "i/(n + 1), tridiagonal",
}
PLACE = ("part", "formula", "point", "law", "n", "dim", "at")


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    """Each row as it is: sampled with its error, or computed, where exponents are read off at a finite distance."""
    found = []
    for row in rows.to_dict("records"):
        place, name = {axis: row[axis] for axis in PLACE}, row["quantity"]
        if row["error"] > 0:
            found.append(about(name, row["value"], row["error"], exact=row["exact"], **place))
        else:
            found.append(exactly(name, row["value"], row["exact"], 1e-6 * name.startswith("exponent"), **place))
    return found


STUDY = Study(
    name="printed_formulas",
    title="Formulas as printed, beside right values",
    question="Which formulas and captions of the paper, and statements of two later papers, can be used as "
    "printed?",
    expectation="The closed forms of appendix F hold; several other lines have slips; slicing makes a kernel "
    "heavy-tailed.",
    topic="theory",
    seed=20261129,
    axes=("part",),
    presets=presets(
        "part replicates sizes draws",
        smoke=([*PARTS], 200, [16, 64], 4),
        quick=([*PARTS], 1_000, [16, 64, 256], 10),
        standard=([*PARTS], 8_000, [16, 64, 256, 1024], 40),
        paper=([*PARTS], 50_000, [16, 64, 256, 1024, 4096], 200),
    ),
    measure=measure,
    estimate=estimate,
    claims=CLAIMS,
    pictures={
        "x_slices": Picture(
            "Epps-Pulley T/N of slices of the 'X', by angle; dotted: exact.",
            lambda e: curves(e.of("slice statistic"), x="at", x_label="angle of the slice, degrees", log_x=False,
                             y_label="T/N, 95% interval", exact="exact", size=(3.8, 2.4),
                             references={"mean": e.at("mean over directions", dim=2).value}),
        ),
        "shapiro_wilk": Picture(
            "Mean deviation of W from SciPy's, in standard deviations of W on normal samples.",
            lambda e: curves(e.of(CHANCE), x="n", hue="formula", names=NAMES, y_label="deviation", log_y=True,
                             references={"standard deviation of W": 1.0}, size=(3.8, 2.4), legend_columns=1),
        ),
        "slips": Picture(
            "Value as printed over the right value.",
            lambda e: forest(e.of(OVER, formula=SLIPS), y="formula", x_label="printed over right", log_x=True,
                             references={"right": 1.0}, width=4.0),
        ),
    },
)  # fmt: skip
