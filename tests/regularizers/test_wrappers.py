"""A queue of earlier embeddings and centred residuals: what the regulariser inside gets, and what is kept."""

import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from sigreg_lab.multivariate import BHEP
from sigreg_lab.regularizers import (
    CentredResiduals,
    MultivariateRegularizer,
    QueuedRegularizer,
    Regularizer,
    SIGReg,
    VICReg,
    make_regularizer,
)
from sigreg_lab.slicing import seeded_generator
from sigreg_lab.univariate import EppsPulley, ShapiroWilk
from tests.distributed.cases import network
from tests.processes import start_ranks


def embeddings(*shape: int, seed: int = 0) -> Tensor:
    return 1.2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.3


INNER = {"sigreg": SIGReg(EppsPulley(), 5), "bhep": MultivariateRegularizer(BHEP(0.5)), "vicreg": VICReg()}


@pytest.mark.parametrize("inner", INNER)
def test_the_queue_is_that_of_the_last_batches_without_gradient(inner):
    queued = QueuedRegularizer(INNER[inner], num_batches=2)
    batches = [embeddings(2, 6, 3, seed=step).requires_grad_() for step in range(5)]
    for step, z in enumerate(batches):
        earlier = [batch.detach() for batch in batches[max(0, step - 2) : step]]
        expected = INNER[inner](torch.cat((z, *earlier), 1), seeded_generator(0, step))
        gradients = torch.autograd.grad(expected, z)
        value = queued(z, seeded_generator(0, step))
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(torch.autograd.grad(value, z), gradients, rtol=1e-11, atol=1e-13)
    assert queued.queue.shape == (2, 12, 3)
    assert not queued.queue.requires_grad


def test_batches_of_other_sizes_keep_as_many_samples_as_the_last_has_batches():
    queued = QueuedRegularizer(VICReg(), num_batches=2)
    for size in (6, 6, 4):
        queued(embeddings(1, size, 3, seed=size), seeded_generator(0))
    assert queued.queue.shape[1] == 8


def test_in_evaluation_mode_the_queue_is_read_and_stands_still():
    queued = QueuedRegularizer(VICReg())
    queued(embeddings(2, 6, 3), seeded_generator(0))
    before = queued.queue.clone()
    queued.eval()
    z = embeddings(2, 6, 3, seed=1)
    expected = VICReg()(torch.cat((z, before), 1), seeded_generator(0))
    for _ in range(2):
        torch.testing.assert_close(queued(z, seeded_generator(0)), expected, rtol=1e-12, atol=0)
    assert torch.equal(queued.queue, before)


def test_what_is_refused_is_not_kept():
    queued = QueuedRegularizer(SIGReg(ShapiroWilk(), 2))  # which needs three samples
    with pytest.raises(ValueError, match="z holds 2 sample"):
        queued(embeddings(2, 2, 3), seeded_generator(0))
    with pytest.raises(ValueError, match="NaN or infinite"):
        queued(torch.full((2, 5, 3), torch.nan), seeded_generator(0))
    assert queued.queue.numel() == 0
    queued(embeddings(2, 5, 3), seeded_generator(0))
    queued(embeddings(2, 2, 3), seeded_generator(0))  # with those of the queue they are enough
    assert queued.queue.shape[1] == 6
    for other in ((1, 5, 3), (2, 5, 4)):
        with pytest.raises(ValueError, match="the queue 2 of 3; use another QueuedRegularizer"):
            queued(embeddings(*other), seeded_generator(0))


def test_a_saved_queue_goes_on():
    whole, first, second = (QueuedRegularizer(INNER["sigreg"], num_batches=2) for _ in range(3))
    batches = [embeddings(2, 6, 3, seed=step) for step in range(4)]
    values = [whole(z, seeded_generator(0, step)) for step, z in enumerate(batches)]
    for step in range(2):
        first(batches[step], seeded_generator(0, step))
    second.load_state_dict(first.state_dict())
    for step in range(2, 4):
        assert torch.equal(second(batches[step], seeded_generator(0, step)), values[step])


def by_hand(z: Tensor, clusters: list[list[int]]) -> Tensor:
    residuals = torch.empty_like(z)
    for v in range(z.shape[0]):
        for members in clusters:
            mean = sum(z[v, n] for n in members) / len(members)
            for n in members:
                residuals[v, n] = z[v, n] - mean
    return residuals


@pytest.mark.parametrize(
    ("size", "window", "clusters"),
    [
        (6, 2, [[0, 1], [2, 3], [4, 5]]),
        (7, 3, [[0, 1, 2, 3], [4, 5, 6]]),
        (8, 3, [[0, 1, 2, 3], [4, 5, 6, 7]]),
        (5, 8, [[0, 1, 2, 3, 4]]),
    ],
)
@pytest.mark.parametrize("inner", INNER)
def test_residuals_are_those_of_runs_of_samples(inner, size, window, clusters):
    z = embeddings(2, size, 3).requires_grad_()
    expected = INNER[inner](by_hand(z, clusters), seeded_generator(0))
    value = CentredResiduals(INNER[inner], window=window)(z, seeded_generator(0))
    torch.testing.assert_close(value, expected, rtol=1e-11, atol=1e-12)
    gradients = [torch.autograd.grad(x, z)[0] for x in (value, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)
    for members in clusters:  # no pull on the centres
        torch.testing.assert_close(gradients[0][:, members].sum(1), torch.zeros(2, 3).double(), rtol=0, atol=1e-9)


def test_residuals_of_clusters_that_are_handed_in():
    z = embeddings(2, 7, 3)
    labels = torch.tensor([4, -1, 4, 9, -1, 4, 9])
    expected = VICReg()(by_hand(z, [[0, 2, 5], [1, 4], [3, 6]]), seeded_generator(0))
    value = CentredResiduals(VICReg())(z, seeded_generator(0), clusters=labels)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)


