"""Which standard deviation does a loss want on a batch of N? The minimiser of E R(sd z), z standard normal.

A statistic of the distance to N(0, 1) need not be least, in the mean over batches, at sd = 1: a sample of N(0, 1) looks
a little wider, or more irregular, than the law it comes from. All univariate statistics that are usable as losses, and
all regularisers, in K = 8 dimensions, where the question is well posed. Exact minimisers, with which the measured are
compared; F is the law of sd z:

    E T = N int (F - Phi)^2 w dPhi + int F (1 - F) w dPhi          Cramer-von Mises (w = 1), Anderson-Darling
          - arcsin(sd^2 / (1 + sd^2)) / (2 pi)                     Watson, beside Cramer-von Mises: least at 1 for all N
    E T = N L(sd) + b(sd)                                          Epps-Pulley (see gradient_bias); U: b = 0
    E T = E [sd^2 z^2/2 - (N-1) (Phi(z) log Phi(sd z) + Phi(-z) log Phi(-sd z))] + const         order-statistic NLL
    sqrt((N - 1) / (N + 1))                                        VCReg and extended Jarque-Bera
    c_4(N) / (1 + 1/N),  c_4 = E s                                 mean^2 + (std - 1)^2
    E 1/N sum_i q_i z_(i)                                          Wasserstein, q_i the quantiles in use
    closed forms in chi-squared variables                          BHEP, VICReg

Slices of N(0, sd^2 I) are N(0, sd^2): SIGReg wants what its statistic wants. Losses that do not see scale have no
minimiser; the study checks that they do not change with sd. Weak-SIGReg is the covariance-identity loss for K up to 64.
VISReg holds sd fixed in its shape term: for it, and for losses with several minima, the largest sd at which the mean
gradient turns from outwards to inwards counts. Where there is none, the loss pulls every such sample together.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy import integrate, optimize, special, stats

from sigreg_lab import regularizers, univariate
from sigreg_lab.experiment import Study, mean_interval
from sigreg_lab.experiment.study import Cell, Config, Row
from sigreg_lab.figures.tables import markdown_table, span
from sigreg_lab.figures.theme import error_bars, label, new_figure, palette, themed
from sigreg_lab.kernels import gaussian_grid
from sigreg_lab.multivariate import BHEP, InfiniteSliceEppsPulley
from sigreg_lab.regularizers import (
    MultivariateRegularizer,
    Regularizer,
    SIGReg,
    VICReg,
    make_regularizer,
    regularizer_options,
)
from sigreg_lab.slicing import seeded_generator
from sigreg_lab.univariate import UnivariateTest

DIM = 8
NUM_SLICES = 8
STATISTICS: dict[str, Callable[[], UnivariateTest]] = {
    "epps_pulley": univariate.EppsPulley,
    "epps_pulley_u": lambda: univariate.EppsPulley(estimator="u"),
    **{n: cls for n, cls in univariate.REGISTRY.items() if cls.suitable_as_loss and n != "epps_pulley"},
}
#: Left out: the control, one that is another's equal in 8 dimensions, and one whose mean is that of "sigreg-ep", for
#: far more time; ``--set loss=sigreg-ep-infinite`` runs it.
REGULARIZERS = [n for n in regularizers.REGISTRY if n not in ("none", "weak-sigreg", "sigreg-ep-infinite")]
#: They see angles or standardised samples alone.
SCALE_FREE = {
    *(n for n, cls in univariate.REGISTRY.items() if cls.null_hypothesis == "composite"),
    *("sigreg-sw", "barlow-twins", "w-mse", "uniformity", "koleo", "sphere-slicing"),
}
#: As a reader would write what ``label`` does not know.
TEXT = {
    "epps_pulley_u": "Epps-Pulley, U-statistic",
    "sigreg-ep-paper-grid": "Epps-Pulley, paper's grid",
    "sigreg-ep-full-line": "Epps-Pulley, full line",
    "bhep": "BHEP, beta = 0.1",
    "sliced-wasserstein": "Wasserstein, quantiles i/(N+1)",
    "visreg": "VISReg",
    "vicreg": "VICReg",
    "covariance-identity": "norm of C - I",
    "sigreg-sw": "SIGReg, Shapiro-Wilk",
    "barlow-twins": "Barlow Twins",
    "w-mse": "W-MSE",
    "koleo": "KoLeo",
    "sphere-slicing": "sphere slicing",
}
RANGE = (0.2, 2.0)
MINIMISER, CHANGE = "minimiser", "relative change with sd"
FAMILY = 0.001  # probability that chance alone makes the study fail: two-sided, over all its comparisons
#: In a block, at the least: the minimiser of a block is biased by a multiple of its variance.
LEAST_SAMPLES = 2048
#: VICReg's hinge is touched by one coordinate in a thousand at its minimiser for large N: the minimiser of a block is
#: biased by that, and the exact one stands alone.
LARGEST_VICREG = 64
#: Relative change that the losses without scale may show: those that divide by a variance add up to 1e-4 to it.
LEAST_CHANGE = 2e-3


# Exact minimisers


def make_loss(name: str) -> UnivariateTest | Regularizer:
    """The statistic or the regulariser of that name."""
    if name in STATISTICS:
        return STATISTICS[name]()
    options = {"num_slices": NUM_SLICES} if "num_slices" in regularizer_options(name) else {}
    loss = make_regularizer(name, **options)
    assert loss is not None
    return loss


def exact_minimizer(loss: torch.nn.Module, n: int) -> float:
    """The minimiser of E R on batches of n: NaN where no closed form or integral is at hand, 0 if R pulls inwards."""
    if isinstance(loss, SIGReg):
        return exact_minimizer(loss.statistic, n)
    if isinstance(loss, univariate.VCReg | univariate.ExtendedJarqueBera):
        return float(np.sqrt((n - 1) / (n + 1)))
    if isinstance(loss, univariate.MeanStd):
        log_c4 = special.gammaln(n / 2) - special.gammaln((n - 1) / 2) + 0.5 * np.log(2 / (n - 1))
        return float(np.exp(log_c4) / (1 + 1 / n))
    if isinstance(loss, univariate.Wasserstein):
        return _mean_score(loss, n)
    mean = _mean(loss, n)
    return float("nan") if mean is None else _least(mean)


def _least(mean: Callable[[float], float]) -> float:
    least = float(optimize.minimize_scalar(mean, bounds=RANGE, method="bounded", options={"xatol": 1e-9}).x)
    return least if least > RANGE[0] + 1e-4 else 0.0


def _mean(loss: torch.nn.Module, n: int) -> Callable[[float], float] | None:
    """E R(sd z) up to a constant, as a function of sd; None if it is not known here."""
    if isinstance(loss, MultivariateRegularizer):
        loss = loss.statistic
        loss = loss.statistic if isinstance(loss, InfiniteSliceEppsPulley) else loss
    if isinstance(loss, univariate.EppsPulley):
        return _epps_pulley_mean(loss, n)
    if isinstance(loss, univariate.AndersonDarling):
        return lambda sd: _edf_mean(sd, n, tails=True)
    if isinstance(loss, univariate.CramerVonMises):
        return lambda sd: _edf_mean(sd, n, tails=False)
    if isinstance(loss, univariate.Watson):
        return lambda sd: _edf_mean(sd, n, tails=False) - np.arcsin(sd**2 / (1 + sd**2)) / (2 * np.pi)
    if isinstance(loss, univariate.NLL):
        return lambda sd: _likelihood_mean(sd, n)
    if isinstance(loss, BHEP):
        return lambda sd: bhep_mean(sd, n, loss.beta)
    if isinstance(loss, VICReg):
        return lambda sd: vicreg_mean(sd, n, loss)
    return None


def _epps_pulley_mean(ep: univariate.EppsPulley, n: int) -> Callable[[float], float]:
    target, weight = (a.numpy() for a in gaussian_grid(ep.t_max, ep.n_points, ep.sigma, torch.device("cpu")))
    t = ep.t_max / (ep.n_points - 1) * np.arange(1, ep.n_points)
    biased = ep.estimator == "v"

    def mean(sd: float) -> float:
        phi = np.exp(-((sd * t) ** 2) / 2)
        return float((weight * (n * (phi - target) ** 2 + biased * (1 - phi**2))).sum())

    return mean


def _edf_mean(sd: float, n: int, *, tails: bool) -> float:
    def integrand(x: float) -> float:
        lower, upper = special.ndtr(x), special.ndtr(-x)
        law, rest = special.ndtr(x / sd), special.ndtr(-x / sd)
        weight = 1 / (lower * upper) if tails else 1.0
        return float((n * (law - lower) ** 2 + law * rest) * weight * stats.norm.pdf(x))

    return 2 * float(integrate.quad(integrand, 0, 12, limit=200)[0])


def _likelihood_mean(sd: float, n: int) -> float:
    """A value z has (n - 1) Phi(z) others below it on average, the k - 1 of its density."""

    def integrand(z: float) -> float:
        below = special.ndtr(z) * special.log_ndtr(sd * z) + special.ndtr(-z) * special.log_ndtr(-sd * z)
        return float(((sd * z) ** 2 / 2 - (n - 1) * below) * stats.norm.pdf(z))

    return 2 * float(integrate.quad(integrand, 0, 12, limit=200)[0])


def _mean_score(loss: univariate.Wasserstein, n: int) -> float:
    """E 1/n sum_i q_i z_(i), the minimiser of sd^2 - 2 sd E 1/n sum_i q_i z_(i)."""
    # W at 0 and at one sample x tell q: W(x) - W(0) = mean (x_i^2 - 2 x_i q_i).
    unit = torch.eye(n, dtype=torch.float64)
    scores = (1 - n * (loss.unchecked(unit, presorted=True) - loss.unchecked(torch.zeros_like(unit)))) / 2
    z = np.linspace(-10, 10, 2001)
    chance = stats.binom.pmf(np.arange(n)[:, None], n - 1, special.ndtr(z))
    return float(np.trapezoid(z * stats.norm.pdf(z) * (scores.numpy() @ chance), z))


def bhep_mean(sd: float, n: int, beta: float) -> float:
    pairs = (1 + 2 * (beta * sd) ** 2) ** (-DIM / 2)
    crossed = (1 + beta**2 + (beta * sd) ** 2) ** (-DIM / 2)
    return float((n - 1) * pairs - 2 * n * crossed)


def vicreg_mean(sd: float, n: int, loss: VICReg) -> float:
    """s^2 is sd^2 chi-squared(n - 1)/(n - 1); the mean square of a covariance is sd^4/(n - 1)."""
    law = stats.chi2(n - 1, scale=sd**2 / (n - 1))
    hinge = integrate.quad(
        lambda v: max(0.0, loss.gamma - np.sqrt(v + loss.eps)) * law.pdf(v), 0, loss.gamma**2 - loss.eps, limit=200
    )[0]
    return float(loss.variance * hinge + loss.covariance * (DIM - 1) * sd**4 / (n - 1))


# Measurements


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    n, name = int(cell["n"]), str(cell["loss"])
    loss = make_loss(name)
    rows: list[Row] = []
    for block, child in enumerate(seed.spawn(settings["blocks"])):
        if isinstance(loss, UnivariateTest):
            values = settings["values_per_block"] // (20 if name in SCALE_FREE else 1)
            value = _univariate(loss, np.random.default_rng(child), n, values)
        else:
            value = _regularizer(loss, child, n, settings["values_per_block"] // 4)
        if name in SCALE_FREE:
            with torch.no_grad():
                means = [float(value(torch.tensor(sd, dtype=torch.float64))) for sd in (0.5, 1.0, 2.0)]
            rows.append({"block": block, "quantity": CHANGE, "value": np.ptp(means) / abs(means[1])})
        else:
            rows.append({"block": block, "quantity": MINIMISER, "value": _largest_root(value)})
    return rows


def _univariate(
    test: UnivariateTest, rng: np.random.Generator, n: int, values: int
) -> Callable[[torch.Tensor], torch.Tensor]:
    z = rng.standard_normal((max(1, values // n), n))
    z.sort(axis=1)
    columns = torch.from_numpy(z).T
    return lambda sd: test.unchecked(sd * columns, presorted=True).mean()


def _regularizer(
    loss: Regularizer, seed: np.random.SeedSequence, n: int, values: int
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Replicates are views to a regulariser of one view; one of two views gets two that correlate."""
    quadratic = isinstance(loss, MultivariateRegularizer | regularizers.Uniformity | regularizers.KoLeo)
    count = max(LEAST_SAMPLES // n, values // (4 * n * n if quadratic else n * DIM), 1) if loss.min_views == 1 else 2
    state = [int(word) for word in seed.generate_state(2)]
    z = torch.from_numpy(np.random.default_rng(seed).standard_normal((count, n, DIM)))
    if loss.min_views == 2:
        z[1] = 0.9 * z[0] + np.sqrt(1 - 0.9**2) * z[1]
    return lambda sd: loss(sd * z, seeded_generator(*state))


def _largest_root(value: Callable[[torch.Tensor], torch.Tensor]) -> float:
    """The largest sd in ``RANGE`` at which the slope turns from negative to positive; NaN if there is none."""

    def slope(sd: float) -> float:
        scale = torch.tensor(sd, dtype=torch.float64, requires_grad=True)
        return float(torch.autograd.grad(value(scale), scale)[0])

    upper, places = RANGE[1], (1.1, 0.8, 0.5, RANGE[0])
    if slope(upper) <= 0:
        return float("nan")
    for lower in places:
        if slope(lower) < 0:
            return float(optimize.brentq(slope, lower, upper, xtol=1e-6))
        upper = lower
    return float("nan")


# Estimates


def summarize(rows: pd.DataFrame, settings: Config) -> pd.DataFrame:
    """Minimisers with Student's intervals; for losses without scale the largest change, which needs none."""
    estimates = []
    for (name, n, quantity), blocks in rows.groupby(["loss", "n", "quantity"], sort=False):
        values = blocks["value"]
        row = {"loss": name, "n": n, "quantity": quantity, "blocks": len(values), "found": int(values.notna().sum())}
        if quantity == CHANGE:
            row |= dict.fromkeys(("value", "low", "high"), values.max()) | {"exact": 0.0, "deviation": float("nan")}
        elif values.isna().any():
            row |= dict.fromkeys(("value", "low", "high", "deviation"), float("nan"))
            row["exact"] = exact_minimizer(make_loss(str(name)), int(n))
        else:
            low, high = mean_interval(values)
            exact = exact_minimizer(make_loss(str(name)), int(n))
            error = values.std(ddof=1) / np.sqrt(len(values))
            row |= {"value": values.mean(), "low": low, "high": high, "exact": exact}
            row["deviation"] = (values.mean() - exact) / error
        estimates.append(row)
    summary = pd.DataFrame(estimates)
    measured = set(summary.loc[summary["loss"] == "vicreg", "n"])
    for n in (n for n in summary["n"].unique() if measured and n not in measured):
        exact = exact_minimizer(make_loss("vicreg"), int(n))
        row = {"loss": "vicreg", "n": n, "quantity": MINIMISER, "blocks": 0, "found": 0}
        summary.loc[len(summary)] = row | dict.fromkeys(("value", "low", "high", "exact"), exact)
    return summary


def verify(summary: pd.DataFrame) -> list[str]:
    """Every measured minimiser within a family-wise 99.9% Student limit of the exact one, and there or not there as the
    exact one is, where that is known; no change with sd of a loss that does not see scale."""
    known = summary[summary["deviation"].notna()]
    limits = stats.t.ppf(1 - FAMILY / (2 * max(1, len(known))), known["blocks"] - 1)
    complaints = [
        f"minimiser of {row.loss} at n = {row.n} is {row.value:.5f}, not {row.exact:.5f} "
        f"({row.deviation:+.1f} standard errors)"
        for row in known[known["deviation"].abs() > limits].itertuples()
    ]
    lost = summary[summary["value"].isna() & (summary["exact"] > 0)]
    complaints += [
        f"{row.loss} at n = {row.n}: no minimiser found, exactly {row.exact:.5f}" for row in lost.itertuples()
    ]
    change = summary[summary["quantity"] == CHANGE]
    return complaints + [
        f"{row.loss} at n = {row.n} changes with sd, by {row.value:.1e}"
        for row in change[~(change["value"] <= LEAST_CHANGE)].itertuples()
    ]


# Figure and report


def _same(name: str) -> str:
    """The statistic of which a regulariser is the mean over slices with the same minimiser, or the loss itself."""
    if name in STATISTICS or name in SCALE_FREE:
        return name
    loss = make_loss(name)
    if isinstance(loss, SIGReg):
        for key, build in STATISTICS.items():
            if repr(build()) == repr(loss.statistic):
                return key
    return name


def _text(name: str) -> str:
    return TEXT.get(name, label(name))


@themed()
def figures(summary: pd.DataFrame) -> dict[str, Figure]:
    """The losses of a panel stand beside each other at each N: many would hide others."""
    found = summary[(summary["quantity"] == MINIMISER) & summary["value"].notna()]
    names = [name for name in dict.fromkeys(found["loss"]) if _same(name) == name]
    groups = [[n for n in names if n in STATISTICS], [n for n in names if n not in STATISTICS]]
    groups = [group for group in groups if group]
    sizes = sorted(found["n"].unique())
    figure = new_figure(1.5 + 5.2 * len(groups), 5.4)
    axes = figure.subplots(1, len(groups), squeeze=False)[0]
    for axis, group in zip(axes, groups, strict=True):
        colours = palette(group)
        for name, marker, shift in zip(group, "osD^vPX*<>ph", np.linspace(-0.4, 0.4, len(group)), strict=False):
            part = found[found["loss"] == name]
            places = [sizes.index(n) + shift for n in part["n"]]
            axis.plot(places, part["value"], color=colours[name], lw=0.8, alpha=0.35)
            error_bars(axis, places, part, "value", fmt=marker, ms=5, color=colours[name], label=_text(name))
        axis.axhline(1, color="0.4", lw=1, ls="--")
        axis.set_xticks(range(len(sizes)), [f"{n}" for n in sizes])
        axis.grid(axis="x", visible=False)
        for place in range(1, len(sizes)):
            axis.axvline(place - 0.5, color="0.85", lw=0.8, zorder=0)
        univariate_ones = group[0] in STATISTICS
        axis.set(
            title="univariate statistics" if univariate_ones else f"regularisers, K = {DIM}", xlabel="batch size N"
        )
        axis.legend(frameon=False, loc="lower right", fontsize="small")
    axes[0].set_ylabel("minimising standard deviation (95% interval)")
    return {"minimizer": figure}


def report(summary: pd.DataFrame) -> str:
    found = summary[summary["quantity"] == MINIMISER]
    least_n = found["n"].min()
    small = found[(found["n"] == least_n) & found["value"].notna()]
    low, high = small.loc[small["value"].idxmin()], small.loc[small["value"].idxmax()]
    lines = [
        f"- On batches of {least_n}, {(small['high'] < 1).sum()} of {len(small)} losses want a standard deviation "
        f"below 1; {_text(low['loss'])} wants the least, {span(low, 4, 'value')}, {_text(high['loss'])} the most, "
        f"{span(high, 4, 'value')}.",
        *_lost_lines(found),
    ]
    for name, text in (
        ("epps_pulley", "Epps-Pulley as implemented"),
        ("covariance-identity", f"The norm of C - I in K = {DIM}"),
    ):
        part = found[found["loss"] == name].sort_values("n")
        if len(part):
            values = ", ".join(f"{span(row, 4, 'value')} at N = {row['n']}" for _, row in part.iterrows())
            lines.append(f"- {text} wants {values}.")
    one = [
        _text(str(name))
        for name, part in found.groupby("loss", sort=False)
        if ((part["exact"] - 1).abs() < 1e-5).all() and _same(str(name)) == name
    ]
    if one:
        lines.append(f"- Exactly 1 at every N is what {' and '.join(one)} want, and no other of these.")
    known = found[found["deviation"].notna()]
    lines.append(
        f"- {len(known)} measured minimisers are known exactly, and agree (largest deviation "
        f"{known['deviation'].abs().max():.1f} standard errors). A sliced regulariser wants what its statistic wants."
    )
    free = summary[summary["quantity"] == CHANGE]
    if len(free):
        names = ", ".join(_text(name) for name in dict.fromkeys(free["loss"]))
        lines.append(
            f"- No scale, no minimiser: {names} change by at most {free['value'].max():.0e} from sd = 0.5 to 2. They "
            "do not hold the variance."
        )
    sizes = sorted(found["n"].unique())
    cells = found.set_index(["loss", "n"])
    table = markdown_table(
        ["loss", *(f"N = {n}" for n in sizes)],
        [
            [_text(str(name)), *(_cell(cells.loc[(name, n)]) for n in sizes)]
            for name in dict.fromkeys(found["loss"])
            if _same(str(name)) == name
        ],
    )
    return "\n".join(lines) + f"\n\nMinimiser (95% interval; exact value):\n\n{table}"


def _lost_lines(found: pd.DataFrame) -> list[str]:
    lost = found[found["value"].isna()]
    names = {name: sorted(part["n"]) for name, part in lost.groupby("loss", sort=False) if _same(str(name)) == name}
    if not names:
        return []
    where = ", ".join(f"{_text(str(name))} (N = {', '.join(map(str, sizes))})" for name, sizes in names.items())
    return [
        f"- Some losses pull a small batch of N(0, I) together whatever its scale, with no minimum between sd = "
        f"{RANGE[0]} and {RANGE[1]} in at least one of {lost['blocks'].max()} blocks: {where}."
    ]


def _cell(row: pd.Series) -> str:
    if np.isnan(row["value"]):
        return "none"
    if row["blocks"] == 0:
        return f"exactly {row['exact']:.4f}"
    exact = "" if np.isnan(row["exact"]) else f"; {row['exact']:.4f}"
    return f"{row['value']:.4f} ({row['low']:.4f}, {row['high']:.4f}{exact})"


def _keep(cell: Cell, settings: Config) -> bool:
    return cell["loss"] != "vicreg" or int(cell["n"]) <= LARGEST_VICREG


def _preset(loss: list[str], n: list[int], blocks: int, values_per_block: int) -> Config:
    return {"loss": loss, "n": n, "blocks": blocks, "values_per_block": values_per_block}


ALL = [*STATISTICS, *REGULARIZERS]
STUDY = Study(
    name="finite_sample_minimizer",
    title="The variance that a loss really wants",
    question="At which standard deviation is each loss least, in the mean over batches of N?",
    expectation="Below 1 for every biased statistic, nearer to 1 as N grows; at 1 for the U-statistic; nowhere for "
    "those that standardise.",
    seed=20251115,
    axes=("loss", "n"),
    paired=("loss",),
    presets={
        "smoke": _preset(["epps_pulley", "nll", "jarque_bera", "sigreg-ad", "vicreg", "koleo"], [16, 64], 4, 20_000),
        "quick": _preset(ALL, [16, 64, 256], 10, 50_000),
        "standard": _preset(ALL, [16, 64, 256, 1024], 20, 400_000),
        "paper": _preset([*ALL, "sigreg-ep-infinite"], [8, 16, 32, 64, 128, 256, 512, 1024, 4096], 20, 10_000_000),
    },
    measure=measure,
    summarize=summarize,
    verify=verify,
    figures=figures,
    report=report,
    keep=_keep,
)
