"""Comparisons of regularisers: tuned alike, run alike, told with intervals."""

from sigreg_lab.compare.command import Comparison, compare, prepare
from sigreg_lab.compare.protocol import Protocol
from sigreg_lab.compare.tables import Findings, show

__all__ = ["Comparison", "Findings", "Protocol", "compare", "prepare", "show"]
