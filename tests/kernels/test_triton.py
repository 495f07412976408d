"""The Triton kernels, run by its interpreter in a process of their own (the switch is read when they are defined), and
built for a GPU that need not be there."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

from benchmarks.gpu_code import cases, counts

INTERPRETED = """
import torch
from sigreg_lab.kernels import characteristic_function, characteristic_function_reference, hd3_project
from sigreg_lab.kernels import choose_backend, gaussian_grid, sliced_epps_pulley, triton_epps_pulley
from tests.kernels.cases import SIGMA, reference_value, relative_error, sample, unit_columns, value_and_gradient

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
assert choose_backend("triton") == "triton"
for shape, n_points, t_max in (
    ((2, 20, 33), 17, 3.0), ((1, 1, 1), 5, 5.0), ((17, 70), 42, 5.0), ((3, 2), 2, 1.0),
    ((3, 2), 10, 3.0), ((0, 4, 2), 17, 3.0),
):
    x = sample(generator, *shape)
    weight = torch.randn(n_points - 1, shape[-1], generator=generator, dtype=torch.float64)
    sums = lambda x, function, **options: torch.stack(function(x, t_max, n_points, **options)) * weight
    actual = value_and_gradient(lambda x: sums(x, characteristic_function, backend="triton"), x)
    expected = value_and_gradient(lambda x: sums(x.double(), characteristic_function_reference), x)
    assert ((actual[0] - expected[0]) / weight).abs().amax().item() < 1e-6 if x.numel() else True
    assert relative_error(actual[1], expected[1]) < 2e-6 if x.numel() else True

far = torch.tensor([2e9, -1e30, float("inf"), float("nan")]).expand(1, 4)
c, s = characteristic_function(far, 3.0, 17, backend="triton")
assert c[..., :2].abs().max() < 1.01 and s[..., :2].abs().max() < 1.01 and c[..., 2:].isnan().all()

for shape, num_slices, dtype, n_points, block in (
    ((2, 20, 37), 33, torch.float32, 17, None), ((1, 5), 1, torch.float32, 17, None),
    ((10, 16), 100, torch.float32, 17, 1), ((2, 131, 37), 33, torch.bfloat16, 17, None),
    ((70, 16), 100, torch.bfloat16, 17, 1), ((10, 70), 100, torch.bfloat16, 17, 1),
    ((5, 20), 3, torch.bfloat16, 19, None), ((33, 16), 16, torch.float16, 17, None),
):
    triton_epps_pulley.BLOCK_BYTES = block or 1 << 26  # 1: blocks of 64 slices
    x, directions = sample(generator, *shape).to(dtype), unit_columns(generator, shape[-1], num_slices)
    grid = gaussian_grid(3.0, n_points, SIGMA, x.device)
    by_triton = lambda x: sliced_epps_pulley(x, directions, 3.0, n_points, *grid, backend="triton")
    value, gradient = value_and_gradient(by_triton, x)
    expected = value_and_gradient(lambda x: reference_value(x, directions, 3.0, n_points), x.double())
    # bfloat16 rounds directions and gradients to 8 bits, 2e-3 to 4e-3 a number; float16 only the gradient, to 11 bits.
    tolerance = {torch.float32: (1e-6, 5e-6), torch.bfloat16: (1e-2, 1.5e-2), torch.float16: (1e-6, 5e-4)}[dtype]
    assert relative_error(value, expected[0]) < tolerance[0], (shape, dtype, relative_error(value, expected[0]))
    assert relative_error(gradient, expected[1]) < tolerance[1], (shape, dtype, relative_error(gradient, expected[1]))

# At the null the gradient is small and a direction's rounded norm shows: 2.6e-2 if it is not made up for.
triton_epps_pulley.BLOCK_BYTES = 1 << 26
x, directions = torch.randn(8192, 64, generator=generator).bfloat16(), unit_columns(generator, 64, 16)
grid = gaussian_grid(3.0, 17, SIGMA, x.device)
by_triton = lambda x: sliced_epps_pulley(x, directions, 3.0, 17, *grid, backend="triton")
_, gradient = value_and_gradient(by_triton, x.requires_grad_())
_, expected = value_and_gradient(lambda x: reference_value(x, directions, 3.0, 17), x.double())
assert relative_error(gradient, expected) < 8e-3, relative_error(gradient, expected)

