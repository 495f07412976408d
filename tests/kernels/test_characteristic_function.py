import pytest
import torch

from sigreg_lab.kernels import (
    BackendUnavailable,
    characteristic_function,
    characteristic_function_reference,
    characteristic_slope,
    native,
)
from tests.kernels.cases import BACKENDS, PROCESSORS, relative_error, sample, value_and_gradient

SHAPES = [(1, 1), (1, 33), (1023, 1), (1023, 33), (2, 3, 64, 17), (300, 200), (5, 1024)]


def stacked(x, t_max, n_points, backend):
    return torch.stack(characteristic_function(x, t_max, n_points, backend=backend))


def tolerance(x, t_max, n_points):
    """The k-th power of z = exp(i step x) carries k times the error of z: that of rounding z and each product, and that
    of rounding the angle. At the last node, in units of eps = twice the rounding error: order + t_max |x|."""
    return torch.finfo(x.dtype).eps * (n_points - 1 + t_max * float(x.abs().max()))


def reference(x, t_max, n_points):
    return torch.stack(characteristic_function_reference(x, t_max, n_points))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("t_max", "n_points"), [(3.0, 17), (5.0, 41), (1.0, 2)])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums_and_gradient_equal_the_formula(backend, dtype, t_max, n_points, shape, generator):
    x = sample(generator, *shape, dtype=dtype)
    weight = torch.randn(2, *shape[:-2], n_points - 1, shape[-1], generator=generator, dtype=torch.float64)
    actual, gradient = value_and_gradient(lambda x: stacked(x, t_max, n_points, backend) * weight, x)
    expected, expected_gradient = value_and_gradient(lambda x: reference(x.double(), t_max, n_points) * weight, x)
    assert ((actual - expected) / weight).abs().max() < tolerance(x, t_max, n_points)
    assert relative_error(gradient, expected_gradient) < tolerance(x, t_max, n_points)


def slope_reference(x, t_max, n_points):
    t = torch.linspace(0, t_max, n_points, dtype=x.dtype, device=x.device)[1:]
    angle = x.unsqueeze(-3) * t[:, None, None]
    return torch.stack(((x.unsqueeze(-3) * angle.cos()).mean(-2), (x.unsqueeze(-3) * angle.sin()).mean(-2)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("t_max", "n_points"), [(3.0, 17), (5.0, 41), (1.0, 2)])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_weighted_sums_and_their_gradient_equal_the_formula(dtype, t_max, n_points, shape, generator):
    x = sample(generator, *shape, dtype=dtype)
    weight = torch.randn(2, *shape[:-2], n_points - 1, shape[-1], generator=generator, dtype=torch.float64)
    actual, gradient = value_and_gradient(lambda x: torch.stack(characteristic_slope(x, t_max, n_points)) * weight, x)
    expected, expected_gradient = value_and_gradient(lambda x: slope_reference(x.double(), t_max, n_points) * weight, x)
    scale = tolerance(x, t_max, n_points) * float(x.abs().max())
    assert ((actual - expected) / weight).abs().max() < scale
    assert relative_error(gradient, expected_gradient) < tolerance(x, t_max, n_points)


@pytest.mark.parametrize("processor", PROCESSORS, indirect=True)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("t_max", "n_points"), [(3.0, 17), (5.0, 41), (1.0, 2), (2.0, 8)])
def test_registers_of_any_width(processor, dtype, t_max, n_points, generator):
    for shape in SHAPES:
        test_sums_and_gradient_equal_the_formula("cpu", dtype, t_max, n_points, shape, generator)
    test_huge_and_non_finite_arguments_are_those_of_sine_and_cosine("cpu")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bound", [1.0, 50.0])
def test_gradient_keeps_its_accuracy_up_to_fifty(backend, bound, generator):
    x = (torch.rand(1000, 40, generator=generator) * 2 - 1) * bound
    weight = torch.randn(2, 16, 40, generator=generator, dtype=torch.float64)
    _, gradient = value_and_gradient(lambda x: stacked(x, 3.0, 17, backend) * weight, x)
    _, expected = value_and_gradient(lambda x: reference(x.double(), 3.0, 17) * weight, x)
    assert relative_error(gradient, expected) < 5e-6


@pytest.mark.parametrize("backend", BACKENDS)
def test_error_is_flat_in_the_number_of_samples(backend, generator):
    errors = []
    for num_samples in (256, 65536):
        x = sample(generator, num_samples, 16)
        errors.append((stacked(x, 3.0, 17, backend) - reference(x.double(), 3.0, 17)).abs().max())
    assert errors[1] < max(errors[0], 1e-7)


@pytest.mark.parametrize("backend", BACKENDS)
def test_huge_and_non_finite_arguments_are_those_of_sine_and_cosine(backend):
    x = torch.tensor([[3e5], [-2e9], [1.0], [0.0]]).expand(4, 20)
    assert torch.allclose(stacked(x, 3.0, 17, backend), reference(x.double(), 3.0, 17), atol=1e-6, rtol=0)
    assert stacked(torch.tensor([[float("inf")], [1.0]]), 3.0, 17, backend).isnan().all()
    assert stacked(torch.tensor([[float("nan")], [1.0]]), 3.0, 17, backend).isnan().all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_strides_do_not_matter(backend, generator):
    x = sample(generator, 3, 65, 70)
    for view in (x.transpose(-1, -2), x[:, ::2], x[..., ::3], x[..., 5:40], x.transpose(0, 1), x[:1].expand(4, 65, 70)):
        weight = torch.randn(view.shape[-1], generator=generator)
        actual = value_and_gradient(lambda x, weight=weight: stacked(x, 3.0, 17, backend) * weight, view)
        expected = value_and_gradient(lambda x, weight=weight: stacked(x, 3.0, 17, backend) * weight, view.contiguous())
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)  # torch adds in the order of the strides


