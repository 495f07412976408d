"""The atlas: which regulariser, on which data, at which cost; one table of runs that every later question reads."""

from typing import Any

from sigreg_lab.compare.protocol import CONTROLS
from sigreg_lab.experiment import Decision, Picture, Study, Verdict, claim, every, some
from sigreg_lab.experiment.cells import Cell, Config
from sigreg_lab.experiment.estimates import Estimates
from sigreg_lab.figures.kinds import forest

from .contenders import CANDIDATES, CONTENDERS, FINALISTS, FIRST, QUESTIONS, REGULARIZERS
from .estimates import CRITERION, FEW, QUALITIES, SCALED, estimate
from .measure import FRESH, NO_DATA, RECIPES, measure

ALL, RANKED = [*CONTENDERS], [*REGULARIZERS, *CONTROLS]
POINT, LEAST_P = 0.01, 0.01
#: Lambda from 0.002 to 0.67, the weights of ``sigreg-lab compare``.
LAMBDAS = [w / (1 + w) for w in (2.0**power for power in range(-9, 2, 2))]


def gaps(e: Estimates, group: Any = "regularizers", probe: Any = CRITERION, **where: Any) -> Estimates:
    return e.of("less the first", group=group, probe=probe, **where)


@claim("some regulariser is better than SIGReg as published")
def some_better(e: Estimates) -> Decision:
    """A regulariser is better than published SIGReg, on some data."""
    others = gaps(e, contender=REGULARIZERS)
    counts = [(data, len({*others.of(data=data).axis("contender")} - {FIRST})) for data in others.axis("data")]
    return some(others, above=0.0).also(counts=counts)


@claim("some regulariser is better than SIGReg as published with few labels")
def some_better_with_few(e: Estimates) -> Decision:
    """A regulariser is better than published SIGReg for a probe of 1 or 10 labels per class, on some data."""
    decision = some(gaps(e, probe=[*FEW], contender=REGULARIZERS), above=0.0)
    return decision.also(labels=decision.evidence["largest"].probe.rpartition("_")[2])


@claim("SIGReg is better than both controls", detail=True)
def controls_worse(e: Estimates) -> Decision:
    return every(gaps(e, contender=CONTROLS), below=0.0)


@claim("SIGReg's one hyperparameter may be off by a factor of ten", source="Section 5")
def lambda_forgiving(e: Estimates) -> Decision:
    """A factor of ten in lambda stays within a point of accuracy."""
    return every(e.of("range of lambda", contender=FIRST), above=10.0).also(wide=10)


@claim("SIGReg's settings matter by less than a point")
def settings_matter_little(e: Estimates) -> Decision:
    return every(gaps(e, [*QUESTIONS]), above=-POINT, below=POINT).also(point=POINT)


@claim("loss / λ^α, with α from other data, chooses λ without labels", source="Section 6.2", detail=True)
def chosen_without_labels(e: Estimates) -> Decision:
    """Choosing lambda by the scaled loss, alpha from other data, loses less than a point."""
    decision = every(e.of("regret", score=SCALED), below=POINT)
    chance = e.at("regret", score="any run", data=decision.evidence["largest"].data)
    return decision.also(point=POINT, chance=chance)


@claim("some score chooses λ without labels better than at random")
def some_score_helps(e: Estimates) -> Decision:
    """Some score without labels chooses lambda better than at random."""
    return some(e.of("gain over any run"), above=0.0)


@claim("a regulariser's own qualities predict accuracy")
def qualities_predict(e: Estimates) -> Decision:
    """Some quality of a regulariser on its own goes with the accuracy of its encoders."""
    return some(e.of("rank correlation", quality=[*QUALITIES]), above=0.0)


@claim("one of the two best candidates is better than SIGReg as published, on fresh seeds and two sets of data")
def default_better(e: Estimates) -> Decision:
    """By p < 0.01, corrected for candidates and sets of data. Shown: the one of most sets, then of the larger gain."""
    gains = [*e.of("gain on fresh seeds")]
    if not gains:
        raise LookupError("no fresh seeds")
    corrected = [row.at_level(1 - LEAST_P / len(gains)) for row in gains]
    own = {row.contender: [other for other in corrected if other.contender == row.contender] for row in gains}
    better = {name: sum(row.low > 0 for row in rows) for name, rows in own.items()}
    best = max(own, key=lambda name: (better[name], sum(row.value for row in own[name])))
    fails = all(sum(row.high <= 0 for row in rows) > 1 for rows in own.values())
    verdict = Verdict.HOLDS if better[best] > 1 else Verdict.FAILS if fails else Verdict.UNCLEAR
    cost = e.of("times the first's time", contender=best).largest()
    return Decision(verdict, {"best": best, "gains": own[best], "cost": cost})


