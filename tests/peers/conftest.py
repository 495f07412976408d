"""Tests beside other libraries: `make test-peers`, in an environment that has them."""

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.peers)
            item.add_marker(pytest.mark.filterwarnings("default"))