@pytest.mark.parametrize("backend", BACKENDS)
def test_input_is_not_changed(backend, generator):
    x = sample(generator, 20, 10)
    before = x.clone()
    value_and_gradient(lambda x: stacked(x, 3.0, 17, backend), x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("backend", BACKENDS)
def test_derivatives_of_first_and_second_order(backend, generator):
    x = sample(generator, 2, 4, 3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: stacked(x, 3.0, 5, backend), x)
    assert torch.autograd.gradgradcheck(lambda x: stacked(x, 3.0, 5, backend), x)


@pytest.mark.parametrize("backend", BACKENDS)
def test_vmap_and_functional_gradients(backend, generator):
    x = sample(generator, 5, 3, 4, dtype=torch.float64)
    expected = reference(x, 3.0, 9)
    mapped = torch.func.vmap(lambda x: stacked(x, 3.0, 9, backend), in_dims=1, out_dims=1)(x.transpose(0, 1))
    torch.testing.assert_close(mapped, expected)
    loss = torch.func.grad(lambda x: stacked(x, 3.0, 9, backend).square().sum())
    _, expected_gradient = value_and_gradient(lambda x: reference(x, 3.0, 9).square(), x)
    torch.testing.assert_close(torch.func.vmap(loss)(x), expected_gradient)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_low_precision_is_lifted_to_float32(backend, dtype, generator):
    x = sample(generator, 100, 5).to(dtype)
    assert torch.equal(stacked(x, 3.0, 17, backend), stacked(x.float(), 3.0, 17, backend))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(stacked(x.float(), 3.0, 17, backend), stacked(x, 3.0, 17, backend))


def test_more_nodes_than_the_stack_holds_are_served(generator):
    x = sample(generator, 6, 3)
    assert (stacked(x, 30.0, 700, "cpu") - reference(x.double(), 30.0, 700)).abs().max() < 5e-5


def test_samples_are_shared_out_when_slices_are_few(generator, monkeypatch):
    x = sample(generator, 40000, 2)
    alone = value_and_gradient(lambda x: stacked(x, 3.0, 17, "cpu"), x)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    shared = value_and_gradient(lambda x: stacked(x, 3.0, 17, "cpu"), x)
    torch.testing.assert_close(shared[0], alone[0], rtol=0, atol=1e-7)
    assert torch.equal(shared[1], alone[1])


@pytest.mark.parametrize("parts", [2, 7, 20])
def test_parts_may_be_short_or_empty(parts, generator, monkeypatch):
    x = sample(generator, 16, 3)
    _, whole = value_and_gradient(lambda x: stacked(x, 3.0, 17, "cpu"), x)
    monkeypatch.setattr(native, "_splits", lambda *_: parts)
    value, shared = value_and_gradient(lambda x: stacked(x, 3.0, 17, "cpu"), x)
    assert (value - reference(x.double(), 3.0, 17)).abs().max() < tolerance(x, 3.0, 17)
    assert torch.equal(shared, whole)


@pytest.mark.parametrize("backend", BACKENDS)
def test_empty_batch_gives_an_empty_result(backend):
    x = torch.zeros(0, 5, 3, requires_grad=True)
    c, s = characteristic_function(x, 3.0, 17, backend=backend)
    assert c.shape == s.shape == (0, 16, 3)
    (c.sum() + s.sum()).backward()
    assert x.grad is not None
    assert x.grad.shape == (0, 5, 3)


@pytest.mark.parametrize(
    ("x", "t_max", "n_points", "match"),
    [
        (torch.zeros(0, 3), 3.0, 17, "at least one sample"),
        (torch.zeros(5), 3.0, 17, "N, M"),
        (torch.zeros(5, 3, dtype=torch.int64), 3.0, 17, "x.float"),
        (torch.zeros(5, 3), 3.0, 1, "n_points >= 2"),
        (torch.zeros(5, 3), 0.0, 17, "t_max > 0"),
    ],
)
def test_bad_input_is_refused(x, t_max, n_points, match):
    with pytest.raises(ValueError, match=match):
        characteristic_function(x, t_max, n_points)


def test_unknown_and_unavailable_backends_say_why():
    x = torch.zeros(5, 3)
    with pytest.raises(ValueError, match="backend must be one of auto, eager"):
        characteristic_function(x, 3.0, 17, backend="gpu")
    with pytest.raises(BackendUnavailable, match=r"CUDA|float32"):
        characteristic_function(x.double(), 3.0, 17, backend="triton")


def test_registered_operations_describe_themselves_rightly(generator):
    x = sample(generator, 3, 20, 4)
    a, b = torch.randn(2, 3, 2, 4, generator=generator)
    torch.library.opcheck(torch.ops.sigreg_lab.cosine_sine_sums, (x, 0.1, 4, "cpu"))
    torch.library.opcheck(torch.ops.sigreg_lab.trigonometric_polynomial, (x, 0.1, a, b, "cpu"))
