"""Lemmas 1 and 2, Theorem 1 and B.14 of the LeJEPA paper: is an isotropic Gaussian embedding the best one for a probe?

Laws and closed forms are in ``theory.probes``. Parts:

  linear     Ridge biases of tasks; fits of least squares and of ridge on Gaussian designs.
  bias       Integrated squared bias of k-NN in a radius r and of Nadaraya-Watson with N(0, h^2 I), in the limit of many
             samples, over random tasks. The bias is that of draws around the query, in pairs z and -z weighted by p;
             the product of two halves has no noise bias.
  fisher     J(p) by its definition, its minima under four constraints by an optimiser, and over all densities.
  risk       Squared error of both probes on n samples with label noise, at the best of several h (chosen on other
             replicates). Queries are new samples; a query without neighbours is given the mean label.
             Tasks are drawn in the embedding, as above, or in the data: the same labels for every covariance,
             w ~ N(0, Sigma^-1/l^2).
  vicreg     B.14: mean^2 + (std - 1)^2 over M slices of a sample, against its exact limit.
"""

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from sigreg_lab.alternatives import MULTIVARIATE
from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.slicing import iid_directions, sliced_statistic
from sigreg_lab.theory.probes import (
    CONDITIONS,
    CONSTRAINTS,
    ROTATED,
    Law,
    crossover,
    kernel_bias,
    kernel_task_bias,
    laws,
    least_fisher,
    least_trace,
    limit_of_slices,
    plane_share,
    ridge_biases,
    spectrum,
)
from sigreg_lab.univariate import REGISTRY

Array = NDArray[np.float64]

RIDGES = (0.1, 1.0, 4.0)  # of the variance of a coordinate
LAMBDAS = (0.25, 1.0, 4.0, 16.0, 64.0, 256.0)
DESIGN = 32  # samples in a linear fit
STEPS = (1 / 32, 1 / 16, 1 / 8, 1 / 4)  # bandwidths h of the part "bias"; the first three give the exponent
PAIRS = 64  # draws around a query
BATCHES = 20
WIDTHS = tuple(2.0 ** np.arange(-4, 2.5, 0.5))  # bandwidths h to choose from
NOISES = (0.25, 1.0)
TARGETS, QUERIES = 32, 256
PROBES = ("knn", "kernel")
PRIORS = ("embedding", "data")  # where the tasks are drawn


def _row(
    quantity: str, law: str, values: Array, *, at: float = math.nan, probe: str = "", exact: float = math.nan
) -> Row:
    """A mean over independent values; a single value is no estimate and has no error."""
    count = len(values)
    error = values.std(ddof=1) / math.sqrt(count) if count > 1 else 0.0
    return _number(quantity, law, float(values.mean()), float(error), count, at=at, probe=probe, exact=exact)


def _number(
    quantity: str, law: str, estimate: float, error: float, count: int,
    *, at: float = math.nan, probe: str = "", exact: float = math.nan,
) -> Row:  # fmt: skip
    row = {"quantity": quantity, "law": law, "probe": probe, "at": at, "exact": exact, "count": count}
    return row | {"estimate": float(f"{estimate:.9g}"), "standard_error": float(f"{error:.5g}")}


def _ratio(
    quantity: str, law: str, values: Array, base: Array,
    *, at: float = math.nan, probe: str = "", exact: float = math.nan,
) -> Row:  # fmt: skip
    """Ratio of two means over the same replicates, its error by linearisation."""
    ratio = values.mean() / base.mean()
    error = (values - ratio * base).std(ddof=1) / math.sqrt(len(base)) / base.mean()
    return _number(quantity, law, float(ratio), float(error), len(base), at=at, probe=probe, exact=exact)


def _wins(quantity: str, law: str, above: NDArray[np.bool_], at: float, exact: float = math.nan) -> Row:
    rate = above.mean()
    error = math.sqrt(rate * (1 - rate) / len(above))
    return _number(quantity, law, float(rate), error, len(above), at=at, exact=exact)


def _inverse_root(matrix: Array) -> Array:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors / np.sqrt(values)) @ vectors.T)


def _tuned(values: Array) -> Array:
    """Replicates x settings: the second half's values at the setting that is best in the first half."""
    half = len(values) // 2
    return values[half:, values[:half].mean(0).argmin()]


