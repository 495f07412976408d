"""The losses of the study, and the exact minimiser of each that has one."""

import math
from collections.abc import Callable

import torch

from sigreg_lab import univariate
from sigreg_lab.multivariate import BHEP, KSD, InfiniteSliceEppsPulley
from sigreg_lab.regularizers import (
    MultivariateRegularizer,
    Regularizer,
    SIGReg,
    VICReg,
    resolve_regularizer,
)
from sigreg_lab.theory import minimizers
from sigreg_lab.univariate import UnivariateTest

DIM = 8
NUM_SLICES = 8
SEEING_SCALE = (
    *("anderson_darling", "cramer_von_mises", "watson", "extended_jarque_bera", "vcreg", "mean_std", "moments"),
    *("nll", "wasserstein"),
)
STATISTICS: dict[str, Callable[[], UnivariateTest]] = {
    "epps_pulley": univariate.EppsPulley,
    "epps_pulley_u": lambda: univariate.EppsPulley(estimator="u"),
    **{name: univariate.REGISTRY[name] for name in SEEING_SCALE},
}


def make_loss(name: str) -> UnivariateTest | Regularizer:
    """The statistic or the regulariser of that name; a regulariser may be one's own, see ``resolve_regularizer``."""
    if name in STATISTICS:
        return STATISTICS[name]()
    loss: Regularizer = resolve_regularizer(name).build(num_slices=NUM_SLICES)
    return loss


def source(name: str) -> str:
    """The digest of the code that a name stands for, "" if that is the library's own.

    Raises:
        ValueError: it is no loss.
    """
    if name == "none":
        raise ValueError("none is no loss")
    return "" if name in STATISTICS else resolve_regularizer(name).digest


def exact_minimizer(loss: torch.nn.Module, n: int) -> float:
    """The minimiser of E R on batches of n: NaN where no closed form or integral is at hand, 0 if R pulls inwards."""
    if isinstance(loss, SIGReg):
        return exact_minimizer(loss.statistic, n)
    if isinstance(loss, univariate.VCReg | univariate.ExtendedJarqueBera):
        return minimizers.variance(n)
    if isinstance(loss, univariate.MeanStd):
        return minimizers.mean_and_deviation(n)
    if isinstance(loss, univariate.Wasserstein):
        # W at 0 and at one sample x tell q: W(x) - W(0) = mean (x_i^2 - 2 x_i q_i).
        unit = torch.eye(n, dtype=torch.float64)
        values = loss.unchecked(unit, presorted=True) - loss.unchecked(torch.zeros_like(unit))
        return minimizers.wasserstein(((1 - n * values) / 2).numpy())
    if (
        isinstance(loss, MultivariateRegularizer)
        and isinstance(loss.statistic, KSD)
        and loss.statistic.estimator == "u"
    ):
        return 1.0  # its mean is the squared discrepancy, 0 at the target alone
    mean = mean_loss(loss, n)
    return math.nan if mean is None else minimizers.least(mean)


def mean_loss(loss: torch.nn.Module, n: int) -> minimizers.Mean | None:
    """E R(sd z) up to a constant, as a function of sd; None if it is not known here."""
    if isinstance(loss, MultivariateRegularizer):
        loss = loss.statistic
        loss = loss.statistic if isinstance(loss, InfiniteSliceEppsPulley) else loss
    match loss:
        case univariate.EppsPulley():
            return minimizers.epps_pulley(*loss.nodes(), n, biased=loss.estimator == "v")
        case univariate.KSD():
            return minimizers.stein(n, loss.bandwidth)
        case univariate.AndersonDarling():
            return minimizers.distribution_function(n, tails=True)
        case univariate.CramerVonMises() | univariate.Watson():
            return minimizers.distribution_function(n, tails=False, watson=isinstance(loss, univariate.Watson))
        case univariate.NLL():
            return minimizers.likelihood(n)
        case BHEP():
            return minimizers.bhep(n, loss.beta, DIM)
        case VICReg():
            weights = {name: getattr(loss, name) for name in ("gamma", "eps", "variance", "covariance")}
            return minimizers.vicreg(n, DIM, **weights)
    return None
