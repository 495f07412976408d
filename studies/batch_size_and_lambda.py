"""What a lambda means: the balance of regulariser and prediction loss against batch size, views and notation.

Embeddings are z = A x, with views x_v = sqrt(rho) s + sqrt(1 - rho) e_v of a sample, s and e_v standard normal. The
regulariser is SIGReg with the implemented Epps-Pulley statistic, which carries the factor N. Settings, by name:

scale_<sd>, defect_<sd>   A = sd I, or I with its last entry replaced (a weak rank defect). Gradients of regulariser
    and prediction loss for A, whose mean over batches and whose noise (root mean square about the mean, over batches at
    fixed slices) are measured, and for one embedding. With f(s) = N L(s) + b(s), the mean of Epps-Pulley under
    N(0, s^2) (see gradient_bias), exactly
        E dR/dA = E_a[f'(s_a)/s_a a a'] A,   s_a^2 = a'A A'a,   a uniform on the sphere.
rho_<rho>   each view's N embeddings (per view) against all V N at once (flattened), in one dimension, sd = 1:
        E T_flattened = V N L(s) + int w (1 + (V - 1) exp(-t^2 s^2 (1 - rho)) - V exp(-t^2 s^2)) dt,
    whose slope in rho is positive: it pushes the views of a sample apart.
global_<V_g>   eq. 5 (pairwise) against eq. 6 (centroid): with the first V_g of V views global,
        eq. 5 = eq. 6 + 1/V_g sum_g |z_g - mu|^2,   so that eq. 5 = 2 eq. 6 if V_g = V,
    and the mean squared lengths and the inner product of their gradients for the embeddings.
conversion   ``convert_lambda`` between all ways to write the loss: gradients equal up to a positive factor.
"""

import itertools
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import special, stats

from sigreg_lab.experiment import Study
from sigreg_lab.experiment.power_laws import exponent
from sigreg_lab.experiment.study import Cell, Config, Row
from sigreg_lab.figures.tables import markdown_table
from sigreg_lab.figures.theme import error_bars, legend_below, log_ticks, new_figure, palette, themed
from sigreg_lab.kernels import gaussian_grid
from sigreg_lab.regularizers import LeJEPALoss, Regularizer, SIGReg, convert_lambda, prediction_loss
from sigreg_lab.slicing import iid_directions, seeded_generator
from sigreg_lab.univariate import EppsPulley

Real = NDArray[np.float64]

BATCH = ("scale_1", "scale_0.8", "scale_1.25", "defect_0.1")
VIEWS = ("rho_0", "rho_0.25", "rho_0.5", "rho_0.75", "rho_0.9", "rho_0.99")
EQUATIONS = ("global_1", "global_2", "global_4", "global_10")
DIM = 8
NUM_SLICES = 32
#: In the settings "scale", "defect" and "rho".
NUM_VIEWS = 4
#: In the settings "global": the paper's 2 global and 8 local views.
MANY_VIEWS = 10
#: Correlation of two views of a sample, where the setting does not say it.
RHO = 0.8
#: Probability that chance alone makes the study fail: two-sided, over all its comparisons.
FAMILY = 0.001
#: Relative error that rounding may leave in what is equal exactly.
ROUNDING = 1e-11

#: What is compared of the two terms' gradients.
PARTS = {"mean": "mean, for A", "noise": "noise, for A", "embedding": "one embedding's, rms"}
LABELS = {
    "scale_1": "null: N(0, I)",
    "scale_0.8": "N(0, 0.8² I)",
    "scale_1.25": "N(0, 1.25² I)",
    "defect_0.1": "weak rank defect",
}
Z95 = 1.959964


# Exact values


def _grid() -> tuple[Real, Real, Real]:
    """Nodes, target and weights of the default Epps-Pulley statistic."""
    ep = EppsPulley()
    target, weight = (a.numpy() for a in gaussian_grid(ep.t_max, ep.n_points, ep.sigma, torch.device("cpu")))
    nodes = ep.t_max / (ep.n_points - 1) * np.arange(1, ep.n_points, dtype=np.float64)
    return nodes.astype(np.float64), target, weight


