"""``directions="auto"``: the loss is that of the kind and number chosen, on one process and on several."""

import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sigreg_lab.regularizers import REGISTRY, SIGReg, make_regularizer
from sigreg_lab.regularizers.resolve import resolve_regularizer
from sigreg_lab.slicing import (
    cheapest_directions,
    infinite_slice_epps_pulley,
    make_directions,
    seeded_generator,
)
from sigreg_lab.univariate import AndersonDarling, EppsPulley
from tests.distributed.cases import network
from tests.processes import start_ranks


def embeddings(*shape, dtype=torch.float64):
    return torch.randn(*shape, generator=seeded_generator(0), dtype=torch.float64).to(dtype)


def same(z, choice, seed, *, per_view=True):
    """The loss of what was chosen, without "auto"."""
    if choice.kind == "exact":
        return infinite_slice_epps_pulley(z if per_view else z.flatten(0, 1)).mean()
    dtype = torch.float64 if choice.kind == "hd3" else torch.float32  # its signs are exact, others are drawn in float32
    generator = seeded_generator(seed)
    matrix = make_directions(choice.kind, z.shape[-1], choice.num_slices, generator=generator, dtype=dtype)
    return SIGReg(EppsPulley(), choice.num_slices, per_view=per_view)(z, generator, directions=matrix)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("per_view", [True, False])
@pytest.mark.parametrize(
    ("shape", "error", "kind"),
    [((2, 32, 12), 0.5, "orthogonal"), ((2, 64, 512), 1.0, "hd3"), ((2, 16, 256), 0.1, "exact"), ((1, 9, 1), 1, "iid")],
)
def test_the_loss_is_that_of_what_is_chosen(shape, error, kind, per_view, dtype):
    z = embeddings(*shape, dtype=dtype)
    regularizer = SIGReg(EppsPulley(), directions="auto", error=error, per_view=per_view)
    choice = regularizer.choice(z)
    assert choice.kind == kind
    views, samples = shape[:2] if per_view else (1, shape[0] * shape[1])
    assert choice == cheapest_directions(samples, shape[2], error, num_views=views)
    found = regularizer(z, seeded_generator(3))
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(found, same(z, choice, 3, per_view=per_view), rtol=tolerance, atol=0)


def test_directions_that_are_handed_in_are_taken():
    z = embeddings(1, 16, 256)
    matrix = make_directions("iid", 256, 8, generator=seeded_generator(1))
    regularizer = SIGReg(EppsPulley(), directions="auto", error=0.2)
    assert torch.equal(regularizer(z, None, directions=matrix), SIGReg(EppsPulley())(z, None, directions=matrix))


def test_it_goes_by_name_and_shows_what_it_is():
    chosen = resolve_regularizer("sigreg-ep:directions=auto,error=0.5,n_points=auto")
    assert chosen.name == "sigreg-ep:directions=auto,error=0.5,n_points=auto"
    regularizer = chosen.build(num_slices=7, directions="iid")
    assert regularizer.error == 0.5
    assert (regularizer.statistic.t_max, regularizer.statistic.n_points) == (3.2, 9)
    assert "error=0.5, per_view=True, directions='auto'" in repr(regularizer)
    assert regularizer(embeddings(2, 16, 8), seeded_generator(0)).isfinite()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"directions": "auto"}, "error must be a positive number"),
        ({"directions": "auto", "error": 0.0}, "error must be a positive number"),
        ({"error": 0.3}, "error is what directions='auto' reaches"),
        ({"directions": "automatic"}, "directions must be one of iid"),
        ({"directions": "auto", "error": 0.3, "statistic": AndersonDarling()}, "known for EppsPulley on a grid"),
        ({"directions": "auto", "error": 0.3, "statistic": EppsPulley(estimator="u")}, "known for EppsPulley"),
    ],
)
def test_what_it_does_not_take(arguments, message):
    statistic = arguments.pop("statistic", EppsPulley())
    with pytest.raises(ValueError, match=message):
        SIGReg(statistic, **arguments)


@pytest.mark.parametrize("name", [name for name in REGISTRY if "directions" in REGISTRY[name].options])
def test_a_regularizer_takes_auto_or_says_that_it_does_not(name):
    options = {"directions": "auto"} | ({"error": 0.5} if "error" in REGISTRY[name].options else {})
    try:
        regularizer = make_regularizer(name, **options)
    except ValueError as error:
        told = str(error)
        assert "directions must be one of" in told or "known for EppsPulley on a grid" in told, told
    else:
        assert regularizer(embeddings(2, 16, 6), seeded_generator(0)).isfinite()


VIEWS, FEATURES = 2, 6
SHARES = {"even": [12, 12], "uneven": [9, 15]}
#: K and the accepted error; what two ranks choose.
CASES = {(12, 0.5): "orthogonal", (128, 1.0): "hd3", (64, 0.05): "exact"}


def gradient(model: nn.Module, value: Tensor) -> Tensor:
    model.zero_grad()
    value.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def worker(rank: int, directory: str) -> None:
    torch.set_num_threads(1)
    x = torch.randn(VIEWS, 24, FEATURES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = {}
    for dim, error in CASES:
        choice = cheapest_directions(24, dim, error, num_views=VIEWS, ranks=2)
        model = network(FEATURES, dim)
        value = same(model(x), choice, 2)
        expected[dim] = [*choice[:2]], value.detach(), gradient(model, value)
    dist.init_process_group("gloo", init_method=f"file://{directory}/group", rank=rank, world_size=2)
    found = []
    for shares, sizes in SHARES.items():
        own = x.split(sizes, dim=1)[rank]
        for dim, error in CASES:
            model = DistributedDataParallel(network(FEATURES, dim))
            regularizer = SIGReg(EppsPulley(), directions="auto", error=error)
            value = regularizer(model(own), seeded_generator(2))
            choice, *pairs = expected[dim]
            off = [
                float((a - b).norm() / b.norm())
                for a, b in zip((value.detach(), gradient(model, value)), pairs, strict=True)
            ]
            chosen = [*regularizer.choice(own.new_zeros(*own.shape[:2], dim))[:2]]
            found.append([shares, dim, error, choice, chosen, off])
    dist.barrier()
    dist.destroy_process_group()
    Path(directory, f"found-{rank}.json").write_text(json.dumps(found))


def test_ranks_choose_alike_and_compute_what_one_process_does(tmp_path):
    """Whatever a rank's own share of the batch: the choice is that of the whole batch."""
    start_ranks(worker, tmp_path, 2)
    for rank in range(2):
        for shares, dim, error, choice, chosen, off in json.loads((tmp_path / f"found-{rank}.json").read_text()):
            assert chosen == choice, (rank, shares, dim)
            assert chosen[0] == CASES[dim, error]
            assert max(off) <= 1e-10, (rank, shares, dim)
