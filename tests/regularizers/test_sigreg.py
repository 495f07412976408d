"""SIGReg: the mean over slices of a statistic, per view or over all embeddings."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from sigreg_lab.regularizers import SIGReg, make_regularizer
from sigreg_lab.slicing import DIRECTIONS, iid_directions, make_directions, seeded_generator
from sigreg_lab.univariate import AndersonDarling, EppsPulley


def embeddings(*shape: int, seed: int = 0) -> torch.Tensor:
    return 1.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.2


def test_equals_a_loop_over_views_slices_and_nodes():
    """The formula spelt out with Python numbers: half-grid t_k = 3k/16, trapezoid doubled, times N."""
    z = embeddings(2, 7, 3)
    directions = iid_directions(3, 4, generator=seeded_generator(1), dtype=torch.float64)
    total = 0.0
    for view in z:
        for a in directions.T:
            projections = [float(row @ a) for row in view]
            nodes = [3 * k / 16 for k in range(17)]
            heights = []
            for t in nodes:
                real = sum(math.cos(t * p) for p in projections) / 7 - math.exp(-t * t / 2)
                imaginary = sum(math.sin(t * p) for p in projections) / 7
                heights.append((real**2 + imaginary**2) * math.exp(-t * t / 2))
            total += 7 * 2 * sum((a + b) / 2 * 3 / 16 for a, b in itertools.pairwise(heights))
    value = SIGReg(EppsPulley(), 4)(z, seeded_generator(0), directions=directions)
    assert float(value) == pytest.approx(total / 8, rel=1e-12)


def _epps_pulley_line(x: np.ndarray) -> float:
    def height(t: float) -> float:
        return abs(np.exp(1j * t * x).mean() - math.exp(-t * t / 2)) ** 2 * math.exp(-t * t / 2)

    return len(x) * integrate.quad(height, -12, 12, limit=400)[0]


def _anderson_darling(x: np.ndarray) -> float:
    n, s = len(x), np.sort(x)
    i = np.arange(1, n + 1)
    return -n - np.mean((2 * i - 1) * (stats.norm.logcdf(s) + stats.norm.logsf(s[::-1])))


def _cramer_von_mises(x: np.ndarray) -> float:
    return stats.cramervonmises(x, "norm").statistic


def _watson(x: np.ndarray) -> float:
    return _cramer_von_mises(x) - len(x) * (stats.norm.cdf(x).mean() - 0.5) ** 2


def _mean_and_variance(x: np.ndarray) -> float:
    n, variance = len(x), x.var(ddof=1)
    return n * x.mean() ** 2 / variance + (n - 1) * (variance - 1) ** 2 / 2


def _moments(x: np.ndarray) -> float:
    targets = {1: 0.0, 2: 1.0, 3: 0.0, 4: 3.0}
    return sum((1 if k == 1 else math.exp(-k)) * abs(np.mean(x**k) - m) for k, m in targets.items())


#: Each statistic from SciPy and NumPy alone.
REFERENCES = {
    "sigreg-ep-full-line": _epps_pulley_line,
    "sigreg-ad": _anderson_darling,
    "sigreg-cvm": _cramer_von_mises,
    "sigreg-watson": _watson,
    "sigreg-sw": lambda x: 1 - stats.shapiro(x).statistic,
    "sigreg-ejb": lambda x: _mean_and_variance(x) + stats.jarque_bera(x).statistic,
    "sigreg-vcreg": _mean_and_variance,
    "sigreg-mean-std": lambda x: x.mean() ** 2 + (x.std(ddof=1) - 1) ** 2,
    "sigreg-moments": _moments,
}


@pytest.mark.parametrize("name", REFERENCES)
def test_equals_a_loop_over_slices_of_an_independent_statistic(name):
    z = embeddings(2, 13, 3)
    directions = iid_directions(3, 4, generator=seeded_generator(1), dtype=torch.float64)
    expected = np.mean([REFERENCES[name](view.numpy() @ a.numpy()) for view in z for a in directions.T])
    value = make_regularizer(name, num_slices=4)(z, seeded_generator(0), directions=directions)
    tolerance = 1e-8 if name == "sigreg-sw" else 1e-10  # SciPy's W approximates the normal quantiles
    assert float(value) == pytest.approx(expected, rel=tolerance)


def test_directions_come_from_the_generator_alone():
    z = embeddings(2, 16, 5)
    regularizer = SIGReg(EppsPulley(), 8)
    first = regularizer(z, seeded_generator(3))
    torch.manual_seed(99)
    assert torch.equal(first, regularizer(z, seeded_generator(3)))
    assert not torch.equal(first, regularizer(z, seeded_generator(4)))
    injected = iid_directions(5, 8, generator=seeded_generator(3))
    assert torch.equal(first, regularizer(z, seeded_generator(7), directions=injected))


@pytest.mark.parametrize("kind", DIRECTIONS)
def test_directions_are_of_the_kind_asked_for(kind):
    z = embeddings(2, 16, 16)
    regularizer = make_regularizer("sigreg-ep", num_slices=40, directions=kind)
    matrix = make_directions(kind, 16, 40, generator=seeded_generator(3))
    expected = SIGReg(EppsPulley(), 40)(z, seeded_generator(7), directions=matrix)
    tolerance = 1e-12 if kind == "hd3" else 0.0
    torch.testing.assert_close(regularizer(z, seeded_generator(3)), expected, rtol=tolerance, atol=0)
    assert torch.equal(regularizer(z, seeded_generator(3)), regularizer(z, seeded_generator(4))) == (kind == "fixed")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("dim", "num_slices"), [(64, 64), (64, 150), (100, 300), (17, 20)])
@pytest.mark.parametrize("per_view", [True, False])
@pytest.mark.parametrize("statistic", [EppsPulley(), AndersonDarling(), EppsPulley(estimator="u")], ids=str)
def test_fast_transform_equals_the_matrix_of_the_same_directions(statistic, per_view, dim, num_slices, dtype):
    """On a small sample: among many values rounding swaps two in rank, where Anderson-Darling's gradient jumps."""
    z = embeddings(3, 12, dim).to(dtype).requires_grad_()
    matrix = make_directions("hd3", dim, num_slices, generator=seeded_generator(5), dtype=dtype)
    fast = SIGReg(statistic, num_slices, per_view=per_view, directions="hd3")(z, seeded_generator(5))
    dense = SIGReg(statistic, num_slices, per_view=per_view)(z, seeded_generator(0), directions=matrix)
    assert fast.dtype == dtype
    gradients = [torch.autograd.grad(value, z)[0] for value in (fast, dense)]
    limits = (1e-6, 1e-5) if dtype == torch.float32 else (1e-12, 1e-12)
    assert abs(fast - dense) <= limits[0] * abs(dense)
    assert (gradients[0] - gradients[1]).norm() <= limits[1] * gradients[1].norm()


