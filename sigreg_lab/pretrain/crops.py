"""Multi-crop views of images, made in batches on the images' device: the recipe of LeJEPA [1, app.] and DINO [2].

    random resized crop -> flip -> colour jitter -> grayscale -> blur -> solarize

Every sample of every view draws its own parameters, from the generator handed in: ``draw_crops`` draws them all at
once, ``render_crops`` is a function of them alone. Colour operations are those of torchvision's ``functional`` (the
tests compare them), in the order of ``COLOUR``, where ColorJitter draws the order. The crop is one bilinear
resampling; it does not smooth, so images should be stored near the size of the global views, where crops are enlarged
or hardly reduced. Normalisation is the encoder's (``models.Encoder``).

[1] Balestriero & LeCun (2025), arXiv:2511.08544. [2] Caron et al. (2021), ICCV, arXiv:2104.14294.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, pad


class CropConfig(NamedTuple):
    """How views are cut and coloured; the defaults are the paper's colours, with four global views.

    Attributes:
        global_views: V_g, at full size.
        local_views: V_l, smaller; 0 for ResNets, whose views are all global.
        global_size: side of the global views; 0: that of the stored images.
        local_size: side of the local views; 0: 0.4 times the global, to a multiple of 16.
        global_scale: share of the area that a global crop covers, from and to.
        local_scale: the same of a local crop.
        ratio: aspect ratio of crops, from and to.
        flip: probability of a horizontal flip.
        jitter: probability of the colour jitter.
        brightness: largest relative change of brightness.
        contrast: largest relative change of contrast.
        saturation: largest relative change of saturation.
        hue: largest shift of hue, in turns.
        grayscale: probability of grey.
        blur: probability of a Gaussian blur.
        sigma: its standard deviation in pixels, from and to.
        solarize: probability that pixels of 0.5 and more are inverted.
    """

    global_views: int = 4
    local_views: int = 0
    global_size: int = 0
    local_size: int = 0
    global_scale: tuple[float, float] = (0.2, 1.0)
    local_scale: tuple[float, float] = (0.05, 0.3)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    grayscale: float = 0.2
    blur: float = 0.5
    sigma: tuple[float, float] = (0.1, 2.0)
    solarize: float = 0.2


_GRAY = (0.299, 0.587, 0.114)  # ITU-R 601, as torchvision and PIL
_DRAWS = 14  # uniform numbers of a view


def make_crops(pixels: Tensor, generator: torch.Generator, config: CropConfig) -> list[Tensor]:
    """Global views, then local views if there are any.

    Args:
        pixels: images, shape (N, C, H, W), in 0 .. 1; colour operations need C = 3 and are left out otherwise.
        generator: all randomness; on the images' device.
        config: the recipe.

    Returns:
        One tensor (V_g, N, C, S, S), or two, the second (V_l, N, C, s, s); in 0 .. 1.
    """
    views: list[Tensor] = []
    for draws, side in draw_crops(pixels, generator, config):
        views.append(render_crops(pixels, draws, side, config, local=bool(views)))
    return views


def draw_crops(pixels: Tensor, generator: torch.Generator, config: CropConfig) -> list[tuple[Tensor, int]]:
    """Uniform numbers in 0 .. 1 for the views of these images, shape (_DRAWS, V, N), and their side.

    One pair for the global views, a second for the local views if there are any.
    """
    counts = (config.global_views, config.local_views)
    return [
        (torch.rand(_DRAWS, count, len(pixels), generator=generator, device=pixels.device, dtype=pixels.dtype), side)
        for count, side in zip(counts, view_sizes(pixels.shape[-1], config), strict=False)
    ]


def view_sizes(image_size: int, config: CropConfig) -> list[int]:
    """Side of the global views, and of the local views if there are any."""
    size = config.global_size or image_size
    return [size, config.local_size or max(16, round(0.4 * size / 16) * 16)] if config.local_views else [size]


def render_crops(pixels: Tensor, draws: Tensor, size: int, config: CropConfig, *, local: bool = False) -> Tensor:
    """The views that ``draws`` stand for: no randomness, no look at a value, so that it can be compiled or captured.

    Args:
        pixels: images, shape (N, C, H, W), in 0 .. 1.
        draws: uniform numbers, see ``draw_crops``, shape (_DRAWS, V, N).
        size: S.
        config: the recipe.
        local: whether the crops are of ``local_scale``.

    Returns:
        Shape (V, N, C, S, S), in 0 .. 1.
    """
    count, n = draws.shape[1:]
    u = iter(draws.flatten(1).unbind())

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * next(u)

    def chosen(probability: float) -> Tensor:
        return (next(u) < probability).view(-1, 1, 1, 1)

    # A crop's sides are root(area share x ratio), at most the image's; its centre keeps it inside.
    share = uniform(*(config.local_scale if local else config.global_scale))
    ratio = uniform(math.log(config.ratio[0]), math.log(config.ratio[1])).exp()
    width, height = (share * ratio).sqrt().clamp_max(1), (share / ratio).sqrt().clamp_max(1)
    left, top = (1 - width) * uniform(-1, 1), (1 - height) * uniform(-1, 1)
    mirror = 1 - 2 * chosen(config.flip).flatten().to(pixels.dtype)
    views = crop(pixels.repeat(count, 1, 1, 1), left, top, width * mirror, height, size)

    if pixels.shape[1] == 3:
        jittered = views
        for name, operation in COLOUR.items():
            reach = getattr(config, name)
            amount = uniform(-reach, reach) if name == "hue" else uniform(max(0, 1 - reach), 1 + reach)
            if reach:
                jittered = operation(jittered, amount.view(-1, 1, 1, 1))
        views = torch.where(chosen(config.jitter), jittered, views)
        views = torch.where(chosen(config.grayscale), gray(views).expand_as(views), views)
    if config.blur:
        views = torch.where(chosen(config.blur), blur(views, uniform(*config.sigma), blur_reach(size)), views)
    if config.solarize:
        views = torch.where(chosen(config.solarize) & (views >= 0.5), 1 - views, views)
    return views.unflatten(0, (count, n))


@functools.cache
def compiled_crops(
    config: CropConfig, size: int, local: bool, dtype: torch.dtype
) -> Callable[[Tensor, Tensor], Tensor]:
    """``render_crops`` of (pixels, draws) by ``torch.compile``: few kernels that read and write the pixels once.

    The views come out in ``dtype``, channels last, as convolutions on a GPU want them.
    """

    def render(pixels: Tensor, draws: Tensor) -> Tensor:
        views = render_crops(pixels, draws, size, config, local=local)
        flat = views.flatten(0, 1).to(dtype).contiguous(memory_format=torch.channels_last)
        return flat.unflatten(0, views.shape[:2])

    return torch.compile(render, dynamic=False, fullgraph=True)


def crop(pixels: Tensor, left: Tensor, top: Tensor, width: Tensor, height: Tensor, size: int) -> Tensor:
    """Rectangles of images, resampled to (size, size): centres (left, top) in -1 .. 1, sides as shares of the image.

    A negative width mirrors. Bilinear; beyond the border the edge goes on.
    """
    steps = (2 * torch.arange(size, device=pixels.device, dtype=pixels.dtype) + 1) / size - 1
    x = left[:, None] + width[:, None] * steps
    y = top[:, None] + height[:, None] * steps
    grid = torch.stack([x[:, None, :].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)], -1)
    return grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)


def gray(pixels: Tensor) -> Tensor:
    """Luma of RGB images, shape (B, 1, H, W)."""
    red, green, blue = pixels.unbind(1)
    return (_GRAY[0] * red + _GRAY[1] * green + _GRAY[2] * blue).unsqueeze(1)


def _brightness(pixels: Tensor, factor: Tensor) -> Tensor:
    return (pixels * factor).clamp(0, 1)


def _contrast(pixels: Tensor, factor: Tensor) -> Tensor:
    mean = gray(pixels).mean((-3, -2, -1), keepdim=True)
    return (mean + factor * (pixels - mean)).clamp(0, 1)


def _saturation(pixels: Tensor, factor: Tensor) -> Tensor:
    grey = gray(pixels)
    return (grey + factor * (pixels - grey)).clamp(0, 1)


def _hue(pixels: Tensor, shift: Tensor) -> Tensor:
    """Hue turned by ``shift``, at the same value and saturation: channel = v - v s max(0, min(k, 4 - k, 1)) [HSV]."""
    red, green, blue = pixels.unbind(1)
    value, least = pixels.amax(1), pixels.amin(1)
    chroma = value - least
    safe = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    turn = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    offsets = 5 - 2 * torch.arange(3, device=pixels.device).view(-1, 1, 1)
    k = ((turn + 6 * shift.squeeze(1)).unsqueeze(1) + offsets) % 6
    return value.unsqueeze(1) - chroma.unsqueeze(1) * torch.minimum(k, 4 - k).clamp_(0, 1)


#: The colour jitter's operations, in their order: (pixels (B, 3, H, W), amounts (B, 1, 1, 1)) -> pixels.
COLOUR = {"brightness": _brightness, "contrast": _contrast, "saturation": _saturation, "hue": _hue}


def blur_reach(size: int) -> int:
    """Pixels to each side that the blur sees: 3 at 128 px as in the official run (7 x 7), 1 at 32 px."""
    return max(1, round(size / 40))


def blur(pixels: Tensor, sigma: Tensor, reach: int) -> Tensor:
    """Gaussian blur with one sigma a sample: weights exp(-d^2 / 2 sigma^2), d = -reach .. reach, borders reflected."""
    distance = torch.arange(-reach, reach + 1, device=pixels.device, dtype=pixels.dtype)
    weights = torch.exp(-(distance**2) / (2 * sigma[:, None] ** 2))
    weights = (weights / weights.sum(1, keepdim=True)).view(-1, len(distance), 1, 1, 1)
    height, width = pixels.shape[-2:]
    padded = pad(pixels, (reach, reach, reach, reach), mode="reflect")
    rows = functools.reduce(torch.add, (weights[:, i] * padded[..., i : i + height, :] for i in range(len(distance))))
    return functools.reduce(torch.add, (weights[:, i] * rows[..., i : i + width] for i in range(len(distance))))
