"""Answers against shuffled labels: what chance has right."""

import math

import numpy as np
from numpy.typing import NDArray


def chance(answers: NDArray[np.intp], labels: NDArray[np.intp], num_classes: int) -> tuple[float, float]:
    """Mean and standard deviation, over all permutations of the labels, of the share of answers that are right.

    With A_c and B_c of class c among n answers and labels, sum_c A_c B_c / n are right on average, whatever the
    encoder; the variance is that of a permutation's matches,

        (sum_c A_c B_c (n - A_c)(n - B_c) + (sum_c A_c B_c)^2 - sum_c A_c^2 B_c^2) / (n^2 (n - 1)).
    """
    n = len(labels)
    a, b = (np.bincount(values, minlength=num_classes).astype(float) for values in (answers, labels))
    variance = (a * b * (n - a) * (n - b)).sum() + (a * b).sum() ** 2 - (a**2 * b**2).sum()
    return float(a @ b) / n**2, math.sqrt(variance / (n**2 * (n - 1))) / n
