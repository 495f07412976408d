"""How large the gradient of one sample can get: sizes, exponents, bounds."""

from typing import Any

from sigreg_lab.experiment import Decision, Picture, Study, claim, every, presets
from sigreg_lab.experiment.cells import Cell, Config
from sigreg_lab.experiment.estimates import Estimates
from sigreg_lab.figures.kinds import curves
from sigreg_lab.theory.gradients import CONSTANT

from .estimates import estimate
from .measure import EPPS_PULLEY, STATISTICS, measure

EXPLODING = ["vcreg", "extended_jarque_bera", "moments"]
COMPARED = ["cramer_von_mises", "jarque_bera", "shapiro_wilk", "anderson_darling", "mean_std", "vcreg"]
DRAWN = [*list(EPPS_PULLEY)[:3], *COMPARED]


def largest_n(e: Estimates, quantity: str, **where: Any) -> Estimates:
    found = e.of(quantity, **where)
    return found.of(n=found.last("n"))


@claim(
    "gradient and curvature in one sample are bounded, as printed for T/N: T, which carries N, has a bound without 1/N",
    source="Theorem 4",
    holds="holds with a correction",
)
def bounded(e: Estimates) -> Decision:
    ratio = largest_n(e, "largest gradient, bound over the printed", statistic="epps_pulley")
    found = largest_n(e, "largest gradient", statistic="epps_pulley")
    n = found.least().n
    return every(ratio, above=1 / n, below=1.0).also(bound=found.least().exact, n=n)


@claim("the constant C = 2 + 4 exp(-3/2) serves for the curvature, whatever the width", source="Theorem 4, constant")
def constant_serves(e: Estimates) -> Decision:
    ratios = e.of("largest curvature, bound over the printed")
    return every(ratios, below=CONSTANT).also(constant=CONSTANT)


@claim(
    "moment statistics have unbounded gradients: those of VCReg and raw moments grow as the third power of an outlier",
    source="Theorem 4, moments",
    holds="holds for these; not for Jarque-Bera in the tails",
)
def moments_explode(e: Estimates) -> Decision:
    return every(largest_n(e, "gradient exponent", part="outlier", statistic=EXPLODING), above=2.9)


@claim("Jarque-Bera's gradient falls again far out")
def jarque_bera_falls(e: Estimates) -> Decision:
    falls = largest_n(e, "gradient exponent", part="outlier", statistic="jarque_bera")
    peak = largest_n(e, "gradient", part="outlier", statistic="jarque_bera").largest()
    return every(falls, below=-2.0).also(peak=peak)


@claim("Epps-Pulley's gradient in an outlier all but vanishes")
def far_out_nothing(e: Estimates) -> Decision:
    sizes = largest_n(e, "gradient", part="outlier", statistic="epps_pulley")
    near, far, back = (sizes.at("gradient", at=at) for at in (1.0, 8.0, 32.0))
    return every(far, below=0.1 * near.low).also(near=near, far=far, back=back)


def keep(cell: Cell, settings: Config) -> bool:
    searched = [*EPPS_PULLEY, "cramer_von_mises"]
    return cell["part"] != "worst" or (cell["statistic"] in searched and int(cell["n"]) <= settings["largest_worst_n"])


ALL, SMOKE = list(STATISTICS), ["epps_pulley", "epps_pulley_full_line", "jarque_bera", "mean_std", "vcreg"]

STUDY = Study(
    name="gradient_stability",
    title="How large the gradient of one sample can get",
    question="Are the gradient and curvature of each statistic in one sample bounded, and how do they grow?",
    expectation="Epps-Pulley is bounded, with the constants of Theorem 4 for T/N, hence without 1/N for T as "
    "implemented. Moments grow as the third power of |x|, Anderson-Darling and Wasserstein linearly.",
    topic="numerics",
    seed=20251117,
    axes=("part", "statistic", "n"),
    paired=("statistic",),
    keep=keep,
    presets=presets(
        "statistic n replicates points restarts steps",
        smoke=(SMOKE, [16], 4, 4, 16, 200),
        quick=(ALL, [16, 64], 8, 4, 32, 300),
        standard=(ALL, [16, 64, 256], 16, 8, 48, 400),
        paper=(ALL, [8, 16, 64, 256, 512], 64, 12, 128, 1000),
        part=["outlier", "scale", "worst"],
        largest_worst_n=64,
    ),
    measure=measure,
    estimate=estimate,
    claims=(far_out_nothing, bounded, moments_explode, jarque_bera_falls, constant_serves),
    pictures={
        "gradient_stability": Picture(
            "Gradient in one outlier, by its distance, and in samples that are scaled up.",
            lambda e: curves(
                largest_n(e, "gradient", statistic=DRAWN),
                x="at",
                hue="statistic",
                column="part",
                titles={"part": {"outlier": "one outlier", "scale": "all samples scaled up"}.__getitem__},
                x_label="place |x|, or standard deviation",
                y_label="|dT/dx|, as implemented",
                plain_x=True,
                log_y=True,
                limits=(1e-9, 1e11),
                size=(3.6, 3.4),
            ),
        )
    },
)
