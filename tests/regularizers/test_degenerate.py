"""Finite values and gradients where embeddings degenerate: collapse, ties, large scale, few samples in many dimensions.

The embeddings come out of a bfloat16 layer under autocast, and the gradient is that of its float32 parameters, as in
training. A gradient may be zero (exact collapse is a saddle of several regularisers) but not NaN or infinite.
"""

import pytest
import torch
from torch import Tensor, nn

from sigreg_lab.regularizers import REGISTRY, Regularizer, make_regularizer, regularizer_options
from sigreg_lab.slicing import seeded_generator

NAMES = [name for name in REGISTRY if name != "none"]
FEATURES, VIEWS, SAMPLES = 16, 2, 8


def build(name: str, **options: object) -> Regularizer:
    few = {"num_slices": 8} if "num_slices" in regularizer_options(name) else {}
    regularizer = make_regularizer(name, **few, **options)
    assert regularizer is not None
    return regularizer.eval()  # a queue of earlier embeddings stands still


def layer(dim: int, *, scale: float, bias: float) -> nn.Linear:
    generator = torch.Generator().manual_seed(0)
    linear = nn.Linear(FEATURES, dim)
    with torch.no_grad():
        linear.weight.copy_(scale * torch.randn(dim, FEATURES, generator=generator) / FEATURES**0.5)
        linear.bias.copy_(bias * torch.randn(dim, generator=generator))
    return linear


def features(*, tied: bool = False) -> Tensor:
    x = torch.randn(VIEWS, SAMPLES, FEATURES, generator=torch.Generator().manual_seed(1))
    return x[:, :2].repeat_interleave(SAMPLES // 2, dim=1) if tied else x


#: What comes out of the layer: (scale of weights, scale of biases, whether samples are tied).
CONDITIONS = {
    "all zero": (0.0, 0.0, False),
    "all equal": (0.0, 1.0, False),
    "far and equal": (0.0, 100.0, False),
    "equal but for rounding": (1e-6, 1.0, False),
    "tiny": (1e-8, 0.0, False),
    "nearly equal": (1e-2, 1.0, False),
    "ties": (1.0, 0.1, True),
    "nearly equal and tied": (1e-2, 1.0, True),
    "large": (1e3, 0.0, False),
    "plain": (1.0, 0.0, False),
}


def value_and_gradients(regularizer: Regularizer, linear: nn.Linear, x: Tensor) -> list[Tensor]:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z = linear(x)
        assert z.dtype == torch.bfloat16
        value = regularizer(z, seeded_generator(0))
    assert value.dtype == torch.float32
    value.backward()
    return [value, linear.weight.grad, linear.bias.grad]


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("name", NAMES)
def test_finite_under_autocast(name, condition):
    scale, bias, tied = CONDITIONS[condition]
    results = value_and_gradients(build(name), layer(32, scale=scale, bias=bias), features(tied=tied))
    assert all(result.isfinite().all() for result in results)


@pytest.mark.parametrize("condition", ["all equal", "nearly equal and tied"])
@pytest.mark.parametrize("name", NAMES)
def test_finite_in_2048_dimensions(name, condition):
    scale, bias, tied = CONDITIONS[condition]
    results = value_and_gradients(build(name), layer(2048, scale=scale, bias=bias), features(tied=tied))
    assert all(result.isfinite().all() for result in results)


def embeddings(condition: str) -> Tensor:
    scale, bias, tied = CONDITIONS[condition]
    return layer(32, scale=scale, bias=bias)(features(tied=tied)).detach()


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("name", NAMES)
def test_a_float16_gradient_is_that_of_float32_rounded(name, condition):
    """Infinite, with its sign, where float16 ends, which tells a ``GradScaler``; never NaN."""
    half = embeddings(condition).half().requires_grad_()
    full = half.detach().float().requires_grad_()
    regularizer = build(name)
    values = [regularizer(z, seeded_generator(0)) for z in (half, full)]
    gradients = [torch.autograd.grad(value, z)[0] for value, z in zip(values, (half, full), strict=True)]
    assert torch.equal(*values)
    assert gradients[1].isfinite().all()
    assert torch.equal(gradients[0], gradients[1].half())


@pytest.mark.parametrize("condition", ["nearly equal", "large"])
@pytest.mark.parametrize("name", ["sigreg-ejb", "sigreg-vcreg", "sigreg-moments", "vicreg", "koleo", "sphere-slicing"])
def test_a_scaler_finds_the_gradient_that_float16_does_not_hold(name, condition):
    regularizer, z = build(name), embeddings(condition)
    unscaled = z.clone().requires_grad_()
    regularizer(unscaled.half(), seeded_generator(0)).backward()
    full = z.half().float().requires_grad_()
    regularizer(full, seeded_generator(0)).backward()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    parameter = nn.Parameter(z.clone())
    optimizer = torch.optim.SGD([parameter], lr=0.0)
    for _ in range(80):
        optimizer.zero_grad()
        scaler.scale(regularizer(parameter.half(), seeded_generator(0))).backward()
        scaler.unscale_(optimizer)
        found = parameter.grad.clone()
        scaler.step(optimizer)
        scaler.update()
        if found.isfinite().all():
            break
    assert found.isfinite().all()
    assert unscaled.grad.isfinite().all() or scaler.get_scale() < 1
    largest = full.grad.abs().max()
    torch.testing.assert_close(found, full.grad, rtol=2e-3, atol=1e-3 * float(largest))


#: How the pull outwards behaves as the scale of the embeddings goes to 0: it vanishes with it, or it stays.
PULL = {
    "sigreg-ep": "vanishes",
    "sigreg-ep-unbiased": "vanishes",
    "sigreg-ep-infinite": "vanishes",
    "sigreg-ep-queue": "vanishes",
    "tc-sigreg": "vanishes",
    "subspace-sigreg": "vanishes",
    "bhep": "vanishes",
    "ksd": "vanishes",
    "ksd-gaussian": "vanishes",
    "sigreg-ksd": "vanishes",
    "sigreg-ksd-infinite": "vanishes",
    "vicreg": "vanishes",  # below the root of eps = 1e-4
    "covariance-identity": "vanishes",
    "sigreg-ad": "stays",
    "sigreg-cvm": "stays",
    "sigreg-watson": "stays",
    "sigreg-mean-std": "stays",
    "sliced-wasserstein": "stays",
    "rdmreg": "stays",
}


def pull(name: str, scale: float, shape: tuple[int, ...] = (1, 64, 4)) -> float:
    """The descent direction's component along the embeddings, which are at ``scale`` times a normal sample."""
    normal = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = (scale * normal).requires_grad_()
    (gradient,) = torch.autograd.grad(build(name)(z, seeded_generator(0)), z)
    return -float((gradient * normal).sum())


@pytest.mark.parametrize("name", PULL)
def test_pull_out_of_collapse(name):
    near, nearer = pull(name, 1e-4), pull(name, 1e-5)
    assert near > 0
    assert nearer / near == pytest.approx(0.1 if PULL[name] == "vanishes" else 1.0, rel=0.05)


def test_visreg_pulls_inwards_at_very_small_scale():
    """The shape term with sigma held fixed pulls inwards like 1/sigma, the scale term outwards like 1 - sigma."""
    assert pull("visreg", 0.1, (1, 256, 16)) > 0
    assert pull("visreg", 0.01, (1, 256, 16)) < 0
