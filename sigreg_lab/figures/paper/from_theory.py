"""Figures that follow from theory, or from a seed alone."""

from typing import Any

import numpy as np

from sigreg_lab import alternatives
from sigreg_lab.figures.paper.parts import COLUMN, WIDE, Drawing
from sigreg_lab.figures.paper.sources import Sources
from sigreg_lab.figures.theme import new_figure, palette
from sigreg_lab.names import label
from sigreg_lab.theory.linear_fits import least_squares, least_squares_covariance, logistic
from sigreg_lab.theory.probes import spectrum
from sigreg_lab.theory.sphere import log_bound, smooth_field

#: Embeddings of the plane of one total variance, by name.
CONDITION = 16
EMBEDDINGS = {"isotropic": spectrum(2, 1), f"anisotropic, condition {CONDITION}": spectrum(2, CONDITION)}
TRUTH = np.array([1.0, 1.0])
SAMPLES, REFITS, NOISE = 100, 60, 1.0
INSIDE_95 = 5.991465  # chi-squared, two degrees of freedom
ANGLES = 10
STATISTICS = ["epps_pulley", "anderson_darling", "cramer_von_mises", "extended_jarque_bera", "vcreg", "mean_std"]
SMOOTHNESS = (1.0, 2.0, 3.0, 5.0)


def decision_boundaries(sources: Sources) -> Drawing:
    """Logistic regression refitted: one sample, and the boundaries of all."""
    rng = np.random.default_rng(sources.seed)
    figure = new_figure(COLUMN, 2.0)
    colours = palette(["0", "1", "line"])
    spreads = []
    for axis, (name, eigenvalues) in zip(figure.subplots(1, 2, sharey=True), EMBEDDINGS.items(), strict=True):
        x = rng.standard_normal((SAMPLES, 2)) * np.sqrt(eigenvalues)
        labels = rng.random(SAMPLES) < 1 / (1 + np.exp(-x @ TRUTH))
        for value in (0, 1):
            part = x[labels == value]
            axis.scatter(*part.T, s=5, lw=0, color=colours[str(value)], marker="os"[value], zorder=3)
        fits = logistic(rng, eigenvalues, TRUTH, n=SAMPLES, replicates=REFITS)
        along = np.array([-9.0, 9.0])
        for a, b, c in fits:  # the line a x + b y + c = 0, by its foot and its direction
            foot, way = -c * np.array([a, b]) / (a**2 + b**2), np.array([-b, a]) / np.hypot(a, b)
            axis.plot(*(foot[:, None] + way[:, None] * along), color=colours["line"], lw=0.5, alpha=0.45)
        spreads.append(np.degrees(np.std(np.arctan2(fits[:, 1], fits[:, 0]), ddof=1)))
        axis.set(xlim=(-4, 4), ylim=(-4, 4), aspect="equal", xticks=(-2, 0, 2), yticks=(-2, 0, 2))
        axis.set_xlabel("first coordinate")
        axis.set_title(name)
    figure.axes[0].set_ylabel("second coordinate")
    return Drawing(
        figure,
        f"Logistic regression without penalty, refitted on {REFITS} samples of N = {SAMPLES}, K = 2; both embeddings "
        f"have total variance 2. The boundary's angle varies by {spreads[0]:.1f}° (isotropic) and {spreads[1]:.1f}° "
        f"(condition {CONDITION}), standard deviations over refits.",
    )


