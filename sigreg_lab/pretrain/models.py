"""Encoders: a backbone that gives the embedding, and the projector that the loss sits on."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn


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


#: How to build each backbone, by its name: (input channels, embedding dimension) -> module.
BACKBONES: dict[str, Callable[[int, int], nn.Module]] = {"small-conv": small_conv}


def make_backbone(name: str, in_channels: int, embedding_dim: int) -> nn.Module:
    """A backbone by its name.

    Raises:
        ValueError: an unknown name; the message lists the known ones.
    """
    if name not in BACKBONES:
        raise ValueError(f"unknown backbone {name!r}; known: {', '.join(BACKBONES)}")
    return BACKBONES[name](in_channels, embedding_dim)


class Encoder(nn.Module):
    """Backbone and projector: images (B, C, H, W) to embeddings (B, D) and projections (B, K)."""

    def __init__(self, backbone: nn.Module, embedding_dim: int, projector: Sequence[int]) -> None:
        super().__init__()
        self.backbone = backbone
        layers: list[nn.Module] = []
        width = embedding_dim
        for hidden in projector[:-1]:
            layers += [nn.Linear(width, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()]
            width = hidden
        self.projector = nn.Sequential(*layers, nn.Linear(width, projector[-1]))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.backbone(pixels)
        return embedding, self.projector(embedding)
