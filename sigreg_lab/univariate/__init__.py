"""Univariate statistics of the distance to N(0, 1), one file each (related ones share)."""

from sigreg_lab.univariate.anderson_darling import AndersonDarling
from sigreg_lab.univariate.base import TestResult, UnivariateTest
from sigreg_lab.univariate.cramer_von_mises import CramerVonMises, Watson
from sigreg_lab.univariate.entropy import Entropy
from sigreg_lab.univariate.epps_pulley import EppsPulley
from sigreg_lab.univariate.evaluate import SharedSample, evaluate
from sigreg_lab.univariate.jarque_bera import DAgostinoK2, ExtendedJarqueBera, JarqueBera
from sigreg_lab.univariate.kolmogorov_smirnov import KolmogorovSmirnov
from sigreg_lab.univariate.likelihood import NLL
from sigreg_lab.univariate.mean_variance import MeanStd, VCReg
from sigreg_lab.univariate.moments import Moments
from sigreg_lab.univariate.shapiro_wilk import ShapiroFrancia, ShapiroWilk
from sigreg_lab.univariate.stein import KSD
from sigreg_lab.univariate.sums import Grid, Nodes, SumForm, characteristic_sums
from sigreg_lab.univariate.wasserstein import Wasserstein

#: Every statistic by its name, but for ``KSD``, which no study of tests has measured.
REGISTRY: dict[str, type[UnivariateTest]] = {
    cls.name: cls
    for cls in (
        EppsPulley,
        AndersonDarling,
        CramerVonMises,
        Watson,
        ShapiroWilk,
        ShapiroFrancia,
        JarqueBera,
        ExtendedJarqueBera,
        DAgostinoK2,
        VCReg,
        MeanStd,
        Moments,
        Entropy,
        NLL,
        Wasserstein,
        KolmogorovSmirnov,
    )
}

__all__ = [
    "KSD",
    "NLL",
    "REGISTRY",
    "AndersonDarling",
    "CramerVonMises",
    "DAgostinoK2",
    "Entropy",
    "EppsPulley",
    "ExtendedJarqueBera",
    "Grid",
    "JarqueBera",
    "KolmogorovSmirnov",
    "MeanStd",
    "Moments",
    "Nodes",
    "ShapiroFrancia",
    "ShapiroWilk",
    "SharedSample",
    "SumForm",
    "TestResult",
    "UnivariateTest",
    "VCReg",
    "Wasserstein",
    "Watson",
    "characteristic_sums",
    "evaluate",
]