# SIGReg hands bfloat16 to the kernel as it is; the result is near the float32 copy's, and sums are float32.
from sigreg_lab.kernels import epps_pulley
from sigreg_lab.regularizers import SIGReg
from sigreg_lab.slicing import seeded_generator
from sigreg_lab.univariate import EppsPulley

seen, by_kernel, partial_sums = [], triton_epps_pulley.sliced_epps_pulley, triton_epps_pulley.partial_sums
def watched(x, *rest):
    seen.append(x.dtype)
    return by_kernel(x, *rest)
def watched_sums(p, *rest):
    sums = partial_sums(p, *rest)
    seen.extend((p.dtype, sums.dtype))
    return sums
for dim, dtype, tolerance in (
    (80, torch.bfloat16, (1e-2, 1.5e-2)), (24, torch.bfloat16, (1e-2, 1.5e-2)),
    (24, torch.float16, (1e-6, 5e-4)), (24, torch.float32, (1e-6, 5e-6)),
):
    z, loss = sample(generator, 2, 60, dim).to(dtype), SIGReg(EppsPulley(), 40)
    lifted = value_and_gradient(lambda z: loss(z.float(), seeded_generator(0)), z)
    exact = value_and_gradient(lambda z: loss(z.double(), seeded_generator(0)), z)
    choice = epps_pulley.choose_backend
    epps_pulley.choose_backend = lambda backend, device, dtype: choose_backend("triton", device, dtype)
    triton_epps_pulley.sliced_epps_pulley, triton_epps_pulley.partial_sums = watched, watched_sums
    found = value_and_gradient(lambda z: loss(z, seeded_generator(0)), z)
    epps_pulley.choose_backend = choice
    triton_epps_pulley.sliced_epps_pulley, triton_epps_pulley.partial_sums = by_kernel, partial_sums
    assert seen.pop(0) == dtype, (seen, dtype)
    assert set(seen) == ({torch.float32} if dtype != torch.bfloat16 or dim > triton_epps_pulley.NARROW else set()), seen
    seen.clear()
    for expected in (lifted, exact):
        errors = [relative_error(*pair) for pair in zip(found, expected, strict=True)]
        assert errors[0] < tolerance[0] and errors[1] < tolerance[1], (dim, dtype, errors)
    if dtype == torch.bfloat16:  # it is the kernel's own arithmetic, not the float32 copy's in another place
        assert relative_error(found[0], lifted[0]) > 1e-6

for dim, num_slices in ((32, 40), (256, 300), (300, 700)):
    n = 1 << (dim - 1).bit_length()
    signs = torch.randint(2, (2, 3, n), generator=generator) * 2 - 1
    x, weight = sample(generator, 2, dim), torch.randn(num_slices, generator=generator)
    actual = value_and_gradient(lambda x: hd3_project(x, signs, num_slices, backend="triton") * weight, x)
    expected = value_and_gradient(lambda x: hd3_project(x.double(), signs, num_slices, backend="eager") * weight, x)
    assert relative_error(actual[0], expected[0]) < 2e-6
    assert relative_error(actual[1], expected[1]) < 2e-6
print("interpreted")
"""


def run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.long
def test_interpreted_kernels_equal_the_formula():
    assert "interpreted" in run(INTERPRETED, TRITON_INTERPRET="1", OMP_NUM_THREADS="1")


BUILT = [
    *(name for name in cases() if "64 slices" in name and "K16" not in name),
    *("Hadamard, 3 rounds of 2048", "Hadamard, transposed, 3 rounds of 2048"),
    *("rounding of directions, K512", "errors, 128 parts"),
]


@pytest.mark.parametrize("name", BUILT)
def test_kernels_are_built_for_a_gpu_that_is_not_here_and_fit_its_registers(name):
    found = counts(cases()[name])
    assert found["shared_bytes"] <= 227 << 10  # all that a block may have
    if "not stored" in name:  # a tile of the tensor cores fills them, whatever else there is
        assert found["stack_bytes"] <= 256
    else:
        assert found["stack_bytes"] == 0
    if name.startswith(("sums, float32", "sums, bfloat16", "polynomial")):  # nothing is exchanged between threads
        assert found["shared_bytes"] == 0
        assert found["instructions"] < 100
