"""Sums of powers of exp(i step x), and trigonometric polynomials, in plain torch: no compiler, any device.

    C_k + i S_k = sum_n z_n^k                              powers by multiplication, one complex product per node
    g = Re sum_k (b_k - i a_k) z^k                         Horner's rule, one complex product per node

Blocks of at most ``BLOCK`` elements keep the temporaries in the cache; partial sums of a block are added in float64.
"""

import torch
from torch import Tensor

BLOCK = {"cpu": 1 << 18}
_BLOCK_ELSEWHERE = 1 << 22  # an accelerator needs large blocks to be busy
_LEAST_SLICES = 64


def cosine_sine_sums(x: Tensor, step: float, order: int) -> Tensor:
    """Sums over samples of cos(k step x) and sin(k step x): (B, N, M) -> (2, B, order, M), float64."""
    batch, num_samples, num_slices = x.shape
    sums = torch.zeros(batch, order, num_slices, 2, dtype=torch.float64, device=x.device)
    for i in range(batch):
        for rows, columns in _blocks(num_samples, num_slices, x.device):
            z = _unit_circle(x[i, rows, columns], step)
            power = z.clone()
            for k in range(order):
                if k:
                    power *= z
                sums[i, k, columns] += torch.view_as_real(power.sum(0))
    return sums.permute(3, 0, 1, 2).contiguous()


def weighted_cosine_sine_sums(x: Tensor, step: float, order: int) -> Tensor:
    """Sums over samples of x cos(k step x) and x sin(k step x): (B, N, M) -> (2, B, order, M), float64."""
    batch, num_samples, num_slices = x.shape
    sums = torch.zeros(batch, order, num_slices, 2, dtype=torch.float64, device=x.device)
    for i in range(batch):
        for rows, columns in _blocks(num_samples, num_slices, x.device):
            block = x[i, rows, columns]
            z = _unit_circle(block, step)
            term = block * z
            for k in range(order):
                if k:
                    term *= z
                sums[i, k, columns] += torch.view_as_real(term.sum(0))
    return sums.permute(3, 0, 1, 2).contiguous()


def trigonometric_polynomial(x: Tensor, step: float, a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """sum_k a_k sin(k step x) + b_k cos(k step x); ``a``, ``b``: (B, order, M), of x's dtype; ``out`` may be ``x``."""
    batch, num_samples, num_slices = x.shape
    out = torch.empty_like(x) if out is None else out
    coefficients = torch.complex(b, -a)
    for i in range(batch):
        for rows, columns in _blocks(num_samples, num_slices, x.device):
            z = _unit_circle(x[i, rows, columns], step)
            value = coefficients[i, -1, columns].expand_as(z).clone()
            for k in range(a.shape[1] - 2, -1, -1):
                torch.addcmul(coefficients[i, k, columns], value, z, out=value)
            out[i, rows, columns] = value.mul_(z).real
    return out


def distance_and_slopes(
    sums: Tensor,
    step: float,
    num_samples: int,
    num_slices: int,
    target: Tensor,
    weight: Tensor,
    dtype: torch.dtype | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted distance of sums from their targets, (2, B, order, M) -> (B,), and the coefficients a and b.

    sum_k w_k sum_m (C_km - n target_k)^2 + S_km^2;  a = -2 t_k w_k (C_km - n target_k),  b = 2 t_k w_k S_km, of
    ``dtype``, (B, order, M); empty if it is None. n = ``num_samples``, t_k = k ``step``, w_k = weight_k / (n
    ``num_slices``), the slices of the whole mean, of which ``sums`` may hold some. target, weight: (order,), float64.
    """
    weight = weight / (num_samples * num_slices)
    slope = (2 * step * torch.arange(1, len(weight) + 1, dtype=weight.dtype, device=weight.device) * weight)[:, None]
    error = torch.stack([sums[0] - num_samples * target[:, None], sums[1]])
    distance = (torch.linalg.vector_norm(error, dim=-1) ** 2 @ weight).sum(0)
    if dtype is None:
        return distance, sums.new_empty(0), sums.new_empty(0)
    return distance, (-slope * error[0]).to(dtype), (slope * error[1]).to(dtype)


def _unit_circle(x: Tensor, step: float) -> Tensor:
    """exp(i step x)."""
    angle = x * step
    return torch.complex(angle.cos(), angle.sin())


def _blocks(num_samples: int, num_slices: int, device: torch.device) -> list[tuple[slice, slice]]:
    size = BLOCK.get(device.type, _BLOCK_ELSEWHERE)
    columns = min(num_slices, max(_LEAST_SLICES, size // max(1, num_samples)))
    rows = max(1, size // max(1, columns))
    return [
        (slice(n, n + rows), slice(m, m + columns))
        for m in range(0, num_slices, max(1, columns))
        for n in range(0, num_samples, rows)
    ]
