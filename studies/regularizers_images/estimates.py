"""Accuracies of each run's probes, with the published ones beside them."""

import math

import pandas as pd

from sigreg_lab.experiment.cells import Config, Row
from sigreg_lab.experiment.estimates import about, exactly, mean, rate

from .measure import NULL

RECIPES = {"cifar10-resnet18": "ResNet-18", "imagenette-vit-s8": "ViT-S/8"}
NAMES = {"cifar10": "CIFAR-10", "imagenette": "Imagenette"}
#: Published accuracies of the linear probe: the paper's Table 5 (epochs not printed); the README of the official
#: package (its minimal run, 800 epochs, online probe). Of these images alone; a folder goes by its name.
PUBLISHED = {("cifar10-resnet18", "cifar10"): 0.925, ("imagenette-vit-s8", "imagenette"): 0.907}


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    """Means over seeds with Student's interval; of a single run Wilson's, for the draw of the test images alone."""
    found = []
    axes = ["recipe", "data", "regularizer", "measure", "step"]
    for (recipe, data, name, quantity, step), part in rows.groupby(axes, sort=False):
        place = {"recipe": recipe, "data": _title(recipe, data), "regularizer": name, "step": step}
        images, value = int(part["images"].iloc[0]), float(part["value"].mean())
        if quantity == NULL:
            error = math.hypot(*part["error"]) / len(part)
            found.append(about(NULL, value, error, exact=float(part["exact"].mean()), **place))
        elif len(part) == 1 and images:
            found.append(rate(quantity, round(value * images), images, **place))
        elif len(part) == 1:
            found.append(exactly(quantity, value, **place))
        else:
            row = mean(quantity, part["value"], **place)
            if images:
                row |= {"low": max(row["low"], 0.0), "high": min(row["high"], 1.0)}
            found.append(row)
    for recipe, data in rows[["recipe", "data"]].drop_duplicates().itertuples(index=False):
        if (recipe, data) in PUBLISHED:
            place = {"recipe": recipe, "data": _title(recipe, data), "step": -1}
            found.append(exactly("published", PUBLISHED[recipe, data], **place))
    return found


def _title(recipe: str, data: str) -> str:
    """What was trained on, and the network: settings may give other images to a recipe than those of its name."""
    return f"{NAMES.get(data, data)}, {RECIPES[recipe]}"