def _linear(dim: int, length: float, settings: Config, rng: np.random.Generator) -> list[Row]:
    tasks = rng.standard_normal((settings["tasks"], dim))
    tasks /= np.linalg.norm(tasks, axis=1, keepdims=True)
    rows = []
    for condition in CONDITIONS:
        name, eigenvalues = f"condition {condition}", spectrum(dim, condition)
        for ridge in RIDGES:
            isotropic = (ridge / (1 + ridge)) ** 2
            for criterion, value in ridge_biases(eigenvalues, ridge).items():
                bias = tasks**2 @ value
                known = plane_share(eigenvalues, value, isotropic) if dim == 2 else math.nan
                rows += [
                    _row(
                        f"ridge bias of {criterion}", name, bias / isotropic, at=ridge, exact=value.mean() / isotropic
                    ),
                    _wins(f"isotropic wins, {criterion}", name, bias > isotropic, ridge, known),
                    _row(f"best task, {criterion}", name, np.array([value.min() / isotropic]), at=ridge),
                    _row(f"worst task, {criterion}", name, np.array([value.max() / isotropic]), at=ridge),
                ]
    atoms = {name: Law(MULTIVARIATE[key](dim).sample, np.zeros_like, math.inf, np.eye(dim))
             for name, key in (("vertices of a cube", "vertices"), ("sphere", "sphere"))}  # fmt: skip
    errors: dict[str, dict[str, Array]] = {}
    for name, law in (laws(dim) | atoms).items():
        x = law.sample(rng, (settings["fits"], DESIGN))
        errors[name] = _fits(x, law, tasks[rng.integers(0, len(tasks), len(x))], rng)
        normal = name.startswith(("Gaussian", "condition"))
        expected = {"OLS error on the design": dim / DESIGN}
        if normal:
            expected["OLS variance of weights"] = law.fisher / (DESIGN - dim - 1)
        for quantity, values in errors[name].items():
            rows.append(_row(quantity, name, values, exact=expected.get(quantity, math.nan)))
            if name == ROTATED:
                rows.append(_ratio(f"ratio: {quantity}", name, values, errors["condition 16"][quantity], exact=1.0))
            elif name != "Gaussian":
                same = {"OLS variance of weights": law.fisher / dim, "OLS error of predictions": 1.0} if normal else {}
                ratio = same.get(quantity, math.nan)
                rows.append(_ratio(f"ratio: {quantity}", name, values, errors["Gaussian"][quantity], exact=ratio))
    return rows


def _fits(x: Array, law: Law, unit: Array, rng: np.random.Generator) -> dict[str, Array]:
    """Errors of fitted probes, one per design; labels x'beta + noise of variance 1."""
    noise = rng.standard_normal(x.shape[:2])
    gram = np.einsum("rni,rnj->rij", x, x)
    moved = np.einsum("rni,rn->ri", x, noise)
    eye = np.eye(x.shape[-1])
    error = np.linalg.solve(gram, moved[..., None])[..., 0]
    found = {
        "OLS variance of weights": (error**2).sum(1),
        "OLS error of predictions": np.einsum("ri,ij,rj->r", error, law.covariance, error),
        "OLS error on the design": (np.einsum("rni,ri->rn", x, error) ** 2).mean(1),
    }
    priors = {"weights": unit, "labels": unit @ _inverse_root(law.covariance)}
    inverses = [np.linalg.inv(gram + ridge * eye) for ridge in LAMBDAS]
    for prior, beta in priors.items():
        risks = []
        for ridge, inverse in zip(LAMBDAS, inverses, strict=True):
            error = np.einsum("rij,rj->ri", inverse, moved - ridge * beta)  # of the fit to x beta + noise
            risks.append([(error**2).sum(1), np.einsum("ri,ij,rj->r", error, law.covariance, error)])
        of_weights, of_predictions = np.array(risks).transpose(1, 2, 0)
        found[f"ridge error of weights, random {prior}"] = _tuned(of_weights)
        found[f"ridge error of predictions, random {prior}"] = _tuned(of_predictions)
    return found


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
    for name, law in laws(dim).items():
        normal = name.startswith(("Gaussian", "condition"))
        for probe in PROBES:
            x = law.sample(rng, (queries,))
            w = rng.standard_normal((queries, dim)) / length
            z = rng.standard_normal((queries, PAIRS, dim))
            if probe == "knn":  # uniform in the ball of radius sqrt(K + 2), where it has covariance I
                z *= rng.random((queries, PAIRS, 1)) ** (1 / dim) / np.linalg.norm(z, axis=2, keepdims=True)
                z *= math.sqrt(dim + 2)
            found = np.array([population_bias(law, x, w, step * z) / step**4 for step in STEPS])
            for step, values in zip(STEPS, found, strict=True):
                known = math.nan
                if probe == "kernel" and normal and step <= STEPS[2]:
                    known = kernel_bias(np.linalg.eigvalsh(law.covariance).astype(np.float64), step, length) / step**4
                rows.append(_row("bias", name, values, at=step, probe=probe, exact=known))
            rows.append(_row("exponent", name, exponents(found[:3]), probe=probe))
            if math.isfinite(law.fisher):
                limit = law.fisher / length**2 + dim * (dim + 2) / (4 * length**4)
                rows.append(_row("leading term", name, np.array([limit]), probe=probe))
    w = rng.standard_normal((settings["tasks"], dim)) / length
    for condition in CONDITIONS:
        name, eigenvalues = f"condition {condition}", spectrum(dim, condition)
        rows.append(_row("crossover", name, np.array([crossover(dim, condition, length)])))
        for width in WIDTHS:
            base = kernel_bias(np.ones(dim), width, length)
            ratio = kernel_bias(eigenvalues, width, length) / base
            aniso, iso = (kernel_task_bias(v, width, w) for v in (eigenvalues, np.ones(dim)))
            fixed = kernel_bias(eigenvalues, width, length, data=True) / base
            rows += [
                _row("kernel bias over the isotropic one's", name, np.array([ratio]), at=width),
                _row("kernel bias over the isotropic one's, tasks in the data", name, np.array([fixed]), at=width),
                _wins("isotropic wins, kernel", name, aniso > iso, width),
            ]
    return rows


