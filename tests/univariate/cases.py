"""Every registered statistic with its defaults, and the variants that run through other code."""

import numpy as np

from sigreg_lab import univariate as u

DEFAULTS = {name: cls() for name, cls in u.REGISTRY.items()}
VARIANTS = {
    "epps_pulley paper grid": u.EppsPulley(t_max=5.0, n_points=9, sigma=1.0),
    "epps_pulley u": u.EppsPulley(estimator="u"),
    "epps_pulley split": u.EppsPulley(estimator="split"),
    "epps_pulley exact": u.EppsPulley(integration="exact"),
    "epps_pulley exact u": u.EppsPulley(integration="exact", sigma=0.7, estimator="u"),
    "epps_pulley exact split": u.EppsPulley(integration="exact", estimator="split"),
    "shapiro_wilk elfving": u.ShapiroWilk("elfving", "shapiro_francia"),
    "shapiro_wilk tridiagonal": u.ShapiroWilk("rahman", "rahman"),
    "entropy m=2 right": u.Entropy(m=2, method="right"),
    "entropy m=2": u.Entropy(m=2),
    "moments 6": u.Moments(6),
    "nll tails": u.NLL(alpha=0.1),
    "nll k=2": u.NLL(k=2),
    "wasserstein mean": u.Wasserstein("mean"),
    "wasserstein exact": u.Wasserstein("exact"),
}
CASES = DEFAULTS | VARIANTS


def _samples() -> dict[str, np.ndarray]:
    """Samples that values are compared on: four sizes, with ties, and with values up to 50 in size."""
    rng = np.random.default_rng(20260101)
    samples = {}
    for n in (5, 20, 100, 1023):
        normal = rng.standard_normal(n) * 1.1 + 0.2
        samples[f"{n} normal"] = normal
        samples[f"{n} ties"] = np.round(normal, 1)
        samples[f"{n} far"] = np.concatenate([rng.uniform(-50, 50, n - 2), [-50.0, 50.0]])
    return samples


SAMPLES = _samples()
