"""Chance against all permutations."""

import itertools

import numpy as np
import pytest

from sigreg_lab.theory.answers import chance


def test_mean_and_deviation_of_chance_are_those_of_all_permutations():
    answers, labels = np.array([0, 0, 1, 2, 2, 2, 1]), np.array([0, 1, 1, 2, 0, 2, 2])
    every = [np.mean(answers == labels[list(p)]) for p in itertools.permutations(range(7))]
    assert chance(answers, labels, 3) == pytest.approx((np.mean(every), np.std(every)), rel=1e-12)
