"""A bench for distribution-matching regularisers in self-supervised learning.

Rooms, from the ground up (a room imports only those named before it): ``kernels``, ``distributed``, ``nulls``,
``alternatives``, ``experiment``, ``univariate``, ``slicing``, ``multivariate``, ``regularizers``, ``pretrain``,
``adapters``, ``monitor``, ``figures``, ``check``, ``compare``, ``cli``. Each is imported when it is first used::

    import sigreg_lab

    statistic = sigreg_lab.univariate.EppsPulley(t_max=3.0, n_points=17)
    loss = sigreg_lab.multivariate.SlicingUnivariateTest(statistic, num_slices=1024)
"""

from importlib import import_module
from types import ModuleType

__version__ = "0.1.0"

_ROOMS = (
    "adapters",
    "alternatives",
    "check",
    "compare",
    "distributed",
    "experiment",
    "figures",
    "kernels",
    "monitor",
    "multivariate",
    "nulls",
    "pretrain",
    "regularizers",
    "slicing",
    "univariate",
)
__all__ = ["__version__", *_ROOMS]


def __getattr__(name: str) -> ModuleType:
    if name in _ROOMS:
        return import_module(f"sigreg_lab.{name}")
    raise AttributeError(f"module 'sigreg_lab' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
