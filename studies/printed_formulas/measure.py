"""Formulas that papers print, beside values reached another way: rows of one number each, with error and exact value.

    x              slices of the 'X' of Figure 5: unbiased Epps-Pulley over N, full line, of drawn samples
    shapiro_wilk   appendix E: W by each approximation, against SciPy's
    formulas       everything in formulas.py; eq. 56, eq. 64 to 66 on normal batches, and the error of Figure 20's rule
    kernels        KerJEPA [1]: identities of formulas.py, and the kernel that slicing makes of a Gaussian one
    sketch         Weak-SIGReg [2]: the scale of embeddings of covariance s^2 I at which it is least

[1] Zimmermann, Wiltzer, Szeto, Alvarez-Melis & Mackey (2025), arXiv:2512.19605.   [2] Akbar (2026), arXiv:2603.05924.
"""

import itertools
import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize, stats

from sigreg_lab import alternatives
from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.multivariate.stein import slice_gaussian
from sigreg_lab.regularizers import WeakSIGReg
from sigreg_lab.slicing import seeded_generator
from sigreg_lab.theory import cross, linear_fits, quadrature, sketches
from sigreg_lab.theory.epps_pulley import expected_value
from sigreg_lab.univariate import EppsPulley, ShapiroWilk

from . import formulas

Real = NDArray[np.float64]

BATCH, SMALL, SKETCH, BLOCKS = 64, 12, 64, 10
APPROXIMATIONS = {
    "eq. 52": ShapiroWilk("blom", "shapiro_francia"),
    "eq. 53": ShapiroWilk("rahman", "shapiro_francia"),
    "eq. 53 and 56": ShapiroWilk("rahman", "rahman"),
}
LAWS, DIMS = ("null", "laplace", "uniform", "chi_squared_2"), (2, 16, 128, 512)
SPECTRUM = np.array([16.0, 1.0]) / 8.5  # of mean 1, condition 16


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    found = PARTS[str(cell["part"])](np.random.default_rng(seed), settings)
    empty = {"formula": "", "point": "", "law": "", "n": math.nan, "dim": math.nan, "at": math.nan}
    return [empty | {"error": 0.0, "exact": math.nan} | row for row in found]


def _row(quantity: str, value: float, **more: object) -> Row:
    return {"quantity": quantity, "value": float(value), **more}


def _mean(quantity: str, values: Real, **more: object) -> Row:
    return _row(quantity, values.mean(), error=values.std(ddof=1) / math.sqrt(len(values)), **more)


def _compared(found: Iterable[formulas.Compared]) -> Iterator[Row]:
    for formula, point, printed, right, exact in found:
        place = {"formula": formula, "point": point}
        yield from (_row("as printed", printed, **place), _row("right", right, **place))
        yield _row("printed over right", printed / right, exact=exact, **place)


def _x(rng: np.random.Generator, settings: Config) -> Iterator[Row]:
    law, test = alternatives.MULTIVARIATE["x"](2), EppsPulley(integration="exact", estimator="u")

    def along(angles: Real) -> Real:
        x = law.sample(rng, (BATCH, len(angles)))
        return test(torch.from_numpy(x[..., 0] * np.cos(angles) + x[..., 1] * np.sin(angles))).numpy() / BATCH

    for degrees in range(0, 91, 9):
        angle = math.radians(degrees)
        values = along(np.full(settings["replicates"], angle))
        yield _mean("slice statistic", values, exact=cross.slice_distance(angle), at=degrees)
    values = along(rng.uniform(0, 2 * math.pi, 2 * settings["replicates"]))
    yield _mean("mean over drawn directions", values, exact=cross.mean_distance(2), dim=2)
    yield from (_row("mean over directions", cross.mean_distance(dim), dim=dim) for dim in DIMS)


def _shapiro_wilk(rng: np.random.Generator, settings: Config) -> Iterator[Row]:
    for n, name in itertools.product(settings["sizes"], LAWS):
        x = alternatives.REGISTRY[name].sample(rng, (settings["replicates"], n))
        w = np.array([stats.shapiro(one).statistic for one in x])
        for formula, statistic in APPROXIMATIONS.items():
            place = {"formula": formula, "n": n}
            off = np.abs(1 - statistic(torch.from_numpy(x.T)).numpy() - w)
            yield _mean("deviation of W", off, law=name, **place)
            if name == "null":  # over the standard deviation of W, by the delta method
                ratio, spread = off.mean() / w.std(), ((w - w.mean()) / w.std()) ** 2
                yield _mean("deviation over that of chance", off / w.std() - ratio * (spread - 1) / 2, **place)


