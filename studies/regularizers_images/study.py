"""Regularisers on images: accuracies of frozen probes, learning curves."""

from typing import Any

from sigreg_lab.experiment import Claim, Decision, Picture, Study, every
from sigreg_lab.experiment.cells import Config
from sigreg_lab.experiment.estimates import Estimates, difference
from sigreg_lab.figures.kinds import curves, forest
from sigreg_lab.regularizers import resolve_regularizer

from .estimates import RECIPES, estimate
from .measure import CURVE, GENERATED, measure

CONTROLS = ["none", "untrained"]
REGULARIZERS = ["sigreg-ep", "sigreg-ad", "sigreg-vcreg", "vicreg", *CONTROLS]
LINEAR = "backbone_linear_all"
SHOWN = {
    LINEAR: "linear probe",
    "backbone_knn_all": "20 nearest neighbours",
    "backbone_few-shot_10": "10 labels per class",
    "backbone_few-shot_1": "1 label per class",
}


def needed(e: Estimates) -> Decision:
    """Every regulariser beats both controls, by the linear probe, on every recipe."""
    gaps = [
        difference(one, control)
        for recipe in e.axis("recipe")
        for one in e.of(LINEAR, recipe=recipe, regularizer=lambda name: name not in CONTROLS)
        for control in e.of(LINEAR, recipe=recipe, regularizer=CONTROLS)
    ]
    return every(gaps, above=0.0).also(best=e.of(LINEAR).largest())


def alike(e: Estimates) -> Decision:
    """No regulariser differs from the first by a point or more, on any recipe."""
    gaps = []
    for recipe in e.axis("recipe"):
        found = list(e.of(LINEAR, recipe=recipe, regularizer=lambda name: name not in CONTROLS))
        gaps += [difference(other, found[0]) for other in found[1:]]
    return every(gaps, above=-0.01, below=0.01).also(point=0.01)


def _accuracies(e: Estimates) -> Any:
    found = e.of(list(SHOWN))
    return forest(
        Estimates(found.table.assign(panel=found.table["data"] + ": " + found.table["quantity"].map(SHOWN))),
        y="regularizer",
        hue="regularizer",
        column="panel",
        x_label="test accuracy (95%)",
        share_x=False,
    )


def _curves(e: Estimates) -> Any:
    return curves(
        e.of(CURVE),
        x="step",
        hue="regularizer",
        column="data",
        x_label="step",
        y_label="online linear probe, validation accuracy",
        log_x=False,
        share_y=False,
        band=True,
        size=(4.0, 3.0),
    )


def _preset(names: list[str], seeds: int, epochs: tuple[float, float], draws: int, small: bool = False) -> Config:
    config: Config = {"recipe": list(RECIPES), "regularizer": names, "seed": list(range(seeds))}
    config |= {"cifar10": GENERATED if small else "cifar10", "imagenette": GENERATED if small else ""}
    config |= {"cifar10_epochs": epochs[0], "imagenette_epochs": epochs[1], "draws": draws, "small": small}
    return config | {"runs": "" if small else "results/runs/images"}


STUDY = Study(
    name="regularizers_images",
    title="Regularisers and downstream accuracy on images",
    question="Does the choice of regulariser change the accuracy of frozen probes on images?",
    expectation="Statistics of the whole law (Epps-Pulley, Anderson-Darling) and of mean and variance alone "
    "(VCReg) differ little. All beat no regulariser and the untrained encoder by far.",
    topic="choosing",
    seed=20251120,
    axes=("recipe", "regularizer", "seed"),
    paired=("regularizer",),
    needs="one CUDA GPU for some hours, and a folder imagenette (--set imagenette=PATH)",
    presets={
        "smoke": _preset(["sigreg-ep"], 1, (0.0, 0.0), 1, small=True),
        "quick": _preset(["sigreg-ep", "none"], 1, (10.0, 10.0), 5),
        "standard": _preset(REGULARIZERS, 1, (30.0, 100.0), 5),
        "paper": _preset(REGULARIZERS, 5, (400.0, 800.0), 20),
    },
    choices={
        "regularizer": lambda text: resolve_regularizer(text).digest,
        "cifar10": None,
        "imagenette": None,
        "runs": None,
    },
    measure=measure,
    estimate=estimate,
    claims=(
        Claim("regulariser_needed", "every regulariser beats both controls on images", needed),
        Claim("regularisers_alike", "no regulariser differs from the first by a point of accuracy", alike),
    ),
    pictures={
        "accuracy": Picture("Test accuracy of frozen probes by regulariser.", _accuracies),
        "curves": Picture("Validation accuracy of the online probe along the run.", _curves),
    },
)
