"""Sliced Wasserstein and VISReg against brute force."""

import numpy as np
import pytest
import torch
from scipy import stats

from sigreg_lab.regularizers import SIGReg, VISReg
from sigreg_lab.slicing import DIRECTIONS, iid_directions, make_directions, seeded_generator
from sigreg_lab.univariate import Wasserstein

QUANTILES = {
    "mean": lambda n: stats.norm.ppf(np.arange(1, n + 1) / (n + 1)),
    "midpoint": lambda n: stats.norm.ppf((np.arange(1, n + 1) - 0.5) / n),
}


def embeddings(*shape: int) -> torch.Tensor:
    return 1.4 * torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.3


@pytest.mark.parametrize("quantiles", QUANTILES)
def test_sliced_wasserstein_equals_a_loop(quantiles):
    z = embeddings(2, 7, 3)
    directions = iid_directions(3, 4, generator=seeded_generator(1), dtype=torch.float64)
    costs = [
        np.mean((np.sort(view.numpy() @ a.numpy()) - QUANTILES[quantiles](7)) ** 2) for view in z for a in directions.T
    ]
    value = SIGReg(Wasserstein(quantiles), 4)(z, seeded_generator(0), directions=directions)
    assert float(value) == pytest.approx(np.mean(costs), rel=1e-12)


def visreg_terms(z: np.ndarray, directions: np.ndarray, sigma: np.ndarray | None = None) -> np.ndarray:
    """Centre, scale and shape terms by loops over views and slices; ``sigma`` divides instead of the sample's own."""
    terms = []
    for v, view in enumerate(z):
        mean, std = view.mean(0), view.std(0)
        y = (view - mean) / (std if sigma is None else sigma[v])
        shape = np.mean([np.mean((np.sort(y @ a) - QUANTILES["mean"](len(y))) ** 2) for a in directions.T])
        terms.append([np.mean(mean**2), np.mean((1 - std) ** 2), shape])
    return np.mean(terms, axis=0)


@pytest.mark.parametrize("kind", DIRECTIONS)
def test_visreg_equals_a_loop(kind):
    z = embeddings(2, 7, 4)
    directions = make_directions(kind, 4, 5, generator=seeded_generator(1), dtype=torch.float64).numpy()
    center, scale, shape = visreg_terms(z.numpy(), directions)
    assert float(VISReg(5, directions=kind)(z, seeded_generator(1))) == pytest.approx(center + scale + shape, rel=1e-12)
    weighed = VISReg(5, center=0.5, scale=2.0, shape=3.0, directions=kind)(z, seeded_generator(1))
    assert float(weighed) == pytest.approx(0.5 * center + 2 * scale + 3 * shape, rel=1e-12)


def test_visreg_gradient_holds_sigma_fixed_in_the_shape_term():
    z = embeddings(2, 5, 3).requires_grad_()
    directions = iid_directions(3, 4, generator=seeded_generator(1), dtype=torch.float64).numpy()
    (gradient,) = torch.autograd.grad(VISReg(4)(z, seeded_generator(1)), z)
    base, step = z.detach().numpy(), 1e-6
    sigma = base.std(1)
    numerical, moving = np.zeros_like(base), np.zeros_like(base)
    for index in np.ndindex(base.shape):
        shift = np.zeros_like(base)
        shift[index] = step
        for result, fixed in ((numerical, sigma), (moving, None)):
            up, down = (visreg_terms(base + sign * shift, directions, fixed).sum() for sign in (1, -1))
            result[index] = (up - down) / (2 * step)
    np.testing.assert_allclose(gradient.numpy(), numerical, atol=1e-8)
    assert np.abs(numerical - moving).max() > 1e-3  # the stop-gradient matters


def test_bad_options_are_refused_by_name():
    with pytest.raises(ValueError, match="quantiles must be one of"):
        VISReg(quantiles="blom")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_slices must be at least 1"):
        VISReg(0)
    with pytest.raises(ValueError, match="center, scale and shape must be 0 or more"):
        VISReg(scale=-1.0)
