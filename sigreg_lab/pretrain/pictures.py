"""Pictures of a run: its views, and what a vision transformer's patch tokens hold; each says what it shows."""

import textwrap
from pathlib import Path

import torch
from torch import Tensor

from sigreg_lab.pretrain.checkpoint import replacing
from sigreg_lab.pretrain.config import PretrainConfig
from sigreg_lab.pretrain.data import Images, Splits, as_float, first_of_each
from sigreg_lab.pretrain.models import Encoder, is_vision_transformer
from sigreg_lab.pretrain.views import VIEWS
from sigreg_lab.slicing import seeded_generator

_IMAGES = 8
_LEAST_SIDE = 48  # smaller tiles are enlarged
_FONT_SIZE, _MARGIN = 13, 6  # of captions, pixels


def is_pictures(images: Images) -> bool:
    """Whether samples can be shown as they are: of one channel, or of three."""
    return len(images.pixels.shape) == 4 and images.pixels.shape[1] in (1, 3)


def chosen(images: Images) -> Tensor:
    """Rows of images to show: of as many classes as can be, or from all over the set where there are no two classes."""
    labels = images.labels.cpu()
    classes = len(labels.unique())
    rows = torch.arange(len(labels))
    if classes > 1:
        rows = torch.from_numpy(first_of_each(labels.numpy(), -(-_IMAGES // classes)))
        rows = rows[labels[rows].argsort(stable=True)]
    return rows[torch.linspace(0, len(rows) - 1, min(_IMAGES, len(rows))).long()]


def contact_sheet(data: Splits, config: PretrainConfig) -> tuple[Tensor, str]:
    """Views of training images: one row an image, the image itself first; (3, H, W) in 0 .. 1. And the caption."""
    rows = chosen(data.train)
    pixels, labels = data.train.take(rows)
    groups = VIEWS[config.augment](pixels, seeded_generator(config.seed), config)
    sheet = tile([[pixels[n], *(view[n] for group in groups for view in group)] for n in range(len(pixels))])
    count = sum(len(group) for group in groups)
    return sheet, f"{data.name}: a training image a row, then {count} views of it.{_classes(data, labels)}"


def _classes(data: Splits, labels: Tensor) -> str:
    names = [data.classes[label] for label in labels.tolist()] if data.classes else []
    return f" Classes, from the top: {', '.join(names)}." if names else ""


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


def patch_sheet(encoder: Encoder, data: Splits) -> tuple[Tensor, str] | None:
    """Images and their patch components side by side, and the caption; None without a vision transformer."""
    device = next(encoder.parameters()).device
    pixels, labels = data.test.take(chosen(data.test), device)
    colours = patch_components(encoder, pixels)
    if colours is None:
        return None
    times = pixels.shape[-1] // colours.shape[-1]
    large = colours.repeat_interleave(times, 2).repeat_interleave(times, 3)
    sheet = tile([[image, colour] for image, colour in zip(pixels.cpu(), large, strict=True)])
    what = "a test image a row, then the first three principal components of its patch tokens as red, green and blue"
    return sheet, f"{data.name}: {what}.{_classes(data, labels)}"


def save_picture(path: Path, picture: Tensor, caption: str) -> None:
    """Write a picture (3, H, W) in 0 .. 1 as PNG, its caption below, whole or not at all.

    Raises:
        ValueError: it cannot be written.
    """
    from PIL import Image, ImageDraw, ImageFont

    array = (picture.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    font = ImageFont.load_default(_FONT_SIZE)
    width = array.shape[1] - 2 * _MARGIN
    columns = len(caption)
    while max(map(font.getlength, lines := textwrap.wrap(caption, columns))) > width and columns > 1:
        columns -= 1
    canvas = Image.new("RGB", (array.shape[1], array.shape[0] + 2 * _MARGIN + len(lines) * (_FONT_SIZE + 4)), "white")
    canvas.paste(Image.fromarray(array))
    ImageDraw.Draw(canvas).multiline_text((_MARGIN, array.shape[0] + _MARGIN), "\n".join(lines), "black", font)
    with replacing(path) as partial:
        canvas.save(partial, format="PNG")
