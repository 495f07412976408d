"""What a lambda means: ratios of the two terms' gradients, exponents of N, views flattened or not, eq. 5 and 6."""

import itertools
import math
from typing import Any

import pandas as pd
from scipy import stats

from sigreg_lab.experiment import Claim, Decision, Picture, Study, Verdict, every
from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.experiment.estimates import Estimates, about, exactly, interval, tabulate
from sigreg_lab.experiment.power_laws import exponent
from sigreg_lab.figures.kinds import curves

from .measure import BATCH, EQUATIONS, VIEWS, measure

ROUNDING = 1e-11  # relative error that rounding may leave in what is equal exactly
PARTS = {"mean": "mean, for A", "noise": "noise, for A", "embedding": "one embedding's, rms"}
SETTINGS = {
    "scale_1": "null: N(0, I)",
    "scale_0.8": "N(0, 0.8² I)",
    "scale_1.25": "N(0, 1.25² I)",
    "defect_0.1": "weak rank defect",
}


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    """Means over blocks, mean squares as root mean squares; regulariser over prediction loss; exponents of N."""
    found: list[Row] = []
    for row in rows.to_dict("records"):
        kind, _, number = row["setting"].partition("_")
        place = {"setting": row["setting"], "n": row["n"], "kind": kind, "number": float(number or 0)}
        name, value, error, blocks = row["quantity"], row["mean"], row["standard_error"], int(row["blocks"])
        if name.startswith("rounding"):
            found.append(exactly(name, value, 0.0, ROUNDING, **place))
            continue
        found.append(about(name, value, error, blocks, row["exact"], **place))
        if name.endswith(("noise", "embedding")):  # mean squares: what is compared is their root
            half = stats.t.ppf(0.975, max(blocks - 1, 1)) * error
            root, low, high = (math.sqrt(max(value + shift, 0.0)) for shift in (0.0, -half, half))
            found.append(interval(f"{name}, root", root, low, high, blocks, **place))
            found[-1]["known"] = math.sqrt(row["exact"]) if row["exact"] > 0 else math.nan
    ratios = list(_ratios(tabulate(found)))
    return found + ratios + list(_exponents(ratios))


def _ratios(table: pd.DataFrame) -> Any:
    """Regulariser (measured) to prediction loss (exact), part by part of the gradient."""
    cells = table.set_index(["setting", "n", "quantity"])
    for setting, n, part in itertools.product(*(table[c].unique() for c in ("setting", "n")), PARTS):
        suffix = "" if part == "mean" else ", root"
        if (setting, n, f"regulariser, {part}") in cells.index:
            row, prediction = (
                cells.loc[(setting, n, f"regulariser, {part}{suffix}")],
                cells.loc[(setting, n, f"prediction, {part}")],
            )
            scale = prediction["exact"] if part == "mean" else math.sqrt(prediction["exact"])
            ends = [float(row[end]) / scale for end in ("estimate", "low", "high")]
            found = interval(f"ratio, {part}", ends[0], ends[1], ends[2], int(row["replicates"]), setting=setting, n=n)
            yield found | {"known": float(row["exact" if part == "mean" else "known"]) / scale}


def _exponents(ratios: list[Row]) -> Any:
    """Slopes of log ratio on log N, each N alike; the same for the exact ratios."""
    if not ratios:
        return
    for (setting, name), cells in pd.DataFrame(ratios).groupby(["setting", "quantity"], sort=False):
        cells = cells[cells["low"] > 0]  # a mean that noise hides has no logarithm
        if len(cells) > 1:
            error = (cells["high"] - cells["low"]) / (2 * 1.959964 * cells["estimate"])
            slope, error = exponent(cells["n"], cells["estimate"], error)
            known, _ = exponent(cells["n"], cells["known"])
            yield about(str(name).replace("ratio", "exponent"), slope, error, setting=setting) | {"known": known}


def flattened_pushes(e: Estimates) -> Decision:
    """Flattened, nearly equal views are pushed apart by more than the prediction loss, from a usual lambda on."""
    push = e.of("flattened, slope in rho").largest()
    pull = -e.at("prediction, slope in rho", setting=push.setting, n=push.n).exact
    ends = [pull / end for end in (push.value, push.high, push.low)]
    lam = Estimates(tabulate([interval("lambda", ends[0], ends[1], ends[2])])).at("lambda")
    return every(lam, above=0.0, below=0.5).also(lam=lam, rho=push.number)


