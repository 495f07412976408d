"""Laws simulated by these tests are kept apart from the user's."""

import pytest

from sigreg_lab.check import page


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("SIGREG_LAB_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


@pytest.fixture
def undrawn(monkeypatch):
    """Pages without figures, which take most of a command's time; ``test_page.py`` draws them."""
    monkeypatch.setattr(page, "_picture", lambda draw, f, words: f'<img alt="{words}">')
