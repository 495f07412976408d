"""Slices of a multivariate sample: directions, estimators over them, and the exact mean over all of them."""

from sigreg_lab.slicing.cheapest import cheapest_directions
from sigreg_lab.slicing.directions import (
    DIRECTIONS,
    StructuredDirections,
    hd3_signs,
    iid_directions,
    make_directions,
    seeded_generator,
)
from sigreg_lab.slicing.estimators import project, sliced_statistic
from sigreg_lab.slicing.infinite import infinite_slice_epps_pulley

__all__ = [
    "DIRECTIONS",
    "StructuredDirections",
    "cheapest_directions",
    "hd3_signs",
    "iid_directions",
    "infinite_slice_epps_pulley",
    "make_directions",
    "project",
    "seeded_generator",
    "sliced_statistic",
]
