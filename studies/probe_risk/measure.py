"""Lemmas 1 and 2 and Theorem 1 of the LeJEPA paper: is an isotropic Gaussian embedding the best one for a probe?

Laws and closed forms are in ``theory.probes``. What is measured, by part:

  linear     Least squares on Gaussian and other designs, labels with noise of variance 1.
  bias       Integrated squared bias of k-NN in a radius r and of Nadaraya-Watson with N(0, h^2 I), in the limit of many
             samples, over random tasks. The bias is that of draws around the query, in pairs z and -z weighted by p;
             the product of two halves has no noise bias.
  risk       Squared error of both probes on n samples with label noise, at the best of several h (chosen on other
             replicates). Queries are new samples; a query without neighbours is given the mean label. Tasks are drawn
             in the embedding, or in the data: the same labels for every covariance, w ~ N(0, Sigma^-1/l^2). And the
             variance of the kernel probe at one h, the mean of sum w_i^2/(sum w_i)^2 over queries.
"""

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from sigreg_lab.alternatives import MULTIVARIATE
from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.theory.probes import ROTATED, Law, kernel_bias, laws

Array = NDArray[np.float64]

DESIGN = 32  # samples in a linear fit
STEPS = (1 / 32, 1 / 16, 1 / 8, 1 / 4)  # bandwidths h of the part "bias"; the first three give the exponent
PAIRS = 64  # draws around a query
BATCHES = 20
WIDTHS = tuple(2.0 ** np.arange(-4, 2.5, 0.5))  # bandwidths h to choose from
FIXED = WIDTHS.index(0.5)  # that of the variance
NOISES = (0.25, 1.0)
TARGETS, QUERIES = 32, 256
PROBES = ("knn", "kernel")
PRIORS = ("embedding", "data")  # where the tasks are drawn


def _row(
    quantity: str, law: str, values: Array, base: Array | None = None, exact: float = math.nan, **axes: str | float
) -> Row:
    """A mean over independent values, or its ratio to that of ``base`` over the same replicates, linearised."""
    scale = 1.0 if base is None else float(base.mean())
    mean = float(values.mean()) / scale
    error = float((values if base is None else values - mean * base).std(ddof=1)) / math.sqrt(len(values)) / scale
    return {"quantity": quantity, "law": law, **axes, "estimate": mean, "standard_error": error, "count": len(values),
            "exact": exact}  # fmt: skip


def _linear(dim: int, length: float, settings: Config, rng: np.random.Generator) -> list[Row]:
    atoms = {name: Law(MULTIVARIATE[key](dim).sample, np.zeros_like, math.inf, np.eye(dim))
             for name, key in (("vertices of a cube", "vertices"), ("sphere", "sphere"))}  # fmt: skip
    errors: dict[str, tuple[Array, Array]] = {}
    rows = []
    for name, law in (laws(dim) | atoms).items():
        x = law.sample(rng, (settings["fits"], DESIGN))
        moved = np.einsum("rni,rn->ri", x, rng.standard_normal(x.shape[:2]))
        error = np.linalg.solve(np.einsum("rni,rnj->rij", x, x), moved[..., None])[..., 0]
        errors[name] = (error**2).sum(1), np.einsum("ri,ij,rj->r", error, law.covariance, error)
        if name == "Gaussian":
            exact = law.fisher / (DESIGN - dim - 1)
            rows.append(_row("OLS variance of weights", name, errors[name][0], exact=exact))
            continue
        known = (1.0, 1.0) if name == ROTATED else (law.fisher / dim, 1.0) if _normal(name) else (math.nan, math.nan)
        quantities = ("ratio: OLS variance of weights", "ratio: OLS error of predictions")
        for quantity, values, base, exact in zip(quantities, errors[name], errors[_other(name)], known, strict=True):
            rows.append(_row(quantity, name, values, base, exact))
    return rows


def _normal(name: str) -> bool:
    return name.startswith(("Gaussian", "condition"))


def _other(name: str) -> str:
    """The law that a law is compared with: the isotropic Gaussian, but for one that must not differ from its own."""
    return "condition 16" if name == ROTATED else "Gaussian"


def population_bias(law: Law, x: Array, w: Array, z: Array) -> Array:
    """Product of two estimates of the bias of the task of frequency w at x, from halves of the pairs x + z, x - z.

    The mean over the phase b of 2 Re(A e^{ib}) Re(B e^{ib}) is Re(A conj B).
    """
    centre = law.log_density(x)[:, None]
    ahead, behind = (np.exp(law.log_density(x[:, None] + sign * z) - centre) for sign in (1, -1))
    angle = np.einsum("qmi,qi->qm", z, w)
    real, imaginary = (ahead + behind) * -2 * np.sin(angle / 2) ** 2, (ahead - behind) * np.sin(angle)
    half = z.shape[1] // 2
    a, b = (
        (real[:, part] + 1j * imaginary[:, part]).sum(1) / np.maximum((ahead + behind)[:, part].sum(1), 1e-300)
        for part in (slice(0, half), slice(half, None))
    )
    return np.asarray((a * b.conj()).real)


