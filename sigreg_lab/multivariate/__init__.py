"""Statistics of a multivariate sample's distance to N(0, I), one file a family."""

from sigreg_lab.multivariate.base import MultivariateTest
from sigreg_lab.multivariate.bhep import BHEP, HZ
from sigreg_lab.multivariate.energy import Energy
from sigreg_lab.multivariate.generating import BHEP_M, COMB, HV
from sigreg_lab.multivariate.infinite import InfiniteSliceEppsPulley
from sigreg_lab.multivariate.moments import AlternativeSkewness, MardiaKurtosis, MardiaSkewness
from sigreg_lab.multivariate.sliced import SlicingUnivariateTest
from sigreg_lab.multivariate.stein import KSD, InfiniteSliceKSD

#: Every statistic without slices, by its name, but for the Stein discrepancies, which no study of tests has measured.
REGISTRY: dict[str, type[MultivariateTest]] = {
    cls.name: cls
    for cls in (
        InfiniteSliceEppsPulley,
        BHEP,
        HZ,
        BHEP_M,
        COMB,
        HV,
        Energy,
        MardiaSkewness,
        AlternativeSkewness,
        MardiaKurtosis,
    )
}

__all__ = [
    "BHEP",
    "BHEP_M",
    "COMB",
    "HV",
    "HZ",
    "KSD",
    "REGISTRY",
    "AlternativeSkewness",
    "Energy",
    "InfiniteSliceEppsPulley",
    "InfiniteSliceKSD",
    "MardiaKurtosis",
    "MardiaSkewness",
    "MultivariateTest",
    "SlicingUnivariateTest",
]
