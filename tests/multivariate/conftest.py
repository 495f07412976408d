import pytest


@pytest.fixture(autouse=True)
def _cache_in_a_fresh_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGREG_LAB_CACHE", str(tmp_path))
