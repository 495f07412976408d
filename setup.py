"""Packages: the library's, and the studies, which lie in ``studies/`` and are installed as ``sigreg_lab/studies/``.

All else is in pyproject.toml, which cannot say where some packages of many lie without naming all.
"""

from pathlib import Path

from setuptools import find_packages, setup

studies = [f"sigreg_lab.studies.{script.parent.name}" for script in sorted(Path("studies").glob("*/study.py"))]
setup(
    packages=[*find_packages(include=["sigreg_lab*"]), "sigreg_lab.studies", *studies],
    package_dir={"sigreg_lab.studies": "studies"},
)