@claim("a candidate is better than SIGReg as published", detail=True)
def candidate_better(e: Estimates) -> Decision:
    return some(gaps(e, "candidates"), above=0.0)


def _accuracies(probe: str) -> Any:
    def draw(e: Estimates) -> Any:
        found = e.of("accuracy", contender=RANKED, probe=probe)
        return forest(found, y="contender", column="data", x_label="test accuracy (95%)", share_x=False)

    return draw


def _differences(groups: list[str]) -> Any:
    def draw(e: Estimates) -> Any:
        return forest(
            gaps(e, groups),
            y="contender",
            column="data",
            x_label="test accuracy less SIGReg's (95%)",
            references={"no difference": 0.0},
            share_x=False,
        )

    return draw


def _preset(data: list[str], contender: list[str], seeds: int, seeds_images: int, **settings: Any) -> Config:
    shared = {"lambdas": LAMBDAS, "extra": 3, "tuning_seeds": 2, "steps": 0, "draws": 128, "replicates": 2000}
    return {"data": data, "contender": contender, "seeds": seeds, "seeds_images": seeds_images, **shared, **settings}


def keep(cell: Cell, settings: Config) -> bool:
    """Qualities belong to regularisers; a setting is asked about on two sets of data, the cheap ones."""
    if cell["data"] == NO_DATA:
        return cell["contender"] in REGULARIZERS
    if cell["data"] in FRESH:
        return cell["contender"] in [FIRST, *FINALISTS]
    return cell["data"] != "cifar10-small" or cell["contender"] in [*RANKED, *CANDIDATES]


CALLED = {"embedding_rank": "RankMe", "lidar": "LiDAR", "alpha_req": "alpha-ReQ", "pull": "pull out of collapse"}
SMALL = [FIRST, "sigreg-ejb", "sigreg-vcreg", "vicreg", *CONTROLS, "16 slices", "eq. 5"]
SMOKE = {"lambdas": [0.02, 0.1], "extra": 0, "tuning_seeds": 1, "steps": 2, "draws": 4, "replicates": 50}
STUDY = Study(
    name="atlas",
    title="The atlas of regularisers",
    question="Which regulariser, with which settings, gives the best embedding, and can it be chosen without labels?",
    expectation="All regularisers beat the controls by far. With lambda tuned for each, most lie within a point "
    "of each other with all labels, and differ more with few. Settings of SIGReg (slices, directions, "
    "weight) matter less than lambda. No quality of a statistic predicts accuracy well. RankMe and "
    "LiDAR choose lambda better than the loss does.",
    topic="choosing",
    seed=20261127,
    axes=("data", "contender"),
    keep=keep,
    partial=True,
    presets={
        "smoke": _preset([NO_DATA, "digits"], [*SMALL[:2], *CONTROLS, "eq. 5"], 2, 2, **SMOKE),
        "quick": _preset([NO_DATA, "digits"], SMALL, 3, 3, extra=0, tuning_seeds=1),
        "standard": _preset([NO_DATA, *RECIPES, *FRESH], ALL, 10, 5),
        "paper": _preset([NO_DATA, *RECIPES, *FRESH], ALL, 40, 20, tuning_seeds=4),
    },
    choices={"contender": ALL, "data": [NO_DATA, *RECIPES, *FRESH]},
    needs="CIFAR-10, which torchvision downloads or SIGREG_LAB_DATA has, and some nights",
    measure=measure,
    estimate=estimate,
    claims=(
        some_better,
        some_better_with_few,
        controls_worse,
        lambda_forgiving,
        settings_matter_little,
        chosen_without_labels,
        some_score_helps,
        qualities_predict,
        candidate_better,
        default_better,
    ),
    pictures={
        "accuracy": Picture(
            "Accuracy of a linear probe on the frozen backbone, by regulariser; lambda tuned for each.",
            _accuracies(CRITERION),
        ),
        "few_labels": Picture(
            "Accuracy of a linear probe on the frozen backbone with 10 labels per class; lambda tuned with all labels.",
            _accuracies(FEW[0]),
        ),
        "settings": Picture(
            "Accuracy of SIGReg with one setting changed, minus that of SIGReg as published.",
            _differences([*QUESTIONS]),
        ),
        "regret": Picture(
            "Accuracy lost by choosing lambda without labels, mean over regularisers.",
            lambda e: forest(
                e.of("regret"), y="score", column="data", x_label="share of right answers lost (95%)", share_x=False
            ),
        ),
        "predicting": Picture(
            "Rank correlation of accuracy with properties of the regulariser. Positive: less noise, less bias, more "
            "power, more pull out of collapse or a higher rank goes with more accuracy.",
            lambda e: forest(
                e.of("rank correlation"),
                y="quality",
                column="data",
                names=CALLED,
                x_label="rank correlation with accuracy (95%)",
                references={"none": 0.0},
                limits=(-1.05, 1.05),
            ),
        ),
    },
)
