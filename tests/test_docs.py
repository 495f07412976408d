"""Python in README and docs uses no name that the page has not made before."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if "```python" in page.read_text()
]


def undefined(code):
    check = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821,E9", "--quiet", "-"]
    return subprocess.run(check, input=code, capture_output=True, text=True).stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_snippets_name_nothing_that_is_not_there(page):
    found = undefined("\n".join(re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)))
    assert not found


def test_the_check_finds_a_name_that_nothing_made():
    assert "Undefined name `x`" in undefined("import torch\n\nloss = torch.sin(x)\n")


def test_the_kernels_page_runs():
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "kernels.md").read_text(), flags=re.DOTALL):
        exec(block, names)
    assert names["loss"].shape == (4,)