def test_centres_may_lie_apart():
    """Far apart they are worth nothing to the residuals, and much to SIGReg of the mixture."""
    residuals = torch.randn(1, 40, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.arange(40) // 10
    centres = 5 * torch.eye(4, dtype=torch.float64)[labels]
    centred, plain = CentredResiduals(INNER["sigreg"]), INNER["sigreg"]
    values = [centred(x, seeded_generator(0), clusters=labels) for x in (residuals, residuals + centres)]
    torch.testing.assert_close(*values, rtol=1e-10, atol=0)
    assert plain(residuals + centres, seeded_generator(0)) > 5 * plain(residuals, seeded_generator(0))


def test_bad_options_are_refused_by_name():
    for cls in (QueuedRegularizer, CentredResiduals):
        with pytest.raises(TypeError, match="regularizer must be a Regularizer, got 'sigreg-ep'"):
            cls("sigreg-ep")
    with pytest.raises(ValueError, match="num_batches must be at least 1"):
        make_regularizer("sigreg-ep-queue", num_batches=0)
    with pytest.raises(ValueError, match="window must be at least 2"):
        make_regularizer("tc-sigreg", window=1)
    for wrong in (torch.zeros(3), torch.zeros(4, dtype=torch.long)):
        with pytest.raises(ValueError, match=r"clusters must be whole numbers of shape \(3,\)"):
            CentredResiduals(VICReg())(embeddings(1, 3, 2), seeded_generator(0), clusters=wrong)


def test_options_of_both_reach_their_parts():
    queued = make_regularizer("sigreg-ep-queue", num_slices=3, num_batches=5, estimator="u")
    assert (queued.num_batches, queued.regularizer.num_slices, queued.regularizer.statistic.estimator) == (5, 3, "u")
    centred = make_regularizer("tc-sigreg", window=4, t_max=2.0, directions="sobol")
    assert (centred.window, centred.regularizer.statistic.t_max, centred.capturable) == (4, 2.0, False)
    assert make_regularizer("tc-sigreg").capturable
    assert not queued.capturable


# Several processes

SHARES = {"two": [7, 5], "three": [3, 6, 3]}
STEPS, VIEWS, FEATURES, DIM = 4, 2, 5, 4
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 2, 1, 0, 0, 1, 1])


def regularizers() -> dict[str, Regularizer]:
    return {
        "queue": QueuedRegularizer(SIGReg(EppsPulley(), 5), num_batches=2),
        "queue of pairs": QueuedRegularizer(MultivariateRegularizer(BHEP(0.5)), num_batches=2),
        "clusters": CentredResiduals(SIGReg(EppsPulley(), 5)),
    }


def trained(model: torch.nn.Module, regularizer: Regularizer, shares: list[int], rank: int) -> list[Tensor]:
    """Values and parameters' gradients over some steps, on this rank's share of each batch."""
    found = []
    for step in range(STEPS):
        x = embeddings(VIEWS, sum(shares), FEATURES, seed=step).split(shares, 1)[rank]
        extra = {"clusters": LABELS.split(shares)[rank]} if isinstance(regularizer, CentredResiduals) else {}
        value = regularizer(model(x), seeded_generator(2, step), **extra)
        model.zero_grad()
        value.backward()
        found += [value.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])]
    return found


def worker(rank: int, directory: str) -> None:
    torch.set_num_threads(1)
    reference = {name: trained(network(FEATURES, DIM), r, [12], 0) for name, r in regularizers().items()}
    errors: dict[str, dict[str, float]] = {}
    for case, shares in SHARES.items():
        if rank >= len(shares):
            continue
        dist.init_process_group("gloo", init_method=f"file://{directory}/{case}", rank=rank, world_size=len(shares))
        model = DistributedDataParallel(network(FEATURES, DIM))
        for name, regularizer in regularizers().items():
            found = trained(model, regularizer, shares, rank)
            pairs = zip(found, reference[name], strict=True)
            errors.setdefault(name, {})[case] = max(float((a - b).norm() / b.norm()) for a, b in pairs)
            if isinstance(regularizer, QueuedRegularizer):  # of all ranks, on every rank
                whole = regularizer.queue.clone()
                dist.broadcast(whole, 0)
                errors[name][f"{case}, queue"] = float((whole - regularizer.queue).norm()) + abs(whole.shape[1] - 24)
        dist.barrier()
        dist.destroy_process_group()
    Path(directory, f"errors-{rank}.json").write_text(json.dumps(errors))


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, float]]]:
    directory = tmp_path_factory.mktemp("wrappers")
    start_ranks(worker, directory, 3)
    return [json.loads((directory / f"errors-{rank}.json").read_text()) for rank in range(3)]


@pytest.mark.parametrize("name", ["queue", "queue of pairs", "clusters"])
def test_steps_of_several_processes_are_those_of_one(errors, name):
    for rank, found in enumerate(errors):
        assert found[name], rank
        for case, error in found[name].items():
            assert error <= 1e-9, (rank, case)
