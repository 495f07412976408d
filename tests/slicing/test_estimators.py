"""Estimators over slices against a loop over directions."""

import pytest
import torch

from sigreg_lab.slicing import iid_directions, project, seeded_generator, sliced_statistic
from sigreg_lab.univariate import AndersonDarling, EppsPulley


@pytest.fixture
def case():
    x = 1.2 * torch.randn(2, 3, 20, 5, dtype=torch.float64, generator=seeded_generator(1))
    a = iid_directions(5, 7, generator=seeded_generator(2), dtype=torch.float64)
    statistic = EppsPulley()
    loop = torch.stack([torch.stack([torch.stack([statistic(z @ d) for d in a.T]) for z in batch]) for batch in x])
    return x, a, statistic, loop


def test_every_reduction_equals_a_loop(case):
    x, a, statistic, loop = case
    expected = {"none": loop, "mean": loop.mean(-1), "sum": loop.sum(-1), "max": loop.amax(-1)}
    for reduction, value in expected.items():
        torch.testing.assert_close(sliced_statistic(x, statistic, a, reduction), value, rtol=1e-12, atol=1e-13)


def test_clip_sets_small_slices_to_zero_and_stops_their_gradient(case):
    x, a, statistic, loop = case
    clip = float(loop.median())
    value = sliced_statistic(x, statistic, a, "none", clip=clip)
    torch.testing.assert_close(value, torch.where(loop < clip, 0.0, loop), rtol=1e-12, atol=1e-13)
    z = x[0, 0].clone().requires_grad_()
    sliced_statistic(z, statistic, a, "sum", clip=1e9).backward()
    assert (z.grad == 0).all()


def test_max_gradient_flows_through_the_worst_slice_alone(case):
    x, a, statistic, loop = case
    z = x[0, 0].clone().requires_grad_()
    sliced_statistic(z, statistic, a, "max").backward()
    w = x[0, 0].clone().requires_grad_()
    statistic(w @ a[:, loop[0, 0].argmax()]).backward()
    torch.testing.assert_close(z.grad, w.grad, rtol=1e-10, atol=1e-13)


def test_one_dimension_is_the_univariate_statistic():
    x = torch.randn(30, 1, dtype=torch.float64, generator=seeded_generator(3))
    up, down = torch.ones(1, 1, dtype=torch.float64), -torch.ones(1, 1, dtype=torch.float64)
    for statistic in (EppsPulley(), AndersonDarling()):
        torch.testing.assert_close(sliced_statistic(x, statistic, up), statistic(x[:, 0]), rtol=1e-13, atol=0)
        torch.testing.assert_close(sliced_statistic(x, statistic, down), statistic(-x[:, 0]), rtol=1e-13, atol=0)


def test_projections_are_float32_under_autocast():
    x = torch.randn(8, 5, generator=seeded_generator(4))
    a = iid_directions(5, 3, generator=seeded_generator(5))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert project(x.bfloat16(), a).dtype == torch.float32
        torch.testing.assert_close(project(x, a), (x.double() @ a.double()).float(), rtol=0, atol=2e-6)


def test_bad_arguments_are_refused_by_name():
    x = torch.randn(8, 5, generator=seeded_generator(4))
    with pytest.raises(ValueError, match="directions must have shape"):
        sliced_statistic(x, EppsPulley(), torch.ones(4, 3))
    with pytest.raises(ValueError, match="reduction must be one of"):
        sliced_statistic(x, EppsPulley(), torch.ones(5, 3), "median")
    with pytest.raises(ValueError, match="x holds 1 sample"):
        sliced_statistic(x[:1], EppsPulley(), torch.ones(5, 3))
