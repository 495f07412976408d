"""Slices of a multivariate sample: directions, and estimators over them."""

from sigreg_lab.slicing.directions import iid_directions, seeded_generator
from sigreg_lab.slicing.estimators import project, sliced_statistic

__all__ = ["iid_directions", "project", "seeded_generator", "sliced_statistic"]
