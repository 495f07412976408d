"""What pip installs is the whole product: wheel, sdist and a repository's address, far from any clone.

Each has an environment of its own. The libraries are those of the present one, by a path: nothing is downloaded.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import sigreg_lab
from sigreg_lab.experiment.fingerprint import fingerprint
from sigreg_lab.experiment.study import list_studies, load_study

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[1]
MINE = """
import torch

class Mine(torch.nn.Module):
    def forward(self, z, generator):
        return (z.mean(1).square() + (z.var(1) - 1).square()).mean()
"""


def _done(command, **kwargs):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=900, **kwargs)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist, the wheel that is built from it, and a repository's address, of a copy of what a clone holds."""
    place = tmp_path_factory.mktemp("build")
    for name in ("sigreg_lab", "studies", "tests"):
        shutil.copytree(ROOT / name, place / "clone" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", ".gitignore"):
        shutil.copy2(ROOT / name, place / "clone" / name)
    git = ["git", "-C", place / "clone", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        _done([*git, *command])
    _done(["git", "clone", "-q", "--bare", place / "clone", place / "repository.git"])
    _done([sys.executable, "-m", "build", "--no-isolation", "--outdir", place / "dist", place / "clone"])
    editable = ["from setuptools import build_meta", "build_meta.build_editable('.')"]
    done = subprocess.run(
        [sys.executable, "-c", "; ".join(editable)], cwd=place / "clone", capture_output=True, text=True, timeout=900
    )
    shutil.rmtree(place / "clone")
    packages = {"wheel": next(place.glob("dist/*.whl")), "sdist": next(place.glob("dist/*.tar.gz"))}
    return {**packages, "address": f"git+file://{place / 'repository.git'}", "editable": done}


@pytest.fixture(scope="module", params=["wheel", "sdist", "address"])
def installed(request, built, tmp_path_factory):
    """Runs a command of an environment that holds this package and, by a path, the libraries of the present one."""
    place = tmp_path_factory.mktemp(request.param)
    _done([sys.executable, "-m", "venv", "--without-pip", place / "env"])
    python = place / "env" / "bin" / "python"
    packages = Path(_done([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip())
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps", "--ignore-installed"]
    _done([*pip, "--no-build-isolation", built[request.param]])
    folder = place / "empty"
    folder.mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment |= {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}

    def run(program, *arguments):
        return _done([place / "env" / "bin" / program, *arguments], cwd=folder, env=environment)

    assert Path(run("python", "-c", "import sigreg_lab; print(sigreg_lab.__file__)")).is_relative_to(packages)
    return run, folder


def test_types_and_all_studies_are_in_the_wheel(built):
    names = zipfile.ZipFile(built["wheel"]).namelist()
    assert "sigreg_lab/py.typed" in names
    assert {name.split("/")[2] for name in names if name.startswith("sigreg_lab/studies/")} == {*list_studies()}
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"sigreg_lab", f"sigreg_lab-{sigreg_lab.__version__}.dist-info"}, "no 'studies' beside the package"


def test_an_editable_install_warns_of_nothing(built):
    """`make setup` is one, and the first thing that a newcomer reads."""
    assert built["editable"].returncode == 0
    assert "****" not in built["editable"].stdout + built["editable"].stderr, "setuptools puts its warnings in boxes"


def test_the_version_and_the_studies(installed):
    run, _ = installed
    assert run("sigreg-lab", "--version") == f"sigreg-lab {sigreg_lab.__version__}\n"
    listed = run("sigreg-lab", "study", "list").splitlines()
    assert {line.split()[0] for line in listed[1:] if not line.startswith(" ")} == {*list_studies()}


def test_a_study_runs_into_the_current_folder_as_it_does_in_a_clone(installed):
    """Beside a folder ``studies`` of the user's own, which nothing looks at."""
    run, folder = installed
    for file in ("__init__.py", "calibration/__init__.py", "calibration/study.py"):
        (folder / "studies" / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / "studies" / file).write_text("raise ImportError('not to be imported')\n")
    run("sigreg-lab", "study", "run", "calibration", "--preset", "smoke")
    found = folder / "results" / "runs" / "smoke" / "calibration"
    assert (found / "findings.md").read_text()
    manifest = json.loads((found / "manifest.json").read_text())
    assert manifest["fingerprint"]["code"] == fingerprint(load_study("calibration"))["code"]
    assert manifest["sessions"][0]["git"] == {"commit": None, "dirty": None}
    assert manifest["sessions"][0]["versions"]["sigreg-lab"] == sigreg_lab.__version__


def test_a_study_of_ones_own_runs_by_its_path(installed):
    run, folder = installed
    toy = ROOT / "tests" / "experiment" / "toy"
    shutil.copytree(toy, folder / "mine" / "toy", ignore=shutil.ignore_patterns("__pycache__"))
    run("sigreg-lab", "study", "run", "mine/toy", "--preset", "smoke")
    assert (folder / "results" / "runs" / "smoke" / "toy" / "findings.md").is_file()


def test_a_comparison_with_a_class_of_ones_own(installed):
    run, folder = installed
    (folder / "mine.py").write_text(MINE)
    arguments = ["sigreg-ep", "mine.py:Mine", "--data", "digits", "--seeds", "2", "--tuning-seeds", "1"]
    settings = [word for one in ("steps=3", "batch_size=32", "num_slices=8") for word in ("--set", one)]
    told = run("sigreg-lab", "compare", *arguments, "--extra", "0", "--lambdas", "0.05,0.2", *settings)
    assert "mine.py:Mine" in told
    (page,) = folder.glob("results/runs/compare/*/page.html")
    assert "mine.py:Mine" in page.read_text()


def test_a_check_of_a_csv(installed):
    run, folder = installed
    rows = ["a,b,c", *(f"{i % 7 - 3},{i % 5 - 2},{i % 11 - 5}" for i in range(200))]
    (folder / "embeddings.csv").write_text("\n".join(rows) + "\n")
    assert "embeddings.csv.check.html" in run("sigreg-lab", "check", "embeddings.csv", "--slices", "16")
    assert (folder / "embeddings.csv.check.html").is_file()


def test_the_readmes_code(installed):
    run, _ = installed
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    assert blocks
    run("python", "-c", "\n".join(blocks))
