"""What builds and installs the project is pinned as exactly as what it runs on."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINES = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
PEERS = ("lightly", "stable-pretraining")
PINS = dict(line.split("==") for line in LINES)


def test_each_constraint_is_one_exact_version():
    assert len(PINS) == len(LINES)
    assert not [line for line in LINES if not re.fullmatch(r"[\w.-]+==[\w.]+", line)]


def test_the_installer_and_the_build_backend_are_pinned_alike():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["build-system"]["requires"] == [f"setuptools=={PINS['setuptools']}"]
    assert "pip" in PINS
    assert "-c constraints.txt pip setuptools" in (ROOT / "Makefile").read_text()


def test_the_peers_are_pinned_alike_everywhere():
    lines = [line for line in (ROOT / "peers.txt").read_text().splitlines() if not line.startswith("#")]
    pins = dict(line.split("==") for line in lines)
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["peers"]
    assert {line for line in extra if "==" in line} == {f"{name}=={pins[name]}" for name in PEERS}
    assert not set(pins) & set(PINS), "what .venv has comes from there"
    assert pins["lightning"].split(".")[:2] == PINS["lightning-fabric"].split(".")[:2]