def flattened_mean(sd: float, rho: float, n: int, num_views: int) -> tuple[float, float, float]:
    """Mean of Epps-Pulley over V N rows in which V views of a sample correlate, and its slopes in sd and rho."""
    t, target, weight = _grid()
    phi = np.exp(-((sd * t) ** 2) / 2)
    alike = np.exp(-((sd * t) ** 2) * (1 - rho))
    others = num_views - 1
    value = num_views * n * (phi - target) ** 2 + 1 + others * alike - num_views * phi**2
    in_sd = -2 * sd * t**2 * (num_views * n * (phi - target) * phi + others * (1 - rho) * alike - num_views * phi**2)
    in_rho = others * (sd * t) ** 2 * alike
    return float((weight * value).sum()), float((weight * in_sd).sum()), float((weight * in_rho).sum())


def _sphere_coordinate() -> tuple[Real, Real]:
    """Nodes and weights of the law of one coordinate of a uniform direction in R^DIM."""
    nodes, weights = special.roots_gegenbauer(64, (DIM - 2) / 2)
    return nodes.astype(np.float64), (weights / weights.sum()).astype(np.float64)


def mean_gradient(scales: Real, n: int) -> Real:
    """Diagonal of E dR/dA at A = diag(scales), all entries 1 but the last, or all equal; the rest of it is 0."""
    last, first = scales[-1], scales[0]
    nodes, weights = _sphere_coordinate()
    squares = nodes**2
    lengths = np.sqrt(first**2 * (1 - squares) + last**2 * squares)
    pull = np.array([flattened_mean(length, 0.0, n, 1)[1] for length in lengths]) / lengths
    diagonal = np.full(DIM, first * (weights * pull * (1 - squares)).sum() / (DIM - 1))
    diagonal[-1] = last * (weights * pull * squares).sum()
    return diagonal


def embedding_square(sd: float, n: int) -> float:
    """E |dR/dz|^2 for one of N embeddings under N(0, sd^2 I), R the mean over NUM_SLICES independent slices.

    dT/dp_i = 2 sum_k w_k t_k D_k(p_i),   D_k(p_i) = 1/N sum_j sin(t_k (p_j - p_i)) + tau_k sin(t_k p_i), so that the
    mean product of two slices at the angle arccos(c) needs E sin sin of normal variables with correlation c alone.
    """
    t, target, weight = _grid()
    phi = np.exp(-((sd * t) ** 2) / 2)
    squares, products = np.add.outer(t**2, t**2), np.multiply.outer(t, t)

    def sines(c: float, variance: float) -> Real:
        low, high = (np.exp(-variance * (squares + sign * 2 * c * products) / 2) for sign in (-1, 1))
        return np.asarray(low - high) / 2

    pairs = (n - 1) / n**2
    own = pairs * (n - 2) * np.outer(phi, phi) + np.outer(target, target)
    own -= (n - 1) / n * (np.outer(phi, target) + np.outer(target, phi))
    factor = 4 * np.outer(weight * t, weight * t)

    def product(c: float) -> float:
        return float((factor * (pairs * sines(c, 2 * sd**2) + own * sines(c, sd**2))).sum())

    different = sum(w * c * product(c) for c, w in zip(*_sphere_coordinate(), strict=True))
    return product(1.0) / NUM_SLICES + (1 - 1 / NUM_SLICES) * different


def prediction_gradients(num_global: int) -> dict[str, float]:
    """Mean values of eq. 5 and 6, and of their gradients' squares and product, in units of one view's scatter."""
    views, local = MANY_VIEWS, MANY_VIEWS - num_global
    # Eq. 6 pulls locals to the centre and the centre to the locals; both equations pull the global views together.
    shared = local * (1 + 1 / num_global) + (local**2 / num_global + local) / num_global
    together, stronger = num_global - 1, 1 + views / num_global
    return {
        "eq. 6": 1 - 2 / views + 1 / num_global,
        "eq. 5": 2 - 2 / views,
        "eq. 6, gradient": 4 / views**2 * (shared + together),
        "eq. 5, gradient": 4 / views**2 * (shared + together * stronger**2),
        "product of gradients": 4 / views**2 * (shared + together * stronger),
    }


