"""Effective rank: exact values where the spectrum is known."""

import pytest
import torch

from sigreg_lab.diagnostics import effective_rank


def test_equal_spectrum_gives_the_full_rank():
    x = torch.eye(8, dtype=torch.float64)
    assert effective_rank(torch.cat([x, -x])).item() == pytest.approx(8.0, abs=1e-12)


def test_one_direction_gives_one_and_a_constant_gives_zero():
    line = torch.linspace(-1, 1, 20)[:, None] * torch.ones(4)
    assert effective_rank(line).item() == pytest.approx(1.0, abs=1e-6)
    assert effective_rank(torch.ones(20, 4)).item() == 0.0


def test_two_unequal_directions_follow_the_formula():
    x = torch.zeros(4, 3, dtype=torch.float64)
    x[0, 0], x[1, 0], x[2, 1], x[3, 1] = 3.0, -3.0, 1.0, -1.0
    p = torch.tensor([0.75, 0.25], dtype=torch.float64)
    assert effective_rank(x).item() == pytest.approx(float((-(p * p.log()).sum()).exp()), abs=1e-12)


def test_a_common_mean_does_not_count_and_batches_agree_with_a_loop():
    x = torch.randn(3, 30, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    batch = effective_rank(x + 100)
    assert torch.allclose(batch, torch.stack([effective_rank(part) for part in x]), atol=1e-9)


def test_bad_samples_are_refused():
    with pytest.raises(ValueError, match="at least 2 are needed"):
        effective_rank(torch.ones(1, 3))
