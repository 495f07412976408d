"""The engine of the studies: it runs what a study declares and knows no statistic."""

from sigreg_lab.experiment.claims import Claim, Decision, Verdict, claim, every, some
from sigreg_lab.experiment.intervals import mean_interval, rate_interval
from sigreg_lab.experiment.study import Picture, Study, StudyError, presets

__all__ = [
    "Claim",
    "Decision",
    "Picture",
    "Study",
    "StudyError",
    "Verdict",
    "claim",
    "every",
    "mean_interval",
    "presets",
    "rate_interval",
    "some",
]
