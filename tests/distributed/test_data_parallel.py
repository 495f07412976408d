"""The oracle of data parallelism: the gradient of W processes is that of one process on the whole batch.

Four processes start once; every check runs inside them, in groups of four, of two and of one, and writes its error.
The reference is the same code in the same processes before any group exists. Shares of the batch are equal ("even")
or not. The parameters sit in a small network behind ``DistributedDataParallel``, which averages gradients over ranks.
"""

import contextlib
import json
from importlib import import_module
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

from sigreg_lab.distributed import (
    all_reduce_sum,
    gather_samples,
    leave_group,
    mean_over_samples,
    on_all_ranks,
    total_samples,
    world_size,
)
from sigreg_lab.regularizers import REGISTRY, LeJEPALoss, SIGReg, make_regularizer
from sigreg_lab.slicing import seeded_generator
from sigreg_lab.theory.cost import step_cost
from sigreg_lab.univariate import SumForm, UnivariateTest
from tests.distributed.cases import network
from tests.processes import start_ranks

VIEWS, SAMPLES, FEATURES, DIM = 3, 24, 6, 5
SHARES = {"1": [24], "2": [12, 12], "2 uneven": [9, 15], "4": [6, 6, 6, 6], "4 uneven": [1, 11, 5, 7]}

#: Cases by label: name and options. Seven slices do not divide among the ranks; three leave the last of four idle.
CASES: dict[str, tuple[str, dict[str, object]]] = {
    name: (name, {"num_slices": 7} if "num_slices" in entry.options else {})
    for name, entry in REGISTRY.items()
    if name != "none"
} | {
    "sigreg-ep flattened": ("sigreg-ep", {"num_slices": 7, "per_view": False}),
    "sigreg-ep closed form": ("sigreg-ep-full-line", {"num_slices": 7, "integration": "exact"}),
    "sigreg-ep-cv unbiased": ("sigreg-ep-cv", {"num_slices": 7, "estimator": "u"}),
    "sigreg-ad flattened": ("sigreg-ad", {"num_slices": 7, "per_view": False}),
    "sigreg-ad three slices": ("sigreg-ad", {"num_slices": 3}),
    "sliced-wasserstein midpoint": ("sliced-wasserstein", {"num_slices": 7, "quantiles": "midpoint"}),
    "weak-sigreg sketched": ("weak-sigreg", {"sketch_dim": 3}),
    "sigreg-ksd unbiased": ("sigreg-ksd", {"num_slices": 7, "estimator": "u"}),
    "rdmreg three slices": ("rdmreg", {"num_slices": 3, "p": 1.5}),
    "tc-sigreg windows of 5": ("tc-sigreg", {"num_slices": 7, "window": 5}),
    "subspace-sigreg of two": ("subspace-sigreg", {"num_slices": 7, "num_subspaces": 2, "subspace_dim": 2}),
}
LOSSES = [
    ("sigreg-ep", "convex", "centroid"),
    ("sigreg-ad", "additive", "pairwise"),
    ("none", "convex", "pairwise"),
]


class SecondMoment(UnivariateTest):
    """A statistic as a user writes it, which says how it is made of sums: N (mean of x^2 - 1)^2."""

    def _statistic(self, x: Tensor) -> Tensor:
        return x.shape[-2] * (x.square().mean(-2) - 1) ** 2

    def sum_form(self) -> SumForm:
        return SumForm(
            lambda x: x.double().square().mean(-2, keepdim=True), lambda means, n: n * (means.squeeze(-2) - 1) ** 2
        )


class Spread(UnivariateTest):
    """One that says nothing, for which the samples are gathered."""

    def _statistic(self, x: Tensor) -> Tensor:
        return (x.amax(-2) - x.amin(-2) - 4) ** 2


OWN = {"own sums": SecondMoment, "own formula": Spread}


def objectives() -> dict[str, nn.Module]:
    found: dict[str, nn.Module] = {label: make_regularizer(name, **options) for label, (name, options) in CASES.items()}
    found |= {label: SIGReg(cls(), 7) for label, cls in OWN.items()}
    for name, form, prediction in LOSSES:
        regularizer = make_regularizer(name, num_slices=7)
        found[f"lejepa {name}"] = LeJEPALoss(
            regularizer, 0.3, form=form, prediction=prediction, dimensions="sum", global_views=2
        )
    return found


def value_and_gradient(model: nn.Module, objective: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    value = objective(model(x), seeded_generator(2))
    loss = value.total if isinstance(objective, LeJEPALoss) else value
    model.zero_grad()
    loss.backward()
    return loss.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])


def relative(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).detach().norm() / expected.detach().norm())


