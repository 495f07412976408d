"""Is an isotropic Gaussian embedding the best one for a probe? Claims and pictures."""

from typing import Any

from sigreg_lab.experiment import Decision, Picture, Study, claim, every, some
from sigreg_lab.experiment.cells import Cell, Config
from sigreg_lab.experiment.estimates import Estimate, Estimates
from sigreg_lab.figures.kinds import curves, forest
from sigreg_lab.theory.probes import CONDITIONS, ROTATED

from .estimates import RIDGES, estimate
from .measure import NOISES, PARTS, measure

ONE, STRONG = "condition 16", f"condition {CONDITIONS[-1]}"
NAMES = {"knn": "k-NN in a radius", "kernel": "Nadaraya-Watson"}


def top(e: Estimates, quantity: str, **where: Any) -> Estimate:
    """In the highest dimension."""
    return e.at(quantity, dim=e.last("dim"), **where)


def risk(e: Estimates, prior: str, law: str, probe: str = "knn") -> Estimate:
    """Error over the isotropic Gaussian's, of smooth tasks, on most samples with most noise."""
    place = {"prior": prior, "law": law, "probe": probe, "noise": NOISES[-1], "length": e.last("length")}
    return top(e, "error ratio", n=e.last("n"), **place)


@claim("where the tasks are drawn decides which embedding is the better one")
def tasks_decide(e: Estimates) -> Decision:
    inside, outside = risk(e, "embedding", STRONG), risk(e, "data", STRONG)
    return (every(inside, below=1.0) & every(outside, above=1.0)).also(inside=inside, outside=outside, dim=inside.dim)


@claim(
    "the isotropic Gaussian is the best embedding for an unknown task",
    source="Theorem 1, conclusion",
    fails="false on finite samples",
)
def isotropic_is_best(e: Estimates) -> Decision:
    decision = ~some(e.of("error ratio", law=lambda law: law != ROTATED), below=1.0)
    return decision.also(probe=NAMES[decision.evidence["least"].probe])


@claim("uniform in a ball is the better law of the same covariance")
def ball_beats_gaussian(e: Estimates) -> Decision:
    both = [risk(e, "data", "uniform in a ball", probe) for probe in NAMES]
    return every(both, below=1.0).also(knn=both[0])


@claim(
    "ridge on an anisotropic embedding has the larger bias for some task, and the smaller for another",
    source="Lemma 1",
    holds="holds, and so does the reverse",
)
def lemma_one(e: Estimates) -> Decision:
    low, high = (top(e, f"ridge bias of weights, {task} task", law=ONE, at=RIDGES[0]) for task in ("best", "worst"))
    return (every(high, above=1.0) & every(low, below=1.0)).also(high=high, low=low)


@claim(
    "the variance of least squares is least for the isotropic embedding: of the weights, not of predictions",
    source="Lemma 2",
    holds="holds for the weights, void for predictions",
)
def lemma_two(e: Estimates) -> Decision:
    weights, predictions = (top(e, f"ratio: OLS {what}", law=STRONG) for what in
                            ("variance of weights", "error of predictions"))  # fmt: skip
    decision = every(weights, above=1.0) & every(predictions, above=0.97, below=1.03)
    return decision.also(weights=weights, predictions=predictions)


@claim(
    "k-NN's integrated squared bias goes as r⁴, with a term of the same order beside the printed one",
    source="Theorem 1, k-NN",
    holds="the order holds; a term of the same order is missing",
    detail=True,
)
def order_holds(e: Estimates) -> Decision:
    rough = e.first("length")
    power = top(e, "exponent", law="Gaussian", probe="knn", length=e.last("length"))
    found = top(e, "bias", law="Gaussian", probe="knn", length=rough, at=e.of("bias").first("at"))
    printed = e.last("dim") / rough**2
    decision = every(power, above=3.9, below=4.1) & every(found, above=printed)
    return decision.also(power=power, found=found, printed=printed)


@claim(
    "the kernel's bias is at most that of the bound with 2B² + 8L²J(p)",
    source="Theorem 1, kernel",
    holds="the bound holds, far above",
    detail=True,
)
def bound_holds(e: Estimates) -> Decision:
    rough = e.first("length")
    bias = top(e, "bias", law="Gaussian", probe="kernel", length=rough, at=e.of("bias").first("at"))
    bound = top(e, "bound for kernels", length=rough)
    return every(bias, below=bound.value).also(bound=bound, bias=bias, times=bound.value / bias.value)


@claim(
    "the kernel's integrated variance does not depend on the law of the embedding",
    source="Theorem 1, kernel's variance",
    fails="false for the variance",
    detail=True,
)
def variance_alike(e: Estimates) -> Decision:
    ratios = e.of("variance ratio", dim=e.first("dim"), length=e.last("length"), law=lambda law: law != ROTATED)
    return every(ratios.of(n=ratios.last("n")), above=0.9, below=1.1)