def least_squares_estimates(sources: Sources) -> Drawing:
    """Least squares refitted: the weights, and the ellipse that holds 95% of them if they were normal."""
    rng = np.random.default_rng(sources.seed)
    figure = new_figure(COLUMN, 2.0)
    colour = palette(["points"])["points"]
    around = np.linspace(0, 2 * np.pi, 200)
    totals = []
    for axis, (name, eigenvalues) in zip(figure.subplots(1, 2, sharey=True), EMBEDDINGS.items(), strict=True):
        weights = least_squares(rng, eigenvalues, TRUTH, n=SAMPLES, noise=NOISE, replicates=400)
        variances = np.diag(least_squares_covariance(eigenvalues, n=SAMPLES, noise=NOISE))
        axis.scatter(*weights.T, s=3, lw=0, alpha=0.6, color=colour)
        ring = TRUTH[:, None] + np.sqrt(INSIDE_95 * variances)[:, None] * np.stack([np.cos(around), np.sin(around)])
        axis.plot(*ring, color="0.15", lw=0.9)
        axis.plot(*TRUTH, "+", color="0.15", ms=6)
        axis.set(xlim=(-0.2, 2.2), ylim=(-0.2, 2.2), aspect="equal", xlabel="first weight")
        axis.set_title(name)
        totals.append(variances.sum())
    figure.axes[0].set_ylabel("second weight")
    return Drawing(
        figure,
        f"Weights of least squares on 400 samples of N = {SAMPLES}, K = 2, noise 1; cross: the true weights; ellipse: "
        f"95% by the exact covariance. The exact total variance is {totals[0]:.4f} (isotropic) and {totals[1]:.4f} "
        f"(condition {CONDITION}). Weights alone: the error of predictions is the same (study `probe_risk`).",
    )


def densities_on_the_sphere(sources: Sources) -> Drawing:
    """One draw of the coefficients, of four smoothnesses, on the northern half."""
    theta, phi = np.linspace(0, np.pi, 241), np.linspace(0, 2 * np.pi, 361)
    north = theta <= np.pi / 2
    x, y = np.sin(theta[north])[:, None] * np.cos(phi), np.sin(theta[north])[:, None] * np.sin(phi)
    figure = new_figure(WIDE, 1.75)
    axes = figure.subplots(1, len(SMOOTHNESS))
    for axis, alpha in zip(axes, SMOOTHNESS, strict=True):
        field = smooth_field(np.random.default_rng(sources.seed), alpha, theta, phi)
        density = 1 + field / np.abs(field).max()
        mesh = axis.pcolormesh(x, y, density[north], shading="gouraud", vmin=0, vmax=2, cmap="viridis", rasterized=True)
        axis.set_aspect("equal")
        axis.axis("off")
        axis.set_title(f"α = {alpha:g}", loc="center")
    figure.colorbar(mesh, ax=axes, label="density / uniform", fraction=0.02, pad=0.01, ticks=[0, 1, 2])
    return Drawing(
        figure,
        "Densities 1 + f/max|f| on the sphere of three dimensions, one half seen from above. f is a Gaussian field "
        "whose coefficients of degree l have variance (l(l+1))^-(α+1), up to degree 40: one draw, smoothed more from "
        "left to right.",
    )


