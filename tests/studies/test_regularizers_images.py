"""The study of regularisers on images: its null is exact, and a killed run goes on."""

import pandas as pd
import pytest

from sigreg_lab.experiment.estimates import Estimates, tabulate
from sigreg_lab.experiment.study import load_study
from tests.studies.turn import complaints

STUDY = load_study("regularizers_images")


def _estimates(rows):
    return Estimates(tabulate(STUDY.estimate(rows, {})))


def _null_rows(value, exact=0.25, error=0.01):
    row = {
        "recipe": "cifar10-resnet18",
        "data": "cifar10",
        "regularizer": "sigreg-ep",
        "seed": 0,
        "measure": "shuffled_labels",
    }
    return pd.DataFrame([{**row, "step": -1, "value": value, "images": 4, "exact": exact, "error": error}])


def test_answers_to_shuffled_labels_must_be_right_as_often_as_chance_has_it():
    assert complaints(STUDY, _null_rows(0.27)) == []
    for value in (0.2, 0.3):
        assert "shuffled_labels" in complaints(STUDY, _null_rows(value))[0]


def test_a_single_run_has_the_interval_of_its_test_images():
    rows = _null_rows(0.5).assign(measure="backbone_linear_all", images=100)
    one = _estimates(rows).at("backbone_linear_all")
    assert (one.low, one.high) == pytest.approx((0.4038, 0.5962), abs=1e-4)


def test_images_go_by_their_own_name_and_published_numbers_by_published_images():
    rows = _null_rows(0.5).assign(measure="backbone_linear_all", images=100)
    own = rows.assign(data="my_photos")
    for given, title, count in ((rows, "CIFAR-10, ResNet-18", 1), (own, "my_photos, ResNet-18", 0)):
        found = _estimates(given)
        assert found.at("backbone_linear_all").data == title
        assert len(found.of("published")) == count
    curve = own.assign(measure="online_probe", step=3)
    (axis,) = STUDY.pictures["curves"].draw(_estimates(curve)).axes
    assert axis.get_title(loc="left") == "my photos, ResNet-18"


def _accuracies(**values):
    rows = [_null_rows(v).assign(measure="backbone_linear_all", regularizer=k, images=1000) for k, v in values.items()]
    estimates = _estimates(pd.concat(rows))
    return {claim.id: str(claim.decision(estimates).verdict) for claim in STUDY.claims}


def test_each_claim_can_be_turned_round():
    names = {"none": 0.3, "untrained": 0.4}
    assert _accuracies(**{"sigreg-ep": 0.9, "vicreg": 0.7}, **names) == {
        "regulariser_needed": "holds",
        "regularisers_alike": "fails",
    }
    assert _accuracies(**{"sigreg-ep": 0.9, "vicreg": 0.2}, **names)["regulariser_needed"] == "fails"
    rows = [
        _null_rows(0.9).assign(measure="backbone_linear_all", regularizer=name, images=10**6) for name in ("a", "b")
    ]
    estimates = _estimates(pd.concat(rows))
    assert str(STUDY.claims[1].decision(estimates).verdict) == "holds"
