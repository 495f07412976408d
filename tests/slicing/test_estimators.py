"""Estimators over slices against a loop over directions."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sigreg_lab.slicing import (
    StructuredDirections,
    hd3_signs,
    iid_directions,
    make_directions,
    project,
    seeded_generator,
    sliced_statistic,
)
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


def structured(dim, num_slices, seed):
    return StructuredDirections(hd3_signs(dim, num_slices, generator=seeded_generator(seed)), (dim, num_slices))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-14)], ids=str)
@pytest.mark.parametrize(("dim", "num_slices"), [(1, 3), (16, 16), (17, 100), (64, 150), (300, 700)])
def test_structured_directions_stand_for_their_matrix(dim, num_slices, dtype, tolerance):
    x = torch.randn(2, 9, dim, dtype=dtype, generator=seeded_generator(6))
    matrix = make_directions("hd3", dim, num_slices, generator=seeded_generator(7), dtype=torch.float64)
    directions = structured(dim, num_slices, 7)
    third = num_slices // 3
    for start, stop in ((0, num_slices), (third, num_slices), (third, num_slices - 1), (num_slices - 1, num_slices)):
        expected = x.double() @ matrix[:, start:stop]
        run = directions.columns(start, stop)
        assert run.shape == (dim, stop - start)
        error = (project(x, run) - expected).norm() / expected.norm()
        assert error < tolerance, (start, stop)
        again = run.columns(run.shape[1] // 2, run.shape[1])
        assert torch.equal(project(x, again), project(x, run)[..., run.shape[1] // 2 :])


def test_structured_directions_serve_every_reduction(case):
    x = torch.nn.functional.pad(case[0], (0, 13))
    matrix = make_directions("hd3", 18, 40, generator=seeded_generator(8), dtype=torch.float64)
    for statistic in (EppsPulley(), AndersonDarling()):
        for reduction in ("mean", "sum", "max", "none"):
            values = [sliced_statistic(x, statistic, a, reduction) for a in (structured(18, 40, 8), matrix)]
            torch.testing.assert_close(*values, rtol=1e-12, atol=1e-12)


class LargestTensor(TorchDispatchMode):
    """Number of elements of the largest tensor that an operation gives."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.largest = max(self.largest, out.numel())
        return out


@pytest.mark.parametrize("dim", [1024, 1100])
def test_structured_directions_are_never_made_a_matrix(dim):
    x = torch.randn(8, dim, generator=seeded_generator(9)).requires_grad_()
    sizes = {}
    for kind in ("matrix", "structured"):
        with LargestTensor() as mode:
            directions = (
                structured(dim, 4096, 10)
                if kind == "structured"
                else make_directions("hd3", dim, 4096, generator=seeded_generator(10))
            )
            sliced_statistic(x, EppsPulley(), directions).backward()
        sizes[kind] = mode.largest
    assert sizes["structured"] <= dim * 4096 / 4 < sizes["matrix"]


def test_bad_arguments_are_refused_by_name():
    x = torch.randn(8, 5, generator=seeded_generator(4))
    with pytest.raises(ValueError, match="directions must have shape"):
        sliced_statistic(x, EppsPulley(), torch.ones(4, 3))
    with pytest.raises(ValueError, match="directions must have shape"):
        project(x, structured(16, 3, 1))
    with pytest.raises(ValueError, match="reduction must be one of"):
        sliced_statistic(x, EppsPulley(), torch.ones(5, 3), "median")
    with pytest.raises(ValueError, match="x holds 1 sample"):
        sliced_statistic(x[:1], EppsPulley(), torch.ones(5, 3))
