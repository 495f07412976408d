"""What each regulariser of LeJEPA is worth on images: CIFAR-10 with ResNet-18, Imagenette with ViT-S/8, in bf16.

A cell is one pretraining run of a recipe of ``sigreg-lab pretrain``, and its probes. A run that was killed goes on from
its checkpoint, in the folder that the setting ``runs`` names. Two controls: no regulariser, and the untrained encoder.
The null is nearest neighbours' answers against shuffled test labels, n answers, A_c and B_c of class c among answers
and labels: sum_c A_c B_c / n are right on average, whatever the encoder.
"""

import hashlib
import math
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from sigreg_lab.experiment import Study, mean_interval, rate_interval
from sigreg_lab.experiment.fingerprint import fingerprint
from sigreg_lab.experiment.study import Cell, Config, Row, StudyError, canonical
from sigreg_lab.figures.plots import grouped_intervals
from sigreg_lab.figures.tables import markdown_table, span
from sigreg_lab.figures.theme import label, new_figure, palette, themed
from sigreg_lab.pretrain import PretrainResult, pretrain, probe
from sigreg_lab.pretrain.config import configure
from sigreg_lab.pretrain.loop import load
from sigreg_lab.pretrain.probes import knn_answers

RECIPES = {"cifar10-resnet18": "CIFAR-10, ResNet-18", "imagenette-vit-s8": "Imagenette, ViT-S/8"}
REGULARIZERS = ["sigreg-ep", "sigreg-ad", "sigreg-vcreg", "vicreg", "none", "untrained"]
#: Published accuracies of the linear probe: the paper's Table 5 (epochs not printed); the README of the official
#: package (its minimal run, 800 epochs, online probe).
PUBLISHED = {"cifar10-resnet18": "0.925 (paper, Table 5)", "imagenette-vit-s8": "0.907 (official README)"}
SHOWN = {
    "backbone_linear_all": "linear probe",
    "backbone_knn_all": "20 nearest neighbours",
    "backbone_few-shot_10": "10 labels per class",
    "backbone_few-shot_1": "1 label per class",
}
NULL, CURVE, SPEED = "shuffled_labels", "online_probe", "images_per_second"
CURVE_POINTS = 20
#: What makes a recipe small enough for two cores: the preset "smoke".
SMALL = ["steps=2", "batch_size=4", "num_slices=8", "projector=16,8", "image_size=32", "diagnose_every=1"]
GENERATED = "generated"


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    recipe, name = str(cell["recipe"]), str(cell["regularizer"])
    dataset = recipe.split("-")[0]
    if not settings[dataset]:
        raise StudyError(f"recipe {recipe} needs the path of its images: add --set {dataset}=PATH")
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
        folder = runs / f"{recipe}-{name}-{cell['seed']}-{_digest([cell, settings, fingerprint(Path(__file__))])}"
        folder.mkdir(parents=True, exist_ok=True)
        data = load(config)
        result = pretrain(config, data, folder=folder, resume=True)
        return [*_curve(result), *_probes(result, settings["draws"]), *_null(result, np.random.default_rng(null_seed))]


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
    n = len(shuffled)
    a, b = (np.bincount(values, minlength=result.data.num_classes).astype(float) for values in (answers, shuffled))
    variance = (a * b * (n - a) * (n - b)).sum() + (a * b).sum() ** 2 - (a**2 * b**2).sum()
    error = math.sqrt(variance / (n**2 * (n - 1))) / n
    return [_row(NULL, float((answers == shuffled).mean()), images=n, exact=float(a @ b) / n**2, error=error)]


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


def _digest(what: object) -> str:
    return hashlib.sha256(canonical(what).encode()).hexdigest()[:12]


def summarize(rows: pd.DataFrame, settings: Config) -> pd.DataFrame:
    """Means over seeds with Student's interval; of a single run Wilson's, for the draw of the test images alone."""
    estimates = []
    for (recipe, name, measure_name, step), part in rows.groupby(
        ["recipe", "regularizer", "measure", "step"], sort=False
    ):
        images, mean = int(part["images"].iloc[0]), float(part["value"].mean())
        if len(part) == 1 and images:
            low, high = rate_interval(round(mean * images), images)
        else:
            low, high = mean_interval(part["value"])
            if images:
                low, high = max(low, 0.0), min(high, 1.0)
        estimates.append(
            {
                "recipe": recipe,
                "regularizer": name,
                "measure": measure_name,
                "step": step,
                "seeds": len(part),
                "mean": mean,
                "low": low,
                "high": high,
                "exact": part["exact"].mean(),
                "error": math.hypot(*part["error"]) / len(part),
            }
        )
    return pd.DataFrame(estimates)


def verify(summary: pd.DataFrame) -> list[str]:
    """Answers against shuffled labels are right as often as chance has it: within 99.9% over all runs."""
    null = summary[summary["measure"] == NULL]
    bound = stats.norm.ppf(1 - 0.0005 / max(1, len(null)))
    return [
        f"{row.recipe}, {row.regularizer}: {row.mean:.4f} of shuffled labels are answered right, not {row.exact:.4f}"
        for row in null.itertuples()
        if abs(row.mean - row.exact) > bound * row.error + 1e-12
    ]


