"""Statistics of a multivariate sample's distance to N(0, I)."""

from sigreg_lab.multivariate.sliced import SlicingUnivariateTest

__all__ = ["SlicingUnivariateTest"]
