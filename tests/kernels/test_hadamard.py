import pytest
import torch
from scipy.linalg import hadamard

from sigreg_lab.kernels import hd3_project
from tests.kernels.cases import BACKENDS, PROCESSORS, relative_error, sample, value_and_gradient


def random_signs(generator, blocks, n, rounds=3):
    return torch.randint(2, (blocks, rounds, n), generator=generator) * 2 - 1


def dense_directions(signs, dim, num_slices):
    """By the definition, with SciPy's Hadamard matrix, in float64."""
    h = torch.from_numpy(hadamard(signs.shape[-1])).double()
    blocks = []
    for block in signs.double():
        columns = torch.eye(signs.shape[-1], dtype=torch.float64)
        for row in block.flip(0):
            columns = torch.diag(row) @ h @ columns
        blocks.append(columns[:dim])
    directions = torch.cat(blocks, 1)[:, :num_slices]
    return directions / directions.norm(dim=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-14)], ids=str)
@pytest.mark.parametrize(
    ("shape", "num_slices"),
    [((7, 64), 64), ((2, 3, 128), 200), ((5, 37), 100), ((1, 2), 3), ((300, 256), 511)],
    ids=str,
)
def test_projections_and_gradient_equal_the_dense_product(backend, dtype, tolerance, shape, num_slices, generator):
    n = 1 << (shape[-1] - 1).bit_length()
    signs = random_signs(generator, -(-num_slices // n), n)
    directions = dense_directions(signs, shape[-1], num_slices)
    x = sample(generator, *shape, dtype=dtype)
    weight = torch.randn(num_slices, generator=generator, dtype=dtype)
    actual = value_and_gradient(lambda x: hd3_project(x, signs, num_slices, backend=backend) * weight, x)
    expected = value_and_gradient(lambda x: (x.double() @ directions) * weight, x)
    assert relative_error(actual[0], expected[0]) < tolerance
    assert relative_error(actual[1], expected[1]) < tolerance


@pytest.mark.parametrize("processor", PROCESSORS, indirect=True)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-14)], ids=str)
def test_registers_of_any_width(processor, dtype, tolerance, generator):
    for shape, num_slices in (((7, 64), 64), ((5, 37), 100), ((3, 9), 16), ((300, 256), 511)):
        test_projections_and_gradient_equal_the_dense_product("cpu", dtype, tolerance, shape, num_slices, generator)


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_any_number_of_rounds_keeps_lengths(rounds, generator):
    x = sample(generator, 20, 32)
    p = hd3_project(x, random_signs(generator, 2, 32, rounds))
    torch.testing.assert_close(p[:, :32].norm(dim=1), x.norm(dim=1))
    torch.testing.assert_close(p[:, 32:].norm(dim=1), x.norm(dim=1))


def test_derivatives_vmap_and_compile(generator):
    x = sample(generator, 2, 3, 20, dtype=torch.float64).requires_grad_()
    signs = random_signs(generator, 1, 32)
    assert torch.autograd.gradcheck(lambda x: hd3_project(x, signs, 25), x)
    assert torch.autograd.gradgradcheck(lambda x: hd3_project(x, signs, 25), x)
    expected = hd3_project(x, signs, 25)
    torch.testing.assert_close(torch.func.vmap(lambda x: hd3_project(x, signs, 25))(x), expected)
    compiled = torch.compile(lambda x: hd3_project(x, signs, 25), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), expected)


def test_empty_batch_and_low_precision(generator):
    signs = random_signs(generator, 1, 32)
    assert hd3_project(torch.zeros(0, 5, 20), signs).shape == (0, 5, 32)
    assert hd3_project(torch.zeros(5, 20, dtype=torch.bfloat16), signs).dtype == torch.float32


def test_bad_input_is_refused(generator):
    signs = random_signs(generator, 1, 32)
    with pytest.raises(ValueError, match="n = 64"):
        hd3_project(torch.zeros(5, 33), signs)
    with pytest.raises(ValueError, match="between 1 and 32"):
        hd3_project(torch.zeros(5, 32), signs, 33)
    with pytest.raises(ValueError, match="signs lie on meta"):
        hd3_project(torch.zeros(5, 32), signs.to("meta"))
    with pytest.raises(ValueError, match="no Hadamard transform"):
        hd3_project(torch.zeros(5, 32), signs, backend="compile")
