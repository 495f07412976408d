"""Encoders: a backbone that gives the embedding, and the projector that the loss sits on."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sigreg_lab.pretrain.config import PretrainConfig
from sigreg_lab.pretrain.crops import view_sizes
from sigreg_lab.pretrain.signals import signal_conv
from sigreg_lab.slicing import seeded_generator

#: Mean and standard deviation of ImageNet's channels, which timm's models expect.
CHANNEL_MEAN, CHANNEL_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SMALL_IMAGE = 64  # up to this side, a ResNet gets the CIFAR stem: 3 x 3, stride 1, no pooling
_WEIGHTS = 0  # what this stream of random numbers is for; part of its seed (see loop)


def small_conv(in_channels: int, embedding_dim: int) -> nn.Module:
    """A convolutional encoder for images of about 8 x 8 pixels: three 3 x 3 convolutions, one halving, mean pooling."""
    width = embedding_dim // 4
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, padding=1, stride=2, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.Conv2d(2 * width, embedding_dim, 3, padding=1, stride=2, bias=False),
        nn.BatchNorm2d(embedding_dim),
        nn.ReLU(),
        nn.Flatten(),
        nn.LazyLinear(embedding_dim),
    )


class _Residual(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, which a 1 x 1 convolution fits where the shape changes.

    The shortcut is thinned out before that convolution, not by its stride: oneDNN writes past its workspace in the
    gradient of a strided one of fewer channels than a register has lanes [1].

    [1] https://github.com/uxlfoundation/oneDNN/issues/6035
    """

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(*_convolution(width_in, width, stride), nn.ReLU())
        self.second = nn.Sequential(*_convolution(width, width, 1))
        changed = stride != 1 or width_in != width
        self.shortcut = nn.Sequential(*_convolution(width_in, width, 1, side=1)) if changed else nn.Identity()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        thinned = x if self.stride == 1 else x[..., :: self.stride, :: self.stride]
        return torch.relu(self.second(self.first(x)) + self.shortcut(thinned))


