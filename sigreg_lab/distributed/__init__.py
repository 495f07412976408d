"""Reductions across processes of the small sums that statistics are made of."""
