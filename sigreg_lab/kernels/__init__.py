"""The operations that cost time, each behind one function; ``choose_backend`` says which implementation serves a call.

characteristic_function   sums of cosines and sines of samples on a grid
sliced_epps_pulley        embeddings and directions to the mean Epps-Pulley distance over slices, in little memory
matmul                    projections in float32
sort_samples              order statistics
"""

from sigreg_lab.kernels.characteristic_function import (
    characteristic_function,
    characteristic_function_reference,
    characteristic_slope,
)
from sigreg_lab.kernels.dispatch import BACKENDS, BackendUnavailable, available_backends, choose_backend
from sigreg_lab.kernels.epps_pulley import characteristic_distance, gaussian_grid, sliced_epps_pulley
from sigreg_lab.kernels.hadamard import hd3_project
from sigreg_lab.kernels.matmul import matmul
from sigreg_lab.kernels.sorting import sort_samples

__all__ = [
    "BACKENDS",
    "BackendUnavailable",
    "available_backends",
    "characteristic_distance",
    "characteristic_function",
    "characteristic_function_reference",
    "characteristic_slope",
    "choose_backend",
    "gaussian_grid",
    "hd3_project",
    "matmul",
    "sliced_epps_pulley",
    "sort_samples",
]
