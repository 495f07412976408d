"""What every multivariate statistic keeps: shapes, invariances, dtypes, gradients, refusals."""

import numpy as np
import pytest
import torch

from sigreg_lab import multivariate as mv
from tests.multivariate.cases import INSTANCES, sample

each = pytest.mark.parametrize("statistic", INSTANCES, ids=str)


def test_instances_cover_the_registry():
    assert {type(s) for s in INSTANCES} == set(mv.REGISTRY.values())
    assert all(name == cls.name for name, cls in mv.REGISTRY.items())


@each
def test_a_batch_equals_a_loop(statistic):
    x = sample(9, 3, 1, 2, 2)
    value = statistic(x)
    assert value.shape == (2, 2)
    loop = torch.stack([torch.stack([statistic(y) for y in z]) for z in x])
    torch.testing.assert_close(value, loop, rtol=1e-11, atol=1e-12)
    assert statistic(x[0, 0]).ndim == 0


@each
def test_permutations_and_rotations_change_nothing_and_the_input_stays(statistic):
    x = sample(9, 3, 2)
    x[4] = x[7]
    kept = x.clone()
    value = statistic(x)
    assert torch.equal(x, kept)
    rotation = torch.linalg.qr(sample(3, 3, 3)).Q
    torch.testing.assert_close(statistic(x.flip(0)), value, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(statistic(x @ rotation), value, rtol=1e-10, atol=1e-12)


@each
def test_affine_maps_change_a_standardised_statistic_alone(statistic):
    x = sample(12, 2, 4)
    moved = x @ torch.tensor([[2.0, 0.5], [-1.0, 3.0]], dtype=x.dtype) + 5
    same = torch.isclose(statistic(moved), statistic(x), rtol=1e-9, atol=1e-11)
    assert bool(same) == statistic.standardise


@pytest.mark.parametrize("statistic", [s for s in INSTANCES if s.standardise], ids=str)
def test_standardising_is_the_case_0_statistic_of_the_whitened_sample(statistic):
    x = sample(10, 3, 5)
    centred = x.numpy() - x.numpy().mean(0)
    values, vectors = np.linalg.eigh(np.cov(centred.T, ddof=0))
    whitened = torch.from_numpy(centred @ vectors / np.sqrt(values) @ vectors.T)  # the symmetric root, not Cholesky's
    value = statistic(x)
    statistic.standardise = False
    try:
        torch.testing.assert_close(statistic(whitened), value, rtol=1e-10, atol=1e-12)
    finally:
        statistic.standardise = True


@each
def test_gradient(statistic):
    x = sample(6, 2, 6).requires_grad_()
    assert torch.autograd.gradcheck(statistic, (x,), atol=1e-6, rtol=1e-5)


@each
def test_gradient_is_finite_at_the_least_n_and_at_ties(statistic):
    x = sample(statistic.min_samples(2), 2, 7).requires_grad_()
    statistic(x).backward()
    assert x.grad.isfinite().all()
    y = sample(6, 2, 8)
    y[1] = y[3]
    y.requires_grad_()
    statistic(y).backward()
    assert y.grad.isfinite().all()


@each
def test_blocks_change_nothing(statistic, monkeypatch):
    from sigreg_lab.slicing import pairwise

    x = sample(9, 2, 9)
    whole, grads = [], []
    for block in (pairwise.BLOCK, 7):
        monkeypatch.setattr(pairwise.pair_sum, "__kwdefaults__", {"block": block})
        monkeypatch.setattr(pairwise.pair_scaled_sum, "__kwdefaults__", {"block": block})
        y = x.clone().requires_grad_()
        value = statistic(y)
        value.backward()
        whole.append(value.detach())
        grads.append(y.grad)
    torch.testing.assert_close(*whole, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(*grads, rtol=1e-9, atol=1e-11)


@each
def test_dtypes(statistic):
    x = sample(20, 3, 10).float()
    exact = statistic(x.double())
    assert exact.dtype == torch.float64
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = statistic(x)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), exact, rtol=1e-6, atol=1e-7)
    assert statistic(x.bfloat16()).dtype == torch.float32


@each
def test_bad_samples_are_refused_by_name(statistic):
    x = sample(8, 3, 11)
    for bad in (
        x[0],
        x[:1],
        x[:0],
        x.long(),
        torch.where(x > 1, torch.nan, x),
        torch.where(x > 1, torch.inf, x),
    ):
        with pytest.raises(ValueError, match=r"^x "):
            statistic(bad)
    if statistic.standardise:
        with pytest.raises(ValueError, match="at least 4 are needed"):
            statistic(x[:3])
        x[:, 2] = x[:, 0] + x[:, 1]
        with pytest.raises(ValueError, match="singular covariance"):
            statistic(x)


@pytest.mark.parametrize(
    ("build", "argument"),
    [
        (lambda: mv.BHEP(beta=0.0), "beta"),
        (lambda: mv.BHEP_M(beta=1.0), "beta"),
        (lambda: mv.COMB(gamma=-1.0), "gamma"),
        (lambda: mv.COMB(form="both"), "form"),
        (lambda: mv.COMB(log=True), "log"),
        (lambda: mv.HV(gamma=0.0), "gamma"),
        (lambda: mv.HZ.compute_bandwidth(0, 2), "n_samples"),
        (lambda: mv.BHEP_M(dim=4)(sample(8, 3, 1)), "x must have 4 columns"),
    ],
)
def test_bad_parameters_are_refused_by_name(build, argument):
    with pytest.raises(ValueError, match=f"^{argument}"):
        build()
