"""Gradient bias: local batches by hand, and a study that can fail."""

import sys

import numpy as np
import pytest
import torch

from sigreg_lab.experiment.study import load_study
from tests.studies.turn import complaints, measured, verdicts

STUDY = load_study("gradient_bias")
MEASURE = sys.modules[STUDY.measure.__module__]


def _rows(variant):
    settings = STUDY.settings(STUDY.configure("smoke", ["replicates=4000", "paired_replicates=4000"]))
    cells = [{"variant": one, "sd": 0.8, "n": 64} for one in dict.fromkeys(("whole", variant))]
    return measured(STUDY, cells, settings)


@pytest.mark.parametrize("variant", ["whole", "local_4"])
def test_right_rows_are_accepted(variant):
    assert complaints(STUDY, _rows(variant)) == []


def test_wrong_rows_are_not():
    rows = _rows("local_4")
    biased = rows["variant"].eq("whole") & rows["quantity"].eq("gradient") & rows["estimator"].eq("v")
    wrong = complaints(STUDY, rows.assign(mean=rows["mean"] - 1.0 * biased))
    assert any(text.startswith("bias of the gradient (variant=whole") for text in wrong)
    # Local batches that carry the factor of the whole batch.
    local = rows["variant"].eq("local_4") & rows["quantity"].eq("loss")
    wrong = complaints(STUDY, rows.assign(mean=rows["mean"].where(~local, 4 * rows["mean"])))
    assert any(text.startswith("bias of the loss (variant=local_4") for text in wrong)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("local_is_worse", ({"quantity": "squared error over that of the whole"}, 0.5)),
        ("does_not_vanish", ({"quantity": "exponent, bias of the gradient"}, -1.0)),
        ("unbiased_is_better", ({"quantity": "squared error over that of V"}, 1.5)),
    ],
)
def test_each_claim_can_be_turned_round(name, change):
    assert verdicts(STUDY, name, change) == ("holds", "fails")


def test_local_batches_have_the_mean_of_one_of_them():
    z = torch.from_numpy(np.random.default_rng(1).standard_normal((32, 5)))
    found = MEASURE._batch(4, z, 0.8)
    one_by_one = [MEASURE._loss_and_gradient("v", part, 0.8) for part in z.split(8)]
    np.testing.assert_allclose(found[("v", "loss")], np.mean([loss for loss, _ in one_by_one], axis=0), rtol=1e-12)
    np.testing.assert_allclose(found[("v", "gradient")], np.mean([g for _, g in one_by_one], axis=0), rtol=1e-12)
