"""Laws simulated by these tests are kept apart from the user's."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("SIGREG_LAB_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()
