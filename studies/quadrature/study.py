"""Range, points and weight of the Epps-Pulley integral: claims and pictures."""

from typing import Any

from sigreg_lab import alternatives
from sigreg_lab.experiment import Decision, Picture, Study, claim, every
from sigreg_lab.experiment.cells import Config
from sigreg_lab.experiment.estimates import Estimates
from sigreg_lab.figures.kinds import curves

from .estimates import estimate
from .measure import ALPHA, DEFAULT, LINE, LINE_POINTS, measure

LAWS = ["null", "location_0.3", "scale_1.25", "laplace", "t5", "uniform", "bimodal"]
SHAPE = ["laplace", "t5", "uniform", "bimodal"]


def shown(e: Estimates, quantity: str, **where: Any) -> Estimates:
    """At the N nearest to 256, where most powers lie between level and 1; at the default's settings if not given."""
    n = min(e.axis("n"), key=lambda n: abs(n - 256))
    default = dict(zip(("t_max", "sigma2", "points"), DEFAULT, strict=True))
    return e.of(quantity, n=n, **(default | where))


def alike(changes: Estimates) -> Decision:
    """Powers that differ from the default's by less than two points; the farthest is evidence."""
    return every(changes, above=-0.02, below=0.02).also(farthest=max(changes, key=lambda one: abs(one.value)))


@claim("a narrower weight loses power against differences of shape")
def weight_matters(e: Estimates) -> Decision:
    differences = shown(e, "power less the default's", sigma2=1.0, law=SHAPE)
    narrow, code = (shown(e, "power", sigma2=s, law="bimodal").at("power") for s in (1.0, 2.0))
    return every(differences, below=-0.05).also(narrow=narrow, code=code)


@claim(
    "range 1 is worse than 3 and 5: it loses power against differences of shape, not of location",
    source="Table 1(a), range",
    holds="agrees with power against shape, a law chosen afterwards, on two levels of accuracy",
)
def short_range(e: Estimates) -> Decision:
    lost = every(shown(e, "power less the default's", t_max=1.0, law=SHAPE), below=-0.05)
    short, full = (shown(e, "power", t_max=t, law="laplace").at("power") for t in (1.0, 3.0))
    location = every(shown(e, "power less the default's", t_max=1.0, law="location_0.3"), above=-0.02)
    return (lost & location).also(short=short, full=full)


@claim("a range of 3 is as good as one of 5")
def range_three_is_enough(e: Estimates) -> Decision:
    return alike(shown(e, "power less the default's", t_max=5.0))


@claim("the number of points hardly matters, from five on [0, 3] on", source="Table 1(a), points")
def few_points_are_enough(e: Estimates) -> Decision:
    return alike(shown(e, "power less the default's", points=lambda p: 5 <= p != DEFAULT[2]))


@claim("three points on [0, 5], five on the whole range, do not detect a shift of location")
def too_few_points(e: Estimates) -> Decision:
    coarse = {"t_max": 5.0, "points": 3, "law": "location_0.3"}
    power, full = shown(e, "power", **coarse).at("power"), shown(e, "power", law="location_0.3").at("power")
    return every(shown(e, "power less the default's", **coarse), below=-0.5).also(power=power, full=full)


@claim("the default grid's gradient is within 2% of the full line's")
def default_gradient(e: Estimates) -> Decision:
    return every(shown(e, "gradient error", law="null"), below=0.02)


def _discretisation(e: Estimates) -> Any:
    return curves(
        e.of(["exact error", "end term", "aliasing"], estimate=lambda size: size > 1e-12), x="step", hue="quantity",
        row="t_max", column="sigma2", titles={"sigma2": "weight exp(-t²/{})", "t_max": "t_max = {}"},
        x_label="step h", y_label="relative error", plain_x=True, log_y=True, size=(3.0, 2.0),
    )  # fmt: skip


def _powers(e: Estimates) -> Any:
    n = min(e.axis("n"), key=lambda n: abs(n - 256))
    return curves(
        e.of("power", n=n, law=LAWS[1:], points=lambda p: p != LINE_POINTS), x="points", hue="t_max", row="sigma2",
        column="law", titles={"sigma2": "weight exp(-t²/{})"}, x_label="points on [0, t_max]", limits=(-0.03, 1.03),
        y_label=f"power, N = {n}", references={"level": ALPHA}, size=(1.55, 1.9), legend_columns=5,
    )  # fmt: skip


def _preset(
    t_max: list[float], sigma2: list[float], n: list[int], points: list[int], sizes: tuple[int, int],
    laws: list[str] = LAWS,
) -> Config:  # fmt: skip
    """``sizes``: replicates for powers, and for gradients."""
    config = {"t_max": t_max, "sigma2": sigma2, "n": n, "points": points, "laws": laws}
    return config | {"replicates": sizes[0], "gradients": sizes[1]}


RANGES, MORE = [1.0, 3.0, 5.0, LINE], [*LAWS, "logistic", "scale_0.8", "chi_squared_5", "contaminated"]

STUDY = Study(
    name="quadrature",
    title="Range, points and weight of the Epps-Pulley integral",
    question="How do the range t_max, the number of points and the weight change power and gradient, and does "
    "that explain the paper's ablation? (Table 1(a): range 1 is 2 points of accuracy below 3 and 5; "
    "points hardly matter.)",
    expectation="From 17 points on, and mostly from 5, the discretisation is negligible beside the truncation. A "
    "range of 1 loses power and gradient against differences of shape, not of location and scale. "
    "Ranges 3 and 5 are the same.",
    topic="numerics",
    seed=20251117,
    axes=("n", "sigma2", "t_max"),
    paired=("sigma2", "t_max"),
    presets={
        "smoke": _preset([1.0, 3.0, LINE], [2.0], [256], [5, 17], (4_000, 200), ["null", "laplace"]),
        "quick": _preset(RANGES, [1.0, 2.0, 4.0], [256], [3, 5, 9, 17, 41], (4_000, 400)),
        "standard": _preset(RANGES, [1.0, 2.0, 4.0], [64, 256], [3, 5, 9, 17, 33, 41, 65], (30_000, 1_000)),
        "paper": _preset(
            [1.0, 2.0, 3.0, 4.0, 5.0, 7.0, LINE], [0.5, 1.0, 2.0, 4.0], [64, 128, 256, 512, 1024],
            [3, 5, 9, 17, 21, 33, 41, 65, 129], (200_000, 10_000), MORE,
        ),
    },
    choices={"laws": list(alternatives.UNIVARIATE)},
    measure=measure,
    estimate=estimate,
    claims=(weight_matters, short_range, range_three_is_enough, few_points_are_enough, too_few_points,
            default_gradient),
    pictures={
        "quadrature_error": Picture("Discretisation error of the mean under the null, by step, with its two terms.",
                                    _discretisation),
        "quadrature_power": Picture("Power by number of points, range, weight and law.", _powers),
    },
)  # fmt: skip
