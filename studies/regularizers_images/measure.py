"""What each regulariser of LeJEPA is worth on images: by ResNet-18 on CIFAR-10, by ViT-S/8 on Imagenette, in bf16.

The settings ``cifar10`` and ``imagenette`` give the images of these recipes; others too, which keep their own name.
A cell is one pretraining run of a recipe of ``sigreg-lab pretrain``, and its probes. A run that was killed goes on from
its checkpoint, in the folder that the setting ``runs`` names. Two controls: no regulariser, and the untrained encoder.
The null is nearest neighbours' answers against shuffled test labels.
"""

import math
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.experiment.fingerprint import code_digest
from sigreg_lab.pretrain import PretrainResult, pretrain, probe
from sigreg_lab.pretrain.config import configure
from sigreg_lab.pretrain.loop import load
from sigreg_lab.pretrain.probes import knn_answers
from sigreg_lab.regularizers import resolve_regularizer
from sigreg_lab.theory.answers import chance

NULL, CURVE, SPEED = "shuffled_labels", "online_probe", "images_per_second"
CURVE_POINTS = 20
#: What makes a recipe small enough for two cores: the preset "smoke".
SMALL = ["steps=2", "batch_size=4", "num_slices=8", "projector=16,8", "image_size=32", "diagnose_every=1"]
GENERATED = "generated"


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    recipe, name = str(cell["recipe"]), str(cell["regularizer"])
    dataset = recipe.split("-")[0]
    if not settings[dataset]:
        raise ValueError(f"recipe {recipe} needs the path of its images: add --set {dataset}=PATH")
    train_seed, null_seed = seed.spawn(2)
    with tempfile.TemporaryDirectory() as scratch:
        path = settings[dataset]
        if path == GENERATED:
            path = str(_generated(Path(scratch, GENERATED), np.random.default_rng(0)))
        changes = [f"epochs={settings[f'{dataset}_epochs']}", *(SMALL if settings["small"] else [])]
        if name == "untrained":
            changes += ["epochs=0", "steps=0"]
        regularizer = "none" if name == "untrained" else name
        config = configure(path, regularizer, int(train_seed.generate_state(1)[0]), changes, recipe)
        runs = Path(settings["runs"] or scratch)
        chosen = resolve_regularizer(regularizer)
        code = code_digest(Path(__file__), [cell, settings, chosen.digest])
        folder = runs / f"{recipe}-{name if name == 'untrained' else chosen.slug}-{cell['seed']}-{code}"
        folder.mkdir(parents=True, exist_ok=True)
        data = load(config)
        result = pretrain(config, data, folder=folder, resume=True)
        rows = [*_curve(result), *_probes(result, settings["draws"]), *_null(result, np.random.default_rng(null_seed))]
        return [{"data": data.name, **row} for row in rows]


def _probes(result: PretrainResult, draws: int) -> list[Row]:
    table = pd.DataFrame(probe(result, draws=draws))
    table["measure"] = table["features"] + "_" + table["probe"] + "_" + table["shots"].astype(str)
    means = table.groupby("measure", sort=False)["test"].mean()
    images = len(result.data.test.labels)
    return [_row(str(name), value, images=images) for name, value in means.items()]


def _curve(result: PretrainResult) -> list[Row]:
    """The online probe's validation accuracy along the run; the effective ranks at its end; images a second."""
    seen = [row for row in result.history if "probe_accuracy" in row]
    if not seen:
        return []
    every = max(1, math.ceil(len(seen) / CURVE_POINTS))
    images = len(result.data.validation.labels)
    rows = [
        _row(CURVE, row["probe_accuracy"], step=index * result.config.diagnose_every, images=images)
        for index, row in enumerate(seen)
        if index % every == 0
    ]
    last = seen[-1]
    return [
        *rows,
        _row("embedding_rank", last["embedding_rank"]),
        _row("projection_rank", last["projection_rank"]),
        _row(SPEED, float(np.median([row["images_per_second"] for row in result.history]))),
    ]


def _null(result: PretrainResult, rng: np.random.Generator) -> list[Row]:
    """Answers of the nearest neighbours against shuffled labels, and the exact mean and deviation of that."""
    (known, truth), (asked, labels) = (result.features(images) for images in (result.data.train, result.data.test))
    answers = knn_answers(known.probe, truth, asked.probe).cpu().numpy()
    shuffled = rng.permutation(labels.cpu().numpy())
    exact, error = chance(answers, shuffled, result.data.num_classes)
    return [_row(NULL, float((answers == shuffled).mean()), images=len(shuffled), exact=exact, error=error)]


def _row(
    measure: str, value: float, *, step: int = -1, images: int = 0, exact: float = math.nan, error: float = math.nan
) -> Row:
    return {"measure": measure, "step": step, "value": value, "images": images, "exact": exact, "error": error}


def _generated(folder: Path, rng: np.random.Generator) -> Path:
    """Images to try the machinery on: three classes of ten, told apart by brightness."""
    from PIL import Image

    for label_, name in enumerate(("ant", "bee", "cat")):
        (folder / name).mkdir(parents=True)
        for index in range(10):
            pixels = rng.integers(0, 100, (32, 32, 3)) + 50 * label_
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{index}.png")
    return folder
