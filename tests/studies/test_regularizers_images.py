"""The study of regularisers on images: its null is exact, and a killed run goes on."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from sigreg_lab.experiment.study import load_study


def _null_rows(value, exact=0.25, error=0.01):
    row = {"recipe": "cifar10-resnet18", "regularizer": "sigreg-ep", "seed": 0, "measure": "shuffled_labels"}
    return pd.DataFrame([{**row, "step": -1, "value": value, "images": 4, "exact": exact, "error": error}])


def test_answers_to_shuffled_labels_must_be_right_as_often_as_chance_has_it():
    study = load_study("regularizers_images")
    assert study.verify(study.summarize(_null_rows(0.27), {})) == []
    for value in (0.2, 0.3):
        assert "shuffled labels" in study.verify(study.summarize(_null_rows(value), {}))[0]


def test_mean_and_deviation_of_chance_are_those_of_all_permutations(monkeypatch):
    measure = load_study("regularizers_images").measure
    answers, labels = torch.tensor([0, 0, 1, 2, 2, 2, 1]), torch.tensor([0, 1, 1, 2, 0, 2, 2])
    monkeypatch.setitem(measure.__globals__, "knn_answers", lambda *_: answers)

    class Result:
        class data:
            train, test, num_classes = None, None, 3

        @staticmethod
        def features(images):
            class Features:
                probe = None

            return Features, labels

    (row,) = measure.__globals__["_null"](Result, np.random.default_rng(0))
    every = [np.mean(answers.numpy() == labels.numpy()[list(p)]) for p in itertools.permutations(range(7))]
    assert row["exact"] == pytest.approx(np.mean(every), rel=1e-12)
    assert row["error"] == pytest.approx(np.std(every), rel=1e-12)


def test_a_single_run_has_the_interval_of_its_test_images():
    study = load_study("regularizers_images")
    row = study.summarize(_null_rows(0.5).assign(images=100), {}).iloc[0]
    assert (row["low"], row["high"]) == pytest.approx((0.4038, 0.5962), abs=1e-4)
