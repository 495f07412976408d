"""Figures from rows of results; this room computes nothing."""
