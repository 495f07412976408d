"""Multivariate statistics of many samples: the sums over pairs in C against the blocks in torch, without gradients."""

import time

import torch

from benchmarks.cases import side_by_side
from sigreg_lab import multivariate
from sigreg_lab.kernels import native


class PairSums:
    """One thread, float64, a batch of samples as the simulation of a law draws them."""

    params = (
        ["bhep", "bhep_m", "hv", "comb", "energy", "infinite_slice_epps_pulley"],
        [(256, 3), (1024, 3), (1024, 128)],
    )
    param_names = ("statistic", "samples_and_dim")

    def setup(self, name: str, shape: tuple[int, int]) -> None:
        torch.set_num_threads(1)
        generator = torch.Generator().manual_seed(0)
        batch = max(1, 2**14 // shape[0])
        self.x = torch.randn(batch, *shape, generator=generator, dtype=torch.float64)
        self.statistic = multivariate.REGISTRY[name]()
        self.in_c()

    def in_c(self) -> None:
        self.statistic(self.x)

    def in_torch(self) -> None:
        available, native.has_pair_sums = native.has_pair_sums, lambda: False
        try:
            self.statistic(self.x)
        finally:
            native.has_pair_sums = available

    def time_statistic(self, *_: object) -> None:
        self.in_c()

    def track_times_faster_than_torch(self, *_: object) -> float:
        """Processor time, the two in turn."""
        taken = side_by_side({"c": self.in_c, "torch": self.in_torch}, 3.0, time.process_time)
        return min(taken["torch"]) / min(taken["c"])

    setattr(track_times_faster_than_torch, "unit", "x")  # noqa: B010
