import pytest
import torch

from sigreg_lab.kernels import epps_pulley, gaussian_grid, sliced_epps_pulley
from sigreg_lab.slicing import hd3_signs
from sigreg_lab.slicing.directions import hd3_directions
from tests.kernels.cases import (
    BACKENDS,
    SIGMA,
    reference_value,
    relative_error,
    sample,
    unit_columns,
    value_and_gradient,
)

# The value averages rounding errors over samples and slices; the gradient carries the product's, about 5e-7.
VALUE_TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-13}
GRADIENT_TOLERANCE = {torch.float32: 5e-6, torch.float64: 1e-13}
SHAPES = [((1, 5), 1), ((1023, 37), 33), ((2, 3, 64, 16), 100), ((700, 64), 1), ((1, 1), 1)]


def fused(x, directions, t_max=3.0, n_points=17, backend="auto"):
    return sliced_epps_pulley(
        x, directions, t_max, n_points, *gaussian_grid(t_max, n_points, SIGMA, x.device), backend=backend
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("shape", "num_slices"), SHAPES, ids=str)
def test_value_and_gradient_equal_the_formula(backend, dtype, shape, num_slices, generator):
    x = sample(generator, *shape, dtype=dtype)
    directions = unit_columns(generator, shape[-1], num_slices, dtype)
    value, gradient = value_and_gradient(lambda x: fused(x, directions, backend=backend), x)
    expected, expected_gradient = value_and_gradient(lambda x: reference_value(x, directions, 3.0, 17), x)
    assert value.shape == shape[:-2]
    assert ((value - expected).abs() <= VALUE_TOLERANCE[dtype] * expected).all()
    assert relative_error(gradient, expected_gradient) < GRADIENT_TOLERANCE[dtype]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scale", [1.0, 12.0])
def test_accuracy_in_float32_for_projections_up_to_fifty(backend, scale, generator):
    x, directions = sample(generator, 512, 256, scale=scale), unit_columns(generator, 256, 256)
    value, gradient = value_and_gradient(lambda x: fused(x, directions, backend=backend), x)
    expected, expected_gradient = value_and_gradient(lambda x: reference_value(x, directions, 3.0, 17), x)
    assert scale == 1.0 or (x @ directions).abs().max() > 45
    assert (value - expected).abs() < 1e-6 * expected
    assert relative_error(gradient, expected_gradient) < 5e-6


@pytest.mark.parametrize("backend", BACKENDS)
def test_error_of_one_part_in_ten_thousand_is_seen(backend, generator, monkeypatch):
    """The comparison itself: the same bounds fail for a kernel whose sums or polynomials are off by 1e-4."""
    from sigreg_lab.kernels.dispatch import implementation

    x, directions = sample(generator, 300, 20), unit_columns(generator, 20, 30)
    module = implementation(backend)
    expected = value_and_gradient(lambda x: reference_value(x, directions, 3.0, 17), x)

    def errors():
        value, gradient = value_and_gradient(lambda x: fused(x, directions, backend=backend), x)
        return relative_error(value, expected[0]), relative_error(gradient, expected[1])

    assert errors()[0] < VALUE_TOLERANCE[torch.float32]
    sums, polynomial = module.cosine_sine_sums, module.trigonometric_polynomial
    with monkeypatch.context() as patch:
        patch.setattr(module, "cosine_sine_sums", lambda *args: sums(*args) * (1 + 1e-4))
        assert errors()[0] > VALUE_TOLERANCE[torch.float32]
    with monkeypatch.context() as patch:
        patch.setattr(module, "trigonometric_polynomial", lambda *args, out: polynomial(*args, out=out).mul_(1 + 1e-4))
        assert errors()[1] > GRADIENT_TOLERANCE[torch.float32]


@pytest.mark.parametrize("backend", BACKENDS)
def test_blocks_of_slices_add_up(backend, generator, monkeypatch):
    x, directions = sample(generator, 2, 90, 12), unit_columns(generator, 12, 150)
    whole = value_and_gradient(lambda x: fused(x, directions, backend=backend), x)
    monkeypatch.setattr(epps_pulley, "BLOCK_BYTES", 1)
    monkeypatch.setattr(epps_pulley, "_ROWS", 7)
    blocks = value_and_gradient(lambda x: fused(x, directions, backend=backend), x)
    torch.testing.assert_close(blocks[0], whole[0], rtol=1e-6, atol=0)
    assert relative_error(blocks[1], whole[1]) < 1e-6


def test_gradient_with_a_graph_is_differentiable_again(generator):
    x = sample(generator, 6, 3, dtype=torch.float64).requires_grad_()
    directions = unit_columns(generator, 3, 4, torch.float64)
    assert torch.autograd.gradcheck(lambda x: fused(x, directions, n_points=5), x)
    assert torch.autograd.gradgradcheck(lambda x: fused(x, directions, n_points=5), x)


