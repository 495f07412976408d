import numpy as np
import pytest
import torch

from sigreg_lab.kernels import sort_samples
from sigreg_lab.univariate import AndersonDarling, CramerVonMises, Watson
from tests.kernels.cases import sample, value_and_gradient


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (1023, 33), (2, 3, 64, 5), (0, 4, 2), (70000, 3)], ids=str)
def test_values_are_sorted_along_the_samples(dtype, shape, generator):
    x = sample(generator, *shape, dtype=dtype)
    before = x.clone()
    assert torch.equal(sort_samples(x), x.sort(dim=-2).values)
    assert torch.equal(sort_samples(x.clone().requires_grad_()), x.sort(dim=-2).values)
    assert torch.equal(x, before)


def test_threads_share_the_slices(generator, monkeypatch):
    x = sample(generator, 3000, 101)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert torch.equal(sort_samples(x.requires_grad_()), x.sort(dim=-2).values)


def test_gradient_goes_back_through_the_permutation(generator):
    x = sample(generator, 2, 50, 7, dtype=torch.float64)
    weight = torch.randn(50, 7, generator=generator, dtype=torch.float64)
    _, gradient = value_and_gradient(lambda x: sort_samples(x) * weight, x)
    _, expected = value_and_gradient(lambda x: x.sort(dim=-2).values * weight, x)
    assert torch.equal(gradient, expected)


def test_backward_pass_does_not_sort(generator, monkeypatch):
    x = sample(generator, 50, 7).requires_grad_()
    value = sort_samples(x).square().sum()
    monkeypatch.setattr(np, "sort", None)
    monkeypatch.setattr(np, "argsort", None)
    value.backward()
    torch.testing.assert_close(x.grad, 2 * x.detach())


def test_derivatives_vmap_and_compile(generator):
    x = sample(generator, 3, 6, 2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(sort_samples, x)
    assert torch.autograd.gradgradcheck(sort_samples, x)
    assert torch.equal(torch.func.vmap(sort_samples, in_dims=1, out_dims=1)(x.transpose(0, 1)).transpose(0, 1),
                       x.sort(dim=-2).values)  # fmt: skip
    compiled = torch.compile(lambda x: sort_samples(2 * x)[..., 0, :].sum(), fullgraph=True, backend="aot_eager")
    _, gradient = value_and_gradient(compiled, x)
    assert gradient.sum() == 2 * 3 * 2


def test_statistics_share_one_sort(generator):
    x = sample(generator, 100, 8)
    s = sort_samples(x)
    for statistic in (AndersonDarling(), CramerVonMises(), Watson()):
        torch.testing.assert_close(statistic.unchecked(s, presorted=True), statistic(x))
