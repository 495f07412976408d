"""Probes: what is separable is found, what is noise is not."""

import numpy as np
import pytest
import torch

from sigreg_lab.pretrain import few_shot_accuracy, linear_accuracy

LABELS = torch.arange(4).repeat_interleave(25)
NOISE = torch.randn(100, 6, generator=torch.Generator().manual_seed(0))
SEPARABLE = torch.nn.functional.one_hot(LABELS, 6).float() * 10 + NOISE


def test_separable_classes_are_found_with_any_number_of_labels():
    assert linear_accuracy(SEPARABLE, LABELS, SEPARABLE, LABELS) == 1.0
    rng = np.random.default_rng(0)
    assert few_shot_accuracy(SEPARABLE, LABELS, SEPARABLE, LABELS, shots=1, draws=3, rng=rng) > 0.9


def test_on_noise_accuracy_is_chance():
    fresh = torch.randn(4000, 6, generator=torch.Generator().manual_seed(1))
    accuracy = linear_accuracy(NOISE, LABELS, fresh, torch.arange(4).repeat(1000))
    assert abs(accuracy - 0.25) < 4 * (0.25 * 0.75 / 4000) ** 0.5


def test_too_few_samples_of_a_class_are_refused():
    with pytest.raises(ValueError, match="shots=26, but a class has only 25 samples"):
        few_shot_accuracy(NOISE, LABELS, NOISE, LABELS, shots=26, draws=1, rng=np.random.default_rng(0))