def test_backward_passes_over_one_graph_do_not_disturb_each_other(generator):
    """The last pass scales the saved gradient where it lies; those before it, and batches of them, must not."""
    x, directions = sample(generator, 2, 6, 3).requires_grad_(), unit_columns(generator, 3, 4)
    value = fused(x, directions)
    weights = torch.tensor([[2.0, 3.0], [0.5, -1.0]])
    (unit,) = torch.autograd.grad(value.sum(), x, retain_graph=True)
    for weight in weights:
        (gradient,) = torch.autograd.grad(value, x, weight, retain_graph=True)
        torch.testing.assert_close(gradient, weight[:, None, None] * unit, rtol=1e-6, atol=0)
        gradient.zero_()  # what was handed out is the caller's
    (batch,) = torch.autograd.grad(value, x, weights, retain_graph=True, is_grads_batched=True)
    torch.testing.assert_close(batch, weights[:, :, None, None] * unit, rtol=1e-6, atol=0)
    value.sum().backward(retain_graph=True)
    (2 * value.sum()).backward()
    torch.testing.assert_close(x.grad, 3 * unit, rtol=1e-6, atol=0)
    with pytest.raises(RuntimeError, match="second time"):
        value.sum().backward()
    (batch,) = torch.autograd.grad(fused(x, directions), x, weights, is_grads_batched=True)
    torch.testing.assert_close(batch, weights[:, :, None, None] * unit, rtol=1e-6, atol=0)


def test_directions_have_a_gradient_when_they_want_one(generator):
    x = sample(generator, 6, 3, dtype=torch.float64).requires_grad_()
    directions = unit_columns(generator, 3, 4, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, a: fused(x, a, n_points=5), (x, directions))


def test_vmap_over_views_and_functional_gradients(generator):
    x, directions = sample(generator, 4, 30, 5), unit_columns(generator, 5, 8)
    value, gradient = value_and_gradient(lambda x: fused(x, directions), x)
    mapped = torch.func.vmap(lambda x: fused(x, directions), in_dims=1)(x.transpose(0, 1))
    torch.testing.assert_close(mapped.double(), value, rtol=1e-6, atol=0)
    torch.testing.assert_close(
        torch.func.vmap(torch.func.grad(lambda x: fused(x, directions)))(x).double(), gradient, rtol=1e-5, atol=1e-7
    )


def test_torch_compile_takes_it_whole_and_autocast_does_not_reach_inside(generator):
    x, directions = sample(generator, 2, 30, 5), unit_columns(generator, 5, 8)
    compiled = torch.compile(lambda x: fused(2 * x, directions).sum(), fullgraph=True, backend="aot_eager")
    expected = value_and_gradient(lambda x: fused(2 * x, directions), x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = value_and_gradient(compiled, x)
    torch.testing.assert_close(actual[0], expected[0].sum())
    torch.testing.assert_close(actual[1], expected[1])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 4e-3), (torch.float16, 5e-4)], ids=str)
def test_low_precision_input_is_computed_in_float32(dtype, tolerance, generator):
    """Only the gradient is rounded, to the dtype of the embeddings: half a unit in the last of its 8 or 11 bits."""
    x, directions = sample(generator, 200, 20).to(dtype), unit_columns(generator, 20, 30)
    value, gradient = value_and_gradient(lambda x: fused(x, directions), x)
    expected, expected_gradient = value_and_gradient(lambda x: fused(x, directions), x.float())
    assert fused(x, directions).dtype == torch.float32
    assert torch.equal(value, expected)
    assert relative_error(gradient, expected_gradient) < tolerance


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_on_the_cpu_low_precision_is_its_float32_copy_bit_for_bit(dtype, backend, generator):
    """The gradient is scaled first, then rounded once."""
    x, directions = sample(generator, 3, 40, 20).to(dtype).requires_grad_(), unit_columns(generator, 20, 30)
    copy, weight = x.detach().float().requires_grad_(), torch.tensor([0.3, -1.7, 1e-6])
    values = [fused(of, directions, backend=backend) for of in (x, copy)]
    gradients = [torch.autograd.grad(value, of, weight)[0] for value, of in zip(values, (x, copy), strict=True)]
    assert torch.equal(*values)
    assert gradients[0].dtype == dtype
    assert torch.equal(gradients[0], gradients[1].to(dtype))


