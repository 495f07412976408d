"""Images to pretrain on, decoded and in memory, with labels for the probes alone."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Images(NamedTuple):
    """Images and their labels: (N, C, H, W) float32 in 0 .. 1, and (N,) int64."""

    pixels: Tensor
    labels: Tensor


class Splits(NamedTuple):
    """A data set: pretraining sees the pixels of ``train``; choices are made on ``validation``; ``test`` reports."""

    name: str
    train: Images
    validation: Images
    test: Images
    num_classes: int


def load_data(name: str) -> Splits:
    """A data set by its name.

    Raises:
        ValueError: an unknown name; the message lists the known ones.
    """
    if name not in DATA:
        raise ValueError(f"unknown data {name!r}; known: {', '.join(DATA)}")
    return DATA[name]()


def _digits() -> Splits:
    """scikit-learn's handwritten digits: 1,797 scans of 8 x 8 pixels, split 997 / 260 / 540 with equal class shares."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    scans = load_digits()
    index = np.arange(len(scans.target))
    rest, test = train_test_split(index, test_size=540, random_state=0, stratify=scans.target)
    train, validation = train_test_split(rest, test_size=260, random_state=0, stratify=scans.target[rest])

    def take(rows: np.ndarray) -> Images:
        pixels = torch.from_numpy(scans.images[rows]).float().unsqueeze(1) / 16
        return Images(pixels, torch.from_numpy(scans.target[rows]).long())

    return Splits("digits", take(train), take(validation), take(test), num_classes=10)


#: How to load each data set, by its name.
DATA: dict[str, Callable[[], Splits]] = {"digits": _digits}
