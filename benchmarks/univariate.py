"""Univariate statistics: time and peak memory over samples, slices and points, forward and forward + backward;
Monte-Carlo replicates against SciPy's loops."""

import time
from collections.abc import Callable

import numpy as np
import torch
from scipy import stats
from statsmodels.stats.diagnostic import normal_ad

from sigreg_lab import univariate
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


class MonteCarloReplicates:
    """Six statistics of many standard normal samples, drawing included, on one core, against loops over SciPy's (and,
    for Anderson-Darling, statsmodels') functions. Watson has no function there, so the loops do five of the six."""

    params = ([50, 100, 500],)
    param_names = ("num_samples",)
    replicates = 20_000

    tests = (
        univariate.ShapiroWilk(),
        univariate.JarqueBera(),
        univariate.CramerVonMises(),
        univariate.Watson(),
        univariate.KolmogorovSmirnov(),
        univariate.AndersonDarling(),
    )
    loops: tuple[Callable[[np.ndarray], object], ...] = (
        stats.shapiro,
        stats.jarque_bera,
        lambda x: stats.cramervonmises(x, "norm"),
        lambda x: stats.kstest(x, "norm"),
        normal_ad,
    )

    def setup(self, num_samples: int) -> None:
        torch.set_num_threads(1)
        self.rng = np.random.default_rng(0)
        self.run(num_samples, 5000)

    def run(self, num_samples: int, replicates: int) -> None:
        for _ in range(0, replicates, 5000):
            univariate.evaluate(self.tests, torch.from_numpy(self.rng.standard_normal((5000, num_samples))).T)

    def time_six_statistics(self, num_samples: int) -> None:
        self.run(num_samples, self.replicates)

    def track_replicates_per_second(self, num_samples: int) -> float:
        """Per second of processor time."""
        start = time.process_time()
        self.run(num_samples, self.replicates)
        return self.replicates / (time.process_time() - start)

    def track_times_faster_than_loops(self, num_samples: int) -> float:
        rows = self.rng.standard_normal((200, num_samples))
        for function in self.loops:
            function(rows[0])
        start = time.process_time()
        for row in rows:
            for function in self.loops:
                function(row)
        per_replicate = (time.process_time() - start) / len(rows)
        return per_replicate * self.track_replicates_per_second(num_samples)

    setattr(track_replicates_per_second, "unit", "1/s")  # noqa: B010
    setattr(track_times_faster_than_loops, "unit", "x")  # noqa: B010