def _fisher(dim: int, length: float, settings: Config, rng: np.random.Generator) -> list[Row]:
    rows = []
    for name, law in laws(dim).items():
        x = law.sample(rng, (settings["bias_queries"] * 10,))
        step = 1e-6 * np.eye(dim)
        score = np.array([law.log_density(x + e) - law.log_density(x - e) for e in step]) / 2e-6
        score = np.where(np.isfinite(score), score, 0.0)  # an edge within the step: none of the density's interior
        known = law.fisher if math.isfinite(law.fisher) else 0.0
        rows.append(_row("J inside the support", name, (score**2).sum(0), exact=known))
        if name.startswith("condition") and name != ROTATED:
            eigenvalues = np.diag(law.covariance)
            rows += [
                _row(f"J over its minimum, {c}", name, np.array([law.fisher / dim * size(eigenvalues)]))
                for c, size in CONSTRAINTS.items()
            ]
    rows += [
        _row(f"least tr Sigma^-1, {constraint}", "Gaussian", np.array([least_trace(dim, constraint, rng)]), exact=dim)
        for constraint in CONSTRAINTS
    ]
    return [*rows, _row("least J of a coordinate", "all densities", np.array([least_fisher()]), exact=1.0)]


def _risk(dim: int, length: float, settings: Config, rng: np.random.Generator) -> list[Row]:
    rows, family = [], laws(dim)
    whitening = {name: _inverse_root(law.covariance) for name, law in family.items()}
    for n in settings["n"]:
        found: dict[str, Array] = {}  # law -> replicate, noise, probe, width
        empty: dict[str, Array] = {}
        for _ in range(settings["replicates"]):
            w = rng.standard_normal((dim, TARGETS)) / length
            phase = rng.uniform(0, 2 * math.pi, 2 * TARGETS)
            for name, law in family.items():
                x, query = law.sample(rng, (n,)), law.sample(rng, (QUERIES,))
                both = np.concatenate([w, whitening[name] @ w], axis=1)
                risks, share = _probe_risks(x, query, *(math.sqrt(2) * np.cos(v @ both + phase) for v in (x, query)))
                found.setdefault(name, np.empty((0, *risks.shape)))
                empty.setdefault(name, np.empty((0, *share.shape)))
                found[name] = np.concatenate([found[name], risks[None]])
                empty[name] = np.concatenate([empty[name], share[None]])
        half = settings["replicates"] // 2
        for prior, noise, probe in itertools.product(PRIORS, NOISES, PROBES):
            place = PRIORS.index(prior), NOISES.index(noise), PROBES.index(probe)
            tag = f"tasks in the {prior}, n = {n}, noise {noise:g}"
            tuned = {name: _tuned(values[:, *place]) for name, values in found.items()}
            for name, values in found.items():
                best = int(values[:half, *place].mean(0).argmin())
                rows.append(_row(f"error, {tag}", name, tuned[name], probe=probe))
                rows.append(_row(f"best h, {tag}", name, np.array([WIDTHS[best]]), probe=probe))
                if probe == "knn":
                    rows.append(_row(f"empty, {tag}", name, empty[name][half:, best], probe=probe))
                other = "condition 16" if name == ROTATED else "Gaussian"
                if name != other:
                    known = 1.0 if name == ROTATED else math.nan
                    rows.append(
                        _ratio(f"error ratio, {tag}", name, tuned[name], tuned[other], probe=probe, exact=known)
                    )
    return rows