def collective_errors(rank: int, shares: list[int]) -> dict[str, float]:
    """Sums and gathers against the whole tensor, forward and backward."""
    whole = torch.randn(2, SAMPLES, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    weight = torch.randn(2, SAMPLES, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    own = whole.split(shares, dim=1)[rank].clone().requires_grad_()
    gathered, start = gather_samples(own)
    (gradient,) = torch.autograd.grad(((rank + 1) * weight * gathered).sum(), own)
    total = sum(r + 1 for r in range(len(shares)))  # the adjoint adds up what every rank's loss asks for
    expected = total * weight.split(shares, dim=1)[rank]
    (mean_gradient,) = torch.autograd.grad(mean_over_samples(own).square().sum(), own)
    mean_expected = (len(shares) * 2 * whole.mean(1, keepdim=True) / SAMPLES).expand_as(own)
    ones = torch.ones(shares[rank], dtype=torch.bfloat16)
    return {
        "gather": relative(gathered, whole),
        "gather start": float(abs(start - sum(shares[:rank]))),
        "gather gradient": relative(gradient, expected),
        "mean": relative(mean_over_samples(own), whole.mean(1)),
        "mean gradient": relative(mean_gradient, mean_expected),
        "count": abs(float(total_samples(2**24 + 1, own.device)) / len(shares) - (2**24 + 1)),
        "low-precision sum is float32": float(all_reduce_sum(ones.sum()).dtype != torch.float32),
        "world size": float(world_size() != len(shares)),
        "on all": float(not on_all_ranks(True, own.device)),
        "not on the last": float(on_all_ranks(rank < len(shares) - 1, own.device)),
    }


def low_precision(x: Tensor) -> tuple[Tensor, Tensor]:
    """Value and gradient of SIGReg on bfloat16 embeddings, by reduced sums and by gathered samples."""
    x = x.bfloat16().requires_grad_()
    values = [make_regularizer(name, num_slices=7)(x, seeded_generator(2)) for name in ("sigreg-ep", "sigreg-ad")]
    return torch.stack(values).detach(), torch.stack([torch.autograd.grad(value, x)[0] for value in values])


def low_precision_errors(rank: int, shares: list[int], x: Tensor, whole: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Against one process, and whether the ranks sent each other floating-point numbers of low precision."""
    sent: list[torch.dtype] = []

    def watched(function):
        def call(*tensors, **options):
            sent.append(tensors[-1].dtype)
            return function(*tensors, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("all_reduce", "all_gather"):
            patch.setattr(dist, name, watched(getattr(dist, name)))
        value, gradient = low_precision(x.split(shares, dim=1)[rank])
    expected = whole[1].split(shares, dim=2)[rank]
    return {
        "value": relative(value, whole[0]),
        "gradient": relative(gradient.double() / len(shares), expected.double()),
        "sent": float(len(shares) > 1 and not sent),
        "low precision sent": float(any(dtype in (torch.bfloat16, torch.float16) for dtype in sent)),
    }


def bytes_sent(ranks: int) -> dict[str, dict[str, int]]:
    """What enters collectives and what products there are in one step, by regulariser, beside the model's numbers."""
    views, share, dim, slices = 3, 6, 5, 8
    found = {}
    for name, way in (("sigreg-ep", "sums"), ("sigreg-ad", "gather")):
        counted = {"reduced": 0, "gathered": 0, "products": 0}
        z = torch.randn(views, share, dim, generator=torch.Generator().manual_seed(5)).requires_grad_()

        def reduce(x, *_, own=dist.all_reduce, counted=counted, **options):
            counted["reduced"] += x.nbytes
            return own(x, **options)

        def gather(parts, x, own=dist.all_gather, counted=counted):
            counted["gathered"] += sum(part.nbytes for part in parts)
            return own(parts, x)

        class Products(TorchDispatchMode):
            def __torch_dispatch__(self, func, types, args=(), kwargs=None, counted=counted):
                out = func(*args, **(kwargs or {}))
                if any(word in str(func) for word in ("matmul", "mm.")):
                    counted["products"] += 2 * out.numel() * args[0].shape[-1]
                return out

        with pytest.MonkeyPatch.context() as patch, Products():
            patch.setattr(dist, "all_reduce", reduce)
            patch.setattr(dist, "all_gather", gather)
            make_regularizer(name, num_slices=slices)(z, seeded_generator(2)).backward()
        model = step_cost(ranks * share, dim, slices, num_views=views, ranks=ranks, way=way)
        found[name] = {key: [value, getattr(model, key)] for key, value in counted.items()}
    return found


def worker(rank: int, directory: str) -> None:
    torch.set_num_threads(1)
    x = torch.randn(VIEWS, SAMPLES, FEATURES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = network(FEATURES, DIM)
    embedded = model(x).detach()
    in_bfloat16 = low_precision(embedded)
    reference = {label: value_and_gradient(model, objective, x) for label, objective in objectives().items()}
    errors: dict[str, dict[str, dict[str, float]]] = {}
    costs: dict[str, dict[str, dict[str, int]]] = {}
    for case, shares in SHARES.items():
        if rank >= len(shares):
            continue
        dist.init_process_group(
            "gloo", init_method=f"file://{directory}/{case.replace(' ', '-')}", rank=rank, world_size=len(shares)
        )
        errors[case] = {"collectives": collective_errors(rank, shares)}
        errors[case]["bfloat16"] = low_precision_errors(rank, shares, embedded, in_bfloat16)
        costs[case] = bytes_sent(len(shares))
        parallel = DistributedDataParallel(model)
        own = x.split(shares, dim=1)[rank]
        for label, objective in objectives().items():
            value, gradient = value_and_gradient(parallel, objective, own)
            errors[case][label] = {
                "value": relative(value, reference[label][0]),
                "gradient": relative(gradient, reference[label][1]),
            }
        dist.barrier()
        leave_group()
        errors[case]["collectives"]["left"] = float(dist.is_initialized())
    Path(directory, f"errors-{rank}.json").write_text(json.dumps(errors))
    Path(directory, f"costs-{rank}.json").write_text(json.dumps(costs))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data_parallel")
    start_ranks(worker, directory, 4)
    return directory


@pytest.fixture(scope="module")
def errors(written: Path) -> list[dict[str, dict[str, dict[str, float]]]]:
    return [json.loads((written / f"errors-{rank}.json").read_text()) for rank in range(4)]


@pytest.mark.parametrize("name", ["sigreg-ep", "sigreg-ad"])
@pytest.mark.parametrize("case", ["1", "2", "4"])
def test_the_model_of_a_steps_cost_counts_what_is_sent_and_multiplied(written, case, name):
    for rank in range(len(SHARES[case])):
        found = json.loads((written / f"costs-{rank}.json").read_text())[case][name]
        if (case, name) == ("1", "sigreg-ep"):
            found.pop("products")  # inside of the fused kernel, where nothing counts
        for what, (counted, model) in found.items():
            assert counted == model, what


LABELS = [*CASES, *OWN, *(f"lejepa {name}" for name, _, _ in LOSSES)]


@pytest.mark.parametrize("label", LABELS)
def test_gradient_is_that_of_one_process_on_the_whole_batch(errors, label):
    for rank, found in enumerate(errors):
        for case, shares in SHARES.items():
            if rank < len(shares):
                assert found[case][label]["gradient"] <= 1e-6, (case, rank)


@pytest.mark.parametrize("label", LABELS)
def test_value_on_every_rank_is_that_of_the_whole_batch(errors, label):
    for rank, found in enumerate(errors):
        for case, shares in SHARES.items():
            if rank < len(shares):
                assert found[case][label]["value"] <= 1e-6, (case, rank)


@pytest.mark.parametrize("case", SHARES)
def test_collectives_and_their_adjoints(errors, case):
    for rank in range(len(SHARES[case])):
        for what, error in errors[rank][case]["collectives"].items():
            assert error <= 1e-12, (what, rank)


@pytest.mark.parametrize("case", SHARES)
def test_bfloat16_embeddings_have_one_value_on_any_number_of_ranks_and_sums_in_float32(errors, case):
    """The gradient is rounded to 8 bits, on W ranks and on one: half a unit of the last, 2^-9, each."""
    for rank in range(len(SHARES[case])):
        found = errors[rank][case]["bfloat16"]
        assert found["value"] <= 1e-6
        assert found["gradient"] <= 2**-8
        assert found["sent"] == found["low precision sent"] == 0


@pytest.mark.parametrize("name", ["sigreg-ep", "sigreg-ejb", "vicreg", "barlow-twins", "w-mse"])
def test_what_ranks_send_lies_on_the_device_of_the_samples(name, monkeypatch):
    """NCCL sends nothing else. The meta device stands for the GPU; it also refuses to be waited for."""
    sent = []
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", lambda x, **_: sent.append(x.device.type))
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # meta has none
    for operation, module in (("matmul", "matmul"), ("cosine_sine_sums", "characteristic_function"),
                              ("trigonometric_polynomial", "characteristic_function")):  # fmt: skip
        own = getattr(import_module(f"sigreg_lab.kernels.{module}"), f"_{operation}")
        monkeypatch.setattr(torch.ops.sigreg_lab, operation, own)
    z = torch.empty(2, 8, 5, device="meta", requires_grad=True)
    options = {"num_slices": 7} if "num_slices" in REGISTRY[name].options else {}
    LeJEPALoss(make_regularizer(name, **options))(z, seeded_generator(0)).total.backward()
    assert len(sent) >= 4
    assert set(sent) == {"meta"}


def test_without_a_group_nothing_changes():
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert world_size() == 1
    assert on_all_ranks(True, x.device)
    assert not on_all_ranks(False, x.device)
    leave_group()
    assert all_reduce_sum(x) is x
    assert gather_samples(x).samples is x
    assert total_samples(5, x.device) == 5
    assert torch.equal(mean_over_samples(x, 0), x.mean(0))
    assert all_reduce_sum(x.bfloat16()).dtype == torch.float32