# Measurements: a block of replicates gives one number per quantity; those marked as squares are mean squares


def scales_of(kind: str, number: float) -> Real:
    """Diagonal of A."""
    return np.full(DIM, number) if kind == "scale" else np.append(np.ones(DIM - 1), number)


def _views(rng: np.random.Generator, shape: tuple[int, ...], rho: float, num_views: int) -> torch.Tensor:
    """Views of standard normal samples, which correlate; shape (num_views, *shape)."""
    shared, own = rng.standard_normal(shape), rng.standard_normal((num_views, *shape))
    return torch.from_numpy(np.sqrt(rho) * shared + np.sqrt(1 - rho) * own)


def _exact_gradients(kind: str, number: float, n: int) -> dict[str, float]:
    scales = scales_of(kind, number)
    scatter, size = (1 - RHO) / NUM_VIEWS, float(np.linalg.norm(scales))
    square = embedding_square(number, n) / NUM_VIEWS**2 if kind == "scale" else float("nan")
    return {
        "regulariser, mean": float(np.linalg.norm(mean_gradient(scales, n))),
        "regulariser, noise": float("nan"),
        "regulariser, embedding": square,
        "prediction, mean": 2 * scatter * (NUM_VIEWS - 1) * size,
        "prediction, noise": 4 / n * scatter**2 * (NUM_VIEWS - 1) * (DIM + 1) * size**2,
        "prediction, embedding": 4 / (n * NUM_VIEWS) ** 2 * scatter * (NUM_VIEWS - 1) * size**2,
    }


def _gradients(kind: str, number: float, n: int, replicates: int, seed: np.random.SeedSequence) -> dict[str, float]:
    scales = scales_of(kind, number)
    x = _views(np.random.default_rng(seed), (replicates, n, DIM), RHO, NUM_VIEWS)
    generator = seeded_generator(*(int(word) for word in seed.generate_state(2)))
    directions = iid_directions(DIM, NUM_SLICES, generator=generator, dtype=torch.float64)
    a = torch.diag(torch.from_numpy(scales)).repeat(replicates, 1, 1).requires_grad_()
    z = x @ a.mT
    # Sums over the replicates of a loss each, so that a slice of the gradient is that of one replicate.
    losses = {
        "regulariser": SIGReg(EppsPulley(), NUM_SLICES)(z.flatten(0, 1), generator, directions=directions),
        "prediction": prediction_loss(z.flatten(1, 2)),
    }
    towards = {"regulariser": mean_gradient(scales, n), "prediction": scales}
    found = {}
    for name, loss in losses.items():
        for_a, for_z = torch.autograd.grad(loss * replicates, [a, z], retain_graph=True)
        unit = torch.from_numpy(towards[name] / np.linalg.norm(towards[name]))
        found[f"{name}, mean"] = float((for_a.diagonal(dim1=1, dim2=2) @ unit).mean())
        found[f"{name}, noise"] = float(for_a.var(0).sum())
        found[f"{name}, embedding"] = float(for_z.square().sum(-1).mean())
    return found


def _exact_views(kind: str, rho: float, n: int) -> dict[str, float]:
    exact: dict[str, float] = {}
    for name, views in (("per view", 1), ("flattened", NUM_VIEWS)):
        value, in_sd, in_rho = flattened_mean(1.0, rho, n, views)
        exact |= {f"{name}, value": value, f"{name}, slope in sd": in_sd, f"{name}, slope in rho": in_rho}
    return exact | {"prediction, slope in rho": -(1 - 1 / NUM_VIEWS)}