def x_by_directions(sources: Sources) -> Drawing:
    """The 'X', its projections on ten directions, and each statistic over its 5% critical value."""
    import torch
    from scipy import stats

    from sigreg_lab import univariate

    table = sources.rows("power")
    thresholds = table[table["alternative"] == "null"]
    n = int(thresholds["n"].max())
    thresholds = thresholds[thresholds["n"] == n].set_index("statistic")["critical_value"]
    x = alternatives.MULTIVARIATE["x"](2).sample(np.random.default_rng(sources.seed), n)
    angle = (np.arange(ANGLES) + 0.5) * np.pi / ANGLES  # holds both arms of the X
    directions = np.stack([np.cos(angle), np.sin(angle)])
    projected = x @ directions
    figure = new_figure(WIDE, 2.5)
    cloud, ridges, values = figure.subplots(1, 3, width_ratios=(1, 0.9, 1.5))
    colours = palette(STATISTICS)

    cloud.scatter(*x.T, s=2, lw=0, alpha=0.5, color=colours[STATISTICS[0]])
    for a, way in zip(angle, directions.T, strict=True):
        cloud.annotate(
            "", 3.1 * way, (0, 0), arrowprops={"arrowstyle": "-|>", "lw": 0.5, "color": "0.25", "mutation_scale": 5}
        )
        cloud.text(*(3.85 * way), f"{np.degrees(a):.0f}°", ha="center", va="center", size=6, color="0.25")
    cloud.set(xlim=(-4.6, 4.6), ylim=(-4.6, 4.6), aspect="equal", xlabel="first coordinate", ylabel="second coordinate")

    edges = np.linspace(-4, 4, 41)
    middle = (edges[1:] + edges[:-1]) / 2
    for place in range(ANGLES):
        counts = np.histogram(projected[:, place], edges, density=True)[0]
        height = np.minimum(1.6 * counts, 1.6)
        ridges.fill_between(
            middle,
            place,
            place + height,
            step="mid",
            color=colours[STATISTICS[0]],
            alpha=0.6,
            lw=0,
            zorder=2 * ANGLES - 2 * place,
        )
        ridges.plot(
            middle, place + 1.6 * stats.norm.pdf(middle), color="0.15", lw=0.6, zorder=2 * ANGLES - 2 * place + 1
        )
    ridges.set_yticks(range(ANGLES), [f"{a:.0f}°" for a in np.degrees(angle)])
    ridges.set(xlabel="projection", ylim=(-0.2, ANGLES + 0.8))
    ridges.grid(visible=False)

    for name, marker in zip(STATISTICS, "osD^vP", strict=True):
        found = univariate.REGISTRY[name]()(torch.from_numpy(projected)).numpy() / float(thresholds[name])
        values.plot(np.degrees(angle), found, marker=marker, ms=3, lw=1, color=colours[name], label=label(name))
    values.axhline(1, color="0.3", lw=0.8, ls="--", label="5% critical value")
    values.set(yscale="log", xlabel="angle of the direction", ylabel="statistic / its 5% critical value")
    values.set_xticks(range(0, 181, 45), [f"{a}°" for a in range(0, 181, 45)])
    figure.legend(*values.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return Drawing(
        figure,
        f"N = {n} points of the 'X' in the plane: marginals N(0, 1), covariance I. Middle: histograms of the "
        "projections (cut at 1), line: N(0, 1). Right: each statistic over its 5% critical value, which is that of "
        "study `power`.",
    )


def bound_constant(sources: Sources) -> Drawing:
    """Theorem 5's constant over alpha, and its bound over M."""
    figure = new_figure(WIDE, 2.1)
    constant, bound = figure.subplots(1, 2)
    alpha = np.geomspace(0.25, 256, 200)
    dims = (3, 16, 64, 512)
    colours = palette([str(k) for k in dims])
    for dim, style in zip(dims, ("-", "--", "-.", ":"), strict=True):
        constant.plot(alpha, log_bound(alpha, dim) / np.log(10), style, color=colours[str(dim)], label=f"K = {dim}")
    constant.set_xscale("log")
    constant.set(xlabel="smoothness α", ylabel="log₁₀ C(K, α)")
    constant.legend(frameon=False)
    slices = np.geomspace(1, 1e6, 50)
    orders, dim = (1, 4, 16, 64), 16
    shades = palette([str(a) for a in orders])
    for order, style in zip(orders, ("-", "--", "-.", ":"), strict=True):
        line = [float(log_bound(order, dim, m)) / np.log(10) for m in slices]
        bound.plot(slices, line, style, color=shades[str(order)], label=f"α = {order}")
    bound.axhline(0, color="0.3", lw=0.6)
    bound.set_xscale("log")
    bound.set(xlabel=f"slices M (K = {dim})", ylabel="log₁₀ of C(K, α) M^(-2α/(K-1))")
    bound.legend(frameon=False, ncols=2)
    needed = {k: _slices_needed(k, 4.0) for k in (16, 512)}
    return Drawing(
        figure,
        "Theorem 5's factor before the Sobolev norm, as printed, in closed form. At α = 4 it falls below 1 from M = "
        f"{needed[16]} slices on at K = 16, and from M = {needed[512]} at K = 512.",
    )


def _slices_needed(dim: int, alpha: float) -> str:
    """Slices at which the factor is 1, as a power of ten."""
    power: Any = float(log_bound(alpha, dim)) * (dim - 1) / (2 * alpha) / np.log(10)
    return f"10^{power:.1f}" if power < 100 else f"10^{power:,.0f}"
