"""Regularisers that take embeddings alone; the losses as graphs: compiled whole, and exported."""

import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from sigreg_lab.adapters import LightlySIGReg, SteppedRegularizer
from sigreg_lab.distributed import leave_group
from sigreg_lab.regularizers import LeJEPALoss, SIGReg, VICReg, make_regularizer
from sigreg_lab.slicing import make_directions, seeded_generator
from sigreg_lab.univariate import EppsPulley
from tests.processes import start_ranks

V, N, K, M = 3, 20, 6, 16


def embeddings(*shape, dtype=torch.float64):
    return torch.randn(shape or (V, N, K), generator=torch.Generator().manual_seed(0), dtype=dtype)


def formula(x, directions, knots=17, t_max=3.0):
    """SIGReg as lightly writes it, (V, N, K)."""
    t = torch.linspace(0, t_max, knots, dtype=x.dtype)
    phi = torch.exp(-(t**2) / 2)
    weights = torch.full((knots,), 2 * t_max / (knots - 1), dtype=x.dtype)
    weights[[0, -1]] /= 2
    angles = (x @ directions.to(x.dtype)).unsqueeze(-1) * t
    error = (angles.cos().mean(-3) - phi) ** 2 + angles.sin().mean(-3) ** 2
    return (error @ (weights * phi)).mean() * x.shape[-2]


@pytest.mark.parametrize("gather", [False, True])
@pytest.mark.parametrize(("knots", "t_max"), [(17, 3.0), (9, 2.0)])
def test_the_value_is_that_of_the_formula(gather, knots, t_max):
    x = embeddings().requires_grad_()
    sigreg = LightlySIGReg(knots=knots, t_max=t_max, num_vectors=M, gather_distributed=gather, seed=3)
    for step in range(2):
        directions = make_directions("iid", K, M, generator=seeded_generator(3, step))
        value, expected = sigreg(x), formula(x, directions, knots, t_max)
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=0)
        gradients = [torch.autograd.grad(one, x)[0] for one in (value, expected)]
        torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-9)
    assert sigreg.global_step == 2


def test_any_regulariser_takes_embeddings_alone():
    x = embeddings()
    stepped = SteppedRegularizer(make_regularizer("visreg", num_slices=M), seed=5)
    for step in range(2):
        assert torch.equal(stepped(x), stepped.regularizer(x, seeded_generator(5, step)))
    assert torch.equal(SteppedRegularizer(VICReg())(x), VICReg()(x, seeded_generator(0)))


@pytest.mark.parametrize("gather", [False, True])
def test_leading_dimensions_are_views(gather):
    x = embeddings(2, 3, N, K)
    make = lambda: LightlySIGReg(num_vectors=M, gather_distributed=gather)  # noqa: E731
    assert torch.equal(make()(x), make()(x.flatten(0, 1)))
    assert torch.equal(make()(x[0, 0]), make()(x[0, :1]))
    with pytest.raises(ValueError, match=r"x must be a tensor of shape \(N, K\) or \(..., N, K\), got \(6,\)"):
        make()(x[0, 0, 0])
    with pytest.raises(ValueError, match=r"is empty, shape \(3, 0, 6\); hand in at least 2 samples"):
        make()(x[0, :, :0])
    with pytest.raises(ValueError, match="z holds 120 NaN"):
        LightlySIGReg(gather_distributed=True)(torch.full((N, K), torch.nan))


@pytest.mark.parametrize("gather", [False, True])
def test_low_precision_and_autocast_are_lifted(gather):
    x = embeddings(dtype=torch.bfloat16)
    sigreg, other = (LightlySIGReg(num_vectors=M, gather_distributed=gather) for _ in range(2))
    value = sigreg(x)
    assert value.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(other(x), value)


def test_a_run_that_goes_on_draws_what_it_would_have_drawn():
    x = embeddings()
    sigreg, again = LightlySIGReg(num_vectors=M, seed=7), LightlySIGReg(num_vectors=M)
    sigreg(x)
    again.load_state_dict(sigreg.state_dict())
    assert torch.equal(again(x), sigreg(x))


def test_bad_options_are_refused_by_name():
    for name, value in (("knots", 1), ("t_max", 0.0), ("num_vectors", 0), ("seed", -1)):
        with pytest.raises(ValueError, match=f"{name} must be"):
            LightlySIGReg(**{name: value})
    with pytest.raises(TypeError, match=r"got 'vicreg'; make_regularizer\(name\) builds one"):
        SteppedRegularizer("vicreg")


