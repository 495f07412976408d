"""P-values where rows depend on each other in groups: views of one picture, frames of one film, pixels of one map.

A test of independent rows rejects too often then, and no permutation helps: the statistics do not look at the order of
rows, so that exchanging rows or blocks of rows changes nothing, and the null hypothesis, the law of one row, leaves
open how the rows of a group depend, so that there is nothing to simulate. What is sound is to take one row of each
group at a time, whose rows are independent, and to combine the p-values whatever their dependence.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sigreg_lab.arrays import ArrayLike, Kind, as_tensor


def split_groups(x: ArrayLike, groups: Tensor | NDArray[Any] | Sequence[object]) -> Any:
    """Samples of one row of each group: the first rows, the second rows, and so on.

    Args:
        x: rows, shape (T, ...), in an order within the groups that was not chosen by their values; a tensor, or an
            array-like.
        groups: the group of each row, T labels; rows of different groups are independent.

    Returns:
        Shape (m, G, ...), G the number of groups and m the size of the smallest; what other groups have beyond m rows
        is left out. The test of each of the m samples has its usual law: ``test.test(split_groups(x, groups)).pvalue``
        has m p-values, for ``combine_pvalues``. A tensor, or an array.

    Raises:
        ValueError: another number of labels than rows, or none.
    """
    x, names = as_tensor(x)
    labels = np.asarray(groups.cpu() if isinstance(groups, Tensor) else groups)
    if labels.ndim != 1 or len(labels) != len(x) or not len(x):
        raise ValueError(f"groups must hold one label for each of the {len(x)} rows of x, got shape {labels.shape}")
    _, group, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    starts = np.cumsum(sizes) - sizes
    index = np.argsort(group, kind="stable")[starts + np.arange(sizes.min())[:, None]]
    return Kind(names is None).give(x[torch.from_numpy(index).to(x.device)])


def combine_pvalues(pvalue: ArrayLike, dim: int = 0) -> Any:
    """One p-value from m of the same null hypothesis, valid however they depend on each other.

        min(1, m/r p_(r)),   r = ceil(m/2): about twice the median                                                  [1]

    It finds what half of the samples show. A view that differs from the others shows in its own p-value, times m.

    Args:
        pvalue: p-values, such as those of V views, ``test.test(z).pvalue`` for z of shape (V, N, K); a tensor, or an
            array-like.
        dim: the dimension of the m.

    Returns:
        The shape without ``dim``, in the caller's kind: a tensor, a float, an array, or of a DataFrame a Series.

    Raises:
        ValueError: values outside 0 .. 1, or none.

    [1] Rueger (1978), Metrika 25, 171-178.
    """
    pvalue, labels = as_tensor(pvalue, "pvalue")
    left = labels[1 - dim % 2] if labels and len(labels) == 2 else None
    if pvalue.numel() == 0 or not ((pvalue >= 0) & (pvalue <= 1)).all():
        raise ValueError("pvalue must hold values in 0 .. 1, at least one")
    count = pvalue.shape[dim]
    rank = (count + 1) // 2
    combined = (count / rank * pvalue.kthvalue(rank, dim=dim).values).clamp_max(1.0)
    return Kind(labels is None, left).give(combined, "pvalue")


def holm(pvalues: Tensor) -> Tensor:
    """Holm's p-values of m null hypotheses, valid however they depend on each other [1].

        max over j <= i of (m + 1 - j) p_(j), at most 1, for the ith smallest

    By hand: statsmodels' ``multipletests`` collects Python's garbage at each call, which takes most of a second.

    Args:
        pvalues: float64, any shape, on a CPU; NaN counts for no hypothesis and stays.

    Returns:
        The same shape.

    [1] Holm (1979), Scandinavian Journal of Statistics 6, 65-70.
    """
    flat = pvalues.flatten()
    order = flat.nan_to_num(2.0).argsort(stable=True)[: int((~flat.isnan()).sum())]
    times = torch.arange(len(order), 0, -1, dtype=flat.dtype)
    found = flat.clone()
    if len(order):
        found[order] = (flat[order] * times).cummax(0).values.clamp_max(1.0)
    return found.reshape(pvalues.shape)
