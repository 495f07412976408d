import sys

import numpy as np
import pytest
import torch

from sigreg_lab import alternatives
from sigreg_lab.experiment.estimates import Estimates, tabulate
from sigreg_lab.experiment.study import load_study
from sigreg_lab.univariate import EppsPulley
from tests.studies.turn import complaints, measured, verdicts

STUDY = load_study("quadrature")
MODULE, MEASURE = (sys.modules[function.__module__] for function in (STUDY.estimate, STUDY.measure))


def test_population_gradient_is_that_of_the_distance_to_the_law():
    """For a large sample the gradient tends to N 2 sum w t (s cos(tx) - (c - phi_0) sin(tx)) / N, written out here."""
    law, test = alternatives.REGISTRY["chi_squared_5"], EppsPulley()
    x = torch.linspace(-2, 3, 8, dtype=torch.float64)[:, None].requires_grad_()
    t = 3 / 16 * np.arange(17)
    weight = np.where((t == 0) | (t == 3), 1, 2) * 3 / 16 * np.exp(-(t**2) / 2)
    phi, angle = law.characteristic_function(t), t * x.detach().numpy()
    expected = (2 * weight * t * (phi.imag * np.cos(angle) - (phi.real - np.exp(-(t**2) / 2)) * np.sin(angle))).sum(1)
    actual = sys.modules[STUDY.measure.__module__].population_gradient(law, test, x)
    np.testing.assert_allclose(actual[:, 0].numpy(), expected, rtol=1e-10, atol=1e-13)


def _run(**overrides):
    settings = {"points": [5, 17], "laws": ["null", "laplace"], "replicates": 2_000, "gradients": 100} | overrides
    cells = [{"n": 256, "sigma2": 2.0, "t_max": t_max} for t_max in (3.0, 12.0)]
    return measured(STUDY, cells, settings), settings


def test_what_is_right_is_accepted_and_what_is_wrong_is_not():
    rows, settings = _run()
    assert complaints(STUDY, rows, settings) == []
    low = rows.assign(rejections=rows["rejections"].where(rows["law"] != "null", 160))
    assert any(text.startswith("power (t_max=3, sigma2=2, points=5") for text in complaints(STUDY, low, settings))
    assert "line off its closed form" in complaints(STUDY, rows.assign(line_gap=1e-6), settings)[0]
    for column, what in (("value", "mean value"), ("slope", "mean slope")):
        wrong = complaints(STUDY, rows.assign(**{column: rows[column] + 9 * rows[f"{column}_se"]}), settings)
        assert all(text.startswith(what) for text in wrong)
        assert wrong


def test_samples_are_paired_and_the_default_differs_from_itself_by_nothing():
    estimates = Estimates(tabulate(STUDY.estimate(*_run())))
    same = estimates.of(law="laplace", points=17, t_max=3.0)
    assert same.at("power less the default's").value == 0
    assert same.at("SNR over the default's").value == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weight_matters", 0.0),
        ("short_range", 0.0),
        ("range_three_is_enough", 0.1),
        ("few_points_are_enough", 0.1),
        ("too_few_points", 0.0),
    ],
)
def test_each_claim_can_be_turned_round(name, value):
    assert verdicts(STUDY, name, ({"quantity": "power less the default's"}, value)) == ("holds", "fails")


def test_a_worse_default_is_said_to_be_worse():
    assert verdicts(STUDY, "default_gradient", ({"quantity": "gradient error"}, 0.1)) == ("holds", "fails")


def test_intervals_cover_what_was_drawn():
    """Paired rejections, means of squares and ratios of them, of which the truth is known: 95% as they say."""
    rng, repeats, columns, total = np.random.default_rng(6), 600, 400, 20_000
    base = _run()[0].query("t_max == 3 and points == 17 and law == 'laplace'").iloc[0]
    found = {"gradient error": [], "SNR over the default's": [], "power less the default's": []}
    for _ in range(repeats):
        both, this, default, _ = rng.multinomial(total, [0.3, 0.05, 0.03, 0.62])
        squares, size = torch.from_numpy(rng.chisquare(3, (2, columns)) * [[0.04], [1.0]])
        error, error_se = MEASURE.relative(squares, size)
        signal, noise = rng.chisquare(9, (2, columns))
        share = signal / signal.mean() - noise / noise.mean()
        row = base.to_dict() | {"rejections": both + this, "only_this": this, "only_default": default}
        row |= {"gradient_error": error, "gradient_error_se": error_se}
        row |= {"snr_ratio": signal.mean() / noise.mean(), "snr_ratio_log_se": share.std(ddof=1) / columns**0.5}
        for one in MODULE._of_one(row, {"replicates": total, "gradients": columns}):
            if one["quantity"] in found:
                found[one["quantity"]].append((one["low"], one["high"]))
    for (quantity, spans), truth in zip(found.items(), (0.2, 1.0, 0.02), strict=True):
        share = np.mean([low <= truth <= high for low, high in spans])
        assert share == pytest.approx(0.95, abs=3.5 * (0.95 * 0.05 / repeats) ** 0.5), quantity
