"""What is handed in: checks, each of which names the argument and the remedy, and its dtype and device."""

import difflib
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

_NEAR = 0.6  # difflib's own threshold


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """The known name that is nearest to one that is not known: "did you mean sigreg-ep? "; empty if none is near."""
    likeness = {name: difflib.SequenceMatcher(None, given, name).ratio() for name in known}
    nearest = max(likeness, key=lambda name: likeness[name], default="")  # of equals the first
    return f"did you mean {nearest}? " if likeness.get(nearest, 0.0) >= _NEAR else ""


def check_sample(
    x: Tensor, name: str, *, ndim: int, min_samples: int, sample_dim: int = -2, can_omit: bool = False
) -> None:
    """Raise ``ValueError`` unless ``x`` is a finite floating-point sample that a statistic can be computed on.

    Args:
        x: the tensor to check.
        name: the argument's name, for the message.
        ndim: least number of dimensions.
        min_samples: least number of samples along ``sample_dim``.
        sample_dim: the dimension that counts samples.
        can_omit: whether the caller takes ``nan_policy="omit"``, which the message then names.

    Raises:
        ValueError: not a tensor, not floating point, too few dimensions, empty, too few samples, NaN or infinite.

    The check for NaN and infinity is left out where ``may_read`` says so.
    """
    if not isinstance(x, Tensor):
        raise ValueError(f"{name} must be a torch.Tensor, got {type(x).__name__}; use torch.as_tensor({name})")
    if not x.is_floating_point():
        raise ValueError(f"{name} must be floating point, got {x.dtype}; convert it with {name}.float()")
    if x.ndim < ndim:
        raise ValueError(f"{name} must have at least {ndim} dimension(s), got shape {tuple(x.shape)}")
    if x.numel() == 0:
        raise ValueError(f"{name} is empty, shape {tuple(x.shape)}; hand in at least {min_samples} samples")
    if x.shape[sample_dim] < min_samples:
        raise ValueError(
            f"{name} holds {x.shape[sample_dim]} sample(s) (shape {tuple(x.shape)}, dimension {sample_dim}); "
            f"at least {min_samples} are needed"
        )
    if not may_read(x):
        return
    if not all_finite(x):
        finite = x.detach().isfinite()
        bad = int(finite.numel() - finite.sum())
        omit = "; nan_policy='omit' leaves NaN out" if can_omit else ""
        raise ValueError(
            f"{name} holds {bad} NaN or infinite value(s) out of {finite.numel()}; drop those samples or mend "
            f"what produced them{omit}"
        )


def all_finite(x: Tensor) -> bool:
    """Whether no number is NaN or infinite: one pass over ``x``, and nothing of its size is made if all are well."""
    x = x.detach()
    return bool(x.sum().isfinite()) or bool(x.isfinite().all())  # a sum of finite numbers may overflow


def may_read(x: Tensor) -> bool:
    """Whether a check may read the data, for which the host waits.

    Not while ``torch.compile`` traces, nor of a tensor on an accelerator that carries a gradient (a training step).
    """
    return not (torch.compiler.is_compiling() or (x.requires_grad and x.device.type != "cpu"))


def on_device(x: Tensor, device: torch.device | str) -> Tensor:
    """``x`` on a device. To a GPU it goes through pinned memory: a plain copy waits for all that the GPU has to do."""
    pinned = x.device.type == "cpu" and torch.device(device).type == "cuda"
    if pinned and not x.requires_grad and not torch.compiler.is_compiling():
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)


def check_intervals(values: Mapping[str, Any], intervals: Mapping[str, str], where: str = "") -> None:
    """Raise ``ValueError`` unless every number lies in its interval.

    Args:
        values: numbers, or tuples of them, by name.
        intervals: of the names that have one, as "[0, 1)"; a round bracket leaves its end out.
        where: put before the name in the message.
    """
    for name, interval in intervals.items():
        low, high = (float(end) for end in interval[1:-1].split(","))
        value = values[name]
        for number in value if isinstance(value, tuple) else (value,):
            above = number >= low if interval[0] == "[" else number > low
            below = number <= high if interval[-1] == "]" else number < high
            if not (above and below):  # NaN is neither
                raise ValueError(f"{where}{name} must lie in {interval}, got {value}")


def table(make: Callable[..., np.ndarray]) -> Callable[..., Tensor]:
    """From a function of numbers and names to an array, one that takes the device first and gives a tensor there.

    The array is copied to the device once and kept: a CUDA graph that is being captured may copy nothing from the host.
    """

    @functools.lru_cache(maxsize=64)
    def on(device: torch.device, *arguments: object) -> Tensor:
        return on_device(torch.from_numpy(make(*arguments)), device)

    return on


def at_least_float32(x: Tensor) -> Tensor:
    """``x`` lifted to float32 if it is of lower precision (bfloat16, float16); float64 stays float64."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
