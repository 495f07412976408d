"""Regularisers by name, with their options."""

import inspect
import math
from collections.abc import Callable
from typing import Literal

import torch

from sigreg_lab.multivariate import BHEP, KSD, InfiniteSliceEppsPulley, InfiniteSliceKSD
from sigreg_lab.regularizers.base import Regularizer
from sigreg_lab.regularizers.control_variates import ControlledSIGReg
from sigreg_lab.regularizers.covariance import VICReg, WeakSIGReg
from sigreg_lab.regularizers.joint import WMSE, BarlowTwins
from sigreg_lab.regularizers.multivariate import MultivariateRegularizer
from sigreg_lab.regularizers.rectified import RDMReg
from sigreg_lab.regularizers.sigreg import SIGReg, SubspaceSIGReg
from sigreg_lab.regularizers.sphere import KoLeo, SphereSlicing, Uniformity
from sigreg_lab.regularizers.visreg import VISReg
from sigreg_lab.regularizers.wrappers import CentredResiduals, QueuedRegularizer
from sigreg_lab.regularizers.zonal import SphereKL, SphereKSD, SphereMMD
from sigreg_lab.univariate import KSD as UnivariateKSD
from sigreg_lab.univariate import (
    AndersonDarling,
    CramerVonMises,
    EppsPulley,
    ExtendedJarqueBera,
    MeanStd,
    Moments,
    ShapiroWilk,
    VCReg,
    Wasserstein,
    Watson,
)
from sigreg_lab.validation import did_you_mean

Option = int | float | bool | str | None


#: Options of statistics that are not offered: another name of ``n_points``, an unused one, what callers
#: assert, and the whitening that would hide scale.
HIDDEN = ("num_points", "eps", "sorted", "standardise")


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


class StatisticEntry(Entry):
    """A regulariser made of a statistic, SIGReg unless said otherwise; takes the options of both."""

    def __init__(
        self,
        statistic: Callable[..., torch.nn.Module],
        build: Callable[..., Regularizer] = SIGReg,
        **changed: Option,
    ) -> None:
        super().__init__(build)
        self._statistic = statistic
        self._own = {name: default for name, default in _defaults(statistic).items() if name not in HIDDEN}
        self.options |= self._own | changed

    def __call__(self, **options: Option) -> Regularizer | None:
        chosen = self.options | options
        statistic = self._statistic(**{name: chosen.pop(name) for name in self._own})
        return self._build(statistic, **chosen)


class WrapperEntry(Entry):
    """A regulariser around another one; takes the options of both."""

    def __init__(self, build: Callable[..., Regularizer], inner: Entry) -> None:
        super().__init__(build)
        self._own, self._inner = dict(self.options), inner
        self.options |= inner.options

    def __call__(self, **options: Option) -> Regularizer | None:
        chosen = self.options | options
        own = {name: chosen.pop(name) for name in self._own}
        return self._build(self._inner(**chosen), **own)


class NoneEntry(Entry):
    """The control: no regulariser."""

    def __init__(self) -> None:
        self.options = {}

    def __call__(self, **options: Option) -> Regularizer | None:
        return None


def _infinite_slices(
    t_max: float = 3.0,
    n_points: int | Literal["auto"] = 17,
    integration: Literal["trapezoid", "exact"] = "trapezoid",
    sigma: float = math.sqrt(2.0),
) -> InfiniteSliceEppsPulley:
    return InfiniteSliceEppsPulley(EppsPulley(t_max, n_points, integration, sigma))


#: How to build each regulariser, by its name; "none" is the control.
REGISTRY: dict[str, Entry] = {
    "sigreg-ep": StatisticEntry(EppsPulley),
    "sigreg-ep-paper-grid": StatisticEntry(EppsPulley, t_max=5.0, n_points=9),
    # The line to 1e-13 for embeddings of length 20 or less, and hundreds of times faster than the closed form
    # (integration="exact"): the weight ends at exp(-32), and the grid's period is 50.
    "sigreg-ep-full-line": StatisticEntry(EppsPulley, t_max=8.0, n_points=65),
    "sigreg-ep-unbiased": StatisticEntry(EppsPulley, estimator="u"),
    "sigreg-ep-cv": StatisticEntry(EppsPulley, ControlledSIGReg),
    "sigreg-ep-infinite": StatisticEntry(_infinite_slices, MultivariateRegularizer),
    "sigreg-ep-queue": WrapperEntry(QueuedRegularizer, StatisticEntry(EppsPulley)),
    "tc-sigreg": WrapperEntry(CentredResiduals, StatisticEntry(EppsPulley)),
    "subspace-sigreg": StatisticEntry(EppsPulley, SubspaceSIGReg),
    "bhep": StatisticEntry(BHEP, MultivariateRegularizer),
    "ksd": StatisticEntry(KSD, MultivariateRegularizer),
    "ksd-gaussian": StatisticEntry(KSD, MultivariateRegularizer, kernel="gaussian"),
    "sigreg-ksd": StatisticEntry(UnivariateKSD),
    "sigreg-ksd-infinite": StatisticEntry(InfiniteSliceKSD, MultivariateRegularizer),
    "sigreg-ad": StatisticEntry(AndersonDarling),
    "sigreg-cvm": StatisticEntry(CramerVonMises),
    "sigreg-watson": StatisticEntry(Watson),
    "sigreg-sw": StatisticEntry(ShapiroWilk),
    "sigreg-ejb": StatisticEntry(ExtendedJarqueBera),
    "sigreg-vcreg": StatisticEntry(VCReg),
    "sigreg-moments": StatisticEntry(Moments),
    "sigreg-mean-std": StatisticEntry(MeanStd),
    "sliced-wasserstein": StatisticEntry(Wasserstein, quantiles="mean"),
    "rdmreg": Entry(RDMReg),
    "visreg": Entry(VISReg),
    "vicreg": Entry(VICReg),
    "barlow-twins": Entry(BarlowTwins),
    "w-mse": Entry(WMSE),
    "weak-sigreg": Entry(WeakSIGReg),
    "covariance-identity": Entry(WeakSIGReg, sketch_dim=None),
    "uniformity": Entry(Uniformity),
    "koleo": Entry(KoLeo),
    "sphere-slicing": Entry(SphereSlicing),
    "sphere-mmd": Entry(SphereMMD),
    "sphere-ksd": Entry(SphereKSD),
    "sphere-kl": Entry(SphereKL),
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
        raise ValueError(f"unknown regularizer {name!r}; {did_you_mean(name, REGISTRY)}known: {', '.join(REGISTRY)}")
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
        raise ValueError(
            f"unknown option {', '.join(unknown)} of regularizer {name!r}; {did_you_mean(unknown[0], known)}{takes}"
        )
    return REGISTRY[name](**options)
