"""The contract of a regulariser: embeddings of all views go in, one number comes out."""

import torch
from torch import Tensor


class Regularizer(torch.nn.Module):
    """Base of all regularisers: (V, N, K) -> scalar.

    A subclass writes ``forward(z, generator)``: ``z`` holds the embeddings of V views of N samples in K dimensions;
    ``generator`` is the only source of randomness (a regulariser that draws nothing ignores it). All ranks hand in
    generators in the same state.
    """

    def forward(self, z: Tensor, generator: torch.Generator) -> Tensor:
        raise NotImplementedError
