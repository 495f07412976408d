"""Regularisers of embeddings, one contract: (V, N, K) -> scalar."""

from sigreg_lab.regularizers.base import Regularizer
from sigreg_lab.regularizers.control_variates import ControlledSIGReg
from sigreg_lab.regularizers.covariance import VICReg, WeakSIGReg
from sigreg_lab.regularizers.joint import WMSE, BarlowTwins
from sigreg_lab.regularizers.lejepa import LeJEPALoss, LeJEPATerms, convert_lambda, prediction_loss
from sigreg_lab.regularizers.multivariate import MultivariateRegularizer
from sigreg_lab.regularizers.rectified import RDMReg
from sigreg_lab.regularizers.registry import REGISTRY, make_regularizer, regularizer_options
from sigreg_lab.regularizers.resolve import ResolvedRegularizer, check_regularizer, resolve_regularizer
from sigreg_lab.regularizers.sigreg import SIGReg, SubspaceSIGReg
from sigreg_lab.regularizers.sphere import KoLeo, SphereSlicing, Uniformity
from sigreg_lab.regularizers.visreg import VISReg
from sigreg_lab.regularizers.wrappers import CentredResiduals, QueuedRegularizer
from sigreg_lab.regularizers.zonal import SphereKL, SphereKSD, SphereMMD

__all__ = [
    "REGISTRY",
    "WMSE",
    "BarlowTwins",
    "CentredResiduals",
    "ControlledSIGReg",
    "KoLeo",
    "LeJEPALoss",
    "LeJEPATerms",
    "MultivariateRegularizer",
    "QueuedRegularizer",
    "RDMReg",
    "Regularizer",
    "ResolvedRegularizer",
    "SIGReg",
    "SphereKL",
    "SphereKSD",
    "SphereMMD",
    "SphereSlicing",
    "SubspaceSIGReg",
    "Uniformity",
    "VICReg",
    "VISReg",
    "WeakSIGReg",
    "check_regularizer",
    "convert_lambda",
    "make_regularizer",
    "prediction_loss",
    "regularizer_options",
    "resolve_regularizer",
]
