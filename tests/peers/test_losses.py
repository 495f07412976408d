"""Our SIGReg in the place of theirs: the same numbers on the same directions, in their own losses."""

from importlib import metadata
from pathlib import Path

import pytest
import torch

from sigreg_lab.adapters import LightlySIGReg, SteppedRegularizer
from sigreg_lab.regularizers import SIGReg, make_regularizer
from sigreg_lab.slicing import make_directions, seeded_generator
from sigreg_lab.univariate import EppsPulley

V, N, K, M = 4, 32, 12, 64


def views(seed=0):
    return torch.randn(V, N, K, generator=torch.Generator().manual_seed(seed)) * 1.2 + 0.1


def compared(ours, theirs, x):
    """Values and gradients of two losses."""
    found = []
    for loss in (ours, theirs):
        z = x.clone().requires_grad_()
        value = loss(z)
        found.append((value.detach(), *torch.autograd.grad(value, z)))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=2e-5, atol=0)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-6)


def test_the_versions_are_those_of_the_pins():
    lines = [line for line in Path("peers.txt").read_text().splitlines() if not line.startswith("#")]
    assert {line: f"{(name := line.split('==')[0])}=={metadata.version(name)}" for line in lines} == {
        line: line for line in lines
    }


def test_ours_takes_what_lightlys_takes_and_says_what_it_says(monkeypatch):
    import inspect

    from lightly.loss.lejepa_loss import SIGReg as Theirs

    own, others = (inspect.signature(cls.__init__).parameters for cls in (LightlySIGReg, Theirs))
    assert [str(own[name]) for name in others] == [str(others[name]) for name in others]
    assert set(own) - set(others) == {"seed"}
    ours, theirs = LightlySIGReg(num_vectors=M), Theirs(num_vectors=M)
    monkeypatch.setattr(
        theirs, "_generate_unit_vectors", lambda *_: make_directions("iid", K, M, generator=seeded_generator(0, 0))
    )
    compared(ours, theirs, views())


def test_in_lightlys_loss_one_line_changes():
    from lightly.loss.lejepa_loss import LeJEPALoss, lejepa_invariance_loss

    loss, x = LeJEPALoss(lambda_param=0.05), views()
    loss.sigreg = LightlySIGReg(num_vectors=M)
    found = loss(local_proj=x[2:], global_proj=x[:2])
    ordered = torch.cat([x[:2], x[2:]])
    expected = 0.05 * LightlySIGReg(num_vectors=M)(ordered) + 0.95 * lejepa_invariance_loss(
        all_proj=ordered, global_proj=x[:2]
    )
    torch.testing.assert_close(found, expected)


def test_stable_pretrainings_sigreg_on_the_same_directions():
    from stable_pretraining.methods.lejepa import SlicedEppsPulley

    theirs, x = SlicedEppsPulley(M), views().flatten(0, 1)
    drawn = torch.randn(K, M, generator=torch.Generator().manual_seed(0))  # theirs of step 0
    sigreg = SIGReg(EppsPulley(), M)
    compared(lambda z: sigreg(z[None], None, directions=drawn / drawn.norm(dim=0)), theirs, x)


def test_in_stable_pretrainings_model_one_line_changes():
    from stable_pretraining.methods.lejepa import LeJEPA

    torch.manual_seed(0)
    model = LeJEPA("vit_tiny_patch16_224", projector=torch.nn.Linear(192, 16), n_slices=M, drop_path_rate=0.0).train()
    images = [torch.randn(6, 3, 32, 32) for _ in range(3)]
    before = model(images[:2], images[2:])
    model.sigreg = SteppedRegularizer(make_regularizer("sigreg-ep", num_slices=4096))
    after = model(images[:2], images[2:])
    torch.testing.assert_close(after.inv_loss, before.inv_loss)
    assert float(after.sigreg_loss.detach()) == pytest.approx(float(before.sigreg_loss.detach()), rel=0.1), (
        "other slices"
    )
    after.loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.projector.parameters())
    model.sigreg = SteppedRegularizer(make_regularizer("visreg"))
    assert model(images[:2], images[2:]).loss.isfinite(), "any regulariser can stand there"