def _convolution(width_in: int, width: int, stride: int, side: int = 3) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(width_in, width, side, stride, side // 2, bias=False), nn.BatchNorm2d(width)


def small_resnet(in_channels: int, embedding_dim: int) -> nn.Module:
    """A residual network for images of 16 to 64 pixels: a stem that halves the side, three blocks, mean pooling.

    Widths D/4, D/2 and D; the side is halved again before the second and the third block. At 32 pixels and D = 512 it
    takes a third of the operations of a ResNet-18 with the stem for small images.
    """
    quarter, half = embedding_dim // 4, embedding_dim // 2
    return nn.Sequential(
        *_convolution(in_channels, quarter, 2),
        nn.ReLU(),
        _Residual(quarter, quarter, 1),
        _Residual(quarter, half, 2),
        _Residual(half, embedding_dim, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


#: How to build each of our own backbones, by its name: (input channels, embedding dimension) -> module.
BACKBONES: dict[str, Callable[[int, int], nn.Module]] = {
    "small-conv": small_conv,
    "small-resnet": small_resnet,
    "signal-conv": signal_conv,
}


def timm_backbone(config: PretrainConfig, channels: int, image_size: int) -> nn.Module:
    """A timm model by name, untrained; a head to ``embedding_dim`` if that is not 0.

    Raises:
        ValueError: an unknown name, an option that the model does not have, or timm is not installed.
    """
    name = config.backbone
    try:
        import timm
    except ImportError:
        raise ValueError(
            f"backbone {name!r} is none of {', '.join(BACKBONES)}, and timm, which has more, is not installed: pip "
            "install 'sigreg-lab[vision]'"
        ) from None
    if not timm.is_model(name):
        near = timm.list_models(f"*{name}*")[:5]
        hint = f", such as {', '.join(near)}" if near else ""
        raise ValueError(f"unknown backbone {name!r}; known: {', '.join(BACKBONES)} and timm's models{hint}")
    options: dict[str, Any] = {"in_chans": channels, "num_classes": config.embedding_dim}
    if config.drop_path:
        options["drop_path_rate"] = config.drop_path
    if config.patch_size:
        options["patch_size"] = config.patch_size
    if config.register_tokens:
        options["reg_tokens"] = config.register_tokens
    # Transformers have to know the size; those with absolute positions interpolate them for the local views.
    attempts: list[dict[str, Any]] = [{"img_size": image_size, "dynamic_img_size": True}, {"img_size": image_size}, {}]
    for sizes in attempts:
        try:
            backbone = timm.create_model(name, pretrained=False, **options, **sizes)
            break
        except TypeError as error:
            reason = error
    else:
        raise ValueError(f"backbone {name} does not take the options {', '.join(options)}: {reason}")
    if image_size <= SMALL_IMAGE and isinstance(getattr(backbone, "maxpool", None), nn.Module):
        first = backbone.conv1
        if isinstance(first, nn.Conv2d):
            backbone.conv1 = nn.Conv2d(channels, first.out_channels, 3, padding=1, bias=False)
            backbone.maxpool = nn.Identity()
    return backbone


class Features(NamedTuple):
    """What probes see of a batch of images: (B, D'), (B, D) and (B, K).

    Attributes:
        probe: for the linear probe: class tokens of the last two blocks side by side (means of the patches where there
            is no class token) for timm's vision transformers, otherwise the embedding.
        embedding: what the backbone gives.
        projection: what the loss saw.
    """

    probe: Tensor
    embedding: Tensor
    projection: Tensor


class Encoder(nn.Module):
    """Backbone and projector: images (B, C, H, W) in 0 .. 1 to embeddings (B, D) and projections (B, K).

    Args:
        backbone: images to embeddings.
        embedding_dim: D.
        projector: widths of the projector's layers, the last one K.
        normalize: whether images are standardised by ImageNet's channel means first.
        predictor: width of the hidden layer of a predictor (K to K) of the views' centre; 0: none.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        embedding_dim: int,
        projector: Sequence[int],
        *,
        normalize: bool = False,
        predictor: int = 0,
    ) -> None:
        super().__init__()
        self.backbone, self.embedding_dim = backbone, embedding_dim
        layers: list[nn.Module] = []
        width = embedding_dim
        for hidden in projector[:-1]:
            layers += [nn.Linear(width, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()]
            width = hidden
        self.projector = nn.Sequential(*layers, nn.Linear(width, projector[-1]))
        self.predictor: nn.Module | None = None
        if predictor:
            self.predictor = nn.Sequential(
                nn.Linear(projector[-1], predictor, bias=False),
                nn.BatchNorm1d(predictor),
                nn.ReLU(),
                nn.Linear(predictor, projector[-1]),
            )
        self.normalize = normalize
        if normalize:
            self.register_buffer("mean", torch.tensor(CHANNEL_MEAN).view(-1, 1, 1), persistent=False)
            self.register_buffer("std", torch.tensor(CHANNEL_STD).view(-1, 1, 1), persistent=False)

    def forward(self, *groups: Tensor) -> tuple[Tensor, ...]:
        """Embeddings and projections, and predictions if there is a predictor.

        Args:
            groups: images (B, C, H, W); several where sizes differ (global and local views). The backbone sees one
                after the other, the projector all at once.
        """
        embedding = torch.cat([self.backbone(self._prepared(pixels)) for pixels in groups])
        projection = self.projector(embedding)
        if self.predictor is None:
            return embedding, projection
        return embedding, projection, self.predictor(projection)

    def _prepared(self, pixels: Tensor) -> Tensor:
        return (pixels - self.mean.to(pixels.dtype)) / self.std.to(pixels.dtype) if self.normalize else pixels

    def features(self, pixels: Tensor) -> Features:
        """What probes see; call it in evaluation mode."""
        embedding, projection = self(pixels)[:2]
        if not is_vision_transformer(self.backbone):
            return Features(embedding, embedding, projection)
        backbone: Any = self.backbone
        blocks = backbone.forward_intermediates(
            self._prepared(pixels),
            indices=2,
            norm=True,
            output_fmt="NLC",
            return_prefix_tokens=True,
            intermediates_only=True,
        )
        tokens = [prefix[:, 0] if backbone.has_class_token else patches.mean(1) for patches, prefix in blocks]
        return Features(torch.cat(tokens, 1), embedding, projection)

    def patch_tokens(self, pixels: Tensor) -> Tensor:
        """Patch tokens of a vision transformer's last block, shape (B, D, h, w); call it in evaluation mode."""
        backbone: Any = self.backbone
        (maps,) = backbone.forward_intermediates(
            self._prepared(pixels), indices=1, norm=True, output_fmt="NCHW", intermediates_only=True
        )
        return maps


def is_vision_transformer(backbone: nn.Module) -> bool:
    """Whether it is one of timm's vision transformers, whose tokens can be asked for."""
    return hasattr(backbone, "forward_intermediates") and hasattr(backbone, "has_class_token")


def build_encoder(config: PretrainConfig, pixels: Tensor) -> Encoder:
    """The run's encoder, its weights drawn from the run's seed alone.

    Args:
        config: the run.
        pixels: some samples, for the number of channels and lazy layers.

    Raises:
        ValueError: an unknown backbone, or options it does not have.
    """
    channels, shapes = pixels.shape[1], _shapes(config, pixels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeded_generator(config.seed, _WEIGHTS).initial_seed())
        if config.backbone in BACKBONES:
            ignored = [name for name in ("drop_path", "patch_size", "register_tokens") if getattr(config, name)]
            if ignored:
                raise ValueError(
                    f"backbone {config.backbone} has no {', '.join(ignored)}; leave it out, or take timm's"
                )
            backbone, dim = (
                BACKBONES[config.backbone](channels, config.embedding_dim or 128),
                config.embedding_dim or 128,
            )
        else:
            if pixels.ndim != 4:
                raise ValueError(
                    f"backbone {config.backbone} takes images, but the samples have shape {tuple(pixels.shape[1:])}; "
                    f"choose one of {', '.join(BACKBONES)}"
                )
            backbone = timm_backbone(config, channels, shapes[0][-1])
            dim = config.embedding_dim or _width(backbone, torch.zeros(1, *shapes[0]))
        normalize = config.augment == "crops" and channels == 3
        encoder = Encoder(backbone, dim, config.projector, normalize=normalize, predictor=config.predictor)
        encoder.eval()
        with torch.no_grad():
            try:
                encoder(*(torch.zeros(1, *shape) for shape in shapes))  # shapes lazy layers
            except (AssertionError, RuntimeError, ValueError) as error:
                views = " and ".join("x".join(map(str, shape)) for shape in shapes)
                reason = str(error).splitlines()[0]
                raise ValueError(f"backbone {config.backbone} does not take views of {views}: {reason}") from error
    return encoder.train().to(pixels.device)


def synchronized(encoder: Encoder) -> Encoder:
    """The encoder with batch normalisation over all processes; call it before ``torch.compile`` and DDP.

    timm's conversion, if it is installed: torch's own makes plain layers of those that hold an activation too, and the
    network loses it (``BatchNormAct2d``, as in ResNeXt-26ts, RegNet and EfficientNet).
    """
    try:
        from timm.layers import convert_sync_batchnorm as convert
    except ImportError:  # without timm there are no such layers
        convert = nn.SyncBatchNorm.convert_sync_batchnorm
    converted: Encoder = convert(encoder)
    return converted


@torch.no_grad()
def _width(backbone: nn.Module, pixels: Tensor) -> int:
    """Dimension of what a backbone gives."""
    return backbone.eval()(pixels).shape[1]


def _shapes(config: PretrainConfig, pixels: Tensor) -> list[tuple[int, ...]]:
    """Shapes of a view: of the global ones, and of the local ones if there are any."""
    if config.augment != "crops" or pixels.ndim != 4:
        return [tuple(pixels.shape[1:])]
    return [(pixels.shape[1], side, side) for side in view_sizes(pixels.shape[-1], config.crops)]
