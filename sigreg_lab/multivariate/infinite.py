"""Epps-Pulley averaged over all directions, as a multivariate test: the limit of ``SlicingUnivariateTest``."""

from torch import Tensor

from sigreg_lab.multivariate.base import MultivariateTest
from sigreg_lab.slicing.infinite import infinite_slice_epps_pulley
from sigreg_lab.univariate import EppsPulley


class InfiniteSliceEppsPulley(MultivariateTest):
    """The exact mean over all directions of Epps-Pulley; formula and source: ``sigreg_lab.slicing.infinite``. O(N^2).

    Args:
        statistic: the Epps-Pulley statistic; the default half-grid if not given.
        standardise: see ``MultivariateTest``.
    """

    name = "infinite_slice_epps_pulley"
    sensitive_to = "any departure of the projections, averaged over directions"

    def __init__(self, statistic: EppsPulley | None = None, *, standardise: bool = False) -> None:
        super().__init__(standardise=standardise)
        self.statistic = EppsPulley() if statistic is None else statistic

    def _statistic(self, x: Tensor) -> Tensor:
        return infinite_slice_epps_pulley(x, self.statistic)
