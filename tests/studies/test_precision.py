import math
import sys

import numpy as np
import pytest
import torch

from sigreg_lab.experiment.estimates import Estimates, tabulate
from sigreg_lab.experiment.study import load_study
from sigreg_lab.slicing import iid_directions
from tests.studies.turn import complaints, measured, verdicts

STUDY = load_study("precision")


@pytest.fixture
def precision():
    return sys.modules[STUDY.measure.__module__]


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


def test_errors_of_a_known_perturbation(precision):
    """A gradient g (1 + a) + noise: its error, and what persists in the layer."""
    rng = np.random.default_rng(2)
    z = torch.from_numpy(rng.standard_normal((240, 100, 2)))
    base = torch.from_numpy(rng.standard_normal(240)), z * 0.5
    noise = torch.from_numpy(rng.standard_normal(z.shape)) * 0.05
    errors = precision.Errors()
    errors.add(z, base, (base[0] * 1.001, base[1] * 1.02 + noise), base)
    row = errors.row()
    assert row["value"] == pytest.approx(1e-6)
    assert row["gradient"] == pytest.approx(0.1**2 + 0.02**2, rel=0.1)
    assert row["persistent"] == pytest.approx(0.02**2, abs=4 * row["persistent_se"])
    assert row["persistent_se"] < 1e-4
    one = base[0][:1], base[1][:1]
    errors.add(z[:1], one, (torch.tensor([math.inf]), one[1]), one)
    assert errors.row()["broken"] == 1


@pytest.fixture(scope="module")
def rows():
    settings = STUDY.settings(STUDY.configure("smoke"))
    cells = [{"num_slices": m, "n": 64, "scale": 1.0} for m in (0, 16)]
    return measured(STUDY, cells, settings)


def test_what_is_right_is_accepted_and_what_is_wrong_is_not(rows):
    def wrong(**changes):
        return " ".join(complaints(STUDY, rows.assign(**changes)))

    assert wrong() == ""
    assert "value, against its documented bound" in wrong(value=rows["value"].clip(lower=1e-11))
    assert "gradient, against its documented bound" in wrong(gradient=rows["gradient"].clip(lower=1e-10))
    assert wrong(gradient=rows["gradient"].clip(lower=1e-10), largest=80.0) == ""
    assert "changed (" in wrong(changed=1.0)
    assert "yardstick" in wrong(yardstick=1e-8)


def test_rounding_of_the_input_is_that_of_the_format(rows):
    """Errors are in proportion to the spacing of numbers: 8, 11 and 24 significant bits."""
    estimates = Estimates(tabulate(STUDY.estimate(rows, {}))).of(method="given", part="input")
    errors = {dtype: estimates.at("gradient", input=dtype).value for dtype in ("bfloat16", "float16", "float32")}
    assert errors["bfloat16"] / errors["float16"] == pytest.approx(8, rel=0.2)
    assert errors["bfloat16"] / errors["float32"] == pytest.approx(2**16, rel=0.2)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("autocast_costs", ({"quantity": "gradient", "method": "published_autocast"}, 1e-4)),
        ("norms_cause_it", ({"quantity": "gradient", "method": "directions_normalised"}, 1.0)),
        ("norms_cause_it", ({"quantity": "gradient", "method": "published_autocast"}, 1.0)),
        ("noise_not_bias", ({"quantity": "persistent"}, 1.0)),
        ("ranks_see_ties", ({"quantity": "gradient", "method": "entropy"}, 1e-4)),
        ("half_overflows", ({"quantity": "broken"}, 0.01)),
    ],
)
def test_each_claim_can_be_turned_round(name, change):
    assert verdicts(STUDY, name, change) == ("holds", "fails")


def test_intervals_of_errors_cover(precision):
    """Of units whose gradients err by 0.1 of their size, and of which 0.02 persists: 95% as they say."""
    rng, held = np.random.default_rng(5), np.zeros(2)
    estimate_one = sys.modules[STUDY.estimate.__module__]._of_one
    for _ in range(400):
        z = torch.from_numpy(rng.standard_normal((48, 60, 1)))
        base = torch.ones(48, dtype=torch.float64), z
        noise = torch.from_numpy(rng.standard_normal(z.shape)) * 0.1
        errors = precision.Errors()
        errors.add(z, base, (base[0], z * 1.02 + noise), base)
        row = {"num_slices": 1, "n": 60, "scale": 1.0, "method": "", "input": "", "part": ""} | errors.row()
        found = {one["quantity"]: one for one in estimate_one(row, 0.0)}
        truths = (("gradient", (0.1**2 + 0.02**2) ** 0.5), ("persistent", 0.02 * (60 / 62) ** 0.5))
        held += [found[name]["low"] <= truth <= found[name]["high"] for name, truth in truths]
    assert held / 400 == pytest.approx([0.95, 0.95], abs=3.5 * (0.95 * 0.05 / 400) ** 0.5)
