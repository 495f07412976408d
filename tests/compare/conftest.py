"""Runs of surrogates take microseconds: what libraries do around each is left out."""

import gc
from contextlib import nullcontext

import pytest

from sigreg_lab.compare import figures


@pytest.fixture
def light(monkeypatch):
    """No search for thread pools before each run, no collection of garbage in each correction of p-values."""
    monkeypatch.setattr("threadpoolctl.threadpool_limits", lambda limits: nullcontext())
    monkeypatch.setattr(gc, "collect", lambda *_: 0)


@pytest.fixture
def undrawn(monkeypatch):
    """Pages without curves and bars, which take longer to draw than short runs to make."""
    monkeypatch.setattr(figures, "picture", lambda draw, alt, caption="": figures.Picture("", "", alt, caption))
