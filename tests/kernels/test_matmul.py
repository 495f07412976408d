import time

import pytest
import torch

from sigreg_lab.kernels import matmul
from sigreg_lab.kernels.matmul import has_onednn, linear, linear_by_onednn
from tests.kernels.cases import relative_error, sample, unit_columns, value_and_gradient


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float64, 1e-14)], ids=str)
@pytest.mark.parametrize(("shape", "num_slices"), [((1, 1), 1), ((2, 65, 37), 33), ((300, 64), 129), ((0, 4, 8), 5)])
def test_product_and_gradients_equal_float64(dtype, tolerance, shape, num_slices, generator):
    x = sample(generator, *shape, dtype=dtype)
    directions = unit_columns(generator, shape[-1], num_slices, dtype)
    value, gradient = value_and_gradient(lambda x: matmul(x, directions) ** 2, x)
    expected, expected_gradient = value_and_gradient(lambda x: (x.double() @ directions.double()) ** 2, x)
    assert value.shape == expected.shape
    if x.numel():
        assert relative_error(value, expected) < tolerance
        assert relative_error(gradient, expected_gradient) < tolerance


def test_derivatives_and_vmap(generator):
    x = sample(generator, 2, 4, 3, dtype=torch.float64).requires_grad_()
    directions = unit_columns(generator, 3, 5, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(matmul, (x, directions))
    assert torch.autograd.gradgradcheck(matmul, (x, directions))
    mapped = torch.func.vmap(matmul, in_dims=(0, None))(x, directions)
    torch.testing.assert_close(mapped, x @ directions)
    each = torch.func.vmap(matmul, in_dims=(None, 1))(x, directions.unsqueeze(1).expand(3, 2, 5))
    torch.testing.assert_close(each, (x @ directions).expand(2, *x.shape[:-1], 5))


needs_onednn = pytest.mark.skipif(not has_onednn(), reason="this torch cannot multiply by oneDNN")
LIBRARIES = (linear, pytest.param(linear_by_onednn, marks=needs_onednn))


@pytest.mark.parametrize("product", LIBRARIES)
def test_either_library_is_accurate_for_any_strides(product, generator):
    x, weight = sample(generator, 130, 70), sample(generator, 37, 70)
    for left in (x, x.T.contiguous().T, sample(generator, 130, 140)[:, 10:80], x[::2]):
        for right in (weight, weight.T.contiguous().T, sample(generator, 37, 140)[:, ::2]):
            assert relative_error(product(left, right), left.double() @ right.double().T) < 2e-6


@pytest.mark.parametrize("product", LIBRARIES)
def test_part_of_a_matrix_is_multiplied_as_fast_as_a_whole_one(product, generator):
    x, whole = sample(generator, 256, 256), sample(generator, 256, 512)
    part = whole[:, :256]

    def least(weight):
        taken = []
        for _ in range(5):
            start = time.process_time()
            product(x, weight)
            taken.append(time.process_time() - start)
        return min(taken)

    assert least(part.T) < 20 * least(part.contiguous().T)  # oneDNN's reference loops take hundreds of times as long
