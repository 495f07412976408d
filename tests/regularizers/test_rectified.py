"""RDMReg against a loop, and the law of its target against SciPy's."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from sigreg_lab.regularizers import RDMReg
from sigreg_lab.regularizers.rectified import rectified_generalized_gaussian, unit_scale
from sigreg_lab.slicing import DIRECTIONS, make_directions, seeded_generator


def embeddings(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.2


@pytest.mark.parametrize("rectify", [True, False])
@pytest.mark.parametrize(
    ("p", "mu", "sigma", "kind"),
    [(2.0, -0.5, 0.8, "iid"), (0.5, 0.3, None, "iid"), *((1.0, 0.0, None, kind) for kind in DIRECTIONS)],
)
def test_equals_a_loop_over_views_and_slices(p, mu, sigma, kind, rectify):
    z = embeddings(2, 7, 4)
    generator = seeded_generator(1)
    directions = make_directions(kind, 4, 3, generator=generator, dtype=torch.float64).numpy()
    scale = unit_scale(p) if sigma is None else sigma
    target = rectified_generalized_gaussian((7, 4), p, mu, scale, generator=generator).double().numpy()
    values = []
    for view in z.numpy():
        features = np.maximum(view, 0) if rectify else view
        for a in directions.T:
            values.append(np.mean((np.sort(features @ a) - np.sort(target @ a)) ** 2))
    regularizer = RDMReg(3, p=p, mu=mu, sigma=sigma, rectify=rectify, directions=kind)
    assert float(regularizer(z, seeded_generator(1))) == pytest.approx(np.mean(values), rel=1e-9)


@pytest.mark.parametrize(("p", "mu", "sigma"), [(1.0, 0.0, 0.7), (2.0, 0.4, 1.3), (0.5, -0.2, 0.3), (3.0, 1.0, 2.0)])
def test_the_target_is_a_rectified_generalised_gaussian(p, mu, sigma):
    """SciPy's gennorm has the density proportional to exp(-|x/scale|^p): scale = p^(1/p) sigma."""
    x = rectified_generalized_gaussian((200, 300), p, mu, sigma, generator=seeded_generator(0)).numpy().ravel()
    law = stats.gennorm(p, mu, p ** (1 / p) * sigma)
    zeros = law.cdf(0)
    assert abs((x == 0).mean() - zeros) < 4 * math.sqrt(zeros * (1 - zeros) / len(x)) + 1e-12
    positive = x[x > 0]
    assert stats.kstest(positive, lambda v: (law.cdf(v) - zeros) / (1 - zeros)).pvalue > 1e-3
    assert stats.kstest(positive, lambda v: (law.cdf(1.15 * v) - zeros) / (1 - zeros)).pvalue < 1e-6, "15% off"


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0, 4.0])
def test_the_default_scale_has_variance_one_before_rectification(p):
    assert stats.gennorm(p, 0, p ** (1 / p) * unit_scale(p)).var() == pytest.approx(1, rel=1e-12)
    assert RDMReg(2, p=p).sigma == unit_scale(p)


def test_zero_at_the_draws_themselves_and_small_at_others_of_the_law():
    generator = seeded_generator(1)
    make_directions("iid", 5, 16, generator=generator)
    draws = rectified_generalized_gaussian((300, 5), 1.0, 0.0, unit_scale(1.0), generator=generator)
    regularizer = RDMReg(16)
    assert float(regularizer(draws[None], seeded_generator(1))) < 1e-12
    others = rectified_generalized_gaussian((300, 5), 1.0, 0.0, unit_scale(1.0), generator=seeded_generator(9))
    normal = torch.randn(1, 300, 5, generator=torch.Generator().manual_seed(0))
    dense = RDMReg(16, rectify=False)
    assert 10 * dense(others[None], seeded_generator(1)) < dense(normal, seeded_generator(1))


def test_rectified_coordinates_have_no_gradient():
    z = embeddings(2, 9, 3).requires_grad_()
    (gradient,) = torch.autograd.grad(RDMReg(8)(z, seeded_generator(0)), z)
    assert ((gradient == 0) == (z <= 0)).all()
    (dense,) = torch.autograd.grad(RDMReg(8, rectify=False)(z, seeded_generator(0)), z)
    assert (dense != 0).all()


def test_bad_options_are_refused_by_name():
    with pytest.raises(ValueError, match="p must be positive and finite"):
        RDMReg(p=0.0)
    with pytest.raises(ValueError, match="sigma must be positive and finite, or None"):
        RDMReg(sigma=-1.0)
    with pytest.raises(ValueError, match="num_slices must be at least 1"):
        RDMReg(0)
    with pytest.raises(ValueError, match="directions must be one of"):
        RDMReg(directions="random")
