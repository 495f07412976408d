"""Random views of samples, made in one batch on the samples' device: affine maps here, and every kind by its name."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from sigreg_lab.pretrain.crops import make_crops
from sigreg_lab.pretrain.signals import make_signal_views


class ViewConfig(NamedTuple):
    """How far views differ from their image.

    Attributes:
        rotation: largest angle, degrees.
        scale: largest relative change of size, and of each axis by itself (shear and aspect).
        shift: largest translation, as a share of the side.
        contrast: largest relative change of contrast.
        noise: standard deviation of the pixel noise, pixels being in 0 .. 1.
    """

    rotation: float = 15.0
    scale: float = 0.2
    shift: float = 0.15
    contrast: float = 0.3
    noise: float = 0.1


def make_views(pixels: Tensor, num_views: int, generator: torch.Generator, config: ViewConfig) -> Tensor:
    """Views of each image: a random affine map, a change of contrast, noise; each view with its own parameters.

    Args:
        pixels: images, shape (N, C, H, W), in 0 .. 1.
        num_views: V.
        generator: all randomness; on the images' device.
        config: how far views differ.

    Returns:
        Shape (V, N, C, H, W). Values may leave 0 .. 1 by noise and contrast.
    """
    n = pixels.shape[0]
    images = pixels.repeat(num_views, 1, 1, 1)
    count = num_views * n

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=pixels.device, dtype=pixels.dtype) * 2 - 1

    angle = uniform(count) * math.radians(config.rotation)
    size = 1 + config.scale * uniform(count, 2)
    shear = config.scale * uniform(count)
    shift = 2 * config.shift * uniform(count, 2)
    cos, sin = angle.cos(), angle.sin()
    rotation = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    stretch = torch.stack(
        [torch.stack([size[:, 0], shear], -1), torch.stack([torch.zeros_like(shear), size[:, 1]], -1)], -2
    )
    theta = torch.cat([rotation @ stretch, shift.unsqueeze(-1)], -1)
    grid = affine_grid(theta, list(images.shape), align_corners=False)
    moved = grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    contrast = 1 + config.contrast * uniform(count, 1, 1, 1)
    noise = torch.randn(moved.shape, generator=generator, device=pixels.device, dtype=pixels.dtype)
    return (moved * contrast + config.noise * noise).reshape(num_views, n, *pixels.shape[1:])


#: How to make views, by the name that ``PretrainConfig.augment`` gives: (samples (N, ...), generator on their device,
#: config) -> groups of one size, (V, N, ...), the global views first. All randomness comes from the generator, and no
#: value is looked at, so that a GPU can replay it.
VIEWS: dict[str, Callable[[Tensor, torch.Generator, Any], list[Tensor]]] = {
    "affine": lambda x, generator, config: [make_views(x, config.num_views, generator, config.views)],
    "crops": lambda x, generator, config: make_crops(x, generator, config.crops),
    "signals": lambda x, generator, config: [make_signal_views(x, config.num_views, generator, config.signals)],
}
