"""Packages: the library's, and the studies, which lie in ``studies/`` and are installed as ``sigreg_lab/studies/``.

All else is in pyproject.toml, which cannot say where some packages of many lie without naming all.
"""

import warnings
from pathlib import Path

from setuptools import find_packages, setup

# An editable install of a package that lies beside others warns of folders of the package's name elsewhere. Nobody who
# installs this one can do anything about it, and it is long.
warnings.filterwarnings("ignore", message="Editable installation", category=UserWarning)

studies = [f"sigreg_lab.studies.{script.parent.name}" for script in sorted(Path("studies").glob("*/study.py"))]
setup(
    packages=[*find_packages(include=["sigreg_lab*"]), "sigreg_lab.studies", *studies],
    package_dir={"sigreg_lab.studies": "studies"},
)
