"""Laws that SciPy has in closed form."""

from typing import Any

import numpy as np

from sigreg_lab.nulls.law import Array, NullLaw


class _Frozen(NullLaw):
    """A frozen SciPy distribution."""

    def __init__(self, frozen: Any) -> None:
        self._frozen = frozen

    def survival(self, statistic: Array) -> Array:
        return np.asarray(self._frozen.sf(statistic), dtype=np.float64)

    def threshold(self, alpha: float) -> float:
        return float(self._frozen.isf(alpha))


class ChiSquared(_Frozen):
    """Chi-squared with ``df`` degrees of freedom.

    Raises:
        ValueError: ``df`` is not positive.
    """

    def __init__(self, df: float) -> None:
        from scipy import stats

        if not df > 0:
            raise ValueError(f"df must be positive, got {df}")
        super().__init__(stats.chi2(df))


class Normal(_Frozen):
    """Normal with the given mean and standard deviation.

    Raises:
        ValueError: ``std`` is not positive.
    """

    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None:
        from scipy import stats

        if not std > 0:
            raise ValueError(f"std must be positive, got {std}")
        super().__init__(stats.norm(mean, std))


class LogNormal(_Frozen):
    """Law of exp(Z), Z normal with the given mean and standard deviation.

    Raises:
        ValueError: ``std`` is not positive.
    """

    def __init__(self, mean: float, std: float) -> None:
        from scipy import stats

        if not std > 0:
            raise ValueError(f"std must be positive, got {std}")
        super().__init__(stats.lognorm(s=std, scale=np.exp(mean)))


class KolmogorovSmirnov(_Frozen):
    """Exact law of the two-sided Kolmogorov-Smirnov distance D of ``n`` samples to a continuous law (SciPy, ``kstwo``).

    Raises:
        ValueError: ``n`` below 1.
    """

    kind = "exact"

    def __init__(self, n: int) -> None:
        from scipy import stats

        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        super().__init__(stats.kstwo(n))