def worker(rank: int, directory: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{directory}/group", rank=rank, world_size=2)
    x = embeddings(N, K)[:9] if rank == 0 else embeddings(N, K)[9:]
    found = {}
    for gather in (False, True):
        own = x.clone().requires_grad_()
        value = LightlySIGReg(num_vectors=M, gather_distributed=gather)(own)
        value.backward()
        found[str(gather)] = {"value": float(value.detach()), "gradient": own.grad.tolist()}
    Path(directory, f"found-{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    leave_group()


def test_on_two_ranks_it_is_the_whole_batch_or_each_ranks_own(tmp_path):
    start_ranks(worker, tmp_path, 2)
    found = [json.loads((tmp_path / f"found-{rank}.json").read_text()) for rank in range(2)]
    x = embeddings(N, K).requires_grad_()
    directions = make_directions("iid", K, M, generator=seeded_generator(0, 0))
    whole = formula(x[None], directions)
    (gradient,) = torch.autograd.grad(whole, x)
    for rank, part in enumerate((slice(0, 9), slice(9, N))):
        assert found[rank]["True"]["value"] == pytest.approx(float(whole.detach()), rel=1e-6)
        # Summed over both ranks' losses: the mean over ranks, which data parallelism takes, is the whole batch's.
        torch.testing.assert_close(
            torch.tensor(found[rank]["True"]["gradient"], dtype=torch.float64), 2 * gradient[part], rtol=1e-5, atol=1e-9
        )
        assert found[rank]["False"]["value"] == pytest.approx(
            float(formula(x.detach()[None, part], directions)), rel=1e-6
        )


# Graphs


def _loss():
    return LeJEPALoss(SIGReg(EppsPulley(), M), 0.3, global_views=2)


class Exported(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.loss = _loss()

    def forward(self, z, directions):
        return self.loss(z, directions=directions)


@pytest.fixture
def directions():
    return make_directions("iid", K, M, generator=seeded_generator(1))


@pytest.mark.parametrize("per_view", [True, False])
def test_sigreg_compiles_whole_with_directions_handed_in(directions, per_view):
    z = embeddings(dtype=torch.float32).requires_grad_()
    sigreg = SIGReg(EppsPulley(), M, per_view=per_view)
    graph = torch.compile(lambda z, a: sigreg(z, None, directions=a), fullgraph=True, backend="aot_eager")
    values = [function(z, directions) for function in (graph, lambda z, a: sigreg(z, None, directions=a))]
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*(torch.autograd.grad(value, z)[0] for value in values))


def test_the_loss_compiles_whole_with_directions_handed_in(directions):
    z = embeddings(dtype=torch.float32).requires_grad_()
    loss = _loss()
    graph = torch.compile(loss, fullgraph=True, backend="aot_eager")
    found, expected = graph(z, directions=directions), loss(z, directions=directions)
    torch.testing.assert_close(tuple(found), tuple(expected))
    torch.testing.assert_close(*(torch.autograd.grad(terms.total, z)[0] for terms in (found, expected)))
    other = make_directions("iid", K, M, generator=seeded_generator(2))
    assert graph(z, directions=other).regularizer.item() != found.regularizer.item(), "not baked in"


def test_the_loss_is_exported_with_directions_handed_in(directions):
    z = embeddings(dtype=torch.float32)
    program = torch.export.export(Exported(), (z, directions))
    for seed in (1, 2):
        z, a = 2 * z, make_directions("iid", K, M, generator=seeded_generator(seed))
        torch.testing.assert_close(tuple(program.module()(z, a)), tuple(_loss()(z, directions=a)))


@pytest.mark.parametrize("name", ["own generator", "generator", "stepped", "subspaces"])
def test_where_a_generator_would_draw_the_error_names_the_way(name):
    z = embeddings(dtype=torch.float32)
    loss, generator = _loss(), seeded_generator(0)
    stepped, subspaces = LightlySIGReg(num_vectors=M), make_regularizer("subspace-sigreg", num_slices=M)
    calls = {
        "own generator": lambda z: loss(z).total,
        "generator": lambda z: loss(z, generator).total,
        "stepped": lambda z: stepped(z),
        "subspaces": lambda z: subspaces(z, generator),
    }
    with pytest.raises(torch._dynamo.exc.Unsupported, match="hand them in: directions= of SIGReg and LeJEPALoss"):
        torch.compile(calls[name], fullgraph=True, backend="aot_eager")(z)
    torch._dynamo.reset()

    class Call(torch.nn.Module):
        def forward(self, z):
            return calls[name](z)

    with pytest.raises(Exception, match="hand them in: directions= of SIGReg and LeJEPALoss"):
        torch.export.export(Call(), (z,))


def test_without_fullgraph_the_loss_compiles_as_it_is():
    z = embeddings(dtype=torch.float32)
    loss, other = _loss(), _loss()
    graph = torch.compile(loss, backend="aot_eager")
    for _ in range(2):
        torch.testing.assert_close(graph(z).total, other(z).total)
