"""The study of printed formulas: they are those of the library's classes, a wrong row is refused, claims can turn."""

import sys

import numpy as np
import pytest
import torch
from scipy import special

from sigreg_lab import multivariate as mv
from sigreg_lab.experiment.study import load_study
from sigreg_lab.univariate import ShapiroWilk
from tests.studies.turn import complaints, measured, verdicts

STUDY = load_study("printed_formulas")
FORMULAS = sys.modules[STUDY.measure.__module__.replace("measure", "formulas")]


@pytest.mark.parametrize("dim", [1, 2])
def test_closed_forms_of_appendix_f_are_those_of_the_classes(dim):
    y = 0.1 + np.random.default_rng(3).standard_normal((9, dim))
    x = torch.from_numpy(y)
    found = {name: printed for name, _, printed, _, _ in FORMULAS.appendix_f(y, 0.7, 2.5)}
    expected = {
        "BHEP": mv.BHEP(0.7)(x),
        "eq. 58": mv.BHEP_M(beta=2.5)(x),
        "eq. 59": mv.COMB(2.5, form="product")(x),
        "eq. 61": mv.COMB(2.5)(x),
        "eq. 63": mv.HV(2.5)(x),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value.item(), rel=1e-10)


def test_eq_56_has_the_weights_of_the_class():
    n = FORMULAS.N
    weights = FORMULAS.covariances()["eq. 56"] @ special.ndtri(np.arange(1, n + 1) / (n + 1))
    x = np.sort(np.random.default_rng(4).standard_normal(n))
    w = (weights @ x) ** 2 / (weights @ weights) / ((x - x.mean()) ** 2).sum()
    assert 1 - ShapiroWilk("rahman", "rahman")(torch.from_numpy(x)).item() == pytest.approx(w, rel=1e-12)


@pytest.mark.parametrize("i", [1, 7, 20])
def test_the_variance_of_an_order_statistic_is_that_of_samples(i):
    drawn = np.sort(np.random.default_rng(5).standard_normal((100_000, FORMULAS.N)), 1)[:, i - 1]
    squares = (drawn - drawn.mean()) ** 2
    error = squares.std() / len(drawn) ** 0.5
    assert abs(squares.mean() - FORMULAS._order_variance(i)) < 4 * error
    assert error < 0.01 * squares.mean()


@pytest.fixture(scope="module")
def rows():
    config = STUDY.configure("smoke")
    return measured(STUDY, STUDY.cells(config), STUDY.settings(config))


@pytest.mark.parametrize(
    ("quantity", "place", "change"),
    [
        (None, {}, 0.0),
        ("slice statistic", {"at": 45}, 0.02),
        ("mean over drawn directions", {}, -0.01),
        ("printed over right", {"formula": "eq. 59"}, 1e-6),
        ("printed over right", {"formula": "eq. 51"}, 1e-3),
        ("printed over right", {"formula": "weight"}, 1e-3),
        ("mean skewness", {"dim": 8}, 3.0),
        ("mean kurtosis", {"dim": 8}, 9.0),
        ("anisotropic over isotropic", {}, -2.0),
        ("exponent of the tail", {}, 1e-3),
        ("least at, squared norm", {}, 0.02),
        ("squared norm at I", {}, 5.0),
    ],
)
def test_what_was_measured_is_accepted_and_a_wrong_row_is_not(rows, quantity, place, change):
    wrong = rows.copy()
    at = wrong["quantity"] == quantity
    for axis, value in place.items():
        at &= wrong[axis] == value
    assert at.any() == bool(change)
    wrong.loc[at, "value"] += change
    found = " ".join(complaints(STUDY, wrong))
    assert bool(found) == bool(change)
    assert quantity is None or quantity in found


OVER = "printed over right"


@pytest.mark.parametrize(
    ("name", "place", "value", "both"),
    [
        ("closed_forms", {"quantity": OVER, "formula": "eq. 61"}, 1.1, ("holds", "fails")),
        ("x_is_seen", {"quantity": "mean over drawn directions"}, 0.0, ("holds", "fails")),
        ("x_is_seen", {"quantity": "slice statistic", "at": 90}, 0.05, ("holds", "fails")),
        ("x_is_seen", {"quantity": "mean over directions", "dim": 512}, 0.01, ("holds", "fails")),
        ("weak_at_identity", {"quantity": "least at"}, 1.0, ("fails", "holds")),
        ("tails_are_heavy", {"quantity": "exponent of the tail", "dim": 16}, -2.0, ("holds", "fails")),
        ("caption_17", {"quantity": "anisotropic over isotropic"}, 0.5, ("fails", "holds")),
        ("scores_serve", {"quantity": "deviation over that of chance", "formula": "eq. 52"}, 1.5, ("holds", "fails")),
        ("ranks_serve", {"quantity": "deviation over that of chance", "formula": "eq. 53"}, 1.5, ("holds", "fails")),
        (
            "tridiagonal_serves",
            {"quantity": "deviation over that of chance", "formula": "eq. 53 and 56"},
            0.5,
            ("fails", "holds"),
        ),
        ("target_right", {"quantity": OVER, "formula": "BHEP's integral"}, 1.0, ("fails", "holds")),
        ("mean_of_squares", {"quantity": OVER, "formula": "eq. 21"}, 1.0, ("fails", "holds")),
        ("w_is_w", {"quantity": OVER, "formula": "eq. 51"}, 1.0, ("fails", "holds")),
        ("variances_right", {"quantity": OVER, "formula": "eq. 54"}, 0.9, ("fails", "holds")),
        ("moments_of_a_batch", {"quantity": "mean skewness"}, 0.0, ("fails", "holds")),
        ("rule_is_fast", {"quantity": "error over that at twice the step"}, 0.1, ("fails", "holds")),
        ("sign_right", {"quantity": OVER, "formula": "eq. 8"}, 1.0, ("fails", "holds")),
        ("weight_is_one", {"quantity": OVER, "formula": "weight"}, 1.0, ("fails", "holds")),
        ("ep_is_mmd", {"quantity": OVER, "formula": "EP as MMD"}, 1.1, ("holds", "fails")),
        ("mean_in_closed_form", {"quantity": OVER, "formula": "sliced KSD"}, 1.1, ("holds", "fails")),
    ],
)
def test_each_claim_can_be_turned_round(name, place, value, both):
    assert verdicts(STUDY, name, (place, value)) == both


def test_every_claim_is_turned_round_above():
    (cases,) = (mark for mark in test_each_claim_can_be_turned_round.pytestmark if mark.name == "parametrize")
    assert {case[0] for case in cases.args[1]} == {claim.id for claim in STUDY.claims}