def _probe_risks(x: Array, query: Array, y: Array, truth: Array) -> tuple[Array, Array]:
    """Mean squared error by prior, noise, probe and bandwidth, exact in the noise; share of empty neighbourhoods."""
    squared = (query**2).sum(1)[:, None] + (x**2).sum(1) - 2 * query @ x.T
    squared = np.maximum(squared, 0)
    nearest = squared.min(1, keepdims=True)
    risks, empty = np.empty((len(PRIORS), len(NOISES), len(PROBES), len(WIDTHS))), np.empty(len(WIDTHS))
    narrowing = np.exp((nearest - squared) / (2 * WIDTHS[-1] ** 2))
    for k in reversed(range(len(WIDTHS))):
        alone = nearest[:, 0] > WIDTHS[k] ** 2 * (x.shape[1] + 2)
        empty[k] = alone.mean()
        near = (squared <= WIDTHS[k] ** 2 * (x.shape[1] + 2)).astype(float)
        near[alone] = 1.0
        for j, weight in enumerate((near, narrowing)):
            total = weight.sum(1, keepdims=True)
            error = ((weight @ y / total - truth) ** 2).reshape(len(query), len(PRIORS), TARGETS).mean((0, 2))
            spread = (np.einsum("qn,qn->q", weight, weight) / total[:, 0] ** 2).mean()
            risks[:, :, j, k] = error[:, None] + np.array(NOISES) ** 2 * spread
        narrowing **= 2  # widths go down by sqrt 2
    return risks, empty


def _vicreg(dim: int, length: float, settings: Config, rng: np.random.Generator) -> list[Row]:
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    statistic = REGISTRY["mean_std"]()
    law, repeats = laws(dim)["condition 16"], settings["slice_repeats"]
    rows = []
    for num_slices in settings["num_slices"]:
        values = np.empty(repeats)
        for i in range(repeats):
            x = law.sample(rng, (DESIGN,)) + 0.3
            directions = iid_directions(dim, num_slices, generator=generator, dtype=torch.float64)
            value = float(sliced_statistic(torch.from_numpy(x), statistic, directions))
            values[i] = value - limit_of_slices(x.mean(0), np.cov(x.T))
        rows += [
            _row("slices less their limit", "condition 16", values, at=num_slices, exact=0.0),
            _row("squared distance to the limit", "condition 16", values**2, at=num_slices),
        ]
    correlated = np.eye(dim)
    correlated[0, 1] = correlated[1, 0] = 0.1
    flat = limit_of_slices(np.zeros(dim), correlated) * dim * (dim + 2) / 0.01
    rows.append(_row("one correlation r, in r^2/(K (K + 2))", "", np.array([flat])))
    needed = dim * (dim + 1) // 2
    for num_slices in (needed - 1, needed):
        a = iid_directions(dim, num_slices, generator=generator, dtype=torch.float64).numpy().T
        upper = np.triu_indices(dim)
        rank = np.linalg.matrix_rank((a[:, :, None] * a[:, None, :])[:, *upper])
        rows.append(_row("rank of the constraints on Cov", "", np.array([rank]), at=num_slices, exact=num_slices))
    return rows


PARTS: dict[str, Callable[[int, float, Config, np.random.Generator], list[Row]]] = {
    "linear": _linear,
    "bias": _bias,
    "fisher": _fisher,
    "risk": _risk,
    "vicreg": _vicreg,
}


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    return PARTS[str(cell["part"])](int(cell["dim"]), float(cell["length"]), settings, np.random.default_rng(seed))
