"""Regularisers by name, with their options."""

import inspect
from collections.abc import Callable

from sigreg_lab.regularizers.base import Regularizer
from sigreg_lab.regularizers.covariance import VICReg, WeakSIGReg
from sigreg_lab.regularizers.exact import InfiniteSliceEP
from sigreg_lab.regularizers.joint import WMSE, BarlowTwins
from sigreg_lab.regularizers.sigreg import SIGReg
from sigreg_lab.regularizers.sphere import KoLeo, SphereSlicing, Uniformity
from sigreg_lab.regularizers.visreg import VISReg
from sigreg_lab.univariate import (
    AndersonDarling,
    CramerVonMises,
    EppsPulley,
    ExtendedJarqueBera,
    MeanStd,
    Moments,
    ShapiroWilk,
    UnivariateTest,
    VCReg,
    Wasserstein,
    Watson,
)

Option = int | float | bool | str | None


#: Options of statistics that are not offered: another name of ``n_points``, an unused one, what callers assert.
HIDDEN = ("num_points", "eps", "sorted")


def _defaults(build: Callable[..., object]) -> dict[str, Option]:
    parameters = inspect.signature(build).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


class Entry:
    """How to build a regulariser: its class and the defaults that this name changes."""

    def __init__(self, build: Callable[..., Regularizer], **changed: Option) -> None:
        self._build = build
        self.options = _defaults(build) | changed

    def __call__(self, **options: Option) -> Regularizer | None:
        return self._build(**(self.options | options))


class SlicedEntry(Entry):
    """SIGReg with a univariate statistic; takes the options of both."""

    def __init__(self, statistic: Callable[..., UnivariateTest], **changed: Option) -> None:
        self._statistic = statistic
        self._own = {name: default for name, default in _defaults(statistic).items() if name not in HIDDEN}
        self.options = _defaults(SIGReg) | self._own | changed

    def __call__(self, **options: Option) -> Regularizer | None:
        chosen = self.options | options
        statistic = self._statistic(**{name: chosen.pop(name) for name in self._own})
        return SIGReg(statistic, **chosen)  # type: ignore[arg-type]


class NoneEntry(Entry):
    """The control: no regulariser."""

    def __init__(self) -> None:
        self.options = {}

    def __call__(self, **options: Option) -> Regularizer | None:
        return None


#: How to build each regulariser, by its name; "none" is the control.
REGISTRY: dict[str, Entry] = {
    "sigreg-ep": SlicedEntry(EppsPulley),
    "sigreg-ep-paper-grid": SlicedEntry(EppsPulley, t_max=5.0, n_points=9),
    "sigreg-ep-full-line": SlicedEntry(EppsPulley, integration="exact"),
    "sigreg-ep-unbiased": SlicedEntry(EppsPulley, estimator="u"),
    "sigreg-ep-infinite": Entry(InfiniteSliceEP),
    "sigreg-ad": SlicedEntry(AndersonDarling),
    "sigreg-cvm": SlicedEntry(CramerVonMises),
    "sigreg-watson": SlicedEntry(Watson),
    "sigreg-sw": SlicedEntry(ShapiroWilk),
    "sigreg-ejb": SlicedEntry(ExtendedJarqueBera),
    "sigreg-vcreg": SlicedEntry(VCReg),
    "sigreg-moments": SlicedEntry(Moments),
    "sigreg-mean-std": SlicedEntry(MeanStd),
    "sliced-wasserstein": SlicedEntry(Wasserstein, quantiles="mean"),
    "visreg": Entry(VISReg),
    "vicreg": Entry(VICReg),
    "barlow-twins": Entry(BarlowTwins),
    "w-mse": Entry(WMSE),
    "weak-sigreg": Entry(WeakSIGReg),
    "covariance-identity": Entry(WeakSIGReg, sketch_dim=None),
    "uniformity": Entry(Uniformity),
    "koleo": Entry(KoLeo),
    "sphere-slicing": Entry(SphereSlicing),
    "none": NoneEntry(),
}


def regularizer_options(name: str) -> dict[str, Option]:
    """The options that a regulariser takes, with their defaults; empty for "none".

    Args:
        name: a key of ``REGISTRY``.

    Raises:
        ValueError: an unknown name; the message lists the known ones.
    """
    if name not in REGISTRY:
        raise ValueError(f"unknown regularizer {name!r}; known: {', '.join(REGISTRY)}")
    return dict(REGISTRY[name].options)


def make_regularizer(name: str, **options: Option) -> Regularizer | None:
    """Build a regulariser by its name.

    Args:
        name: a key of ``REGISTRY``.
        options: arguments of the regulariser, such as ``num_slices``, and of its statistic, such as ``t_max``; see
            ``regularizer_options``. "none" takes and ignores them.

    Raises:
        ValueError: an unknown name or option; the message lists the known ones.
    """
    known = regularizer_options(name)
    unknown = [option for option in options if option not in known]
    if unknown and name != "none":
        takes = f"it takes {', '.join(known)}" if known else "it takes none"
        raise ValueError(f"unknown option {', '.join(unknown)} of regularizer {name!r}; {takes}")
    return REGISTRY[name](**options)