def exponents(scaled: Array) -> Array:
    """Jackknife pseudo-values, over batches of queries, of the exponent of h in h^4 times the mean of ``scaled``."""
    batches = np.array([part.mean(1) for part in np.array_split(scaled, BATCHES, axis=1)])
    others = (batches.sum(0) - batches) / (BATCHES - 1)
    means = np.maximum(np.concatenate([batches.mean(0, keepdims=True), others]), 1e-12)
    slopes = 4 + np.polyfit(np.log(STEPS[:3]), np.log(means).T, 1)[0]
    return np.asarray(BATCHES * slopes[0] - (BATCHES - 1) * slopes[1:])


def _bias(dim: int, length: float, settings: Config, rng: np.random.Generator) -> list[Row]:
    queries = settings["bias_queries"]
    rows = []
    for (name, law), probe in itertools.product(laws(dim).items(), PROBES):
        x = law.sample(rng, (queries,))
        w = rng.standard_normal((queries, dim)) / length
        z = rng.standard_normal((queries, PAIRS, dim))
        if probe == "knn":  # uniform in the ball of radius sqrt(K + 2), where it has covariance I
            z *= rng.random((queries, PAIRS, 1)) ** (1 / dim) / np.linalg.norm(z, axis=2, keepdims=True)
            z *= math.sqrt(dim + 2)
        found = np.array([population_bias(law, x, w, step * z) / step**4 for step in STEPS])
        for step, values in zip(STEPS, found, strict=True):
            known = math.nan
            if probe == "kernel" and _normal(name) and step <= STEPS[2]:
                known = kernel_bias(np.linalg.eigvalsh(law.covariance).astype(np.float64), step, length) / step**4
            rows.append(_row("bias", name, values, exact=known, at=step, probe=probe))
        rows.append(_row("exponent", name, exponents(found[:3]), probe=probe))
    return rows


def _inverse_root(matrix: Array) -> Array:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors / np.sqrt(values)) @ vectors.T)


def _tuned(values: Array) -> Array:
    """Replicates x settings: the second half's values at the setting that is best in the first half."""
    half = len(values) // 2
    return values[half:, values[:half].mean(0).argmin()]


def _risk(dim: int, length: float, settings: Config, rng: np.random.Generator) -> list[Row]:
    rows, family = [], laws(dim)
    whitening = {name: _inverse_root(law.covariance) for name, law in family.items()}
    for n in settings["n"]:
        drawn: dict[str, list[tuple[Array, float]]] = {name: [] for name in family}
        for _ in range(settings["replicates"]):
            w = rng.standard_normal((dim, TARGETS)) / length
            phase = rng.uniform(0, 2 * math.pi, 2 * TARGETS)
            for name, law in family.items():
                x, query = law.sample(rng, (n,)), law.sample(rng, (QUERIES,))
                both = np.concatenate([w, whitening[name] @ w], axis=1)
                drawn[name].append(
                    probe_risks(x, query, *(math.sqrt(2) * np.cos(v @ both + phase) for v in (x, query)))
                )
        variances = {name: np.array([variance for _, variance in pairs]) for name, pairs in drawn.items()}
        risks = {name: np.array([risk for risk, _ in pairs]) for name, pairs in drawn.items()}
        for name in (name for name in family if name != "Gaussian"):
            known, other = (1.0 if name == ROTATED else math.nan), _other(name)
            rows.append(_row("variance ratio", name, variances[name], variances[other], known, n=n, probe="kernel"))
            for (i, prior), (j, noise), (k, probe) in itertools.product(*map(enumerate, (PRIORS, NOISES, PROBES))):
                tuned, base = (_tuned(risks[one][:, i, j, k]) for one in (name, other))
                place = {"n": n, "prior": prior, "noise": noise, "probe": probe}
                rows.append(_row("error ratio", name, tuned, base, known, **place))
    return rows


def probe_risks(x: Array, query: Array, y: Array, truth: Array) -> tuple[Array, float]:
    """Mean squared error by prior, noise, probe and bandwidth, exact in the noise; the kernel's variance."""
    squared = (query**2).sum(1)[:, None] + (x**2).sum(1) - 2 * query @ x.T
    squared = np.maximum(squared, 0)
    nearest = squared.min(1, keepdims=True)
    risks, variance = np.empty((len(PRIORS), len(NOISES), len(PROBES), len(WIDTHS))), math.nan
    narrowing = np.exp((nearest - squared) / (2 * WIDTHS[-1] ** 2))
    for k in reversed(range(len(WIDTHS))):
        near = (squared <= WIDTHS[k] ** 2 * (x.shape[1] + 2)).astype(float)
        near[~near.any(1)] = 1.0
        for j, weight in enumerate((near, narrowing)):
            total = weight.sum(1, keepdims=True)
            error = ((weight @ y / total - truth) ** 2).reshape(len(query), len(PRIORS), TARGETS).mean((0, 2))
            spread = (np.einsum("qn,qn->q", weight, weight) / total[:, 0] ** 2).mean()
            risks[:, :, j, k] = error[:, None] + np.array(NOISES) ** 2 * spread
            variance = float(spread) if (j, k) == (PROBES.index("kernel"), FIXED) else variance
        narrowing **= 2  # widths go down by sqrt 2
    return risks, variance


PARTS = {"linear": _linear, "bias": _bias, "risk": _risk}


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    return PARTS[str(cell["part"])](int(cell["dim"]), float(cell["length"]), settings, np.random.default_rng(seed))
