"""Data as callers have them, and results of the caller's kind.

Everything that tests data takes tensors, NumPy arrays, lists and pandas' Series and DataFrames. ``columns`` (samples of
numbers) and ``rows`` (samples of vectors) make a ``Samples`` of them: tensors with the samples along dimension -2, cut
into parts where values are missing, and the way back.

    tensor               tensor, on its device, with its gradient
    array, list          float, or array
    DataFrame, Series    Series with a value for each column (a row for ``axis=1``), or float

Names and meaning of ``axis`` and ``nan_policy`` are SciPy's; whole numbers and booleans are taken as numbers, as there.
pandas is not imported here before a caller has handed in what it made.
"""

import operator
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

NAN_POLICIES = ("raise", "omit", "propagate")
NanPolicy = Literal["raise", "omit", "propagate"]
#: A tensor, an array or what NumPy makes one of, a pandas Series or DataFrame.
ArrayLike = Any


@dataclass(frozen=True)
class Kind:
    """How a caller gets values back.

    Attributes:
        tensor: as tensors; else as floats and arrays.
        labels: a pandas index with a name for each value along the last dimension, for Series and DataFrames.
    """

    tensor: bool = True
    labels: Any = None

    def give(self, value: Tensor, name: str | None = None, index: Sequence[object] | None = None) -> Any:
        """``value`` in this kind; ``name`` that of a Series, ``index`` that of a DataFrame's rows."""
        if self.tensor:
            return value
        array = value.detach().cpu().numpy()
        if array.ndim == 0:
            return array.item()
        if self.labels is None:
            return array
        import pandas as pd

        if array.ndim == 1:
            return pd.Series(array, index=self.labels, name=name)
        return pd.DataFrame(array, index=index, columns=self.labels)


class Samples:
    """What ``columns`` and ``rows`` return.

    Attributes:
        parts: tensors without missing values, samples along dimension -2 (or of shape (N,)). Without missing values it
            is one, the data as a whole; else each holds the samples of one size.
        whole: the data as a whole, samples along dimension -2.
        sizes: the size of the samples of each part.
        kind: of the caller.
        n: the size of the samples, or with ``nan_policy="omit"`` that of each, a tensor.
    """

    def __init__(self, whole: Tensor, kind: Kind) -> None:
        size = whole.shape[-2] if whole.ndim > 1 else whole.numel()
        self.whole, self.parts, self.sizes, self.kind = whole, [whole], [size], kind
        self.n: int | Tensor = size
        self._places: list[Tensor] | None = None  # for each part, to which samples its results belong
        self._absent = torch.empty(0)  # samples without a result
        self._shape = torch.Size()

    def joined(self, values: Sequence[Tensor], tail: tuple[int, ...] = ()) -> Tensor:
        """Results of the parts, each (G, *tail) for its G samples, as one tensor; NaN for samples without a result.

        ``tail`` is of use where no sample has a result.
        """
        if self._places is None:
            return values[0]
        like = values[0] if values else torch.empty(0, *tail, dtype=torch.float64, device=self._absent.device)
        tail = like.shape[1:]
        absent = like.new_full((len(self._absent), *tail), torch.nan)
        order = torch.cat([*self._places, self._absent]).argsort()
        return torch.cat([*values, absent])[order].reshape((*self._shape, *tail))

    def back(self, values: Sequence[Tensor], name: str | None = None, tail: tuple[int, ...] = ()) -> Any:
        """Results of the parts in the caller's kind."""
        return self.kind.give(self.joined(values, tail), name)

    def _split(self, flat: Tensor, missing: Tensor, shape: torch.Size, nan_policy: NanPolicy, least: int) -> None:
        """Parts of ``flat``, (B, N) or (B, N, K), where ``missing``, (B, N), says which values or rows to leave out."""
        counts = (~missing).sum(-1)
        whole = counts == flat.shape[1]
        kept = whole if nan_policy == "propagate" else counts >= least
        if nan_policy == "omit" and not kept.all():
            warnings.warn(
                f"{int((~kept).sum())} of {len(kept)} sample(s) hold fewer than {least} values that are not NaN; their "
                "results are NaN",
                RuntimeWarning,
                stacklevel=4,
            )
        self._shape = shape
        self._absent = torch.nonzero(~kept).flatten()
        self.sizes, self.parts = counts[kept].unique().tolist(), []
        self._places = [torch.nonzero(kept & (counts == size)).flatten() for size in self.sizes]
        for place in self._places:
            part = flat[place][~missing[place]].reshape(len(place), -1, *flat.shape[2:])
            self.parts.append(part if flat.ndim == 3 else part.T)
        if nan_policy == "omit":
            self.n = counts.reshape(shape)


def columns(data: ArrayLike, axis: int | None, nan_policy: NanPolicy, least: int) -> Samples:
    """Samples of numbers, for a univariate statistic: parts of shape (..., N, M), or (N,), with results (..., M) or ().

    Args:
        data: a tensor or array-like.
        axis: along which the samples lie; None takes all values as one sample.
        nan_policy: "raise" leaves the check to the statistic; "omit" leaves NaN out, sample by sample, and gives NaN
            with a warning for a sample that is then smaller than ``least``; "propagate" gives NaN for a sample that
            holds one.
        least: the statistic's least number of samples.

    Raises:
        ValueError: no array of real numbers, an unknown ``nan_policy``, an ``axis`` out of range.
    """
    x, labels = _checked(data, nan_policy)
    left: Any = None
    if axis is None:
        x = x.reshape(-1)
    else:
        x, left = _moved(x, axis, labels)
    samples = Samples(x, Kind(labels is None, left))
    if nan_policy != "raise" and x.is_floating_point() and x.numel() and x.ndim:
        flat = x.mT.flatten(0, -2) if x.ndim > 1 else x[None]
        missing = flat.detach().isnan()
        if nan_policy == "omit" or missing.any():
            samples._split(flat, missing, x.shape[:-2] + x.shape[-1:] if x.ndim > 1 else x.shape[:0], nan_policy, least)
    return samples


