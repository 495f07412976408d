"""Runs of surrogates take microseconds: what libraries do around each is left out."""

import gc
from contextlib import nullcontext

import pytest


@pytest.fixture
def light(monkeypatch):
    """No search for thread pools before each run, no collection of garbage in each correction of p-values."""
    monkeypatch.setattr("threadpoolctl.threadpool_limits", lambda limits: nullcontext())
    monkeypatch.setattr(gc, "collect", lambda *_: 0)
