"""Univariate statistics of the distance to N(0, 1), one file each."""

from sigreg_lab.univariate.anderson_darling import AndersonDarling
from sigreg_lab.univariate.base import UnivariateTest
from sigreg_lab.univariate.epps_pulley import EppsPulley
from sigreg_lab.univariate.jarque_bera import ExtendedJarqueBera, VCReg
from sigreg_lab.univariate.moments import Moments

#: Every statistic by its name.
REGISTRY: dict[str, type[UnivariateTest]] = {
    cls.name: cls for cls in (EppsPulley, AndersonDarling, ExtendedJarqueBera, VCReg, Moments)
}

__all__ = [
    "REGISTRY",
    "AndersonDarling",
    "EppsPulley",
    "ExtendedJarqueBera",
    "Moments",
    "UnivariateTest",
    "VCReg",
]