def _correlated_views(kind: str, rho: float, n: int, replicates: int, seed: np.random.SeedSequence) -> dict[str, float]:
    # Each coordinate is a replicate in one dimension, and its own slice.
    rng = np.random.default_rng(seed)
    shared = torch.from_numpy(rng.standard_normal((n, replicates)))
    own = torch.from_numpy(rng.standard_normal((NUM_VIEWS, n, replicates)))
    sd, correlation = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (1.0, rho))
    z = sd * (correlation.sqrt() * shared + (1 - correlation).sqrt() * own)
    directions = torch.eye(replicates, dtype=torch.float64)
    found: dict[str, float] = {}
    for name, per_view in (("per view", True), ("flattened", False)):
        regularizer = SIGReg(EppsPulley(), replicates, per_view=per_view)
        value = regularizer(z, torch.Generator(), directions=directions)
        in_sd, in_rho = torch.autograd.grad(value, [sd, correlation], retain_graph=True)
        found |= {f"{name}, value": float(value.detach()), f"{name}, slope in sd": float(in_sd)}
        found[f"{name}, slope in rho"] = float(in_rho)
    (in_rho,) = torch.autograd.grad(prediction_loss(z, dimensions="mean"), correlation)
    found["prediction, slope in rho"] = float(in_rho)
    # The square root of rho has no slope at 0.
    return {quantity: v for quantity, v in found.items() if rho > 0 or "rho" not in quantity}


def _exact_equations(kind: str, number: float, n: int) -> dict[str, float]:
    exact = prediction_gradients(int(number))
    lengths = exact["eq. 5, gradient"] * exact["eq. 6, gradient"]
    return exact | {"cosine": exact["product of gradients"] / np.sqrt(lengths)}


def _equations(kind: str, number: float, n: int, replicates: int, seed: np.random.SeedSequence) -> dict[str, float]:
    count, unit = replicates * n, DIM * (1 - RHO)
    z = _views(np.random.default_rng(seed), (count, DIM), RHO, MANY_VIEWS).requires_grad_()
    values, gradients = {}, {}
    for name, prediction in (("eq. 5", "pairwise"), ("eq. 6", "centroid")):
        value = prediction_loss(z, int(number), prediction=prediction)  # type: ignore[arg-type]
        (gradients[name],) = torch.autograd.grad(value, z)
        values[name] = float(value.detach())
    squares = {name: float(g.square().sum()) for name, g in gradients.items()}
    product = float((gradients["eq. 5"] * gradients["eq. 6"]).sum())
    first = z.detach()[: int(number)]
    scatter = float((first - first.mean(0)).square().sum(-1).mean())
    found = {name: value / unit for name, value in values.items()}
    found |= {f"{name}, gradient": square * count / unit for name, square in squares.items()}
    found["product of gradients"] = product * count / unit
    found["cosine"] = product / np.sqrt(squares["eq. 5"] * squares["eq. 6"])
    found["rounding: eq. 5 less eq. 6 and scatter"] = abs(values["eq. 5"] - values["eq. 6"] - scatter) / values["eq. 5"]
    if int(number) == MANY_VIEWS:
        found["rounding: eq. 5 less twice eq. 6"] = abs(values["eq. 5"] - 2 * values["eq. 6"]) / values["eq. 5"]
        difference = gradients["eq. 5"] - 2 * gradients["eq. 6"]
        found["rounding: gradients of the same"] = float(difference.norm() / gradients["eq. 5"].norm())
    return found


