"""Batches of clips, crops or graphs: what rows that belong together do to SIGReg's test and to its minimum."""

from typing import Any

from sigreg_lab.experiment import Decision, Picture, Study, claim, every, presets
from sigreg_lab.experiment.cells import Cell, Config
from sigreg_lab.experiment.estimates import Estimate, Estimates, difference
from sigreg_lab.figures.kinds import curves

from .estimates import BETWEEN, LIMIT, RATES, RATIO, estimate
from .measure import LEVEL, measure


def gains(e: Estimates, loss: str) -> list[Estimate]:
    """Of a loss over that of the batch alone, at each number of clusters."""
    batch = e.of(RATIO, loss="batch")
    return [difference(one, batch.at(RATIO, clusters=one.clusters, dim=one.dim)) for one in e.of(RATIO, loss=loss)]


def fewest(e: Estimates, *losses: str) -> dict[str, Any]:
    """Ratios in the fewest clusters, by loss."""
    return {loss: e.at(RATIO, loss=loss, clusters=e.first("clusters"), dim=mended(e)) for loss in ("batch", *losses)}


def mended(e: Estimates) -> Any:
    """The dimension in which all losses were descended."""
    return e.of(RATIO, loss="queue").first("dim")


@claim("descent on batches of few clusters shrinks the scatter between clusters")
def scatter_shrinks(e: Estimates) -> Decision:
    return every(e.of(RATIO, loss="batch", clusters=e.first("clusters")), below=0.9)


@claim("a batch needs several times as many clusters as dimensions: with no more, less than half of the ratio is left")
def dimension_costs(e: Estimates) -> Decision:
    few, many = (
        [one for one in e.of(LIMIT) if low <= one.clusters / one.dim <= high] for low, high in ((0, 1), (8, 1e9))
    )
    most = every(many, above=0.7)
    return (every(few, below=0.5) & most).also(many=most.evidence["least"])


@claim("a queue of earlier batches mends it, in part")
def queue_mends(e: Estimates) -> Decision:
    return every(gains(e, "queue"), above=0.0).also(**fewest(e, "queue"))


@claim("more workers mend it where the statistic is that of all, and not where each has its own")
def workers_need_gathering(e: Estimates) -> Decision:
    gathered, own = (gains(e, f"workers_{kind}") for kind in ("gathered", "averaged"))
    found = every(gathered, above=0.0) & every(own, above=-0.05, below=0.05)
    return found.also(**fewest(e, "workers_gathered", "workers_averaged"))


@claim("centred residuals leave the scatter between clusters as it began")
def centred_leave(e: Estimates) -> Decision:
    return every(e.of(BETWEEN, loss="centred"), above=0.99, below=1.01).also(ratios=e.of(RATIO, loss="centred"))


@claim("a test of all rows rejects too often where rows come in clusters")
def level_lost(e: Estimates) -> Decision:
    return every(e.of(RATES[0], rho=lambda rho: rho >= 0.5), above=LEVEL).also(level=LEVEL)


@claim("a test of several batches as one rejects too often too", detail=True)
def level_of_several_lost(e: Estimates) -> Decision:
    return every(e.of(RATES[1], rho=lambda rho: rho >= 0.5), above=LEVEL)


@claim("a test of one row of each cluster holds its level")
def one_a_cluster_holds(e: Estimates) -> Decision:
    return every(e.of(RATES[-1]), below=1.2 * LEVEL).also(level=LEVEL)


def keep(cell: Cell, settings: Config) -> bool:
    """One dimension under the null; descent at a correlation of a half, of most losses in one number of dimensions."""
    if cell["loss"] == "none" or cell["dim"] == 1:
        return cell["loss"] == "none" and cell["dim"] == 1
    return cell["rho"] == 0.5 and (cell["loss"] == "batch" or cell["dim"] == settings["mended_dim"])


def _curves(e: Estimates, hue: str, label: str = "variance between over within", **options: Any) -> Any:
    return curves(e, x="clusters", hue=hue, x_label="clusters a batch", y_label=label, **options)


STUDY = Study(
    name="clustered_batches",
    title="Batches with clusters of dependent samples",
    question="What do clustered rows, such as frames of one clip, do to the null of the statistic and to the "
    "minimum of the loss, and what helps?",
    expectation="The statistic grows with correlation and cluster size. The loss pushes rows of a cluster apart, "
    "so the scatter between clusters shrinks; more clusters in a batch reduce both. A queue, and "
    "workers that share one statistic, count as more clusters. Centred residuals leave the scatter as "
    "it began.",
    topic="batches",
    seed=20261128,
    axes=("clusters", "rho", "loss", "dim"),
    keep=keep,
    presets=presets(
        "clusters rho dim mended_dim replicates num_samples descents steps",
        smoke=([8, 32], [0.0, 0.5], [1, 2, 4], 4, 240, 64, 6, 200),
        quick=([8, 64], [0.0, 0.5], [1, 2, 8], 8, 1200, 256, 6, 800),
        standard=([8, 16, 32, 64, 128], [0.0, 0.25, 0.5, 0.9], [1, 2, 8, 32], 8, 2400, 256, 16, 1600),
        paper=([4, 8, 16, 32, 64, 128], [0.0, 0.1, 0.25, 0.5, 0.75, 0.9], [1, 2, 8, 32], 8, 60_000, 256, 64, 6400),
        loss=["none", "batch", "queue", "workers_averaged", "workers_gathered", "centred"],
        batches=4,
        table_dims=[2, 8, 32, 128, 512],
    ),
    measure=measure,
    estimate=estimate,
    claims=(scatter_shrinks, dimension_costs, queue_mends, workers_need_gathering, centred_leave, level_lost,
            level_of_several_lost, one_a_cluster_holds),
    pictures={
        "descended": Picture(
            "Variance between clusters over that within clusters after descent, by clusters in a batch; equal "
            "at N(0, I).",
            lambda e: _curves(e.of(RATIO, dim=mended(e)), "loss", references={"N(0, I)": 1.0}),
        ),
        "minimum": Picture(
            "The same at the exact minimum of the loss of one batch, by dimension K.",
            lambda e: _curves(e.of(LIMIT), "dim", references={"N(0, I)": 1.0}),
        ),
        "rejections": Picture(
            "False-positive rate at the 5% level: tests of all rows of a batch, of the rows of several batches, and of "
            "one row of each cluster.",
            lambda e: _curves(e.of([*RATES[:2], RATES[-1]]), "rho", "rejection rate", hue_name="correlation {}",
                              column="quantity", references={"level": LEVEL},
                              titles={"quantity": lambda name: name.removeprefix("rejection rate, ")}),
        ),
    },
)  # fmt: skip
