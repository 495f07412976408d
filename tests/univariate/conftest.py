import pytest


@pytest.fixture(autouse=True)
def _cache_in_a_fresh_folder(tmp_path_factory, monkeypatch):
    """One folder for the run, so that a law is simulated once, and none of the person's own cache."""
    monkeypatch.setenv("SIGREG_LAB_CACHE", str(tmp_path_factory.getbasetemp() / "laws"))
