"""Watching embeddings while a network trains: what they are like, beside what N(0, I) would be, and a warning in words.

``EmbeddingHealth`` is a ``torchmetrics.Metric``; ``HealthMonitor`` calls it in a plain loop every so many steps, and
``EmbeddingHealthCallback`` does in Lightning. torchmetrics and Lightning are imported where they are used, and missed
there with the command that installs them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sigreg_lab.monitor.alarm import CollapseAlarm, CollapseWarning
from sigreg_lab.monitor.health import embedding_health
from sigreg_lab.monitor.watch import HealthMonitor

if TYPE_CHECKING:
    from sigreg_lab.monitor.callback import EmbeddingHealthCallback
    from sigreg_lab.monitor.metric import EmbeddingHealth

__all__ = [
    "CollapseAlarm",
    "CollapseWarning",
    "EmbeddingHealth",
    "EmbeddingHealthCallback",
    "HealthMonitor",
    "embedding_health",
]

_OPTIONAL = {"EmbeddingHealth": "metric", "EmbeddingHealthCallback": "callback"}


def __getattr__(name: str) -> Any:
    if name in _OPTIONAL:
        return getattr(import_module(f"sigreg_lab.monitor.{_OPTIONAL[name]}"), name)
    raise AttributeError(f"module 'sigreg_lab.monitor' has no attribute {name!r}; it has {', '.join(__all__)}")
