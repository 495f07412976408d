"""What the tests on several processes share."""

import torch
from torch import nn


def network(features: int, dim: int) -> nn.Module:
    """A small smooth network, the same at every call and on every rank; float64."""
    generator = torch.Generator().manual_seed(1)
    model = nn.Sequential(nn.Linear(features, 8), nn.Tanh(), nn.Linear(8, dim)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model