def per_view_does_not(e: Estimates) -> Decision:
    slopes = e.of("per view, slope in rho")
    return every(slopes, above=-0.5, below=0.5).also(total=len(slopes))


def equations_agree(e: Estimates) -> Decision:
    """The gradients of eq. 5 and eq. 6 have the same direction, whatever the number of global views."""
    cosines = e.of("cosine")
    return every(cosines, above=0.999).also(views=10)


def one_rule(e: Estimates) -> Decision:
    """lambda ~ 1/N keeps every part of the balance: all exponents of N are 1."""
    powers = [one for part in PARTS for one in e.of(f"exponent, {part}")]
    return every(powers, above=0.9, below=1.1)


def conversion_exact(e: Estimates) -> Decision:
    return every(e.of("rounding: gradients after conversion"), below=ROUNDING)


def _balance(e: Estimates) -> Any:
    found = e.of([f"ratio, {part}" for part in PARTS]).table
    return curves(
        Estimates(found.assign(exact=found["known"])),
        x="n",
        hue="setting",
        names=SETTINGS,
        column="quantity",
        titles={"quantity": lambda name: PARTS[name.removeprefix("ratio, ")]},
        x_label="batch size N",
        y_label="gradient, regulariser / prediction",
        exact="exact",
        log_y=True,
        share_y=False,
        size=(3.2, 3.0),
        legend_columns=5,
    )


def _views(e: Estimates) -> Any:
    names = {f"{how}, {what}" for how in ("per view", "flattened") for what in ("value", "slope in rho")}
    found = e.of(names).table
    what = found["quantity"].str.partition(", ")
    return curves(
        Estimates(found.assign(how=what[0], what=what[2])),
        x="number",
        hue="how",
        column="what",
        titles={"what": {"value": "mean of Epps-Pulley", "slope in rho": "its slope in the correlation"}.__getitem__},
        x_label="correlation of two views",
        y_label="4 views, all N(0, 1)",
        exact="exact",
        log_x=False,
        share_y=False,
        size=(3.4, 2.8),
    )


def keep(cell: Cell, settings: Config) -> bool:
    """The batch size varies for the balance of the two terms alone."""
    return cell["setting"] in BATCH or cell["n"] == settings["n_elsewhere"]


def _preset(setting: list[str], n: list[int], n_elsewhere: int, blocks: int, samples: int) -> Config:
    config = {"setting": setting, "n": n, "n_elsewhere": n_elsewhere, "blocks": blocks, "samples": samples}
    return config | {"samples_elsewhere": 4 * samples, "least_replicates": 4}


ALL, FEW = (
    [*BATCH, *VIEWS, *EQUATIONS, "conversion"],
    ["scale_1", "rho_0", "rho_0.9", "global_2", "global_10", "conversion"],
)
SIZES = [16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 16384]

STUDY = Study(
    name="batch_size_and_lambda",
    title="Batch size and lambda",
    question="Which lambda at another batch size, number of views or notation weighs the two terms as before?",
    expectation="lambda ~ 1/N, because the statistic carries N; flattened views V times stronger and nothing else; eq. "
    "5 and eq. 6 differ by a factor 2 where all views are global; converted lambdas agree to rounding.",
    seed=20251120,
    axes=("setting", "n"),
    keep=keep,
    presets={
        "smoke": _preset(FEW, [16, 64], 64, 8, 256),
        "quick": _preset(ALL, [16, 64, 256], 64, 20, 1_024),
        "standard": _preset(ALL, [16, 64, 256, 1024, 4096], 256, 40, 8_192),
        "paper": _preset(ALL, SIZES, 256, 100, 65_536),
    },
    measure=measure,
    estimate=estimate,
    claims=(
        Claim("flattened_pushes", "a flattened regulariser pushes the views of a sample apart", flattened_pushes),
        Claim("one_rule", "lambda proportional to 1/N keeps the balance of the two terms", one_rule),
        Claim(
            "equations_agree",
            "eq. 5 equals eq. 6 up to a factor",
            equations_agree,
            source="eq. 5 and 6 (B.6)",
            verdicts={Verdict.FAILS: "false as printed"},
        ),
        Claim("per_view_does_not", "taken view by view the regulariser does not push views apart", per_view_does_not),
        Claim("conversion_exact", "a lambda can be converted between all ways to write the loss", conversion_exact),
    ),
    pictures={
        "batch_size": Picture("Gradient of the regulariser over that of the prediction loss, against N.", _balance),
        "views_and_equations": Picture("Views taken one by one or flattened, by their correlation.", _views),
    },
)
