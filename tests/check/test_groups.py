"""Dependent rows: whole groups are read, and the check keeps its level whatever the dependence within a group."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from sigreg_lab.check import diagnose, read_sample
from sigreg_lab.check import findings as found
from sigreg_lab.check.diagnose import _combined

G, V, K = 200, 8, 6
OPTIONS = {"num_slices": 16, "replicates": 499}


def _views(seed, correlation=0.95):
    """V views, each exactly N(0, I), of G samples, and the samples' numbers; rows in random order."""
    rng = np.random.default_rng(seed)
    common, own = rng.standard_normal((G, 1, K)), rng.standard_normal((G, V, K))
    x = math.sqrt(correlation) * common + math.sqrt(1 - correlation) * own
    order = torch.from_numpy(rng.permutation(G * V))
    return torch.from_numpy(x.reshape(-1, K))[order], torch.arange(G).repeat_interleave(V)[order]


def test_correlated_views_of_normal_samples_are_left_alone_once_their_groups_are_known():
    rejected = 0
    for seed in range(24):
        x, groups = _views(seed)
        findings = diagnose(x, groups=groups, **OPTIONS)
        assert (findings.num_views, findings.num_rows) == (V, G)
        rejected += "No departure" not in findings.verdict
    assert rejected / 24 <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 24)
    assert "in 8 views of 200 rows of 6 features" in findings.verdict
    assert "1,600 rows in 200 groups: 8 view(s) of 200 rows" in findings.notes[-1]
    assert "No departure" not in diagnose(x, **OPTIONS).verdict  # the same rows, taken for independent


def test_departures_of_dependent_rows_are_found():
    x, groups = _views(0)
    for departed, name in ((x + 0.3, "mean"), (1.3 * x, "covariance"), (x**3 / math.sqrt(15), "mardia_kurtosis")):
        findings = diagnose(departed, groups=groups, num_slices=16, replicates=999)
        tests = {test.name: test for test in findings.tests}
        assert tests[name].adjusted < 0.05
        assert "combined from 8 views" in tests[name].law


@pytest.mark.parametrize("num_views", [2, 3, 8])
def test_the_combined_pvalue_holds_its_level_under_any_dependence(num_views):
    rng = np.random.default_rng(0)
    count = 4000
    one = rng.random((count, 1))
    shift = (one + np.arange(num_views) / num_views) % 1  # negatively dependent
    for pvalues in (rng.random((count, num_views)), np.repeat(one, num_views, 1), shift):
        combined = np.array([_combine(row) for row in pvalues])
        for alpha in (0.01, 0.05, 0.2):
            assert (combined <= alpha).mean() <= alpha + 4 * math.sqrt(alpha * (1 - alpha) / count)
    assert _combine([0.02] * num_views) == pytest.approx(0.02 * num_views / -(-num_views // 2))
    assert _combine([0.9] * num_views) == 1.0


def _combine(pvalues):
    (row,) = _combined([[found.TestFinding("t", "t", "", "", statistic=-p, pvalue=p)] for p in pvalues])
    return row.pvalue


def test_one_view_of_singletons_is_the_check_of_independent_rows():
    x, _ = _views(1)
    x = x[:G]
    alone, plain = diagnose(x, groups=torch.arange(G), **OPTIONS), diagnose(x, **OPTIONS)
    assert alone.num_views == 1
    mean = [next(t for t in f.tests if t.name == "mean") for f in (alone, plain)]
    assert mean[0].pvalue == pytest.approx(mean[1].pvalue, rel=1e-9)


def test_groups_of_unequal_size_are_cut_to_the_smallest_and_all_are_used():
    x, groups = _views(2)
    keep = (groups > 0) | (torch.arange(len(x)) == int((groups == 0).nonzero()[0]))
    findings = diagnose(x[keep], groups=groups[keep], **OPTIONS)
    assert (findings.num_views, findings.num_rows) == (1, G)
    assert f"{V * (G - 1) + 1 - G:,} rows beyond the smallest group's number are not used" in findings.notes[-1]


def test_bad_groups_are_refused_and_views_are_advised_against_flattening():
    x, groups = _views(0)
    for bad, reason in (
        (groups[:-1], "integers of shape"),
        (groups.float(), "integers of shape"),
        (groups % 7, "7 group.*, at least 8"),
    ):
        with pytest.raises(ValueError, match=reason):
            diagnose(x, groups=bad, **OPTIONS)
    with pytest.raises(
        ValueError, match=r"check one at a time, sample\[0\]; or .* with groups=: rows of one sample are"
    ):
        diagnose(torch.randn(8, 50, 4))


def _write(folder, suffix, rows, labels):
    path = folder / f"e{suffix}"
    frame = pd.DataFrame(rows, columns=list("abc")).assign(image=labels)
    match suffix:
        case ".csv":
            frame.to_csv(path, index=False)
        case ".parquet":
            frame.to_parquet(path)
        case ".npz":
            np.savez(path, z=rows, image=labels)
        case ".pt":
            torch.save({"z": torch.from_numpy(rows), "image": torch.from_numpy(labels)}, path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz", ".pt"])
def test_whole_groups_are_sampled_uniformly(tmp_path, suffix):
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(40), 5))
    rows = np.arange(200.0)[:, None] + np.array([0.25, 0.5, 0.75])
    path = _write(tmp_path, suffix, rows, labels)
    counts = np.zeros(40)
    for seed in range(60):
        sample = read_sample(path, group="image", max_rows=52, seed=seed)
        assert len(sample.features) == 3
        index = sample.x[:, 0].long().numpy()
        assert (np.diff(index) > 0).all()
        groups, size = np.unique(labels[index], return_counts=True)
        assert (size == 5).all()
        assert len(groups) == 10
        same = sample.groups[:, None] == sample.groups
        assert (same.numpy() == (labels[index][:, None] == labels[index])).all()
        assert "sampled 50 of 200 rows, whole groups at random" in sample.notes[0]
        counts[groups] += 1
    error = math.sqrt(600 * 0.25 * 30 / 39)
    assert abs(counts[:20].sum() - 300) < 4 * error


def test_a_column_of_groups_that_cannot_be_used_is_refused(tmp_path):
    labels = np.repeat(["a", "b"], 10)
    path = _write(tmp_path, ".csv", np.random.default_rng(0).standard_normal((20, 3)), labels)
    for options, reason in (
        ({"group": "nothing"}, "--group nothing: no such column; it has a, b, c, image"),
        ({"group": "image", "max_rows": 9}, "no group of 'image' fits into 9 rows; raise --max-rows"),
    ):
        with pytest.raises(ValueError, match=reason):
            read_sample(path, **options)
    path.write_text("a,image\n" + "1.5,x\n" * 9 + "1.5,\n")
    with pytest.raises(ValueError, match="row 10 has no group in 'image'"):
        read_sample(path, group="image")
    np.savez(tmp_path / "e.npz", z=np.zeros((20, 3)), image=np.zeros(19))
    with pytest.raises(ValueError, match=r"--group image: has shape \(19,\), one value a row"):
        read_sample(tmp_path / "e.npz", group="image")
    np.save(tmp_path / "e.npy", np.zeros((20, 3)))
    with pytest.raises(ValueError, match=r"save both as an \.npz"):
        read_sample(tmp_path / "e.npy", group="image")
