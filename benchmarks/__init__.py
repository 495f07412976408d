"""Benchmarks, one file per room of the library: asv classes, and scripts that print the same measurements as tables."""