def figures(summary: pd.DataFrame) -> dict[str, Figure]:
    found = {}
    for recipe, part in summary.groupby("recipe", sort=False):
        shown = part[part["measure"].isin(SHOWN)].copy()
        shown["probe"] = [SHOWN[name] for name in shown["measure"]]
        seeds = int(shown["seeds"].iloc[0])
        over = f"{seeds} seeds" if seeds > 1 else "one run, test images drawn anew"
        stem = str(recipe).replace("-", "_")
        found[f"accuracy_{stem}"] = grouped_intervals(
            shown,
            group="regularizer",
            hue="regularizer",
            panel="probe",
            panel_title="{}",
            value="mean",
            value_label=f"test accuracy (95%: {over})",
            share_axis=False,
        )
        found[f"curves_{stem}"] = _curves(part[part["measure"] == CURVE])
    return found


@themed()
def _curves(table: pd.DataFrame) -> Figure:
    figure = new_figure(6, 3.6)
    axis = figure.subplots()
    names = list(dict.fromkeys(table["regularizer"]))
    for name, colour in palette(names).items():
        part = table[table["regularizer"] == name].sort_values("step")
        axis.plot(part["step"], part["mean"], color=colour, label=label(name))
        axis.fill_between(part["step"], part["low"], part["high"], color=colour, alpha=0.2, lw=0)
    axis.set(xlabel="step", ylabel="online linear probe,\nvalidation accuracy (95%)")
    figure.legend(loc="outside right center", frameon=False)
    return figure


def report(summary: pd.DataFrame) -> str:
    lines: list[str] = []
    others: list[str] = []
    table = []
    for recipe, part in summary.groupby("recipe", sort=False):
        cells = {(row["regularizer"], row["measure"]): row for _, row in part[part["step"] < 0].iterrows()}
        linear = part[part["measure"] == "backbone_linear_all"].set_index("regularizer")
        best = str(linear["mean"].idxmax())
        tied = [label(str(n)) for n, r in linear.iterrows() if n != best and r["high"] >= linear.loc[best, "low"]]
        lines.append(
            f"- {RECIPES[str(recipe)]}: the best linear probe is {span(linear.loc[best], 3, 'mean')}, {label(best)}; "
            f"published: {PUBLISHED[str(recipe)]}."
        )
        overlap = f"intervals overlap with the best for {', '.join(tied)}" if tied else "no interval overlaps the best"
        others.append(f"- {RECIPES[str(recipe)]}, linear probe: {overlap}.")
        for name in linear.index:
            scores = [span(cells[name, m], 3, "mean") if (name, m) in cells else "-" for m in SHOWN]
            speed = f"{cells[name, SPEED]['mean']:,.0f}" if (name, SPEED) in cells else "-"
            table.append([RECIPES[str(recipe)], label(str(name)), *scores, speed])
    heads = ["recipe", "regulariser", *SHOWN.values(), "images/s"]
    return "\n".join([*lines, *others]) + "\n\nTest accuracy (95% interval):\n\n" + markdown_table(heads, table)


def _preset(
    regularizers: list[str], seeds: int, epochs: tuple[float, float], draws: int, small: bool = False
) -> Config:
    return {
        "recipe": list(RECIPES),
        "regularizer": regularizers,
        "seed": list(range(seeds)),
        "cifar10": GENERATED if small else "cifar10",
        "imagenette": GENERATED if small else "",
        "cifar10_epochs": epochs[0],
        "imagenette_epochs": epochs[1],
        "draws": draws,
        "small": small,
        "runs": "" if small else "results/runs/images",
    }


STUDY = Study(
    name="regularizers_images",
    title="Regularisers and downstream accuracy on images",
    question="Does the choice of regulariser show in the accuracy of frozen probes on CIFAR-10 and Imagenette?",
    expectation="Statistics that see the whole law (Epps-Pulley, Anderson-Darling) and those that see mean and "
    "variance alone (VCReg) differ little; all beat no regulariser and the untrained encoder by far.",
    seed=20251120,
    axes=("recipe", "regularizer", "seed"),
    paired=("regularizer",),
    needs="one CUDA GPU for some hours, and Imagenette's folder (--set imagenette=PATH)",
    presets={
        "smoke": _preset(["sigreg-ep"], 1, (0.0, 0.0), 1, small=True),
        "quick": _preset(["sigreg-ep", "none"], 1, (10.0, 10.0), 5),
        "standard": _preset(REGULARIZERS, 1, (30.0, 100.0), 5),
        "paper": _preset(REGULARIZERS, 5, (400.0, 800.0), 20),
    },
    measure=measure,
    summarize=summarize,
    verify=verify,
    figures=figures,
    report=report,
)
