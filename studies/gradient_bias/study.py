"""Bias of the loss and of its gradient: estimates, claims and pictures."""

from typing import Any

import pandas as pd

from sigreg_lab.experiment import Decision, Picture, Study, claim, every, presets
from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.experiment.estimates import Estimates, about, tabulate
from sigreg_lab.experiment.power_laws import exponents
from sigreg_lab.figures.kinds import curves

from .measure import OVER_V, OVER_WHOLE, VARIANTS, measure, shards_of

NAMES = {"v": "V-statistic (as implemented)", "u": "U-statistic"}
BIAS = {"loss": "bias of the loss", "gradient": "bias of the gradient"}
NOT_FAR = 0.8  # a standard deviation near the target, at which a gradient is left


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    """Biases against their exact values; ratios of squared errors; exponents of N in the bias."""
    found: list[Row] = []
    for row in rows.to_dict("records"):
        place = {axis: row[axis] for axis in ("variant", "sd", "n", "estimator")}
        name, value, error = row["quantity"], row["mean"] - row["population"], row["standard_error"]
        if name in BIAS:
            found.append(about(BIAS[name], value, error, exact=row["exact_bias"], **place))
        aim = abs(row["population"])
        if name == "gradient" and aim > 1e-9:
            known = row["exact_bias"] / aim
            found.append(about("bias, share of the gradient", value / aim, error / aim, exact=known, **place))
        if name in (OVER_V, OVER_WHOLE):
            found.append(about(name, value, error, **place))
    biases = Estimates(tabulate(found)).of([*BIAS.values()], variant="whole", estimator="v")
    return found + exponents(biases, "n", ["sd"])


def nearest(e: Estimates, sd: float) -> float:
    return float(min(e.axis("sd"), key=lambda one: abs(one - sd)))


@claim(
    "loss and gradient of a minibatch are biased by O(1/N): that is T/N's bias; T, which carries the factor N, "
    "has the same bias in every batch",
    source="Theorem 6",
    holds="holds for T/N",
)
def does_not_vanish(e: Estimates) -> Decision:
    bias = e.of(BIAS["gradient"], variant="whole", estimator="v", sd=nearest(e, 1.0))
    first, last = (bias.at(BIAS["gradient"], n=n) for n in (bias.first("n"), bias.last("n")))
    power = e.at(f"exponent, {BIAS['gradient']}", sd=nearest(e, 1.0))
    return every(power, above=-0.1, below=0.1).also(first=first, last=last, power=power)


@claim("averaging the gradients of local batches errs more than the gradient of the whole batch")
def local_is_worse(e: Estimates) -> Decision:
    shards = max(shards_of(variant) for variant in e.axis("variant"))
    errors = e.of(OVER_WHOLE, variant=f"local_{shards}", estimator="v")
    errors = errors.of(sd=nearest(e, NOT_FAR), n=errors.first("n"))
    return every(errors, above=1.0).also(shards=shards)


@claim("the gradient of the U-statistic has the smaller squared error, unless the sample is near collapse")
def unbiased_is_better(e: Estimates) -> Decision:
    ratios = e.of(OVER_V, estimator="u")
    far = every(ratios.of(sd=lambda sd: sd >= 0.5), below=1.0)
    return far.also(worst=ratios.largest(), best=ratios.least())


def _local(e: Estimates) -> Any:
    names = {"whole": "whole batch"} | {f"local_{w}": f"{w} local batches" for w in (2, 4, 8)}
    return curves(
        e.of("bias, share of the gradient", estimator="v", sd=nearest(e, NOT_FAR), variant=list(names)),
        x="n",
        hue="variant",
        names=names,
        y_label="bias, share of the gradient",
        exact="exact",
        log_y=True,
        size=(4.2, 2.9),
    )


def keep(cell: Cell, settings: Config) -> bool:
    """Local batches of 8 samples or more."""
    shards = shards_of(str(cell["variant"]))
    return shards == 1 or int(cell["n"]) >= 8 * shards


ALL, SIZES = list(VARIANTS), [8, 16, 32, 64, 128, 256, 512, 1024, 4096]

STUDY = Study(
    name="gradient_bias",
    title="Bias of the loss and of its gradient",
    question="Is the minibatch gradient of Epps-Pulley biased, by how much, and does the bias vanish with N?",
    expectation="Theorem 6 holds for T/N. The implemented T carries the factor N, so its bias does not change "
    "with N. W local batches have W times the relative bias of the whole batch. The V-statistic is "
    "biased but has the smaller mean squared error on small batches.",
    topic="batches",
    seed=20251114,
    axes=("variant", "sd", "n"),
    paired=("variant",),
    keep=keep,
    presets=presets(
        "variant sd n replicates paired_replicates",
        smoke=(["whole", "local_2"], [0.8, 1.0], [16, 64], 2_000, 1_000),
        quick=(ALL, [0.5, 1.0], [16, 64, 256], 20_000, 4_000),
        standard=(ALL, [0.25, 0.5, 0.8, 1.0, 1.25], [16, 64, 256, 1024], 200_000, 40_000),
        paper=(ALL, [0.1, 0.25, 0.5, 0.8, 1.0, 1.25, 2.0], SIZES, 1_000_000, 200_000),
    ),
    measure=measure,
    estimate=estimate,
    claims=(local_is_worse, does_not_vanish, unbiased_is_better),
    pictures={
        "gradient_bias": Picture(
            "Bias of the gradient with respect to the standard deviation, by estimator.",
            lambda e: curves(
                e.of(BIAS["gradient"], variant="whole"),
                x="n",
                hue="estimator",
                names=NAMES,
                column="sd",
                titles={"sd": "standard deviation {}"},
                y_label="bias of dT/dsd (95% interval)",
                exact="exact",
            ),
        ),
        "local_batches": Picture("Bias of the gradient averaged over local batches, near the target.", _local),
    },
)
