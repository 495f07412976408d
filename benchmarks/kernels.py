"""The fused kernel and its parts: time, peak memory, ratios to the formula, peers and the products, and errors."""

import torch

from benchmarks.cases import (
    TABLE_6,
    Published,
    embeddings,
    errors,
    fused,
    median_ms,
    peers,
    side_by_side,
    there_and_back,
    two_products,
)
from sigreg_lab.kernels import BackendUnavailable, choose_backend, hd3_project, matmul, sort_samples


class SlicedEppsPulley:
    """Mean Epps-Pulley over slices of embeddings: N, K, M and points around the usual size, one changed at a time."""

    SIZES = (
        *((n, 512, 1024, 17) for n in (128, 512, 2048, 8192, 32768)),
        *((2048, 512, m, 17) for m in (64, 8192)),
        *((2048, k, 1024, 17) for k in (32, 2048)),
        (2048, 512, 1024, 41),
    )
    params = (SIZES, ["float32", "float64", "bfloat16"], ["forward", "forward+backward"], ["cpu", "eager"])
    param_names = ("N_K_M_points", "dtype", "passes", "backend")

    def setup(self, size: tuple[int, int, int, int], dtype: str, passes: str, backend: str) -> None:
        *shape, n_points = size
        try:
            choose_backend(backend)
        except BackendUnavailable as reason:
            raise NotImplementedError(str(reason)) from reason
        x, directions = embeddings(*shape, dtype=getattr(torch, dtype))
        x.requires_grad_(passes != "forward")
        self.run = there_and_back(lambda: fused(x, directions, n_points, backend), x, passes == "forward")
        self.run()

    def time_call(self, *_: object) -> None:
        self.run()

    def peakmem_call(self, *_: object) -> None:
        self.run()


class Table6:
    """The sizes of the paper's Table 6, forward and backward, K = 512 (the paper does not state it)."""

    params = ([row[:3] for row in TABLE_6],)
    param_names = ("N_M_points",)

    def setup(self, size: tuple[int, int, int]) -> None:
        num_samples, num_slices, n_points = size
        x, directions = embeddings(num_samples, 512, num_slices)
        self.run = there_and_back(lambda: fused(x, directions, n_points), x)
        self.run()

    def time_call(self, *_: object) -> None:
        self.run()


class Ratios:
    """How many times as long others take, forward and backward, measured side by side."""

    params = (
        [(512, 256, 1024), (2048, 512, 1024)],
        ["published formula", "lightly", "stable-pretraining", "two products"],
    )
    param_names = ("N_K_M", "to")
    timeout = 600

    def setup(self, size: tuple[int, int, int], to: str) -> None:
        x, directions = embeddings(*size)
        module = Published()
        others = {
            "published formula": there_and_back(lambda: module(x, directions), x),
            "two products": two_products(x, directions),
            **peers(x, size[2], 17),
        }
        if to not in others:
            raise NotImplementedError(f"{to} is not installed")
        self.contestants = {to: others[to], "ours": there_and_back(lambda: fused(x, directions, 17), x)}

    def track_time_of_other_over_ours(self, size: tuple[int, int, int], to: str) -> float:
        seconds = side_by_side(self.contestants, budget_s=6)
        return median_ms(seconds[to]) / median_ms(seconds["ours"])


class Errors:
    """Relative errors of float32 against float64."""

    params = ([256, 8192], [17, 41], ["cpu", "eager"])
    param_names = ("num_samples", "n_points", "backend")

    def track_value(self, num_samples: int, n_points: int, backend: str) -> float:
        return errors(*embeddings(num_samples, 64, 64), n_points, backend)[0]

    def track_gradient(self, num_samples: int, n_points: int, backend: str) -> float:
        return errors(*embeddings(num_samples, 64, 64), n_points, backend)[1]


class Directions:
    """Projections of 512 samples: structured against dense."""

    params = ([(256, 1024), (2048, 4096)], ["hd3", "dense"])
    param_names = ("K_M", "kind")

    def setup(self, size: tuple[int, int], kind: str) -> None:
        dim, num_slices = size
        x, directions = embeddings(512, dim, num_slices)
        x = x.detach()
        generator = torch.Generator().manual_seed(0)
        signs = torch.randint(2, (num_slices // dim, 3, dim), generator=generator) * 2.0 - 1
        self.run = (lambda: hd3_project(x, signs)) if kind == "hd3" else (lambda: matmul(x, directions))
        self.run()

    def time_project(self, *_: object) -> None:
        self.run()


class Sorting:
    """Order statistics of the slices, forward and backward."""

    params = ([512, 4096], [256, 1024], ["forward", "forward+backward"])
    param_names = ("num_samples", "num_slices", "passes")

    def setup(self, num_samples: int, num_slices: int, passes: str) -> None:
        x = embeddings(num_samples, num_slices, 1)[0].requires_grad_(passes != "forward")
        self.run = there_and_back(lambda: sort_samples(x).sum(), x, passes == "forward")
        self.run()

    def time_sort(self, *_: object) -> None:
        self.run()
