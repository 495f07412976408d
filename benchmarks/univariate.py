"""Univariate statistics: time and peak memory over samples, slices and points, forward and forward + backward;
Monte-Carlo replicates against SciPy's loops, and on one and two cores."""

import os
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy import stats
from statsmodels.stats.diagnostic import normal_ad

from sigreg_lab import alternatives, univariate
from sigreg_lab.experiment.executor import compute_cells, local_executor
from sigreg_lab.experiment.study import StudyError, load_study, studies_folder
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


class PowerStudyOnCores:
    """Cells of the power study, six statistics at once, by the studies' executor: two processes against one.

    Each process has one thread; their start is left out. The ratio of rates, by the clock, is 2 if no core waits.
    """

    num_samples = 100
    replicates = 100_000
    cells = 6
    timeout = 300

    def setup(self) -> None:
        if (os.cpu_count() or 1) < 2:
            raise NotImplementedError("needs two cores")
        try:
            study = load_study("power")
        except StudyError:
            raise NotImplementedError("needs the study scripts") from None
        names = [test.name for test in MonteCarloReplicates.tests]
        self.settings = study.settings(study.configure("quick")) | {"statistics": names, "reference": 1_999}

    def replicates_per_second(self, workers: int) -> float:
        cells = [{"n": self.num_samples, "alternative": name} for name in list(alternatives.REGISTRY)[: self.cells]]
        with local_executor(workers) as pool:
            for settings in (self.settings, self.settings | {"replicates": self.replicates}):  # the first to warm up
                start = time.perf_counter()
                for _ in compute_cells(pool, studies_folder() / "power", cells, settings):
                    pass
        return self.cells * self.replicates / (time.perf_counter() - start)

    def track_two_workers_over_one(self) -> float:
        return self.replicates_per_second(2) / self.replicates_per_second(1)

    setattr(track_two_workers_over_one, "unit", "x")  # noqa: B010
