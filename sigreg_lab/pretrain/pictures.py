"""Pictures of a run: its views, and what a vision transformer's patch tokens hold."""

from pathlib import Path

import torch
from torch import Tensor

from sigreg_lab.pretrain.checkpoint import replacing
from sigreg_lab.pretrain.config import PretrainConfig
from sigreg_lab.pretrain.data import Images, as_float
from sigreg_lab.pretrain.models import Encoder, is_vision_transformer
from sigreg_lab.pretrain.views import VIEWS
from sigreg_lab.slicing import seeded_generator

_IMAGES = 8
_LEAST_SIDE = 48  # smaller tiles are enlarged


def is_pictures(images: Images) -> bool:
    """Whether samples can be shown as they are: of one channel, or of three."""
    return len(images.pixels.shape) == 4 and images.pixels.shape[1] in (1, 3)


def contact_sheet(images: Images, config: PretrainConfig) -> Tensor:
    """Views of training images from all over the set: one row an image, the image itself first; (3, H, W) in 0 .. 1."""
    count = len(images.pixels)
    pixels, _ = images.take(torch.linspace(0, count - 1, min(_IMAGES, count)).long())
    generator = seeded_generator(config.seed)
    groups = VIEWS[config.augment](pixels, generator, config)
    return tile([[pixels[n], *(view[n] for group in groups for view in group)] for n in range(len(pixels))])


def tile(rows: list[list[Tensor]]) -> Tensor:
    """Pictures (C, h, w) in 0 .. 1, of one or three channels and any size, in rows on white; shape (3, H, W)."""
    side = max(picture.shape[-1] for row in rows for picture in row)
    times = max(1, -(-_LEAST_SIDE // side))
    lines = []
    for row in rows:
        line = []
        for picture in row:
            canvas = torch.ones(3, side * times + 2, side * times + 2)
            shown = as_float(picture).detach().cpu().clamp(0, 1).expand(3, -1, -1)
            shown = shown.repeat_interleave(times, 1).repeat_interleave(times, 2)
            canvas[:, 1 : 1 + shown.shape[1], 1 : 1 + shown.shape[2]] = shown
            line.append(canvas)
        lines.append(torch.cat(line, 2))
    return torch.cat(lines, 1)


@torch.no_grad()
def patch_components(encoder: Encoder, pixels: Tensor) -> Tensor | None:
    """The first three principal components of the last block's patch tokens, as colours.

    Args:
        encoder: in evaluation mode.
        pixels: images, shape (N, 3, S, S), in 0 .. 1, on the encoder's device.

    Returns:
        Shape (N, 3, h, w) in 0 .. 1, one pixel a patch, on the CPU; each component scaled to its 1% .. 99% range over
        all images, 0 where there are fewer patches than components. None if the backbone is no vision transformer of
        timm.
    """
    if not is_vision_transformer(encoder.backbone):
        return None
    maps = encoder.patch_tokens(pixels).float().cpu()
    tokens = maps.movedim(1, -1).flatten(0, 2)
    centred = tokens - tokens.mean(0)
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    axes = axes[:3] * axes[:3].sum(1, keepdim=True).sign()  # an axis has no sign of its own
    axes = torch.nn.functional.pad(axes, (0, 0, 0, 3 - len(axes)))
    colours = centred @ axes.T
    low, high = colours.quantile(0.01, dim=0), colours.quantile(0.99, dim=0)
    colours = ((colours - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    return colours.unflatten(0, (len(maps), *maps.shape[-2:])).movedim(-1, 1)


def patch_sheet(encoder: Encoder, images: Images) -> Tensor | None:
    """Images and their patch components side by side; None if the backbone is no vision transformer."""
    device = next(encoder.parameters()).device
    pixels, _ = images.take(torch.arange(min(_IMAGES, len(images.pixels))), device)
    colours = patch_components(encoder, pixels)
    if colours is None:
        return None
    times = pixels.shape[-1] // colours.shape[-1]
    large = colours.repeat_interleave(times, 2).repeat_interleave(times, 3)
    return tile([[image, colour] for image, colour in zip(pixels.cpu(), large, strict=True)])


def save_picture(path: Path, picture: Tensor) -> None:
    """Write a picture (3, H, W) in 0 .. 1 as PNG, whole or not at all.

    Raises:
        ValueError: it cannot be written.
    """
    from PIL import Image

    array = (picture.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    with replacing(path) as partial:
        Image.fromarray(array).save(partial, format="PNG")