def test_strides_do_not_matter_and_nothing_is_changed(generator):
    x, directions = sample(generator, 40, 3, 12), unit_columns(generator, 24, 20)[::2]
    before = x.clone(), directions.clone()
    actual = value_and_gradient(lambda x: fused(x.transpose(0, 1), directions), x)
    expected = value_and_gradient(lambda x: fused(x.transpose(0, 1).contiguous(), directions.contiguous()), x)
    assert torch.equal(x, before[0])
    assert torch.equal(directions, before[1])
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_empty_batch_gives_an_empty_result(backend):
    x = torch.zeros(0, 5, 3, requires_grad=True)
    value = fused(x, torch.eye(3), backend=backend)
    assert value.shape == (0,)
    value.sum().backward()
    assert x.grad is not None


def test_bad_input_is_refused():
    x = torch.zeros(5, 3)
    with pytest.raises(ValueError, match="at least one sample"):
        fused(torch.zeros(0, 3), torch.eye(3))
    with pytest.raises(ValueError, match="K = 3"):
        fused(x, torch.eye(4))
    with pytest.raises(ValueError, match=r"directions lies on meta and x on cpu.*to\(x.device\)"):
        fused(x, torch.eye(3, device="meta"))
    with pytest.raises(ValueError, match="target must have shape"):
        sliced_epps_pulley(x, torch.eye(3), 3.0, 17, torch.zeros(15), torch.zeros(16))


def test_registered_operation_describes_itself_rightly(generator):
    x, directions = sample(generator, 2, 30, 5), unit_columns(generator, 5, 8)
    grid = gaussian_grid(3.0, 17, SIGMA, x.device)
    for with_gradient in (False, True):
        arguments = (x, directions, 0, 8, 3 / 16, *grid, with_gradient, "cpu")
        torch.library.opcheck(torch.ops.sigreg_lab.sliced_epps_pulley, arguments)


STRUCTURED = [(64, (0, 64)), (64, (10, 100)), (64, (70, 75)), (37, (0, 128)), (37, (5, 70)), (8, (3, 20))]


@pytest.mark.parametrize("blocks", ["whole", "small"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("dim", "columns"), STRUCTURED, ids=str)
def test_structured_directions_are_those_of_the_matrix(dim, columns, dtype, backend, blocks, generator, monkeypatch):
    if blocks == "small":
        monkeypatch.setattr(epps_pulley, "BLOCK_BYTES", 1)
        monkeypatch.setattr(epps_pulley, "_ROWS", 7)
    x, before = sample(generator, 2, 40, dim, dtype=dtype), generator.get_state()
    signs = hd3_signs(dim, columns[1], generator=generator)
    generator.set_state(before)
    matrix = hd3_directions(dim, columns[1], generator=generator, dtype=torch.float64)[:, slice(*columns)]
    grid = gaussian_grid(3.0, 17, SIGMA, x.device)
    actual = value_and_gradient(
        lambda x: sliced_epps_pulley(x, signs, 3.0, 17, *grid, columns=columns, backend=backend), x
    )
    expected = value_and_gradient(lambda x: reference_value(x, matrix, 3.0, 17), x)
    assert ((actual[0] - expected[0]).abs() <= VALUE_TOLERANCE[dtype] * expected[0]).all()
    assert relative_error(actual[1], expected[1]) < GRADIENT_TOLERANCE[dtype]


def test_structured_directions_under_every_transform_of_torch(generator):
    x = sample(generator, 2, 6, 8, dtype=torch.float64).requires_grad_()
    signs, grid = hd3_signs(8, 16, generator=generator), gaussian_grid(3.0, 5, SIGMA, x.device)
    loss = lambda x: sliced_epps_pulley(x, signs, 3.0, 5, *grid, columns=(1, 15))  # noqa: E731
    assert torch.autograd.gradcheck(loss, x)
    assert torch.autograd.gradgradcheck(loss, x)
    value, gradient = value_and_gradient(loss, x)
    torch.testing.assert_close(torch.func.vmap(loss)(x).detach(), value)
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(loss))(x.detach()), gradient)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(value_and_gradient(compiled, x), (value, gradient))
    torch.library.opcheck(
        torch.ops.sigreg_lab.sliced_epps_pulley, (x.detach(), signs, 1, 15, 3 / 4, *grid, True, "cpu")
    )


def test_bad_structured_directions_are_refused(generator):
    x, signs, grid = torch.zeros(5, 8), hd3_signs(8, 16, generator=generator), gaussian_grid(3.0, 17, SIGMA, "cpu")
    for columns in ((0, 17), (3, 3), (-1, 4)):
        with pytest.raises(ValueError, match="0 <= first < end <= 16"):
            sliced_epps_pulley(x, signs, 3.0, 17, *grid, columns=columns)
    with pytest.raises(ValueError, match="columns must be first and end of structured directions"):
        sliced_epps_pulley(x, torch.eye(8), 3.0, 17, *grid, columns=(0, 4))
    with pytest.raises(ValueError, match="power of two from K = 5 up"):
        sliced_epps_pulley(torch.zeros(5, 5), torch.ones(1, 3, 16), 3.0, 17, *grid)
