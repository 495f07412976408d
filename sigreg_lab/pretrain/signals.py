"""Signals instead of images: the data set MNIST-1D, made here, and views of signals.

MNIST-1D [1] has ten hand-drawn templates of 12 points, and each sample is one of them: padded, stretched to 72 points,
scaled, shifted around, laid on correlated noise, sheared, and sampled at 40 points. A network learns it in seconds.

[1] Greydanus & Kobak (2024), Scaling down deep learning with MNIST-1D, ICML, arXiv:2011.14439; templates and constants
    from its package mnist1d 0.0.2 (Apache 2.0).
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sigreg_lab.pretrain.data import Images, Splits

#: The ten templates, as drawn.
TEMPLATES = np.array(
    [
        [5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5],
        [5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5],
        [5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5],
        [5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5],
        [5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5],
        [5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5],
        [5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5],
        [5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5],
    ]
)
PADDING, SCALE, SHIFT, SHEAR = (36, 60), 0.4, 48, 0.75
CORRELATED_NOISE, CORRELATION, NOISE = 0.25, 2.0, 2e-2
LENGTH = 40
PER_CLASS = {"train": 400, "validation": 100, "test": 100}
_SEED = 42


class SignalConfig(NamedTuple):
    """How far views of a signal differ from it.

    Attributes:
        shift: largest shift, as a share of the length; what leaves at one end enters at the other.
        scale: largest relative change of size.
        noise: standard deviation of the noise; signals have about 1.
        mask: longest stretch that is set to 0, as a share of the length.
    """

    shift: float = 0.25
    scale: float = 0.4
    noise: float = 0.1
    mask: float = 0.25


def mnist1d() -> Splits:
    """MNIST-1D: 4,000 training signals, 1,000 for validation and 1,000 for test, 40 numbers each, always the same.

    The published set has 4,000 and 1,000 without a validation split; these are other draws from the same generator.
    """
    rng = np.random.default_rng(_SEED)
    signals = {split: make_signals(count, rng) for split, count in PER_CLASS.items()}
    train = signals["train"][0]
    mean, std = train.mean(), train.std()
    images = {
        split: Images(torch.from_numpy((x - mean) / std).float().unsqueeze(1), torch.from_numpy(labels))
        for split, (x, labels) in signals.items()
    }
    names = tuple(str(digit) for digit in range(len(TEMPLATES)))
    return Splits("mnist1d", images["train"], images["validation"], images["test"], len(names), classes=names)


def make_signals(per_class: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Signals (N, 40) in the units of the templates, and their labels, in random order; see [1, section 2]."""
    from scipy.ndimage import gaussian_filter1d

    templates = TEMPLATES - TEMPLATES.mean(1, keepdims=True)
    templates /= templates.std(1, keepdims=True)
    templates = (templates - templates[:, :1]) / 6
    labels = rng.permutation(np.repeat(np.arange(len(templates)), per_class))
    n, length = len(labels), templates.shape[1] + PADDING[1]
    padded = templates.shape[1] + rng.integers(PADDING[0], PADDING[1] + 1, n)
    # A template followed by zeros, stretched to one length; where there is template, and not padding, is kept.
    at = np.linspace(0, 1, length) * (padded[:, None] - 1)
    low = np.minimum(np.floor(at).astype(int), templates.shape[1] - 1)
    high = np.minimum(low + 1, templates.shape[1] - 1)
    inside = at < templates.shape[1]
    rows = templates[labels]
    below, above = (np.take_along_axis(rows, index, 1) for index in (low, high))
    above = np.where(at >= templates.shape[1] - 1, 0.0, above)  # the last point is followed by zeros
    x = np.where(inside, below + (at - low) * (above - below), 0.0)
    x *= 1 + SCALE * (rng.random((n, 1)) - 0.5)
    turn = (np.arange(length) - rng.integers(SHIFT, size=(n, 1))) % length
    x, inside = np.take_along_axis(x, turn, 1), np.take_along_axis(inside, turn, 1)
    correlated = gaussian_filter1d(CORRELATED_NOISE * rng.standard_normal((n, length)), CORRELATION, axis=1)
    x = np.where(inside, x, correlated) + NOISE * rng.standard_normal((n, length))
    x -= SHEAR * (rng.random((n, 1)) - 0.5) * np.linspace(-0.5, 0.5, length)
    sampled = np.linspace(0, length - 1, LENGTH)
    left = np.minimum(sampled.astype(int), length - 2)
    return x[:, left] + (sampled - left) * (x[:, left + 1] - x[:, left]), labels.astype(np.int64)


def make_signal_views(x: Tensor, num_views: int, generator: torch.Generator, config: SignalConfig) -> Tensor:
    """Views of each signal: a shift, a change of size, noise, a stretch of zeros; each view with its own numbers.

    Args:
        x: signals, shape (N, C, L).
        num_views: V.
        generator: all randomness; on the signals' device.
        config: how far views differ.

    Returns:
        Shape (V, N, C, L).
    """
    n, _, length = x.shape

    def uniform() -> Tensor:
        return torch.rand(num_views, n, 1, 1, generator=generator, device=x.device, dtype=x.dtype)

    place = torch.arange(length, device=x.device)
    shift = ((2 * uniform() - 1) * config.shift * length).round().long()
    index = ((place - shift) % length).expand(num_views, n, x.shape[1], length)
    views = x.expand(num_views, *x.shape).gather(-1, index) * (1 + config.scale * (2 * uniform() - 1))
    views = views + config.noise * torch.randn(views.shape, generator=generator, device=x.device, dtype=x.dtype)
    width = uniform() * config.mask * length
    start = uniform() * length
    return views.masked_fill((place - start) % length < width, 0.0)


class _MeanAndMax(nn.Module):
    """Over positions, (N, C, L) -> (N, 2 C): what is in a signal, wherever it is."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.mean(-1), x.amax(-1)], 1)


def signal_conv(in_channels: int, embedding_dim: int) -> nn.Module:
    """A convolutional encoder for signals of any length: three convolutions, one halving, mean and maximum."""
    width = embedding_dim // 2
    layers: list[nn.Module] = []
    for width_in, stride in ((in_channels, 1), (width, 2), (width, 1)):
        layers += [nn.Conv1d(width_in, width, 5, stride, padding=2, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
    return nn.Sequential(*layers, _MeanAndMax())
