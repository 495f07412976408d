"""The operations that cost time, each behind one function: characteristic-function sums and sorting of samples."""

from sigreg_lab.kernels.characteristic_function import characteristic_function
from sigreg_lab.kernels.sorting import sort_samples

__all__ = ["characteristic_function", "sort_samples"]