def _formulas(rng: np.random.Generator, settings: Config) -> Iterator[Row]:
    yield from _compared(formulas.slips())
    for dim in (1, 2):
        yield from _compared(formulas.appendix_f(0.2 + 1.1 * rng.standard_normal((SMALL, dim))))
    v = formulas.covariances()
    inverse = v.pop("eq. 56")
    for formula, matrix in v.items():
        yield _row("rank", np.linalg.matrix_rank(matrix), formula=formula)
        yield _row("eq. 56 times V, off I", np.abs(inverse @ matrix - np.eye(len(matrix))).max(), formula=formula)
    for dim in (2, 8):
        found = [_moments(rng.standard_normal((BATCH, dim))) for _ in range(settings["replicates"])]
        known = dim * (dim + 2) * (dim + 4) / BATCH, dim * (dim + 2) * (dim + 4) / BATCH, dim * (dim + 2)
        for number, values, exact in zip((64, 65, 66), np.transpose(found), known, strict=True):
            name = "kurtosis" if number == 66 else "skewness"
            yield _mean(f"mean {name}", values, exact=exact, formula=f"eq. {number}", n=BATCH, dim=dim)
    weights = [
        linear_fits.least_squares(rng, spectrum, np.ones(2), n=20, noise=1.0, replicates=10 * settings["replicates"])
        for spectrum in (SPECTRUM, np.ones(2))
    ]
    one, other = (((found - 1) ** 2).sum(1) for found in weights)
    ratio, errors = one.mean() / other.mean(), [v.std() / v.mean() / math.sqrt(len(v)) for v in (one, other)]
    exact = float((1 / SPECTRUM).mean())
    yield _row("anisotropic over isotropic", ratio, error=ratio * math.hypot(*errors), exact=exact, formula="Fig. 17")
    for end, name in ((3.0, "[0, 3]"), (5.0, "[-5, 5]")):
        before, whole = math.nan, quadrature.null_expectation(end, 2.0)
        for points in (5, 9, 17):
            t, _, weight = EppsPulley(end, points).nodes()
            off = abs(expected_value(alternatives.REGISTRY["null"], 1, t, weight) - whole)
            place = {"formula": "Fig. 20", "point": name, "at": points if end == 3.0 else 2 * points - 1}
            yield _row("error of the rule", off, **place)
            if points > 5:
                yield _row("error over that at twice the step", off / before, **place)
            before = off


def _moments(y: Real) -> tuple[float, float, float]:
    """Eq. 64, 65 and 66 of a sample (N, K)."""
    inner, square = y @ y.T, (y**2).sum(1)
    return (inner**3).mean(), (inner * square * square[:, None]).mean(), (square**2).mean()


def _kernels(rng: np.random.Generator, settings: Config) -> Iterator[Row]:
    for dim in (2, 8):
        yield from _compared(formulas.discrepancies(0.3 + rng.standard_normal((SMALL, dim))))

    def kernel(square: Real | float, dim: int) -> Real:
        return slice_gaussian(torch.as_tensor(square, dtype=torch.float64) / 2, dim).numpy()

    for dim in DIMS:
        far, squares = 1e7 * dim, np.geomspace(1e-3, 1e3, 2000) * dim
        yield _row("exponent of the tail", math.log2(kernel(4 * far, dim) / kernel(far, dim)), exact=-1.0, dim=dim)
        half = optimize.brentq(lambda square, dim=dim: float(kernel(square, dim)) - 0.5, 1e-3, 10.0 * dim)
        yield _row("half of the kernel at", math.sqrt(half), dim=dim)
        gap = np.abs(kernel(squares, dim) - (1 + squares / dim) ** -0.5).max()
        yield _row("gap to the inverse multiquadric", gap, dim=dim)


def _sketch(rng: np.random.Generator, settings: Config) -> Iterator[Row]:
    regularizer = WeakSIGReg(SKETCH)
    for dim in (SKETCH, 2 * SKETCH, 8 * SKETCH):
        x = rng.standard_normal((dim + 2, dim))
        z = torch.from_numpy(np.linalg.qr(x - x.mean(0))[0])[None] * math.sqrt(dim + 1)  # of mean 0 and covariance I
        seeds = [[*map(int, block)] for block in rng.integers(2**31, size=(BLOCKS, settings["draws"]))]
        whole, half = (
            np.array([[regularizer(s * z, seeded_generator(seed, 0)).item() ** 2 for seed in block] for block in seeds])
            for s in (1.0, 0.5**0.5)
        )
        a, b = 2 * (whole - 2 * half + SKETCH), whole / 2 - 2 * half + 1.5 * SKETCH  # its square: s^4 a - 2 s^2 b + k

        def norm(s: float, a: Real, b: Real) -> float:
            return float(np.sqrt(np.maximum(s**4 * a - 2 * s**2 * b + SKETCH, 0)).mean())

        best = [optimize.minimize_scalar(norm, bounds=(0.3, 1.5), args=pair).x for pair in zip(a, b, strict=True)]
        yield _mean("least at", np.array(best), dim=dim)
        if dim > SKETCH:
            exact = sketches.best_scale(SKETCH, dim), sketches.mean_square(1, SKETCH, dim)
            yield _mean("least at, squared norm", np.sqrt(b.mean(1) / a.mean(1)), exact=exact[0], dim=dim)
            yield _mean("squared norm at I", whole.ravel(), exact=exact[1], dim=dim)


PARTS = {"x": _x, "shapiro_wilk": _shapiro_wilk, "formulas": _formulas, "kernels": _kernels, "sketch": _sketch}
