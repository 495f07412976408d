"""Epps-Pulley averaged over all directions, as a multivariate test: the limit of ``SlicingUnivariateTest``."""

from torch import Tensor

from sigreg_lab.multivariate.base import MultivariateTest
from sigreg_lab.slicing.infinite import infinite_slice_epps_pulley
from sigreg_lab.univariate import EppsPulley


class InfiniteSliceEppsPulley(MultivariateTest):
    """The exact mean over all directions a of the unit sphere of the Epps-Pulley statistic of the projections.

        E_a EP({a'x_n}) = 1/N sum_jk G(|x_j - x_k|) - 2 sum_j H(|x_j|) + N C                                     [1]

    G, H and C follow from the statistic's grid or line: ``sigreg_lab.slicing.infinite``. It is what M slices estimate.
    With ``estimator="u"`` the first term is N times the mean of G over pairs of different samples.

    Null: N(0, I) fully specified, or any normal law (``standardise``). Law: simulated, from N = max(1024, 8 K) on at
    that N. Gradient: smooth, without the noise of drawn slices. Cost O(N^2 K), memory O(N K) and blocks of fixed size.
    Shapes, dtypes, p-values and errors: ``MultivariateTest``.

    Args:
        statistic: the Epps-Pulley statistic; the default half-grid if not given.
        standardise: see ``MultivariateTest``.

    Raises:
        ValueError: in use, a statistic with ``estimator="split"``, or a sample spread so far that the tables of G and H
            would not hold it.

    [1] Balestriero & LeCun (2025), arXiv:2511.08544, Definition 2, with the mean over the whole sphere.
    """

    name = "infinite_slice_epps_pulley"
    sensitive_to = "any departure of the projections, averaged over directions"
    reads_values = True

    def __init__(self, statistic: EppsPulley | None = None, *, standardise: bool = False) -> None:
        super().__init__(standardise=standardise)
        self.statistic = EppsPulley() if statistic is None else statistic

    def _statistic(self, x: Tensor) -> Tensor:
        return infinite_slice_epps_pulley(x, self.statistic)