def test_fast_transform_sees_no_autocast():
    z = embeddings(2, 16, 20).bfloat16()
    regularizer = SIGReg(EppsPulley(), 40, directions="hd3")
    expected = regularizer(z.float(), seeded_generator(3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(regularizer(z, seeded_generator(3)), expected)


@pytest.mark.parametrize("statistic", [EppsPulley(), AndersonDarling()])
def test_flattened_is_the_statistic_of_all_embeddings(statistic):
    z = embeddings(3, 10, 4)
    flattened = SIGReg(statistic, 6, per_view=False)(z, seeded_generator(0))
    one_view = SIGReg(statistic, 6)(z.reshape(1, 30, 4), seeded_generator(0))
    assert torch.equal(flattened, one_view)


def test_flattened_is_stronger_by_the_number_of_views_when_views_are_equal():
    """EP carries the factor N: V equal views flattened have V N samples and the same characteristic function."""
    z = embeddings(1, 12, 4).expand(5, 12, 4)
    per_view = SIGReg(EppsPulley(), 6)(z, seeded_generator(0))
    flattened = SIGReg(EppsPulley(), 6, per_view=False)(z, seeded_generator(0))
    torch.testing.assert_close(flattened, 5 * per_view, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("dim", "kind"), [(3, "iid"), (4, "hd3"), (17, "hd3")])
def test_gradcheck(dim, kind):
    z = embeddings(2, 5, dim).requires_grad_()
    regularizer = SIGReg(EppsPulley(), 4, directions=kind)
    assert torch.autograd.gradcheck(lambda x: regularizer(x, seeded_generator(0)), z)


def test_bad_input_is_refused_by_name():
    regularizer = SIGReg(EppsPulley(), 4)
    generator = seeded_generator(0)
    with pytest.raises(ValueError, match="num_slices must be at least 1"):
        SIGReg(EppsPulley(), 0)
    with pytest.raises(ValueError, match="directions must be one of iid, orthogonal, sobol, hd3, fixed, got 'uniform'"):
        SIGReg(EppsPulley(), 4, directions="uniform")
    with pytest.raises(ValueError, match="dim must be a power of two or at least 16"):
        SIGReg(EppsPulley(), 4, directions="hd3")(embeddings(2, 4, 3), generator)
    with pytest.raises(ValueError, match=r"z must have shape \(V, N, K\), got \(4, 3\); .* z\[None\] is one view"):
        regularizer(embeddings(4, 3), generator)
    for wrong in (2.5, "many"):
        with pytest.raises(ValueError, match="num_slices must be at least 1, a whole number, got"):
            SIGReg(EppsPulley(), wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="statistic must be an instance of UnivariateTest"):
        SIGReg(EppsPulley)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"generator must be a torch\.Generator, got 0"):
        regularizer(embeddings(2, 4, 3), 0)
    with pytest.raises(ValueError, match="z must be floating point"):
        regularizer(torch.ones(2, 4, 3, dtype=torch.long), generator)
    with pytest.raises(ValueError, match="z holds 1 sample"):
        regularizer(embeddings(2, 1, 3), generator)
    with pytest.raises(ValueError, match="z holds 1 NaN or infinite"):
        regularizer(torch.where(torch.arange(24).reshape(2, 4, 3) == 5, torch.nan, embeddings(2, 4, 3)), generator)
    with pytest.raises(ValueError, match="directions must have shape"):
        regularizer(embeddings(2, 4, 3), generator, directions=torch.ones(4, 2))
