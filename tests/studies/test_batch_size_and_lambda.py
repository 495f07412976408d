"""Batch size and lambda: the exact values against brute force and finite differences, and a study that can fail."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from sigreg_lab.experiment.study import load_study
from sigreg_lab.regularizers import SIGReg, prediction_loss

STUDY = load_study("batch_size_and_lambda")
EXACT = STUDY.measure.__globals__


def test_the_mean_of_the_flattened_statistic_is_that_of_its_pairs():
    sd, rho, n, views = 0.9, 0.6, 5, 3
    t, target, weight = EXACT["_grid"]()
    total = 0.0
    rows = list(itertools.product(range(views), range(n)))
    for (a, i), (b, j) in itertools.product(rows, rows):
        variance = 0.0 if (a, i) == (b, j) else 2 * sd**2 * ((1 - rho) if i == j else 1.0)
        total += (weight * np.exp(-(t**2) * variance / 2)).sum() / (views * n)
    one = np.exp(-((sd * t) ** 2) / 2)
    total += views * n * (weight * (target**2 - 2 * target * one)).sum()
    assert EXACT["flattened_mean"](sd, rho, n, views)[0] == pytest.approx(total, rel=1e-12)


def test_copies_of_a_view_are_that_many_times_one_view():
    value = EXACT["flattened_mean"](0.8, 1.0, 16, 4)
    alone = EXACT["flattened_mean"](0.8, 0.0, 16, 1)
    np.testing.assert_allclose(value[:2], 4 * np.array(alone[:2]), rtol=1e-12)


def test_slopes_are_those_of_the_mean():
    mean, step = EXACT["flattened_mean"], 1e-5
    _, in_sd, in_rho = mean(0.9, 0.6, 20, 4)
    assert in_sd == pytest.approx((mean(0.9 + step, 0.6, 20, 4)[0] - mean(0.9 - step, 0.6, 20, 4)[0]) / (2 * step))
    assert in_rho == pytest.approx((mean(0.9, 0.6 + step, 20, 4)[0] - mean(0.9, 0.6 - step, 20, 4)[0]) / (2 * step))


def test_the_gradient_for_a_rank_defect_is_that_of_the_mean_over_directions():
    dim, n = EXACT["DIM"], 64

    def mean(last):  # over the square u of a direction's last coordinate, which is Beta(1/2, (K - 1)/2)
        law = stats.beta(0.5, (dim - 1) / 2)

        def value(u):
            length = np.sqrt(1 - u + last**2 * u)
            return EXACT["flattened_mean"](length, 0.0, n, 1)[0]

        return integrate.quad(lambda v: value(v**2) * law.pdf(v**2) * 2 * v, 0, 1)[0]

    gradient = EXACT["mean_gradient"](EXACT["scales_of"]("defect", 0.1), n)
    assert gradient[-1] == pytest.approx((mean(0.1 + 1e-4) - mean(0.1 - 1e-4)) / 2e-4, rel=1e-5)
    assert gradient[0] == gradient[1]


def _summary():
    config = STUDY.configure("smoke", ["samples_elsewhere=20000"])
    settings = STUDY.settings(config)
    cells = [{"setting": "scale_1", "n": 16}, {"setting": "rho_0.9", "n": 64}, {"setting": "global_10", "n": 64}]
    rows = [{**cell, **row} for cell in cells for row in STUDY.measure(cell, settings, STUDY.cell_seed(cell))]
    return STUDY.summarize(pd.DataFrame(rows), settings)


class Stronger(SIGReg):
    def forward(self, z, generator, *, directions=None):
        return 2 * super().forward(z, generator, directions=directions)


def test_right_rows_are_accepted_and_wrong_ones_are_not(monkeypatch):
    assert STUDY.verify(_summary()) == []
    monkeypatch.setitem(EXACT, "SIGReg", Stronger)
    monkeypatch.setitem(EXACT, "prediction_loss", lambda z, *args, **kwargs: prediction_loss(z, 1, **kwargs))
    complaints = " ".join(STUDY.verify(_summary()))
    for wrong in ("regulariser, embedding (scale_1", "per view, value (rho_0.9", "eq. 5 less twice eq. 6 (global_10"):
        assert wrong in complaints


@pytest.mark.parametrize("views", [2, 4, 10])
def test_flattened_views_that_nearly_agree_part_from_a_lambda_that_falls_with_their_number(views):
    pull = 1 - 1 / views  # slope in the correlation of the prediction loss, averaged over coordinates
    push = EXACT["flattened_mean"](1.0, 1.0, 256, views)[2]
    assert pull / push == pytest.approx(1 / (2.4318 * views), rel=1e-4)
