"""Sums over pairs in C against the same kernels in torch: values, odd shapes, ties, far samples, overflow, dispatch.

The torch path is taken by a kernel that hides behind a plain function.
"""

import shutil
from pathlib import Path

import pytest
import torch
from torch.autograd import forward_ad

from sigreg_lab import multivariate as mv
from sigreg_lab.kernels import native
from sigreg_lab.slicing import infinite, pairwise
from sigreg_lab.univariate import EppsPulley
from tests.kernels.cases import PROCESSORS, sample

pytestmark = pytest.mark.skipif(not (shutil.which("cc") or shutil.which("gcc")), reason="no C compiler")

SHAPES = [(1, 1, 1), (1, 2, 3), (3, 7, 1), (2, 7, 37), (1, 1023, 3), (2, 70, 37), (1, 33, 512), (70, 8, 3)]
#: What a kernel's terms are made of, exact or nearly so, when a constant of it is changed by 1e-4.
FALSE_CONSTANTS = {
    "gaussian": ("p = p * r + 0.5;", "p = p * r + 0.50005;"),
    "growing": ("g * job->a", "g * job->a * 1.0001"),
    "comb": ("p = p * z + 1 / 6.0;", "p = p * z + 1 / 5.9994;"),
    "radial": ("0.5 * (e[r] * b[r])", "0.50005 * (e[r] * b[r])"),
    "distance": ("sqrt(values[i])", "1.0001 * sqrt(values[i])"),
}


def kernels(dim):
    half_grid, full_line = EppsPulley(), EppsPulley(integration="exact")
    tables = [
        infinite._radial_functions(dim, s.t_max, s.n_points, s.integration, s.sigma)[0] for s in (half_grid, full_line)
    ]
    for table in tables:
        table.cover(200.0)
    return {
        "gaussian": pairwise.Gaussian(0.7 / dim),
        "narrow gaussian": pairwise.Gaussian(40.0),
        "radial": pairwise.Radial(tables[0]),
        "radial, full line": pairwise.Radial(tables[1]),
        "distance": pairwise.Distance(),
        "exponential": pairwise.GrowingExponential(0.1 / dim),
        "growing": pairwise.GrowingExponential(0.25 / dim, 2.0, -0.3, 1.0),
        "comb": pairwise.CoshCosine(0.4 / dim),
    }


def both(x, kernel):
    """Sum in C and in torch, each as a sum and an exponent, the conditioning: by how much a sum of the sizes of the
    terms exceeds it, and the largest exponent or angle, whose rounding errors the terms have."""
    scaled = isinstance(kernel, pairwise.GrowingExponential | pairwise.CoshCosine)
    function = pairwise.pair_scaled_sum if scaled else pairwise.pair_sum
    c, reference = function(x, kernel), function(x, lambda rows, columns: kernel(rows, columns))
    if not scaled:
        return (c, torch.zeros(len(x))), (reference, torch.zeros(len(x))), function(x, lambda *z: kernel(*z).abs())
    sizes = pairwise.pair_scaled_sum(x, lambda *z: (kernel(*z)[0], kernel(*z)[1].abs()))
    return c, reference, sizes[0]


def check(x, kernel, tolerance=1e-12):
    (value, shift), (expected, expected_shift), sizes = both(x, kernel)
    torch.testing.assert_close(shift, expected_shift, rtol=1e-13, atol=1e-13)
    error = (value * torch.exp(shift - expected_shift) - expected).abs()
    assert (error <= tolerance * sizes).all(), (error / sizes).max()


@pytest.mark.parametrize("name", kernels(2))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums_equal_torchs(shape, name, generator):
    x = sample(generator, *shape, dtype=torch.float64)
    # a narrow kernel sees the rounding of |x|^2
    check(x, kernels(shape[-1])[name], 1e-12 if name != "narrow gaussian" else 1e-12 + 40 * 4e-16 * 2 * shape[-1])


@pytest.mark.parametrize("name", kernels(2))
def test_ties_and_equal_rows(name, generator):
    x = sample(generator, 2, 50, 3, dtype=torch.float64)
    x[:, 10:30] = x[:, :20]
    x[1] = x[1, :1]
    check(x, kernels(3)[name])


@pytest.mark.parametrize("name", kernels(2))
@pytest.mark.parametrize("dim", [1, 3, 37])
def test_far_samples(name, dim, generator):
    # rows of length 50 exactly, some of them opposite: exponents of hundreds, whose own rounding counts
    x = sample(generator, 2, 40, dim, dtype=torch.float64)
    x[:, ::3] = 50 * torch.nn.functional.normalize(x[:, ::3], dim=-1)
    rate = {"narrow gaussian": 40.0, "comb": 0.8}.get(name, 0.5)
    check(x, kernels(dim)[name], 1e-12 + 4e-16 * rate * 2500)


@pytest.mark.parametrize("processor", PROCESSORS, indirect=True)
@pytest.mark.parametrize("name", kernels(2))
def test_registers_of_any_width(name, processor, generator):
    for shape in ((1, 1, 1), (2, 7, 3), (1, 101, 2), (3, 34, 37)):
        check(sample(generator, *shape, dtype=torch.float64), kernels(shape[-1])[name])