class WithoutFactor(Regularizer):
    """A regulariser that carries the factor N, without it."""

    def __init__(self, regularizer: Regularizer) -> None:
        super().__init__()
        self.regularizer = regularizer

    def _value(self, z: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        value: torch.Tensor = self.regularizer(z, generator) / z.shape[-2]
        return value


def _conversion(kind: str, number: float, n: int, replicates: int, seed: np.random.SeedSequence) -> dict[str, float]:
    """The largest distance of two gradients of unit length, over all pairs of ways to write the loss."""
    z = 1.3 * _views(np.random.default_rng(seed), (n, DIM), RHO, NUM_VIEWS) + 0.2
    z.requires_grad_()
    sigreg = SIGReg(EppsPulley(), NUM_SLICES)

    def gradient(form: str, dimensions: str, factor: int, lam: float) -> torch.Tensor:
        regularizer = sigreg if factor == n else WithoutFactor(sigreg)
        loss = LeJEPALoss(regularizer, lam, form=form, dimensions=dimensions)  # type: ignore[arg-type]
        (found,) = torch.autograd.grad(loss(z, seeded_generator(0)).total, z)
        return found / found.norm()

    worst = 0.0
    ways = list(itertools.product(("convex", "additive"), ("sum", "mean"), (1, n)))
    for first, second, lam in itertools.product(ways, ways, (0.02, 0.5)):
        form, dimensions, factors = zip(first, second, strict=True)
        other = convert_lambda(lam, form=form, dimensions=dimensions, dim=DIM, num_samples=factors)  # type: ignore[arg-type]
        worst = max(worst, float((gradient(*first, lam) - gradient(*second, other)).norm()))
    return {"rounding: gradients after conversion": worst}


Block = Callable[[str, float, int, int, np.random.SeedSequence], dict[str, float]]
Exact = Callable[[str, float, int], dict[str, float]]
KINDS: dict[str, tuple[Block, Exact]] = {
    "scale": (_gradients, _exact_gradients),
    "defect": (_gradients, _exact_gradients),
    "rho": (_correlated_views, _exact_views),
    "global": (_equations, _exact_equations),
    "conversion": (_conversion, lambda kind, number, n: {}),
}


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    kind, _, number = str(cell["setting"]).partition("_")
    block, exactly = KINDS[kind]
    arguments = (kind, float(number or 0), int(cell["n"]))
    samples = settings["samples" if kind in ("scale", "defect") else "samples_elsewhere"]
    replicates = max(settings["least_replicates"], samples // int(cell["n"]))
    blocks = [block(*arguments, replicates, child) for child in seed.spawn(1 if number == "" else settings["blocks"])]
    exact = exactly(*arguments)
    rows = []
    for quantity in blocks[0]:
        values = np.array([found[quantity] for found in blocks])
        # What is equal but for rounding is not averaged: the worst case counts.
        rounding = quantity.startswith("rounding")
        rows.append(
            {
                "quantity": quantity,
                "blocks": len(values),
                "mean": values.max() if rounding else values.mean(),
                "standard_error": 0.0 if rounding else values.std(ddof=1) / np.sqrt(len(values)),
                "exact": 0.0 if rounding else exact[quantity],
            }
        )
    return rows


# Estimates


def summarize(rows: pd.DataFrame, settings: Config) -> pd.DataFrame:
    """Values with 95% intervals (mean squares become root mean squares), ratios of the two terms, their exponents."""
    summary = rows[["setting", "n", "quantity", "blocks"]].copy()
    half = stats.t.ppf(0.975, np.maximum(rows["blocks"] - 1, 1)) * rows["standard_error"]
    summary["value"], summary["low"], summary["high"] = rows["mean"], rows["mean"] - half, rows["mean"] + half
    summary["exact"] = rows["exact"]
    uncertain = rows["standard_error"].where(rows["standard_error"] > 0)
    summary["deviation"] = (rows["mean"] - rows["exact"]) / uncertain
    root = rows["quantity"].str.endswith(("noise", "embedding"))
    for column in ("value", "low", "high", "exact"):
        summary.loc[root, column] = np.sqrt(summary.loc[root, column].clip(lower=0))
    ratios = _ratios(summary)
    return pd.concat([summary, ratios, _exponents(ratios)], ignore_index=True)


def _ratios(summary: pd.DataFrame) -> pd.DataFrame:
    """Regulariser (measured) to prediction loss (exact), part by part of the gradient."""
    found = []
    cells = summary.set_index(["setting", "n", "quantity"])
    for setting, n, part in itertools.product(*(summary[c].unique() for c in ("setting", "n")), PARTS):
        if (setting, n, f"regulariser, {part}") in cells.index:
            regularizer = cells.loc[(setting, n, f"regulariser, {part}")]
            prediction = cells.loc[(setting, n, f"prediction, {part}"), "exact"]
            columns = ["value", "low", "high", "exact"]
            row = {"setting": setting, "n": n, "quantity": f"ratio, {part}", "blocks": regularizer["blocks"]}
            found.append(row | (regularizer[columns] / prediction).to_dict())
    return pd.DataFrame(found)


def _exponents(ratios: pd.DataFrame) -> pd.DataFrame:
    """Slopes of log ratio on log N by least squares, each N counting alike; the same for the exact ratios."""
    found = []
    for (setting, quantity), cells in ratios.groupby(["setting", "quantity"], sort=False):
        cells = cells[cells["low"] > 0]  # a mean that noise hides has no logarithm
        if len(cells) < 2:
            continue
        slope, error = exponent(cells["n"], cells["value"], (cells["high"] - cells["low"]) / (2 * Z95 * cells["value"]))
        exact, _ = exponent(cells["n"], cells["exact"])
        row = {"setting": setting, "n": 0, "quantity": str(quantity).replace("ratio", "exponent")}
        found.append(row | {"value": slope, "low": slope - Z95 * error, "high": slope + Z95 * error, "exact": exact})
    return pd.DataFrame(found)


def verify(summary: pd.DataFrame) -> list[str]:
    """All exactly known means within a family-wise 99.9% Student limit; identities hold to rounding."""
    known = summary[summary["deviation"].notna()]
    limits = stats.t.ppf(1 - FAMILY / (2 * max(1, len(known))), known["blocks"] - 1)
    complaints = [
        f"{row.quantity} ({row.setting}, n = {row.n}) is {row.value:.6g}, not {row.exact:.6g} "
        f"({row.deviation:+.1f} standard errors)"
        for row in known[known["deviation"].abs() > limits].itertuples()
    ]
    rounding = summary[summary["quantity"].str.startswith("rounding")]
    return complaints + [
        f"{row.quantity} ({row.setting}): relative error {row.value:.1e}"
        for row in rounding[~(rounding["value"] <= ROUNDING)].itertuples()
    ]


# Figures and report


@themed()
def figures(summary: pd.DataFrame) -> dict[str, Figure]:
    return {"batch_size": _batch_size_figure(summary), "views_and_equations": _views_figure(summary)}


def _batch_size_figure(summary: pd.DataFrame) -> Figure:
    colours = palette(list(LABELS))
    figure = new_figure(10.0, 4.0)
    axes = figure.subplots(1, len(PARTS))
    for axis, (part, text), power in zip(axes, PARTS.items(), (1.0, 1.0, 0.5), strict=True):
        cells = summary[summary["quantity"] == f"ratio, {part}"]
        for setting in (name for name in LABELS if name in set(cells["setting"])):
            row = cells[cells["setting"] == setting]
            colour = colours[setting]
            line = row["exact"] if row["exact"].notna().all() else row["value"]
            axis.plot(row["n"], line, lw=1.4, color=colour)
            error_bars(axis, row["n"], row, "value", fmt="o", ms=4, color=colour, label=LABELS[setting])
        sizes = np.array(sorted(cells["n"].unique()), dtype=float)
        least = cells.loc[cells["low"] > 0, "low"].min() / 2
        axis.plot(sizes, least * (sizes / sizes[0]) ** power, color="0.4", lw=1, ls="--")
        axis.set_yscale("log")
        axis.set_ylim(bottom=least / 2)
        log_ticks(axis, sizes.tolist())
        axis.set(title=f"{text} (dashed: {'N' if power == 1 else '√N'})", xlabel="batch size N")
    axes[0].set_ylabel("gradient, regulariser / prediction\n(95% interval)")
    legend_below(figure, axes[0], 4)
    return figure


def _views_figure(summary: pd.DataFrame) -> Figure:
    figure = new_figure(11.5, 3.8)
    figure.set_layout_engine("constrained", wspace=0.06)
    left, middle, right = figure.subplots(1, 3)
    number = summary["setting"].str.partition("_")[2]
    colours = palette(["per view", "flattened", "cosine", "ratio"])
    for axis, quantity in ((left, "value"), (middle, "slope in rho")):
        for name in ("per view", "flattened"):
            row = summary[summary["quantity"] == f"{name}, {quantity}"]
            rho = number[row.index].astype(float)
            error_bars(axis, rho, row, "value", fmt="o", ms=4, color=colours[name], label=name)
            axis.plot(rho, row["exact"], lw=1.2, color=colours[name])
        axis.set(xlabel="correlation ρ of two views (lines: exact)", xlim=(-0.05, 1.05))
    left.set(title=f"{NUM_VIEWS} views, all N(0, 1)", ylabel="mean of Epps-Pulley (95% interval)", ylim=(0, None))
    middle.set(title="what pushes views apart", ylabel="slope of the mean in ρ (95% interval)")
    left.legend(frameon=False)
    for name, text in (("cosine", "cosine of the gradients"), ("ratio", "eq. 5 / eq. 6")):
        if name == "cosine":
            row = summary[summary["quantity"] == "cosine"]
            values, exact = row["value"], row["exact"]
        else:
            first, second = (summary[summary["quantity"] == f"eq. {k}"].reset_index(drop=True) for k in (5, 6))
            values, exact = first["value"] / second["value"], first["exact"] / second["exact"]
            row = summary[summary["quantity"] == "eq. 5"]
        globals_ = number[row.index].astype(int)
        right.plot(globals_, values, "o", ms=4, color=colours[name])
        right.plot(globals_, exact, lw=1.2, color=colours[name], label=text)
    right.set(title=f"eq. 5 and 6, V = {MANY_VIEWS}", xlabel="global views (lines: exact)", ylim=(0, 2.2))
    right.set_ylabel("cosine, or ratio of the values")
    right.set_xticks(sorted(set(number[summary["quantity"] == "cosine"].astype(int))))
    right.legend(frameon=False, loc="lower right")
    return figure


def _text(row: pd.Series, digits: int = 2) -> str:
    return f"{row['value']:.{digits}f} ({row['low']:.{digits}f}, {row['high']:.{digits}f})"


def report(summary: pd.DataFrame) -> str:
    cells = summary.set_index(["setting", "n", "quantity"]).sort_index()
    lines = [*_views_lines(summary, cells), *_batch_lines(cells), *_equation_lines(summary)]
    table = markdown_table(
        ["embeddings", *PARTS.values()],
        [
            [
                LABELS[setting],
                *(
                    _text(row) + ("" if np.isnan(row["exact"]) else f"; exactly {round(row['exact'], 2) + 0:.2f}")
                    for row in (cells.loc[(setting, 0, f"exponent, {part}")] for part in PARTS)
                ),
            ]
            for setting in LABELS
            if (setting, 0, "exponent, mean") in cells.index
        ],
    )
    sizes = sorted(set(summary["n"]) - {0})
    heading = (
        f"Exponent p in: gradient of the regulariser / gradient of the prediction loss ~ N^p, fitted over N = "
        f"{sizes[0]} to {sizes[-1]} (95% interval). Equal weight asks for lambda(N') = lambda(N) (N/N')^p; without the "
        "factor N, p is less by 1:"
    )
    return "\n".join(lines) + f"\n\n{heading}\n\n{table}"


def _views_lines(summary: pd.DataFrame, cells: pd.DataFrame) -> list[str]:
    strongest = summary[summary["quantity"] == "flattened, slope in rho"].sort_values("exact").iloc[-1]
    setting, n = strongest["setting"], strongest["n"]
    rho = setting.partition("_")[2]
    push = cells.loc[(setting, n, "flattened, slope in rho")]
    pull = -cells.loc[(setting, n, "prediction, slope in rho"), "exact"]
    value, apart = cells.loc[(setting, n, "flattened, value")], cells.loc[("rho_0", n, "flattened, value")]
    return [
        f"- Flattened, the regulariser pushes the views of a sample apart: at correlation {rho} it outweighs the "
        f"prediction loss from lambda = {pull / push['value']:.3f} ({pull / push['high']:.3f}, "
        f"{pull / push['low']:.3f}) on; per view it does not push at all.",
        f"- Of {NUM_VIEWS} views with correlation {rho}, all N(0, 1), the flattened regulariser's slope in the "
        f"correlation is {_text(push)}; the prediction loss (mean over coordinates) has {-pull:.2f}: from that lambda "
        f"(of the additive form) on, the views are driven apart. Per view the slope is exactly 0, measured "
        f"{_text(cells.loc[(setting, n, 'per view, slope in rho')], 3)}.",
        f"- The flattened statistic of perfectly Gaussian views is {_text(value)} at correlation {rho}, against "
        f"{_text(apart)} for independent ones and {_text(cells.loc[(setting, n, 'per view, value')])} per view.",
    ]


def _batch_lines(cells: pd.DataFrame) -> list[str]:
    null = {part: cells.loc[("scale_1", 0, f"exponent, {part}")] for part in PARTS}
    away = cells.loc[("scale_0.8", 0, "exponent, mean")] if ("scale_0.8", 0, "exponent, mean") in cells.index else None
    far = f" {_text(away)} for its mean away from the null (sd 0.8), and" if away is not None else ""
    sizes = sorted(set(cells.loc["scale_1"].index.get_level_values(0)) - {0})[-2:]
    before, last = (cells.loc[("scale_1", n, "ratio, noise")] for n in sizes)
    step = np.log(sizes[1] / sizes[0])
    local = np.log(last["value"] / before["value"]) / step
    half = np.hypot(*((row["high"] - row["low"]) / (2 * row["value"]) for row in (before, last))) / step
    return [
        "- No single rule carries a lambda from one batch size to another. With the factor N, the regulariser's weight "
        f"against the prediction loss grows like N to the power of{far} at the null of {_text(null['noise'])} for the "
        f"noise of the parameters' gradient ({local:.2f} ({local - half:.2f}, {local + half:.2f}) between N = "
        f"{sizes[0]} and {sizes[1]}), {_text(null['embedding'])} for the gradient of one embedding, and "
        f"{_text(null['mean'])} for the mean, where only the V-statistic's bias is left.",
    ]


def _equation_lines(summary: pd.DataFrame) -> list[str]:
    lines = []
    rounding = summary[summary["quantity"].str.startswith("rounding")]
    two = summary[summary["setting"] == "global_2"].set_index("quantity")
    if len(two):
        fifth, sixth, cosine = (_text(two.loc[quantity], 3) for quantity in ("eq. 5", "eq. 6", "cosine"))
        lines.append(
            f"- Eq. 5 is not eq. 6: with 2 of {MANY_VIEWS} views global, eq. 5 is {fifth} and eq. 6 {sixth} times "
            f"the variance of a view about its sample, and the cosine of their gradients is {cosine}: no lambda makes "
            "up for that. With all views global eq. 5 is twice eq. 6, to rounding, in value and gradient."
        )
    lines.append(
        "- The two forms, the sum or mean over coordinates and the factor N make no difference but that of lambda's "
        "unit: converted lambdas give gradients of the same direction "
        f"(largest relative error {rounding['value'].max():.0e})."
    )
    return lines


def _keep(cell: Cell, settings: Config) -> bool:
    """The batch size varies for the balance of the two terms alone."""
    return cell["setting"] in BATCH or cell["n"] == settings["n_elsewhere"]


def _preset(setting: list[str], n: list[int], n_elsewhere: int, blocks: int, samples: int) -> Config:
    return {
        "setting": setting,
        "n": n,
        "n_elsewhere": n_elsewhere,
        "blocks": blocks,
        "samples": samples,
        "samples_elsewhere": 4 * samples,
        "least_replicates": 4,
    }


STUDY = Study(
    name="batch_size_and_lambda",
    title="Batch size and lambda",
    question="Which lambda at another batch size, number of views or notation weighs the two terms as before?",
    expectation="lambda ~ 1/N, because the statistic carries N; flattened views V times stronger and nothing else; eq. "
    "5 and eq. 6 differ by a factor 2 where all views are global; converted lambdas agree to rounding.",
    seed=20251120,
    axes=("setting", "n"),
    presets={
        "smoke": _preset(["scale_1", "rho_0", "rho_0.9", "global_2", "global_10", "conversion"], [16, 64], 64, 8, 256),
        "quick": _preset([*BATCH, *VIEWS, *EQUATIONS, "conversion"], [16, 64, 256], 64, 20, 1_024),
        "standard": _preset([*BATCH, *VIEWS, *EQUATIONS, "conversion"], [16, 64, 256, 1024, 4096], 256, 40, 8_192),
        "paper": _preset(
            [*BATCH, *VIEWS, *EQUATIONS, "conversion"],
            [16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 16384],
            256,
            100,
            65_536,
        ),
    },
    measure=measure,
    summarize=summarize,
    verify=verify,
    figures=figures,
    report=report,
    keep=_keep,
)
