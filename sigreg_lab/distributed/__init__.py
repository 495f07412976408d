"""Reductions across processes of the small sums that statistics are made of."""

from sigreg_lab.distributed.collectives import (
    Gathered,
    agreed_step,
    all_reduce_sum,
    gather_samples,
    leave_group,
    mean_over_samples,
    on_all_ranks,
    rank,
    total_samples,
    world_size,
)

__all__ = [
    "Gathered",
    "agreed_step",
    "all_reduce_sum",
    "gather_samples",
    "leave_group",
    "mean_over_samples",
    "on_all_ranks",
    "rank",
    "total_samples",
    "world_size",
]
