"""The one folder for what is kept between runs."""

import pwd
from pathlib import Path

import pytest

from sigreg_lab.cache import cache_folder
from sigreg_lab.pretrain.sources import data_home


def make_homeless(monkeypatch):
    """A user without a home, as of a container that runs under a number of its own."""

    def unknown(_):
        raise KeyError("uid not found")

    for variable in ("HOME", "XDG_CACHE_HOME", "SIGREG_LAB_CACHE", "SIGREG_LAB_DATA"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def test_the_variable_decides_then_the_systems_place_for_caches(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("SIGREG_LAB_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "sigreg-lab"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "sigreg-lab"
    monkeypatch.setenv("SIGREG_LAB_CACHE", "beside")
    assert cache_folder() == Path("beside")


def test_data_lie_in_the_same_folder_unless_they_have_one_of_their_own(monkeypatch, tmp_path):
    monkeypatch.setenv("SIGREG_LAB_CACHE", str(tmp_path))
    monkeypatch.delenv("SIGREG_LAB_DATA", raising=False)
    assert data_home() == tmp_path
    monkeypatch.setenv("SIGREG_LAB_DATA", str(tmp_path / "data"))
    assert data_home() == tmp_path / "data"


def test_nothing_is_written_to_the_working_directory_of_a_user_without_a_home(monkeypatch):
    make_homeless(monkeypatch)
    with pytest.raises(RuntimeError, match="home"):
        cache_folder()
    with pytest.raises(ValueError, match=r"no home folder; name a folder for data in \$SIGREG_LAB_DATA"):
        data_home()
