"""One contract for all regularisers: what holds for every name of the registry."""

import pytest
import torch
from torch import Tensor

from sigreg_lab.regularizers import REGISTRY, Regularizer, make_regularizer, regularizer_options
from sigreg_lab.slicing import seeded_generator

NAMES = [name for name in REGISTRY if name != "none"]


def small(name: str) -> Regularizer:
    """In evaluation mode, in which a queue of earlier embeddings stands still."""
    regularizer = make_regularizer(name, **({"num_slices": 4} if "num_slices" in regularizer_options(name) else {}))
    assert regularizer is not None
    return regularizer.eval()


def embeddings(*shape: int, seed: int = 0) -> Tensor:
    return 1.2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.3


@pytest.mark.parametrize("name", NAMES)
def test_gives_a_finite_scalar_of_the_right_dtype_and_leaves_its_input_alone(name):
    z = embeddings(2, 12, 5)
    copy = z.clone()
    for dtype, expected in (
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
    ):
        value = small(name)(z.to(dtype), seeded_generator(0))
        assert value.shape == ()
        assert value.dtype == expected
        assert value.isfinite()
    assert torch.equal(z, copy)


@pytest.mark.parametrize("name", NAMES)
def test_gradcheck(name):
    """VISReg stops one gradient on purpose; its own test checks it."""
    if name == "visreg":
        regularizer: Regularizer = make_regularizer(name, num_slices=4, shape=0.0)
    else:
        regularizer = small(name)
    z = embeddings(2, 6, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: regularizer(x, seeded_generator(0)), z)


