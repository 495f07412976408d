"""Directions by a stated error: the error is reached, the choice is the least of its costs and no clock's."""

import math

import pytest
import torch

from sigreg_lab.slicing import (
    cheapest_directions,
    infinite_slice_epps_pulley,
    make_directions,
    seeded_generator,
    sliced_statistic,
)
from sigreg_lab.slicing.cheapest import CANDIDATES, LEAST_HD3
from sigreg_lab.theory.slices import exact_square
from sigreg_lab.univariate import AndersonDarling, EppsPulley

SLICED = ("iid", "orthogonal", "hd3")


def gradient(x, function):
    (found,) = torch.autograd.grad(function(x), x)
    return found


def squared_errors(kind, n, dim, num_slices, draws, statistic):
    """Of samples and directions drawn anew, all at once, over the mean square of the exact gradient."""
    x = torch.randn(draws, n, dim, generator=seeded_generator(1), dtype=torch.float64).requires_grad_()
    size = {"iid": num_slices, "orthogonal": dim, "hd3": 1 << (dim - 1).bit_length()}[kind]
    width = -(-num_slices // size) * size  # whole blocks, of which fewer slices are the first
    a = make_directions(kind, dim, draws * width, generator=seeded_generator(2), dtype=torch.float64)
    a = a.unflatten(1, (draws, width)).transpose(0, 1)[..., :num_slices]
    off = gradient(x, lambda z: statistic(z @ a).mean(-1).sum())
    off = off - gradient(x, lambda z: infinite_slice_epps_pulley(z, statistic).sum())
    return off.square().sum((1, 2)) / exact_square(n, dim, statistic.nodes())


@pytest.mark.parametrize("kind", SLICED)
@pytest.mark.parametrize(
    ("n", "dim", "error", "points"), [(64, 32, 1.0, 17), (40, 48, 0.5, "auto"), (80, 16, 0.4, 17), (32, 100, 0.8, 9)]
)
def test_the_error_is_the_one_that_is_promised(kind, n, dim, error, points):
    """Two-sided, within four standard errors; hd3's law is one to leading order in 1/n."""
    statistic = EppsPulley(n_points=points)
    choice = cheapest_directions(n, dim, error, statistic, kinds=(kind,))
    assert choice.kind == kind
    assert choice.error <= error * (1 + 1e-9)
    found = squared_errors(kind, n, dim, choice.num_slices, 300, statistic)
    deviation = float(found.std()) / math.sqrt(len(found))
    allowed = 4 * deviation + (1.5 / dim * choice.error**2 if kind == "hd3" else 0)
    assert abs(float(found.mean()) - choice.error**2) < allowed < 0.25 * choice.error**2


@pytest.mark.parametrize(("n", "dim", "error"), [(128, 512, 0.3), (2048, 32, 0.3), (2048, 512, 1.0), (64, 3, 1.0)])
def test_the_choice_is_the_cheapest_of_the_kinds(n, dim, error):
    alone = []
    for kind in CANDIDATES:
        if kind == "hd3" and dim < LEAST_HD3:
            continue
        alone.append(cheapest_directions(n, dim, error, kinds=(kind,)))
    assert cheapest_directions(n, dim, error) == min(alone, key=lambda choice: choice.cost)
    assert all(choice.error <= error * (1 + 1e-9) for choice in alone)


def test_what_is_chosen_where():
    """Small K takes orthogonal blocks, large K hd3, and a small batch with a small error all directions at once."""
    assert cheapest_directions(2048, 32, 0.3).kind == "orthogonal"
    assert cheapest_directions(2048, 1024, 1.0).kind == "hd3"
    assert cheapest_directions(128, 1024, 0.3)[:3] == ("exact", 0, 0.0)
    assert cheapest_directions(128, 1024, 0.3, device_type="cuda").kind == "hd3"
    assert cheapest_directions(128, 1024, 0.3, num_views=8).kind == "exact"
    assert cheapest_directions(128, 1, 0.3)[:3] == ("iid", 1, 0.0)
    fewer, more = (cheapest_directions(256, 1024, 0.3, ranks=ranks).kind for ranks in (1, 64))
    assert (fewer, more) == ("exact", "hd3")  # ranks share the sums over slices, and each has all pairs


def test_fewer_nodes_cost_less_and_a_smaller_error_more():
    full, short = (cheapest_directions(512, 32, 0.3, EppsPulley(n_points=n)).cost for n in (17, 9))
    assert short < full < cheapest_directions(512, 32, 0.2).cost


@pytest.mark.parametrize("dim", [2, 4, 8, 15])
def test_hd3_is_never_chosen_where_it_is_biased(dim):
    for n in (128, 2048):
        for error in (0.1, 0.3, 1.0):
            assert cheapest_directions(n, dim, error).kind != "hd3"
    with pytest.raises(ValueError, match=f"hd3 is biased below K = {LEAST_HD3}"):
        cheapest_directions(128, dim, 0.3, kinds=("hd3",))


@pytest.mark.parametrize(("dim", "low", "high"), [(2, 0.4, 0.7), (4, 0.2, 0.4), (8, 0.035, 0.075), (16, -0.01, 0.01)])
def test_the_bias_of_hd3_is_as_large_as_is_said(dim, low, high):
    """The root of the product of two halves' mean errors, signed."""
    products = []
    for sample in range(6):
        x = torch.randn(128, dim, generator=seeded_generator(9, sample), dtype=torch.float64).requires_grad_()
        exact = gradient(x, infinite_slice_epps_pulley)
        halves = []
        for half in range(2):
            a = make_directions("hd3", dim, 20_000, generator=seeded_generator(3, sample, half), dtype=torch.float64)
            halves.append(gradient(x, lambda z, a=a: sliced_statistic(z, EppsPulley(), a)) - exact)
        products.append(float((halves[0] * halves[1]).sum() / exact.square().sum()))
    mean = sum(products) / len(products)
    assert low < math.copysign(abs(mean) ** 0.5, mean) < high


def test_the_choice_is_a_function_of_its_arguments():
    first = [cheapest_directions(300, dim, 0.3) for dim in (8, 64, 500)]
    torch.manual_seed(3)
    assert first == [cheapest_directions(300, dim, 0.3) for dim in (8, 64, 500)]


@pytest.mark.parametrize("error", [0, -0.1, math.nan, math.inf, None, "0.3"])
def test_no_number_of_slices_meets_such_an_error(error):
    with pytest.raises(ValueError, match="error must be a positive number"):
        cheapest_directions(128, 64, error)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"error": 1e-4, "kinds": ("iid", "hd3")}, "cannot be met by iid, hd3: K = 64 takes .* slices or more"),
        ({"error": 1e-4, "device_type": "cuda"}, "take 'sigreg-ep-infinite'"),
        ({"kinds": ("iid", "sobol")}, "got 'sobol', whose error no formula tells"),
        ({"kinds": ("haar",)}, "got 'haar', no kind"),
        ({"kinds": ()}, "got none"),
        ({"kinds": ("exact",), "device_type": "cuda"}, "add 'iid' or 'orthogonal'"),
        ({"statistic": AndersonDarling()}, "known for EppsPulley on a grid"),
        ({"statistic": EppsPulley(estimator="u")}, "known for EppsPulley on a grid"),
        ({"statistic": EppsPulley(integration="exact")}, "known for EppsPulley on a grid"),
    ],
)
def test_what_cannot_be_had_says_so(arguments, message):
    with pytest.raises(ValueError, match=message):
        cheapest_directions(128, 64, **({"error": 0.3} | arguments))


@pytest.mark.parametrize(
    ("n", "orthogonal", "hd3"), [(128, (4, 8), (16, 256)), (512, (4, 24), (40, 1024)), (4096, (4, 48), (100, 4096))]
)
def test_hd3_takes_over_where_the_page_says(n, orthogonal, hd3):
    """From sixteen dimensions on with N = 128, from forty with N in the hundreds, from a hundred in the thousands."""
    assert {cheapest_directions(n, dim, 1.0).kind for dim in orthogonal} == {"orthogonal"}
    assert {cheapest_directions(n, dim, 1.0).kind for dim in hd3} == {"hd3"}
