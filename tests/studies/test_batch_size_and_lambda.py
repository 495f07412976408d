"""Batch size and lambda: the exact values against brute force and finite differences, and a study that can fail."""

import sys

import pytest

from sigreg_lab.experiment.results import read_estimates
from sigreg_lab.experiment.study import load_study
from sigreg_lab.regularizers import SIGReg, prediction_loss
from tests.studies.turn import RESULTS, complaints, measured, verdicts, words

STUDY = load_study("batch_size_and_lambda")
MEASURE = sys.modules[STUDY.measure.__module__]


def _rows():
    settings = STUDY.settings(STUDY.configure("smoke", ["samples_elsewhere=20000"]))
    cells = [{"setting": "scale_1", "n": 16}, {"setting": "rho_0.9", "n": 64}, {"setting": "global_10", "n": 64}]
    return measured(STUDY, cells, settings)


class Stronger(SIGReg):
    def forward(self, z, generator, *, directions=None):
        return 2 * super().forward(z, generator, directions=directions)


def test_right_rows_are_accepted_and_wrong_ones_are_not(monkeypatch):
    assert complaints(STUDY, _rows()) == []
    monkeypatch.setattr(MEASURE, "SIGReg", Stronger)
    monkeypatch.setattr(MEASURE, "prediction_loss", lambda z, *args, **kwargs: prediction_loss(z, 1, **kwargs))
    found = " ".join(complaints(STUDY, _rows()))
    for wrong in (
        "regulariser, embedding (setting=scale_1",
        "per view, value (setting=rho_0.9",
        "eq. 6 (setting=global",
    ):
        assert wrong in found


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("flattened_pushes", ({"quantity": "flattened, slope in rho"}, 1e-3), ("holds", "fails")),
        ("per_view_does_not", ({"quantity": "per view, slope in rho"}, 3.0), ("holds", "fails")),
        ("equations_agree", ({"quantity": "cosine"}, 1.0), ("fails", "holds")),
        ("algorithm_2", ({"quantity": "eq. 6 over Algorithm 2"}, 1.0), ("fails", "holds")),
    ],
)
def test_each_claim_can_be_turned_round(name, change, expected):
    assert verdicts(STUDY, name, change) == expected


def test_one_rule_would_be_said_to_hold():
    changes = [({"quantity": f"exponent, ratio, {part}"}, 1.0) for part in ("mean", "noise", "embedding")]
    assert verdicts(STUDY, "one_rule", *changes) == ("fails", "holds")


def test_the_lambda_that_is_named_balances_the_slopes_of_the_two_terms_of_the_loss():
    committed = read_estimates(RESULTS / STUDY.name)
    (claim,) = (claim for claim in STUDY.claims if claim.id == "flattened_pushes")
    lam = claim.decision(committed).evidence["lam"]
    push, pull = (committed.of(f"{term}, slope in rho", setting=lam.setting, n=lam.n) for term in
                  ("flattened", "prediction"))  # fmt: skip
    assert lam.value * push.least().value == pytest.approx((1 - lam.value) * -pull.least().exact)
    assert f"{lam.value:.3f}" in words(STUDY, "flattened_pushes")
