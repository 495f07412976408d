"""Which standard deviation does a loss want on a batch of N? The minimiser of E T(sd z), z standard normal.

A statistic of the distance to N(0, 1) need not be least, in the mean over batches, at sd = 1: a sample of N(0, 1) looks
a little wider, or more irregular, than the law it comes from. Exact minimisers, with which the measured are compared:

    E T(sd) = N int (F_sd - Phi)^2 w dPhi + int F_sd (1 - F_sd) w dPhi      Cramer-von Mises (w = 1), Anderson-Darling
    E T(sd) = N L(sd) + b(sd)                                               Epps-Pulley (see gradient_bias); U: b = 0
    sqrt((N - 1) / (N + 1))                                                 VCReg and extended Jarque-Bera
    c_4(N) / (1 + 1/N),  c_4 = E s                                          mean^2 + (std - 1)^2
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy import integrate, optimize, special, stats

from sigreg_lab import univariate
from sigreg_lab.experiment import Study, mean_interval
from sigreg_lab.experiment.study import Cell, Config, Row
from sigreg_lab.figures.tables import markdown_table
from sigreg_lab.figures.theme import label, log_ticks, new_figure, palette, themed
from sigreg_lab.kernels import gaussian_grid
from sigreg_lab.univariate import UnivariateTest

STATISTICS: dict[str, Callable[[], UnivariateTest]] = {
    "epps_pulley": univariate.EppsPulley,
    "epps_pulley_u": lambda: univariate.EppsPulley(estimator="u"),
    "anderson_darling": univariate.AndersonDarling,
    "cramer_von_mises": univariate.CramerVonMises,
    "extended_jarque_bera": univariate.ExtendedJarqueBera,
    "vcreg": univariate.VCReg,
    "mean_std": univariate.REGISTRY["mean_std"],
    "wasserstein": univariate.REGISTRY["wasserstein"],
}
RANGE = (0.2, 2.0)
STANDARD_ERRORS = 4.5  # Student's t with 19 degrees of freedom exceeds it with probability 0.00025


def exact_minimizer(statistic: str, n: int) -> float:
    """The minimiser of E T, or NaN where no closed form or integral is at hand."""
    if statistic in ("vcreg", "extended_jarque_bera"):
        return float(np.sqrt((n - 1) / (n + 1)))
    if statistic == "mean_std":
        log_c4 = special.gammaln(n / 2) - special.gammaln((n - 1) / 2) + 0.5 * np.log(2 / (n - 1))
        return float(np.exp(log_c4) / (1 + 1 / n))
    if statistic == "epps_pulley_u":
        return 1.0
    if statistic == "epps_pulley":
        return _least(lambda sd: _epps_pulley_mean(sd, n))
    if statistic in ("anderson_darling", "cramer_von_mises"):
        return _least(lambda sd: _edf_mean(sd, n, tails=statistic == "anderson_darling"))
    return float("nan")


def _least(mean: Callable[[float], float]) -> float:
    return float(optimize.minimize_scalar(mean, bounds=RANGE, method="bounded", options={"xatol": 1e-9}).x)


def _epps_pulley_mean(sd: float, n: int) -> float:
    ep = univariate.EppsPulley()
    target, weight = (a.numpy() for a in gaussian_grid(ep.t_max, ep.n_points, ep.sigma, torch.device("cpu")))
    t = ep.t_max / (ep.n_points - 1) * np.arange(1, ep.n_points)
    phi = np.exp(-((sd * t) ** 2) / 2)
    return float((weight * (n * (phi - target) ** 2 + 1 - phi**2)).sum())


def _edf_mean(sd: float, n: int, *, tails: bool) -> float:
    def integrand(x: float) -> float:
        lower, upper = special.ndtr(x), special.ndtr(-x)
        law, rest = special.ndtr(x / sd), special.ndtr(-x / sd)
        weight = 1 / (lower * upper) if tails else 1.0
        return float((n * (law - lower) ** 2 + law * rest) * weight * stats.norm.pdf(x))

    return 2 * float(integrate.quad(integrand, 0, 12, limit=200)[0])


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    n, name = int(cell["n"]), str(cell["statistic"])
    test = STATISTICS[name]()
    rows: list[Row] = []
    for block, child in enumerate(seed.spawn(settings["blocks"])):
        z = np.random.default_rng(child).standard_normal((settings["values_per_block"] // n, n))
        z.sort(axis=1)
        columns = torch.from_numpy(z).T

        def slope(sd: float, columns: torch.Tensor = columns) -> float:
            scale = torch.tensor(sd, dtype=torch.float64, requires_grad=True)
            value = test.unchecked(scale * columns, presorted=True).mean()
            return float(torch.autograd.grad(value, scale)[0])

        rows.append({"block": block, "minimizer": optimize.brentq(slope, *RANGE, xtol=1e-6)})
    return rows


def summarize(rows: pd.DataFrame, settings: Config) -> pd.DataFrame:
    estimates = []
    for (name, n), blocks in rows.groupby(["statistic", "n"], sort=False):
        values = blocks["minimizer"]
        low, high = mean_interval(values)
        exact = exact_minimizer(str(name), int(n))
        error = values.std(ddof=1) / np.sqrt(len(values))
        estimates.append(
            {
                "statistic": name,
                "n": n,
                "blocks": len(values),
                "minimizer": values.mean(),
                "low": low,
                "high": high,
                "exact": exact,
                "deviation": (values.mean() - exact) / error,
            }
        )
    return pd.DataFrame(estimates)


def verify(summary: pd.DataFrame) -> list[str]:
    """Every measured minimiser within 4.5 standard errors of the exact one, where that is known."""
    return [
        f"minimiser of {row.statistic} at n = {row.n} is {row.minimizer:.5f}, not {row.exact:.5f} "
        f"({row.deviation:+.1f} standard errors)"
        for row in summary[summary["deviation"].abs() > STANDARD_ERRORS].itertuples()
    ]


@themed()
def figures(summary: pd.DataFrame) -> dict[str, Figure]:
    names = list(dict.fromkeys(summary["statistic"]))
    colours = palette(names)
    figure = new_figure(7.0, 4.4)
    axis = figure.subplots()
    for name in names:
        part = summary[summary["statistic"] == name]
        errors = [part["minimizer"] - part["low"], part["high"] - part["minimizer"]]
        axis.errorbar(part["n"], part["minimizer"], yerr=errors, marker="o", ms=4, lw=1.2, color=colours[name])
        axis.plot([], [], marker="o", ms=4, lw=1.2, color=colours[name], label=_text(name))
    axis.axhline(1, color="0.4", lw=1, ls="--")
    log_ticks(axis, sorted(summary["n"].unique()))
    axis.set(xlabel="batch size N", ylabel="minimising standard deviation (95% interval)")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return {"minimizer": figure}


def _text(name: str) -> str:
    return "Epps-Pulley, U-statistic" if name == "epps_pulley_u" else label(name)


def report(summary: pd.DataFrame) -> str:
    least_n = summary["n"].min()
    small = summary[summary["n"] == least_n]
    low = small.loc[small["minimizer"].idxmin()]
    below = small[small["high"] < 1]
    lines = [
        f"- On batches of {least_n}, {len(below)} of {len(small)} losses want a standard deviation below 1; "
        f"{_text(low['statistic'])} wants the least, {low['minimizer']:.4f} ({low['low']:.4f}, {low['high']:.4f}).",
    ]
    ep = summary[summary["statistic"] == "epps_pulley"].sort_values("n")
    lines.append(
        "- Epps-Pulley as implemented wants "
        + ", ".join(f"{r.minimizer:.4f} ({r.low:.4f}, {r.high:.4f}) at N = {r.n}" for r in ep.itertuples())
        + "; its U-statistic wants 1."
    )
    known = summary[summary["exact"].notna()]
    lines.append(
        f"- {len(known)} minimisers are known exactly; the measured ones agree (largest deviation "
        f"{known['deviation'].abs().max():.1f} standard errors)."
    )
    sizes = sorted(summary["n"].unique())
    cells = summary.set_index(["statistic", "n"])
    table = markdown_table(
        ["statistic", *(f"N = {n}" for n in sizes)],
        [
            [_text(str(name)), *(_cell(cells.loc[(name, n)]) for n in sizes)]
            for name in dict.fromkeys(summary["statistic"])
        ],
    )
    return "\n".join(lines) + f"\n\nMinimiser (95% interval; exact value):\n\n{table}"


def _cell(row: "pd.Series") -> str:
    exact = "" if np.isnan(row["exact"]) else f"; {row['exact']:.4f}"
    return f"{row['minimizer']:.4f} ({row['low']:.4f}, {row['high']:.4f}{exact})"


def _preset(n: list[int], blocks: int, values_per_block: int, statistics: list[str]) -> Config:
    return {"statistic": statistics, "n": n, "blocks": blocks, "values_per_block": values_per_block}


STUDY = Study(
    name="finite_sample_minimizer",
    title="The variance that a loss really wants",
    question="At which standard deviation is each statistic least, in the mean over batches of N?",
    expectation="Below 1 for every biased statistic, nearer to 1 as N grows; at 1 for the U-statistic.",
    seed=20251115,
    axes=("statistic", "n"),
    paired=("statistic",),
    presets={
        "smoke": _preset([16, 64], 4, 20_000, ["epps_pulley", "anderson_darling", "vcreg"]),
        "quick": _preset([16, 64, 256], 10, 100_000, list(STATISTICS)),
        "standard": _preset([16, 64, 256, 1024], 20, 1_000_000, list(STATISTICS)),
        "paper": _preset([8, 16, 32, 64, 128, 256, 512, 1024, 4096], 20, 20_000_000, list(STATISTICS)),
    },
    measure=measure,
    summarize=summarize,
    verify=verify,
    figures=figures,
    report=report,
)
