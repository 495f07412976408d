"""RDMReg: towards a sparse, non-negative law, by the sliced Wasserstein distance to a sample of it."""

import math

import torch
from torch import Tensor

from sigreg_lab.distributed import total_samples
from sigreg_lab.kernels import sort_samples
from sigreg_lab.regularizers.base import Regularizer
from sigreg_lab.regularizers.sigreg import check_slices, draw_directions, shared_mean_over_slices
from sigreg_lab.slicing import StructuredDirections, project
from sigreg_lab.validation import on_device


class RDMReg(Regularizer):
    """Rectified distribution matching: sliced Wasserstein distance to a rectified generalised Gaussian law.

        R = 1/V sum_v 1/M sum_m 1/N sum_i ((Z_v a_m)_(i) - (Y a_m)_(i))^2                                    [1, eq. 13]

    Z_v are the embeddings of view v, Y as many draws from the target, (i) their order statistics, a_m unit vectors. The
    target has independent coordinates max(0, X), X generalised Gaussian with density proportional to
    exp(-|x - mu|^p / (p sigma^p)): p = 1 is Laplace, p = 2 Gaussian; a smaller mu gives more zeros. Slices of this law
    differ from direction to direction and have no closed form, which is why a sample stands for it.

    The network of [1] ends in a ReLU, which it calls essential. Here the embeddings come as the projector gives them:
    ``rectify`` takes max(0, z) first, which changes nothing for a network that ends so; the prediction loss then sees
    z, in [1] max(0, z). All views share one sample of the target; in the code of [1] each has its own. Gradient:
    2 / (N M) times the distance of the order statistics; noisy, through Y; 0 for coordinates that are rectified, so
    that embeddings without a positive coordinate stay where they are. It carries no factor N. Cost
    O((V + 1) N M (K + log N)). Shapes, dtypes and errors of a call: ``Regularizer``.

    Args:
        num_slices: M, directions drawn at each call.
        p: exponent of the generalised Gaussian law, positive.
        mu: its location.
        sigma: its scale; that of variance 1 before rectification, Gamma(1/p)^(1/2) / (p^(1/p) Gamma(3/p)^(1/2)), if
            not given.
        rectify: whether negative coordinates of the embeddings count as 0.
        directions: kind of the directions drawn, see ``SIGReg``.

    Raises:
        ValueError: ``num_slices`` below 1, ``p`` or ``sigma`` not positive, unknown ``directions``.

    [1] Kuang, Dagade, Rudner, Balestriero & LeCun (2026), Rectified LpJEPA, arXiv:2602.01456; equation as numbered in
        the authors' post; code YilunKuang/rectified-lp-jepa: p = 1, mu = 0, 8192 slices.
    """

    def __init__(
        self,
        num_slices: int = 8192,
        *,
        p: float = 1.0,
        mu: float = 0.0,
        sigma: float | None = None,
        rectify: bool = True,
        directions: str = "iid",
    ) -> None:
        super().__init__()
        check_slices(num_slices, directions)
        if not 0 < p < math.inf:
            raise ValueError(f"p must be positive and finite, got {p}")
        if sigma is not None and not 0 < sigma < math.inf:
            raise ValueError(f"sigma must be positive and finite, or None, got {sigma}")
        self.num_slices = num_slices
        self.p, self.mu, self.sigma = float(p), float(mu), unit_scale(p) if sigma is None else float(sigma)
        self.rectify = rectify
        self.directions = directions
        self.capturable = directions != "sobol"

    def extra_repr(self) -> str:
        law = f"p={self.p:g}, mu={self.mu:g}, sigma={self.sigma:g}, rectify={self.rectify}"
        return f"num_slices={self.num_slices}, {law}, directions={self.directions!r}"

    def _value(self, z: Tensor, generator: torch.Generator) -> Tensor:
        directions = draw_directions(self.directions, z, self.num_slices, generator, z.dtype)
        shape = (int(total_samples(z.shape[-2], z.device)), z.shape[-1])
        sample = rectified_generalized_gaussian(shape, self.p, self.mu, self.sigma, generator=generator)
        target = on_device(sample, z.device).to(z.dtype)

        def total(samples: Tensor, own: Tensor | StructuredDirections) -> Tensor:
            with torch.no_grad():
                quantiles = sort_samples(project(target, own))
            return (sort_samples(project(samples, own)) - quantiles).square().mean(-2).sum()

        return shared_mean_over_slices(z.relu() if self.rectify else z, directions, total)


def unit_scale(p: float) -> float:
    """sigma at which the generalised Gaussian law of exponent ``p`` has variance 1."""
    return math.exp((math.lgamma(1 / p) - math.lgamma(3 / p)) / 2 - math.log(p) / p)


def rectified_generalized_gaussian(
    shape: tuple[int, ...], p: float, mu: float, sigma: float, *, generator: torch.Generator
) -> Tensor:
    """Independent draws of max(0, X), X with density proportional to exp(-|x - mu|^p / (p sigma^p)); float32.

    |X - mu|^p / (p sigma^p) has the Gamma law of shape 1/p; p = 1 and p = 2 are drawn as Laplace and normal numbers.
    """
    device = generator.device
    if p == 1:
        first, second = torch.empty(2, *shape, device=device).exponential_(generator=generator)
        deviation = first - second
    elif p == 2:
        deviation = torch.randn(shape, generator=generator, device=device)
    else:
        # What torch.distributions.Gamma draws with, which takes no generator.
        gamma = torch._standard_gamma(torch.full(shape, 1 / p, device=device), generator=generator)
        sign = 2 * torch.randint(2, shape, generator=generator, device=device) - 1
        deviation = sign * (p * gamma) ** (1 / p)
    return (mu + sigma * deviation).relu()