@pytest.mark.parametrize("name", NAMES)
def test_order_of_samples_and_of_views_does_not_matter(name):
    z = embeddings(3, 10, 4)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(1))
    expected = small(name)(z, seeded_generator(0))
    for changed in (z[:, order], z[[2, 0, 1]]):
        torch.testing.assert_close(small(name)(changed, seeded_generator(0)), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_autocast_changes_nothing(name):
    z = embeddings(2, 12, 5).bfloat16()
    expected = small(name)(z.float(), seeded_generator(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(small(name)(z, seeded_generator(0)), expected)


@pytest.mark.parametrize("name", NAMES)
def test_randomness_comes_from_the_generator_alone(name):
    z = embeddings(2, 12, 80)
    state = torch.get_rng_state()
    first, second = (small(name)(z, seeded_generator(0)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(state, torch.get_rng_state())
    random = "num_slices" in regularizer_options(name) or name == "weak-sigreg"
    assert torch.equal(first, small(name)(z, seeded_generator(1))) != random


@pytest.mark.parametrize("name", [name for name in NAMES if name != "sigreg-sw"])
def test_collapsed_embeddings_are_worse_than_normal_ones(name):
    """A sample close to a line, far from the origin and small."""
    normal = torch.randn(2, 64, 4, generator=torch.Generator().manual_seed(0))
    collapsed = torch.cat((normal[..., :1], 1e-3 * normal[..., 1:]), -1) * 0.1 + 1
    if name in ("barlow-twins", "w-mse"):  # no regulariser of one view: unrelated views against equal ones
        normal, collapsed = normal[:1].expand(2, 64, 4), normal
    assert small(name)(collapsed, seeded_generator(0)) > small(name)(normal, seeded_generator(0))


def test_shapiro_wilk_does_not_see_location_and_scale():
    """It tests for any normal law, so it cannot hold embeddings apart."""
    z = embeddings(2, 20, 4)
    regularizer = small("sigreg-sw")
    expected = regularizer(z, seeded_generator(0))
    torch.testing.assert_close(regularizer(0.01 * z + 5, seeded_generator(0)), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_bad_input_is_refused_by_name(name):
    regularizer, generator = small(name), seeded_generator(0)
    with pytest.raises(ValueError, match=r"z must have shape \(V, N, K\), got \(4, 3\)"):
        regularizer(embeddings(4, 3), generator)
    with pytest.raises(ValueError, match=r"z must have shape \(V, N, K\)"):
        regularizer(embeddings(2, 2, 4, 3), generator)
    with pytest.raises(ValueError, match="z must be floating point"):
        regularizer(torch.ones(2, 12, 3, dtype=torch.long), generator)
    with pytest.raises(ValueError, match="z holds 1 sample"):
        regularizer(embeddings(2, 1, 3), generator)
    with pytest.raises(ValueError, match="z is empty"):
        regularizer(embeddings(2, 0, 3), generator)
    with pytest.raises(ValueError, match="z holds 18 NaN or infinite"):
        regularizer(torch.full((2, 3, 3), torch.nan), generator)


@pytest.mark.parametrize("name", [name for name in REGISTRY if name != "none"])
def test_without_a_generator_the_error_names_two_ways(name):
    regularizer = make_regularizer(name)
    with pytest.raises(TypeError, match=r"takes embeddings and a torch\.Generator: .*seeded_generator.*SteppedReg"):
        regularizer(embeddings(2, 12, 3))
    by_name = regularizer(generator=seeded_generator(0), z=embeddings(2, 12, 3))
    assert torch.equal(by_name, make_regularizer(name)(embeddings(2, 12, 3), seeded_generator(0)))


def test_unknown_names_and_options_are_refused_with_the_known_ones():
    with pytest.raises(
        ValueError, match=r"unknown regularizer 'sigreg'; did you mean sigreg-ep\? known: sigreg-ep, .*none"
    ):
        make_regularizer("sigreg")
    with pytest.raises(ValueError, match=r"unknown regularizer 'sigreg'"):
        regularizer_options("sigreg")
    with pytest.raises(
        ValueError, match=r"num_slice of regularizer 'sigreg-ep'; did you mean num_slices\? it takes num_"
    ):
        make_regularizer("sigreg-ep", num_slice=3)
    with pytest.raises(ValueError, match=r"unknown option num_slices of regularizer 'koleo'; it takes none"):
        make_regularizer("koleo", num_slices=3)
    with pytest.raises(ValueError, match="num_slices must be at least 1"):
        make_regularizer("sigreg-ep", num_slices=0)


@pytest.mark.parametrize("spread", [0.1, 1.0, 5.0])
def test_full_line_grid_equals_the_closed_form(spread):
    z = (
        spread * torch.randn(2, 20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ).requires_grad_()
    assert z.detach().norm(dim=-1).amax() < 20
    results = []
    for options in ({}, {"integration": "exact"}):
        value = make_regularizer("sigreg-ep-full-line", num_slices=4, **options)(z, seeded_generator(0))
        results.append((value, *torch.autograd.grad(value, z)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-11, atol=1e-12)


def test_none_takes_and_ignores_options():
    assert make_regularizer("none", num_slices=3) is None


def test_options_reach_the_regularizer_and_its_statistic():
    regularizer = make_regularizer("sigreg-ep", num_slices=3, per_view=False, t_max=4.0, n_points=5)
    assert (regularizer.num_slices, regularizer.per_view) == (3, False)
    assert (regularizer.statistic.t_max, regularizer.statistic.n_points) == (4.0, 5)
    paper = make_regularizer("sigreg-ep-paper-grid").statistic
    assert (paper.t_max, paper.n_points) == (5.0, 9)  # linspace(-5, 5, 17) folded
    assert make_regularizer("covariance-identity").sketch_dim is None


@pytest.mark.parametrize("name", NAMES)
def test_listed_defaults_are_the_ones_used(name):
    z = embeddings(2, 8, 3)
    options = regularizer_options(name) | ({"num_slices": 4} if "num_slices" in regularizer_options(name) else {})
    assert torch.equal(make_regularizer(name, **options)(z, seeded_generator(0)), small(name)(z, seeded_generator(0)))
