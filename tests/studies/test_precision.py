import math
import sys

import mpmath
import numpy as np
import pandas as pd
import pytest
import torch

from sigreg_lab.experiment.study import load_study
from sigreg_lab.slicing import iid_directions

STUDY = load_study("precision")


@pytest.fixture
def precision():
    return sys.modules["studies.precision"]


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(200, 16, generator=generator), iid_directions(16, 8, generator=generator)


def test_published_formula_in_float64_is_the_yardstick(precision, batch):
    x, directions = (part.double() for part in batch)
    expected = precision.fused("eager")(x, directions)
    # its grid and weights are made in float32, as published
    torch.testing.assert_close(precision.published(x, directions, torch.float64), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(precision.formula(x, directions), expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("autocast", [False, True])
def test_published_formula_is_what_lightly_computes(precision, batch, dtype, autocast, monkeypatch):
    lightly = pytest.importorskip("lightly.loss.lejepa_loss")
    x, directions = batch[0].to(dtype), batch[1]
    peer = lightly.SIGReg(num_vectors=8)
    monkeypatch.setattr(peer, "_generate_unit_vectors", lambda device, dtype, features: directions.to(dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        expected = precision.with_gradient(peer, x)
        actual = precision.with_gradient(lambda y: precision.published(y, directions.to(dtype), torch.float32), x)
    rounding = 1e-5 if dtype == torch.float32 and not autocast else 1e-2
    torch.testing.assert_close(actual[0], expected[0], rtol=rounding, atol=0)
    assert (actual[1] - expected[1]).norm() < rounding * expected[1].norm()


def test_rounded_directions_err_by_their_norms(precision):
    """The study's finding, refuted or not, without its code: errors by the definition, N where it is largest."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(16384, 32, generator=generator, dtype=torch.float64)
    exact = iid_directions(32, 8, generator=generator, dtype=torch.float64)
    rounded = exact.bfloat16().double()
    norms = rounded.norm(dim=0)
    target, weight = precision.gaussian_grid(3.0, 17, math.sqrt(2.0), torch.device("cpu"))

    def gradient(directions):
        y = x.clone().requires_grad_()
        c, s = precision.characteristic_function_reference(y @ directions, 3.0, 17)
        (found,) = torch.autograd.grad((weight[:, None] * ((c - target[:, None]) ** 2 + s**2)).sum(), y)
        return found

    base = gradient(exact)
    whole, normalised, scaled = (
        float((gradient(a) - base).norm() / base.norm()) for a in (rounded, rounded / norms, exact * norms)
    )
    assert whole > 0.01
    assert normalised < 0.3 * whole
    assert scaled == pytest.approx(whole, rel=0.1)


def test_null_expectations_by_integration_and_simulation(precision):
    n = 12
    c4 = mpmath.sqrt(mpmath.mpf(2) / (n - 1)) * mpmath.gamma(mpmath.mpf(n) / 2) / mpmath.gamma(mpmath.mpf(n - 1) / 2)
    assert precision.null_expectation("mean_std", n) == pytest.approx(float(mpmath.mpf(1) / n + 2 - 2 * c4), rel=1e-12)
    x = np.random.default_rng(1).standard_normal((400_000, n))
    y = x - x.mean(1, keepdims=True)
    skewness, kurtosis = (((y**k).mean(1) / (y**2).mean(1) ** (k / 2)) - centre for k, centre in ((3, 0), (4, 3)))
    values = n / 6 * (skewness**2 + kurtosis**2 / 4)
    error = values.std() / math.sqrt(len(values))
    assert abs(values.mean() - precision.null_expectation("jarque_bera", n)) < 4 * error


def test_errors_of_a_known_perturbation(precision):
    """A gradient g (1 + a) + noise: its error, what of it turns, and what persists in the layer."""
    rng = np.random.default_rng(2)
    z = torch.from_numpy(rng.standard_normal((240, 100, 2)))
    base = torch.from_numpy(rng.standard_normal(240)), z * 0.5
    noise = torch.from_numpy(rng.standard_normal(z.shape)) * 0.05
    errors = precision.Errors()
    errors.add(z, base, (base[0] * 1.001, base[1] * 1.02 + noise), base)
    row = errors.row()
    assert row["value"] == pytest.approx(1e-6)
    assert row["turn"] == pytest.approx(0.1**2, rel=0.1)
    assert row["gradient"] == pytest.approx(0.1**2 + 0.02**2, rel=0.1)
    assert row["persistent"] == pytest.approx(0.02**2, abs=4 * row["persistent_se"])
    assert row["persistent_se"] < 1e-4
    one = base[0][:1], base[1][:1]
    errors.add(z[:1], one, (torch.tensor([math.inf]), one[1]), one)
    assert errors.row()["broken"] == 1


@pytest.fixture(scope="module")
def rows():
    settings = STUDY.settings(STUDY.configure("smoke")) | {"null_values": 1 << 16}
    cells = [{"num_slices": m, "n": 64, "scale": 1.0} for m in (0, 16)]
    return pd.DataFrame(
        [{**cell, **row} for cell in cells for row in STUDY.measure(cell, settings, STUDY.cell_seed(cell))]
    )


def test_verify_accepts_what_is_right_and_refuses_what_is_wrong(rows):
    def complaints(**changes):
        return " ".join(STUDY.verify(STUDY.summarize(rows.assign(**changes), {})))

    assert complaints() == ""
    assert "mean of anderson_darling" in complaints(null_mean=rows["null_mean"] + 6 * rows["null_mean_se"])
    assert "value of fused_cpu in float32" in complaints(value=rows["value"].clip(lower=1e-11))
    assert "gradient of fused_eager in float32" in complaints(gradient=rows["gradient"].clip(lower=1e-10))
    assert complaints(gradient=rows["gradient"].clip(lower=1e-10), largest=80.0) == ""
    assert "autocast" in complaints(changed=1.0)
    assert "yardstick" in complaints(yardstick=1e-9)


def test_rounding_of_the_input_is_that_of_the_format(rows):
    """Errors are in proportion to the spacing of numbers: 8, 11 and 24 significant bits."""
    summary = STUDY.summarize(rows, {}).set_index(["method", "input", "part", "quantity"])["estimate"]
    ratio = summary["given", "bfloat16", "input", "gradient"] / summary["given", "float16", "input", "gradient"]
    assert ratio == pytest.approx(8, rel=0.2)
    ratio = summary["given", "bfloat16", "input", "gradient"] / summary["given", "float32", "input", "gradient"]
    assert ratio == pytest.approx(2**16, rel=0.2)
