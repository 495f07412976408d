"""A check of one's own embeddings: a file is read, measured against N(0, I), and shown."""

from sigreg_lab.check.diagnose import diagnose
from sigreg_lab.check.findings import DirectionFinding, Findings, TestFinding
from sigreg_lab.check.reader import Sample, read_sample

__all__ = ["DirectionFinding", "Findings", "Sample", "TestFinding", "diagnose", "read_sample"]