@claim(
    "under a trace, determinant, Frobenius or spectral constraint the isotropic Gaussian has the least J",
    source="Theorem 1, constraints",
    holds="holds, minima as printed",
    detail=True,
)
def minima_right(e: Estimates) -> Decision:
    decision = every(e.of("least J over the printed"), above=1 - 1e-3, below=1 + 1e-3)
    return decision.also(off=max(abs(decision.evidence[end].value - 1) for end in ("least", "largest")))


@claim(
    "mean² + (std - 1)² has VICReg's minimum as M grows, at another price of a correlation",
    source="B.14",
    holds="holds for the minimum, not for the loss",
    detail=True,
)
def vicreg_differs(e: Estimates) -> Decision:
    price = top(e, "VICReg's price of a correlation over that of slices")
    return (every(price, above=2.0) & every(e.of("slices of N(0, I)"), below=1e-6)).also(price=price)


def _ridge(e: Estimates) -> Any:
    names = {f"ridge bias of {what}, mean task": what for what in ("weights", "predictions")}
    return curves(
        e.of(list(names)), x="at", hue="law", row="quantity", column="dim", titles={"quantity": names.__getitem__},
        x_label="ridge over mean variance", y_label="bias over the isotropic one's", references={"isotropic": 1.0},
        log_y=True, size=(2.6, 2.2),
    )  # fmt: skip


def _bias(e: Estimates) -> Any:
    return curves(
        e.of("bias", dim=e.last("dim"), law=lambda law: law != ROTATED), x="at", hue="law", row="length",
        column="probe", titles={"probe": NAMES.__getitem__, "length": "l = {}"}, exact="exact", plain_x=True,
        x_label="bandwidth h (radius h sqrt(K + 2))", y_label="squared bias / h^4", log_y=True, share_y="row",
        size=(3.6, 2.8), legend_columns=4,
    )  # fmt: skip


def _risks(e: Estimates) -> Any:
    place = {"noise": NOISES[-1], "length": e.last("length"), "n": e.last("n")}
    table = e.of("error ratio", law=lambda law: law != ROTATED, **place).table
    lines = [f"{NAMES[p]}, tasks in the {prior}" for p, prior in zip(table["probe"], table["prior"], strict=True)]
    return forest(
        Estimates(table.assign(line=lines)), y="law", hue="line", column="dim", x_label="error / isotropic Gaussian's",
        references={"isotropic Gaussian": 1.0}, legend_columns=2,
    )  # fmt: skip


def keep(cell: Cell, settings: Config) -> bool:
    return cell["part"] in ("bias", "risk") or cell["length"] == 1.0


def _preset(dim: list[int], n: list[int], fits: int, queries: int, replicates: int) -> Config:
    config: Config = {"part": list(PARTS), "dim": dim, "length": [1.0, 3.0], "n": n, "fits": fits}
    return config | {"bias_queries": queries, "replicates": replicates}


STUDY = Study(
    name="probe_risk",
    title="Is an isotropic Gaussian embedding the best one for a probe?",
    question="For which tasks and samples does an isotropic Gaussian embedding give ridge, least squares, k-NN and "
    "kernel probes the smallest bias, variance and error, among laws of the same total variance?",
    expectation="Lemma 1 holds for some tasks and on average over weights, and fails for tasks along large directions; "
    "Lemma 2 holds for weights, while predictions do not change. The bias goes as h^4 with J(p) in it and a curvature "
    "term of the same order, as h^3 for laws with an edge; J has the printed minima and no density is below them. On "
    "finite samples laws of bounded support have the smaller error: the variance of a kernel probe is the larger, the "
    "wider the support.",
    topic="theory",
    seed=20251121,
    axes=("part", "dim", "length"),
    keep=keep,
    presets={
        "smoke": _preset([2], [128], 400, 600, 6),
        "quick": _preset([2, 4], [256], 2_000, 2_000, 12),
        "standard": _preset([2, 4, 8], [256, 2048], 10_000, 4_000, 24),
        "paper": _preset([2, 4, 8, 16], [256, 2048, 16384], 100_000, 40_000, 100),
    },
    measure=measure,
    estimate=estimate,
    claims=(tasks_decide, isotropic_is_best, ball_beats_gaussian, lemma_one, lemma_two, order_holds, bound_holds,
            variance_alike, minima_right, vicreg_differs),
    pictures={
        "ridge_bias": Picture("Ridge bias over the isotropic embedding's, mean over tasks (Lemma 1, Fig. 18).", _ridge),
        "integrated_bias": Picture("Squared bias of k-NN and kernel probes in the limit of many samples.", _bias),
        "finite_samples": Picture("Error of each law over the isotropic Gaussian's, on finite samples.", _risks),
    },
)  # fmt: skip