def rows(data: ArrayLike, axis: int, nan_policy: NanPolicy, least: Callable[[int], int]) -> Samples:
    """Samples of vectors, for a multivariate statistic: parts of shape (..., N, K), with results (...).

    Args:
        data: as for ``columns``; a DataFrame is one sample.
        axis: along which the rows lie; the last other one holds the K coordinates.
        nan_policy: as for ``columns``, of rows that hold a NaN.
        least: the statistic's least number of rows, by K.

    Raises:
        ValueError: as ``columns``.
    """
    x, labels = _checked(data, nan_policy)
    if axis is None:
        raise ValueError("axis must be a whole number: a multivariate statistic needs rows and columns")
    x, _ = _moved(x, axis, None)
    samples = Samples(x, Kind(labels is None))
    if nan_policy != "raise" and x.is_floating_point() and x.numel() and x.ndim > 1:
        flat = x.reshape(-1, *x.shape[-2:])
        missing = flat.detach().isnan().any(-1)
        if nan_policy == "omit" or missing.any():
            samples._split(flat, missing, x.shape[:-2], nan_policy, least(x.shape[-1]))
    return samples


def as_tensor(data: ArrayLike, name: str = "x") -> tuple[Tensor, tuple[Any, ...] | None]:
    """``data`` as a tensor, and pandas' labels of its dimensions; None for a tensor, () for an array.

    Arrays become float64, but for float32 and float16, and are copied; masked values are missing, NaN. A list of
    tensors is stacked.

    Raises:
        ValueError: ``data`` is no array of real numbers.
    """
    if isinstance(data, Tensor):
        return data, None
    if isinstance(data, list | tuple) and data and all(isinstance(item, Tensor) for item in data):
        return torch.stack(list(data)), None
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(data, pandas.Series | pandas.DataFrame):
        return _of_frame(data, name)
    if isinstance(data, np.ma.MaskedArray):
        array = np.ma.filled(data.astype(np.float64), np.nan)
    else:
        try:
            array = np.asarray(data)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{name} must be an array of numbers, all rows of one length ({error})") from None
    if array.dtype.kind not in "fiub":
        raise ValueError(
            f"{name} must hold real numbers, got {type(data).__name__} of {array.dtype}; convert it with "
            f"numpy.asarray({name}, dtype=float)"
        )
    dtype = array.dtype if array.dtype in (np.float32, np.float16) else np.dtype(np.float64)
    return torch.from_numpy(np.array(array, dtype=dtype.newbyteorder("="), order="C")), ()


def as_levels(alpha: ArrayLike, check: Callable[[float], float]) -> tuple[list[float], Callable[[list[float]], Any]]:
    """One or several levels as checked floats, and how to give a value for each back: float, array, tensor, Series."""
    if isinstance(alpha, float | int):
        return [check(alpha)], lambda values: values[0]
    x, labels = as_tensor(alpha, "alpha")
    kind = Kind(labels is None, labels[-1] if labels else None)
    levels = [check(level) for level in x.flatten().tolist()]
    return levels, lambda values: kind.give(torch.tensor(values, dtype=torch.float64, device=x.device).reshape(x.shape))


def _checked(data: ArrayLike, nan_policy: NanPolicy) -> tuple[Tensor, tuple[Any, ...] | None]:
    if nan_policy not in NAN_POLICIES:
        raise ValueError(f"nan_policy must be one of {', '.join(NAN_POLICIES)}, got {nan_policy!r}")
    return as_tensor(data)


def _moved(x: Tensor, axis: int, labels: tuple[Any, ...] | None) -> tuple[Tensor, Any]:
    """``x`` with its samples along dimension -2, and the labels of what is left."""
    axis = operator.index(axis)
    if x.ndim < 2:
        if axis not in (-2, -1, 0):  # -2 is the default, whatever the number of dimensions
            raise ValueError(f"axis must be 0 for x of shape {tuple(x.shape)}, got {axis}")
        return x, None
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"axis must lie in {-x.ndim} .. {x.ndim - 1} for x of shape {tuple(x.shape)}, got {axis}")
    return x.movedim(axis, -2), labels[1 - axis % 2] if labels else None


def _of_frame(data: Any, name: str) -> tuple[Tensor, tuple[Any, ...]]:
    import pandas as pd

    frame = data.to_frame() if isinstance(data, pd.Series) else data
    is_number, is_complex = pd.api.types.is_numeric_dtype, pd.api.types.is_complex_dtype
    kinds = list(frame.dtypes)
    others = [
        str(label) for label, kind in zip(frame.columns, kinds, strict=True) if not is_number(kind) or is_complex(kind)
    ]
    if others:
        raise ValueError(
            f"{name} has {len(others)} column(s) that are not real numbers: {', '.join(others[:5])}; leave them out, "
            f"as {name}.select_dtypes('number') does, or convert them"
        )
    dtype = str(kinds[0]) if {str(kind) for kind in kinds} in ({"float32"}, {"float16"}) else "float64"
    array = np.array(data.to_numpy(dtype=dtype, na_value=np.nan), order="C")
    return torch.from_numpy(array), (data.index,) if isinstance(data, pd.Series) else (data.index, data.columns)
