"""The metric: every row seen counts alike, on one process and on several, and nothing in it can stop a training run."""

import json
import math
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from scipy import stats

import sigreg_lab
from sigreg_lab import monitor
from sigreg_lab.distributed import leave_group
from sigreg_lab.monitor import embedding_health
from tests.processes import start_ranks

pytest.importorskip("torchmetrics", reason="torchmetrics is not installed; make setup installs it")

SHARES = [[30, 5, 8], [1, 2, 7]]  # batches of two ranks; the second sees far less
DIM = 6


def rows(n=53, dim=DIM, seed=0):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def test_the_numbers_are_those_of_the_rows_seen():
    x = rows()
    health = monitor.EmbeddingHealth(DIM, max_samples=64)
    for part in x.split([30, 5, 18]):
        health.update(part)
    found = {name: float(value) for name, value in health.compute().items()}
    kept = health.sample()
    assert sorted(kept.tolist()) == sorted(x.tolist())
    expected, spectrum = embedding_health(kept, seed=len(x))
    assert found == pytest.approx(expected | {"nonfinite_share": 0.0}, rel=1e-6)
    assert torch.equal(health.spectrum, spectrum)


def test_reset_forgets_and_forward_is_of_the_batch_alone():
    health = monitor.EmbeddingHealth(DIM, max_samples=64)
    of_batch = health(rows(20))
    assert float(of_batch["num_samples"]) == 20
    health(rows(30, seed=1))
    assert float(health.compute()["num_samples"]) == 50
    health.reset()
    with (
        pytest.raises(ValueError, match=r"0 row.* at least 8 are needed; call update first"),
        pytest.warns(UserWarning, match="was called before"),
    ):
        health.compute()


def test_every_row_is_kept_with_the_same_probability():
    """Rows are their own numbers. 400 runs of 60 rows, of which 20 stay: chi-squared of the counts by row."""
    counts = np.zeros(60)
    for seed in range(400):
        health = monitor.EmbeddingHealth(1, max_samples=20, seed=seed)
        for part in torch.arange(60.0).unsqueeze(1).split([7, 40, 13]):
            health.update(part)
        kept = health.sample().squeeze(1).int().tolist()
        assert len(set(kept)) == 20
        counts[kept] += 1
    # Of a sample without replacement the counts vary less than binomial ones by (60 - 20)/(60 - 1) * 60/40.
    statistic = ((counts - 400 / 3) ** 2 / (400 / 3 * (2 / 3))).sum() * 59 / 60
    assert 1e-4 < stats.chi2.sf(statistic, 59) < 1 - 1e-4


def test_of_several_views_the_first_is_taken_and_low_precision_is_lifted():
    health = monitor.EmbeddingHealth(DIM, max_samples=16)
    views = torch.stack([rows(16), rows(16, seed=1)]).bfloat16()
    health.update(views.requires_grad_())
    assert sorted(health.sample().tolist()) == sorted(views[0].float().tolist())
    assert health.rows.dtype == torch.float32
    assert not health.rows.requires_grad


def test_rows_that_are_not_finite_are_counted_and_left_out():
    x = rows(40)
    x[3, 1], x[7, 0] = math.nan, math.inf
    health = monitor.EmbeddingHealth(DIM, max_samples=64)
    health.update(x)
    found = health.compute()
    assert float(found["nonfinite_share"]) == pytest.approx(2 / 40)
    assert float(found["num_samples"]) == 38
    assert math.isfinite(found["effective_rank"])
    broken = monitor.EmbeddingHealth(DIM, max_samples=64)
    broken.update(torch.full((40, DIM), math.nan))
    found = broken.compute()
    assert float(found["nonfinite_share"]) == 1
    assert math.isnan(found["effective_rank"])
    assert found.keys() == health.compute().keys()


@pytest.mark.parametrize(
    "bad", [torch.zeros(8, 5), torch.zeros(8, DIM).int(), torch.zeros(DIM), torch.zeros(0, 4, DIM)]
)
def test_other_shapes_are_refused(bad):
    with pytest.raises(ValueError, match=rf"of shape \(N, {DIM}\) or \(V, N, {DIM}\), got .*; make .* dim="):
        monitor.EmbeddingHealth(DIM).update(bad)


@pytest.mark.parametrize("name", ["dim", "max_samples", "num_slices"])
def test_bad_options_are_refused_by_name(name):
    with pytest.raises(ValueError, match=f"{name} must be at least"):
        monitor.EmbeddingHealth(**{"dim": 4, name: 0})


def worker(rank: int, directory: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{directory}/group", rank=rank, world_size=2)
    found = {}
    for size in (64, 16):
        health = monitor.EmbeddingHealth(DIM, max_samples=size)
        start = rank * sum(SHARES[0])
        for part in rows()[start : start + sum(SHARES[rank])].split(SHARES[rank]):
            health.update(part)
        with health.sync_context():
            kept = health.sample()
        numbers = {name: float(value) for name, value in health.compute().items()}
        found[size] = {"kept": kept.tolist(), "numbers": numbers}
    silent = monitor.EmbeddingHealth(DIM, max_samples=64)  # a rank may have had no batch at all
    if rank == 0:
        silent.update(rows(20))
    else:
        silent._update_count = 1  # torchmetrics warns of a metric without updates
    found["silent"] = float(silent.compute()["num_samples"])
    Path(directory, f"found-{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    leave_group()


def test_two_ranks_with_uneven_shares_measure_the_rows_of_both(tmp_path):
    start_ranks(worker, tmp_path, 2)
    first, second = (json.loads((tmp_path / f"found-{rank}.json").read_text()) for rank in range(2))
    assert first == second
    assert sorted(first["64"]["kept"]) == sorted(rows().tolist())
    expected, _ = embedding_health(torch.tensor(first["64"]["kept"]), seed=53)
    assert first["64"]["numbers"] == pytest.approx(expected | {"nonfinite_share": 0.0}, rel=1e-6)
    assert first["64"]["numbers"]["effective_rank"] == pytest.approx(embedding_health(rows())[0]["effective_rank"])
    assert len(first["16"]["kept"]) == 16
    assert {tuple(row) for row in first["16"]["kept"]} <= {tuple(row) for row in rows().tolist()}
    assert first["silent"] == 20


@pytest.mark.parametrize(
    ("name", "package"), [("EmbeddingHealth", "torchmetrics"), ("EmbeddingHealthCallback", "lightning")]
)
def test_what_is_not_installed_is_missed_in_one_sentence(name, package, monkeypatch):
    for module in [module for module in sys.modules if module.startswith("sigreg_lab.monitor")]:
        monkeypatch.delitem(sys.modules, module)  # imported anew, for this test
    monkeypatch.setattr(sigreg_lab, "monitor", monitor)
    for module in ("torchmetrics" if package == "torchmetrics" else "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, module, None)
    anew = import_module("sigreg_lab.monitor")
    assert anew.embedding_health is not embedding_health
    needed = {"torchmetrics": "torchmetrics", "lightning": "Lightning"}[package]
    with pytest.raises(ImportError) as missed:
        getattr(anew, name)
    assert str(missed.value) == f"{name} needs {needed}: pip install 'sigreg-lab[monitor]'"
