"""The Triton kernels, run by its interpreter in a process of their own (the switch is read when they are defined), and
built for a GPU that need not be there."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

INTERPRETED = """
import torch
from sigreg_lab.kernels import characteristic_function, characteristic_function_reference, hd3_project
from sigreg_lab.kernels import choose_backend, gaussian_grid, sliced_epps_pulley, triton_fused
from tests.kernels.cases import SIGMA, reference_value, relative_error, sample, unit_columns, value_and_gradient

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
assert choose_backend("triton") == "triton"
# Chebyshev's recurrence loses order^2 roundings at worst; 40 nodes are the most it is used for.
for shape, n_points, t_max in (((130, 33), 17, 3.0), ((2, 1, 1), 5, 5.0), ((70, 37), 42, 5.0), ((0, 4, 2), 17, 3.0)):
    x = sample(generator, *shape)
    weight = torch.randn(n_points - 1, shape[-1], generator=generator, dtype=torch.float64)
    sums = lambda x, function, **options: torch.stack(function(x, t_max, n_points, **options)) * weight
    actual = value_and_gradient(lambda x: sums(x, characteristic_function, backend="triton"), x)
    expected = value_and_gradient(lambda x: sums(x.double(), characteristic_function_reference), x)
    assert ((actual[0] - expected[0]) / weight).abs().amax().item() < 4e-6 if x.numel() else True
    assert relative_error(actual[1], expected[1]) < 1e-5 if x.numel() else True

triton_fused.GRADIENT_BYTES = 1  # blocks of 64 slices
for shape, num_slices, dtype in (
    ((2, 131, 37), 33, torch.float32), ((1, 5), 1, torch.float32), ((100, 16), 100, torch.float32),
    ((2, 131, 37), 33, torch.bfloat16), ((40, 16), 70, torch.bfloat16), ((33, 16), 16, torch.float16),
):
    x, directions = sample(generator, *shape).to(dtype), unit_columns(generator, shape[-1], num_slices)
    grid = gaussian_grid(3.0, 17, SIGMA, x.device)
    fused = lambda x: sliced_epps_pulley(x, directions, 3.0, 17, *grid, backend="triton")
    value, gradient = value_and_gradient(fused, x)
    expected = value_and_gradient(lambda x: reference_value(x, directions, 3.0, 17), x.double())
    # bfloat16 rounds directions and gradients to 8 bits, 2e-3 to 4e-3 a number; float16 only the gradient, to 11 bits.
    tolerance = {torch.float32: (1e-6, 5e-6), torch.bfloat16: (1e-2, 1.5e-2), torch.float16: (1e-6, 5e-4)}[dtype]
    if x.shape[-2] == 1:  # nothing averages the recurrence's worst case, order^2 roundings
        tolerance = (16**2 * 6e-8, 16**2 * 6e-8)
    assert relative_error(value, expected[0]) < tolerance[0], (shape, dtype, relative_error(value, expected[0]))
    assert relative_error(gradient, expected[1]) < tolerance[1], (shape, dtype, relative_error(gradient, expected[1]))

# At the null the gradient is small and a direction's rounded norm shows: 2.6e-2 if it is not made up for.
x, directions = torch.randn(8192, 64, generator=generator).bfloat16(), unit_columns(generator, 64, 16)
fused = lambda x: sliced_epps_pulley(x, directions, 3.0, 17, *gaussian_grid(3.0, 17, SIGMA, x.device), backend="triton")
_, gradient = value_and_gradient(fused, x.requires_grad_())
_, expected = value_and_gradient(lambda x: reference_value(x, directions, 3.0, 17), x.double())
assert relative_error(gradient, expected) < 8e-3, relative_error(gradient, expected)

for dim, num_slices in ((256, 300), (300, 700)):
    n = 1 << (dim - 1).bit_length()
    signs = torch.randint(2, (2, 3, n), generator=generator) * 2 - 1
    x, weight = sample(generator, 2, dim), torch.randn(num_slices, generator=generator)
    actual = value_and_gradient(lambda x: hd3_project(x, signs, num_slices, backend="triton") * weight, x)
    expected = value_and_gradient(lambda x: hd3_project(x.double(), signs, num_slices, backend="eager") * weight, x)
    assert relative_error(actual[0], expected[0]) < 2e-6
    assert relative_error(actual[1], expected[1]) < 2e-6
print("interpreted")
"""

BUILT = """
import sys
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from sigreg_lab.kernels import triton_hadamard, triton_sums

def build(kernel, pointers, floats, constants):
    names = kernel.arg_names
    kind = lambda name: "*fp32" if name in pointers else "fp32" if name in floats else "i32"
    signature = {name: "constexpr" if name in constants else kind(name) for name in names}
    built = compile(ASTSource(fn=kernel, signature=signature, constexprs=constants), target=GPUTarget("cuda", 90, 32))
    assert "ptx" in built.asm

tile = {"ORDER": 4, "CHEBYSHEV": True, "BLOCK_N": 32, "BLOCK_M": 16}
build(triton_sums._sums_kernel, {"x_ptr", "partial_ptr"}, {"step", "step_low"}, tile)
build(triton_sums._polynomial_kernel, {"x_ptr", "ab_ptr", "g_ptr"}, {"step", "step_low"}, tile)
print("built")
"""


def run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_interpreted_kernels_equal_the_formula():
    assert "interpreted" in run(INTERPRETED, TRITON_INTERPRET="1", OMP_NUM_THREADS="1")


def test_kernels_are_built_for_a_gpu_that_is_not_here():
    assert "built" in run(BUILT, TRITON_INTERPRET="0")