@pytest.mark.parametrize("name", FALSE_CONSTANTS)
def test_an_error_of_1e_4_is_seen(name, generator, monkeypatch):
    right, false = FALSE_CONSTANTS[name]
    code = source().replace(right.encode(), false.encode())
    assert code != source()
    path = native._build(shutil.which("cc") or "gcc", code, native._COMMON_FLAGS, "false")
    replace_library(monkeypatch, native.ctypes.CDLL(str(path)))
    with pytest.raises(AssertionError):
        check(sample(generator, 1, 40, 3, dtype=torch.float64), kernels(3)[name])


def source():
    return Path(native.__file__).with_name("pairs.c").read_bytes()


def replace_library(monkeypatch, library):
    library.pair_sums.argtypes = native._SIGNATURES["pair_sums"]
    library.pair_sums.restype = None
    monkeypatch.setattr(native, "_library", lambda *_: library)


def test_threads_change_nothing(generator):
    x = sample(generator, 3, 700, 3, dtype=torch.float64)
    once = {name: both(x, kernel)[0][0] for name, kernel in kernels(3).items()}
    torch.set_num_threads(3)
    try:
        for name, kernel in kernels(3).items():
            assert torch.equal(both(x, kernel)[0][0], once[name])
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("scale", [1e3, 1e200])
@pytest.mark.parametrize(
    "build", [mv.BHEP, mv.HZ, mv.Energy, mv.BHEP_M, mv.HV, mv.COMB, mv.InfiniteSliceEppsPulley], ids=str
)
def test_what_overflows_in_torch_overflows_in_c(build, scale, generator, monkeypatch):
    x = scale * sample(generator, 2, 20, 3, dtype=torch.float64)
    results = []
    for available in (True, False):
        monkeypatch.setattr(native, "has_pair_sums", lambda available=available: available)
        try:
            results.append(build()(x))
        except ValueError as error:
            results.append(str(error))
    if isinstance(results[0], str):
        assert results[0] == results[1]
    else:
        torch.testing.assert_close(*results, rtol=1e-9, atol=1e-6, equal_nan=True)


def test_log_statistics_stay_finite_where_the_sum_overflows(generator):
    x = 30 * sample(generator, 12, 3, dtype=torch.float64)
    for statistic in (mv.BHEP_M(log=True), mv.HV(log=True)):
        value = statistic(x)
        assert value.isfinite()
        torch.testing.assert_close(value, statistic(x.clone().requires_grad_()).detach(), rtol=1e-12, atol=0)


STATISTICS = [
    build(standardise=standardise)
    for build in (mv.InfiniteSliceEppsPulley, mv.BHEP, mv.HZ, mv.BHEP_M, mv.HV, mv.Energy)
    for standardise in (False, True)
] + [mv.COMB(gamma=3.0), mv.COMB(gamma=3.0, standardise=True)]


@pytest.mark.parametrize("statistic", STATISTICS, ids=str)
@pytest.mark.parametrize("n", [7, 1023])
def test_statistics_equal_torchs(statistic, n, generator):
    x = sample(generator, n, 3, dtype=torch.float64)
    with_gradient = statistic(x.clone().requires_grad_()).detach()  # the torch path
    torch.testing.assert_close(statistic(x), with_gradient, rtol=1e-10, atol=1e-10)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")  # torch's own forward mode
def test_derivatives_and_transforms_take_the_torch_path(generator, monkeypatch):
    calls = []
    in_c = native.pair_sums
    monkeypatch.setattr(native, "pair_sums", lambda *a, **k: calls.append(1) or in_c(*a, **k))
    statistic, x = mv.BHEP(), sample(generator, 3, 9, 2, dtype=torch.float64)
    value = statistic(x)
    assert calls
    calls.clear()
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(statistic(leaf).sum(), leaf)
    bhep = statistic._statistic
    torch.testing.assert_close(torch.vmap(lambda y: bhep(y[None])[0])(x), value, rtol=1e-12, atol=1e-12)
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(bhep(forward_ad.make_dual(x, torch.ones_like(x)))).tangent
    torch.testing.assert_close(tangent, expected.sum((-2, -1)))
    assert not calls
    with torch.no_grad():
        torch.testing.assert_close(statistic(leaf), value, rtol=0, atol=0)
    assert calls


def test_without_a_compiler_torch_serves(generator, monkeypatch):
    x = sample(generator, 30, 3, dtype=torch.float64)
    value = mv.Energy()(x)
    monkeypatch.setattr(native, "_library", lambda *_: (_ for _ in ()).throw(native.BuildError("no C compiler")))
    assert not native.has_pair_sums()
    torch.testing.assert_close(mv.Energy()(x), value, rtol=1e-12, atol=1e-12)


def test_wide_angles_and_far_radii_are_left_to_torch(generator):
    x = 1e4 * sample(generator, 1, 9, 3, dtype=torch.float64)
    assert pairwise.CoshCosine(1.0).sum_in_c(x) is None
    assert kernels(3)["radial"].sum_in_c(x) is None
    assert pairwise.CoshCosine(1e-4).sum_in_c(x / 1e3) is not None
