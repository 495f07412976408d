"""The slice-concentration study: rows that contradict exact values are refused, and each claim can fail."""

import re

import pytest
import torch

from sigreg_lab.experiment.study import load_study
from sigreg_lab.slicing import make_directions, seeded_generator
from sigreg_lab.theory.sphere_bound import log10_directions
from tests.studies.turn import complaints, measured, verdicts, words

STUDY = load_study("slice_concentration")


@pytest.fixture(scope="module")
def rows():
    config = STUDY.configure("smoke", ["sample=1,2,3,4,5,6", "dim=2"])
    return measured(STUDY, STUDY.cells(config), STUDY.settings(config))


@pytest.mark.parametrize(
    ("kind", "column", "factor", "complaint"),
    [
        ("iid", "value_square", 1.0, ""),
        ("iid", "value_square", 2.0, "value, mean square over"),
        ("orthogonal", "gradient_square", 0.5, "gradient, mean square over"),
        ("orthogonal", "value_bias", 0.5, "bias of the value"),
        ("iid", "gradient_bias", 0.5, "bias of the gradient"),
    ],
)
def test_what_was_measured_is_accepted_and_a_wrong_row_is_not(rows, kind, column, factor, complaint):
    wrong, at = rows.copy(), rows["directions"] == kind
    noise = 1 + 0.01 * rows["sample"] / 6
    if complaint:
        wrong.loc[at, column] = factor * noise * (1.0 if "bias" in column else rows[f"exact_{column}"])
    found = " ".join(complaints(STUDY, wrong))
    assert complaint in found
    assert bool(found) == bool(complaint)


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("many_slices", ({"quantity": "slices needed", "target": 0.3}, 10.0), ("holds", "fails")),
        ("linear_in_dimension", ({"quantity": "growth of slices with K"}, 2.0), ("holds", "fails")),
        (
            "orthogonal_saves",
            ({"quantity": "error over that of iid", "directions": "orthogonal"}, 1.2),
            ("holds", "fails"),
        ),
        ("sobol_no_worse", ({"quantity": "error over that of iid", "directions": "sobol"}, 0.9), ("fails", "holds")),
        ("pinned_down", ({"quantity": "hidden covariance"}, 0.0), ("fails", "holds")),
        ("consistent_when_fixed", ({"quantity": "hidden covariance"}, 0.0), ("fails", "holds")),
        ("bound_says_something", ({"quantity": "log10 of the directions"}, 3.0), ("fails", "holds")),
        ("bound_in_the_plane", ({"quantity": "largest error over the bound"}, 0.5), ("fails", "holds")),
        ("smooth_enough", ({"quantity": "smoothness of a product of Cauchy laws"}, 9.0), ("fails", "holds")),
    ],
)
def test_each_claim_can_be_turned_round(name, change, expected):
    assert verdicts(STUDY, name, change) == expected


def test_fewer_sobol_directions_than_dimensions_are_not_spread():
    """Why they are worse than independent ones there: their squared inner products are several times 1/K."""
    sizes = {}
    for kind in ("iid", "sobol"):
        directions = make_directions(kind, 128, 16, generator=seeded_generator(3), dtype=torch.float64)
        products = directions.T @ directions - torch.eye(16, dtype=torch.float64)
        sizes[kind] = float(128 * products.square().sum() / (16 * 15))
    assert sizes["iid"] == pytest.approx(1, abs=0.4)
    assert sizes["sobol"] > 3


def test_the_bound_says_nothing_below_the_power_of_ten_that_is_named():
    dim, power = map(int, re.search(r"K = (\d+) it says nothing below 10\^(\d+)",
                                    words(STUDY, "bound_says_something")).groups())  # fmt: skip
    assert power <= log10_directions(dim) < power + 1
