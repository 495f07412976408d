"""The engine of the studies: it runs what a study declares and knows no statistic."""

from sigreg_lab.experiment.intervals import mean_interval, rate_interval
from sigreg_lab.experiment.study import Study, StudyError

__all__ = ["Study", "StudyError", "mean_interval", "rate_interval"]
