"""Sub-JEPA's subspaces against their definition: project, then SIGReg in each of them."""

import numpy as np
import pytest
import torch

from sigreg_lab.regularizers import SIGReg, SubspaceSIGReg, make_regularizer
from sigreg_lab.regularizers.sigreg import _subspaces
from sigreg_lab.slicing import DIRECTIONS, make_directions, seeded_generator
from sigreg_lab.univariate import AndersonDarling, EppsPulley

CPU = torch.device("cpu")


def embeddings(*shape: int) -> torch.Tensor:
    return 1.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.2


@pytest.mark.parametrize("statistic", [EppsPulley(), AndersonDarling()], ids=repr)
@pytest.mark.parametrize(("num_subspaces", "subspace_dim", "kind"), [
    (3, None, "iid"), (2, 5, "iid"), (1, 1, "iid"), *((2, 4, kind) for kind in DIRECTIONS)
])  # fmt: skip
def test_is_the_mean_of_the_statistic_in_each_subspace(statistic, num_subspaces, subspace_dim, kind):
    z = embeddings(2, 9, 7)
    size = subspace_dim or 3  # 7 / 3, rounded up
    u = make_directions(kind, size, 12, generator=seeded_generator(1), dtype=torch.float32).double()
    bases = _subspaces(CPU, 7, num_subspaces, size, 0)
    values = []
    for s in range(num_subspaces):
        np.testing.assert_allclose(bases[:, s].T @ bases[:, s], np.eye(size), atol=1e-12)
        part = z @ bases[:, s]  # (V, N, L)
        own = u[:, s::num_subspaces]
        values.append(SIGReg(statistic)(part, seeded_generator(0), directions=own))
    regularizer = SubspaceSIGReg(statistic, 12, num_subspaces=num_subspaces, subspace_dim=subspace_dim, directions=kind)
    torch.testing.assert_close(regularizer(z, seeded_generator(1)), torch.stack(values).mean(), rtol=1e-5, atol=1e-6)


def test_subspaces_stand_still_and_come_from_their_seed():
    z = embeddings(1, 20, 6)
    outside = torch.linalg.qr(_subspaces(CPU, 6, 1, 2, 3)[:, 0], mode="complete")[0][:, 2:]
    regularizer = SubspaceSIGReg(EppsPulley(), 8, num_subspaces=1, subspace_dim=2, seed=3)
    for step in range(3):  # at every step blind to what is outside of the plane
        expected = regularizer(z, seeded_generator(step))
        moved = regularizer(z + 5 * embeddings(1, 20, 4) @ outside.T, seeded_generator(step))
        torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-5)
    other = SubspaceSIGReg(EppsPulley(), 8, num_subspaces=1, subspace_dim=2, seed=4)
    assert not torch.isclose(other(z, seeded_generator(0)), regularizer(z, seeded_generator(0)), rtol=1e-3)


def test_one_subspace_of_all_dimensions_is_sigreg():
    """Then u_m'P is uniform on the sphere: the mean over many slices is that of SIGReg."""
    z = embeddings(1, 30, 5)
    values = [
        torch.stack([regularizer(z, seeded_generator(seed)) for seed in range(40)])
        for regularizer in (SubspaceSIGReg(EppsPulley(), 100, num_subspaces=1), SIGReg(EppsPulley(), 100))
    ]
    difference, error = values[0].mean() - values[1].mean(), ((values[0].var() + values[1].var()) / 40) ** 0.5
    assert abs(difference) < 4 * error
    assert error < 0.02 * values[1].mean()


def test_bad_options_are_refused_by_name():
    with pytest.raises(ValueError, match="num_subspaces must be at least 1"):
        make_regularizer("subspace-sigreg", num_subspaces=0)
    with pytest.raises(ValueError, match="subspace_dim must be at least 1 or None"):
        make_regularizer("subspace-sigreg", subspace_dim=0)
    with pytest.raises(ValueError, match="subspace_dim must be at most 4, the dimension of z, got 5"):
        make_regularizer("subspace-sigreg", num_slices=3, subspace_dim=5)(embeddings(1, 6, 4), seeded_generator(0))
    with pytest.raises(TypeError, match=r"generator must be a torch\.Generator"):
        make_regularizer("subspace-sigreg", num_slices=3)(embeddings(1, 6, 4), 0)
