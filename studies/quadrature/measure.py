"""Range, points and weight of the Epps-Pulley integral: what the grid costs in accuracy, power and gradient.

    T = N int |phi_hat(t) - exp(-t^2/2)|^2 exp(-t^2/sigma^2) dt,   nodes k t_max/(points - 1) of [0, t_max], doubled

A grid on [-t_max, t_max] with 2 p - 1 points, as the paper writes it, is one with p points here: its Algorithm 1 is
t_max = 5 with 9. The line is a grid that agrees with the integral over it to rounding (checked against the closed form
over pairs). Against it stand, for each grid, law and N:

    gradient error    root mean square over samples of the difference to the line, relative to that of the line
    SNR               |population gradient|^2 / mean |batch's gradient - population's|^2, both with the same grid
    power             at level 5%, critical values from each grid's own null law

The population gradient takes the law's characteristic function in the place of the batch's. Samples are shared by all
grids of an N, so that differences are paired. Exact errors of the null's mean are in ``theory.quadrature``.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from sigreg_lab import alternatives
from sigreg_lab.alternatives import UnivariateAlternative
from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.kernels import characteristic_function
from sigreg_lab.nulls import MonteCarlo
from sigreg_lab.univariate import EppsPulley

Array = NDArray[np.float64]

LINE, LINE_POINTS = 12.0, 97  # exp(-36) at the end for sigma = 2; repeats with period 50
DEFAULT = (3.0, 2.0, 17)  # t_max, sigma^2, points of the official code
ALPHA = 0.05
VALUES_PER_BATCH = 500_000
EXACT_COLUMNS = 4  # samples on which the line is held against the closed form over pairs
LIMIT_LAW = 0.001  # of the size: what the limit law may be off by where the library uses it


def statistic(t_max: float, sigma2: float, points: int) -> EppsPulley:
    return EppsPulley(t_max, points, sigma=math.sqrt(sigma2))


def population_gradient(law: UnivariateAlternative, test: EppsPulley, x: torch.Tensor) -> torch.Tensor:
    """dT/dx_i with the law's characteristic function for the sample's: of N sum 2 w ((Re phi - phi_0) c + Im phi s)."""
    t, _, weight = test.nodes()
    phi = law.characteristic_function(t)
    c, s = characteristic_function(x, test.t_max, test.n_points)
    real = torch.from_numpy(2 * weight * (phi.real - np.exp(-(t**2) / 2)))
    imaginary = torch.from_numpy(2 * weight * phi.imag)
    (gradient,) = torch.autograd.grad(len(x) * (real @ c + imaginary @ s).sum(), x)
    return gradient


def sample_gradient(test: EppsPulley, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    value = test(x)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), gradient


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    t_max, sigma2, n = float(cell["t_max"]), float(cell["sigma2"]), int(cell["n"])
    points = [LINE_POINTS] if t_max == LINE else list(settings["points"])
    tests = {p: statistic(t_max, sigma2, p) for p in points}
    default = statistic(*DEFAULT)
    limits = {p: _critical_value(test, n) for p, test in tests.items()}
    base_limit = default.critical_value(ALPHA, n)
    words = [int(word) for word in seed.generate_state(4)]
    rows: list[Row] = []
    for name in settings["laws"]:
        law, rng = alternatives.REGISTRY[name], np.random.default_rng([*words, *name.encode()])
        x = torch.from_numpy(law.sample(rng, (settings["gradients"], n))).T.requires_grad_()
        found = _gradients(law, tests, default, x, sigma2)
        counts = {p: np.zeros(3, dtype=int) for p in points}
        sums = {p: np.zeros(2) for p in points}
        for start in range(0, settings["replicates"], VALUES_PER_BATCH // n):
            size = min(VALUES_PER_BATCH // n, settings["replicates"] - start)
            sample = torch.from_numpy(law.sample(rng, (size, n))).T
            base = (default(sample) > base_limit).numpy()
            for p, test in tests.items():
                value = test(sample).numpy()
                rejected = value > limits[p][0]
                counts[p] += [rejected.sum(), (rejected & ~base).sum(), (base & ~rejected).sum()]
                sums[p] += [value.sum(), (value**2).sum()]
        for p in points:
            mean, square = sums[p] / settings["replicates"]
            row = {
                "rejections": int(counts[p][0]),
                "only_this": int(counts[p][1]),
                "only_default": int(counts[p][2]),
                "size_error": limits[p][1],
                "value": mean,
                "value_se": math.sqrt((square - mean**2) / settings["replicates"]),
            } | found[p]
            rows.append({"law": name, "points": p} | {k: _short(v) for k, v in row.items()})
    return rows


def _short(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.5g}")


def _critical_value(test: EppsPulley, n: int) -> tuple[float, float]:
    """The critical value, and the error of the size that it makes: a simulated law's, or a limit law's."""
    law = test.null_law(n)
    return law.critical_value(ALPHA), law.standard_error(ALPHA) if isinstance(law, MonteCarlo) else LIMIT_LAW


def _gradients(
    law: UnivariateAlternative, tests: dict[int, EppsPulley], default: EppsPulley, x: torch.Tensor, sigma2: float
) -> dict[int, Row]:
    """Of each grid: the gradient's error to the line, its part along the sample, signal and noise."""
    line_value, line_gradient = sample_gradient(statistic(LINE, sigma2, LINE_POINTS), x)
    few = x.detach()[:, :EXACT_COLUMNS]
    exact = EppsPulley(integration="exact", sigma=math.sqrt(sigma2))(few)
    line_gap = float(((line_value[:EXACT_COLUMNS] - exact) / exact).abs().max())
    size = (line_gradient**2).sum(0)
    default_signal, default_noise = _signal_and_noise(law, default, x, sample_gradient(default, x)[1])
    default_share = _share(default_signal, default_noise)
    found = {}
    for p, test in tests.items():
        _, gradient = sample_gradient(test, x)
        signal, noise = _signal_and_noise(law, test, x, gradient)
        error, error_se = relative(((gradient - line_gradient) ** 2).sum(0), size)
        slope = (x * gradient).sum(0).detach()
        found[p] = {
            "line_gap": line_gap,
            "snr_ratio": float(signal.mean() / noise.mean() / default_signal.mean() * default_noise.mean()),
            "snr_ratio_log_se": _standard_error(_share(signal, noise) - default_share),
            "gradient_error": error,
            "gradient_error_se": error_se,
            "slope": float(slope.mean()),
            "slope_se": _standard_error(slope),
        }
    return found


def relative(squares: torch.Tensor, sizes: torch.Tensor) -> tuple[float, float]:
    """Mean of ``squares`` over that of ``sizes`` of the same samples, and its linearised standard error."""
    ratio = squares.mean() / sizes.mean()
    return float(ratio), _standard_error((squares - ratio * sizes) / sizes.mean())


def _signal_and_noise(
    law: UnivariateAlternative, test: EppsPulley, x: torch.Tensor, gradient: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared norms, by column, of the population gradient and of what the batch's gradient differs by."""
    population = population_gradient(law, test, x)
    return (population**2).sum(0), ((gradient - population) ** 2).sum(0)


def _share(signal: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Of each column in log(mean signal / mean noise), to first order."""
    return signal / signal.mean() - noise / noise.mean()


def _standard_error(values: torch.Tensor) -> float:
    return float(values.std() / math.sqrt(len(values)))
