"""Univariate statistics: time and peak memory over samples, slices and points, forward and forward + backward."""

import torch

from sigreg_lab.univariate import EppsPulley


class EppsPulleyProjections:
    """Epps-Pulley statistic of N samples on M slices, from the projections on."""

    params = ([512, 4096], [64, 1024], [17, 41], ["forward", "forward+backward"])
    param_names = ("num_samples", "num_slices", "n_points", "passes")

    def setup(self, num_samples: int, num_slices: int, n_points: int, passes: str) -> None:
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(num_samples, num_slices, generator=generator, requires_grad=passes != "forward")
        self.statistic = EppsPulley(n_points=n_points)
        self.run()

    def run(self) -> None:
        value = self.statistic(self.x).mean()
        if self.x.requires_grad:
            value.backward()
            self.x.grad = None

    def time_epps_pulley(self, *_: object) -> None:
        self.run()

    def peakmem_epps_pulley(self, *_: object) -> None:
        self.run()
