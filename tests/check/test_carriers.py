"""Which features a departure is blamed on: unbiased parts, planted features found, none named where many share it."""

import numpy as np
import pandas as pd
import pytest
import torch

from sigreg_lab.check import carriers, diagnose

N, K = 400, 8
OPTIONS = {"num_slices": 8, "replicates": 499}
NAMES = [f"e{k}" for k in range(K)]


def _normal(seed=0, n=N):
    return np.random.default_rng(seed).standard_normal((n, K))


def _departing(findings, what):
    return {feature.name for feature in findings.features if what in feature.departs}


def test_parts_are_unbiased_for_normal_rows_of_any_mean_and_covariance():
    rng = np.random.default_rng(0)
    mean, root = np.array([0.5, 0.0, -0.2]), np.array([[1.3, 0, 0], [0.6, 0.9, 0], [0, -0.4, 1]])
    sigma, n, count = root @ root.T, 9, 20_000
    rows = torch.from_numpy(mean + rng.standard_normal((count, n, 3)) @ root.T)
    pairs = np.triu_indices(3, 1)
    for parts, exact in (
        (carriers.mean_parts, mean**2),
        (carriers.variance_parts, (np.diag(sigma) - 1) ** 2),
        (carriers.pair_parts, 2 * sigma[pairs] ** 2),
    ):
        values = np.stack([parts(x).numpy() for x in rows])
        error = values.std(0) / np.sqrt(count)
        assert np.all(np.abs(values.mean(0) - exact) < 4 * error)
    x = rows[0]
    total = carriers.variance_parts(x).sum() + carriers.pair_parts(x).sum()
    spectrum = torch.linalg.eigvalsh(torch.cov(x.T))
    assert float(carriers.distance(spectrum, n)) == pytest.approx(float(total), rel=1e-10)


def test_a_label_column_is_named_for_mean_and_covariance():
    frame = pd.DataFrame(_normal(), columns=NAMES)
    frame["label"] = np.random.default_rng(1).integers(0, 9, N)
    findings = diagnose(frame, **OPTIONS)
    label = frame["label"]
    assert f"off centre, mostly by feature label (mean {label.mean():.2g});" in findings.verdict
    assert f"covariance not I, mostly by feature label (std {label.std():.2g})," in findings.verdict
    assert findings.features[0].name == "label"
    assert findings.features[0].departs == ("mean", "std", "shape")
    assert all(feature.departs == () for feature in findings.features[1:])


def test_a_scaled_feature_is_named_and_stands_first_though_it_is_normal():
    x = _normal()
    x[:, 3] *= 1.6
    findings = diagnose(pd.DataFrame(x, columns=NAMES), **OPTIONS)
    assert f"covariance not I, mostly by feature e3 (std {x[:, 3].std(ddof=1):.2g})," in findings.verdict
    assert "off centre" not in findings.verdict
    assert findings.features[0].name == "e3"
    assert findings.features[0].adjusted > 0.05


@pytest.mark.parametrize("standardise", [False, True])
def test_a_correlated_pair_is_named(standardise):
    x = _normal()
    x[:, 5] = 0.8 * x[:, 2] + 0.6 * x[:, 5]
    findings = diagnose(x, standardise=standardise, **OPTIONS)
    assert "mostly by the correlation of features 2 and 5, variances" in findings.verdict
    assert _departing(findings, "correlation") == {"2", "5"}
    assert not _departing(findings, "std")


def test_what_many_features_share_is_blamed_on_none():
    common = np.random.default_rng(1).standard_normal((N, 1))
    for x, words in (
        (_normal() + 0.5, "off centre, mean of length"),
        (2 * _normal(), "covariance not I, variances of"),
        (_normal() + common, "covariance not I, variances of"),
    ):
        findings = diagnose(x, **OPTIONS)
        assert words in findings.verdict
        assert not any(set(feature.departs) - {"shape"} for feature in findings.features)


def test_a_shift_of_one_of_many_features_is_found_beneath_the_noise_of_the_others():
    """|mean|^2 of the others is as large as that of the shifted one: chance, which the parts leave out."""
    x = np.random.default_rng(0).standard_normal((500, 100))
    x[:, 7] += 0.45
    others = np.delete(x.mean(0), 7)
    assert (others**2).sum() > 0.8 * x[:, 7].mean() ** 2
    found = carriers.carriers(
        torch.from_numpy(x), torch.ones(100, dtype=torch.float64), mean=True, covariance=False, standardised=False
    )
    assert found == {7: ("mean",)}


def test_the_share_and_the_number_of_features_decide():
    def named(*means):
        x = torch.from_numpy(_normal(n=100_000)[:, : len(means)])
        x = (x - x.mean(0)) + torch.tensor(means, dtype=torch.float64)
        spectrum = torch.ones(len(means), dtype=torch.float64)
        return list(carriers.carriers(x, spectrum, mean=True, covariance=False, standardised=False))

    assert named(1.1, -3, 1, 1, 0, 0, 0, 0) == [1, 0]  # the first has 74%
    assert named(0, 3, 1, 1, 0, 0, 0, 0) == [1]  # 9 of 11
    assert len(named(1, 1, 1, 0, 0, 0, 0, 0)) == 3
    assert named(1, 1, 1, 1, 0, 0, 0, 0) == []  # three make 75%
    assert named(2, 1.9, 0) == []  # two of three would be needed
    assert named(2) == [0]


def test_standardised_features_carry_nothing_by_their_variance():
    """Not even a constant one, whose variance is 0: the pair is named."""
    x = _normal()
    x[:, 5] = 0.3 * x[:, 2] + 0.91**0.5 * x[:, 5]
    x = (x - x.mean(0)) / x.std(0, ddof=1)
    x[:, 0] = 0.0
    z = torch.from_numpy(x)
    spectrum = torch.linalg.eigvalsh(torch.cov(z.T))
    found = carriers.carriers(z, spectrum, mean=False, covariance=True, standardised=True)
    assert found == {2: ("correlation",), 5: ("correlation",)}
