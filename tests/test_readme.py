"""The README's code runs as it stands."""

import re
from pathlib import Path

import pytest

from sigreg_lab.cli import main
from sigreg_lab.experiment.report import heading_anchor

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_python_examples_run_one_after_the_other():
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    assert len(blocks) == 3
    assert names["embeddings"].grad is not None
    assert names["views"].grad is not None
    assert tuple(names["pvalue"].shape) == (3,)


def test_the_second_command_says_what_is_shown_of_what_the_first_leaves(tmp_path, monkeypatch, capsys):
    (leave,) = re.findall(r'-c "(import numpy.*)"', (Path(__file__).parents[1] / "Makefile").read_text())
    monkeypatch.chdir(tmp_path)
    exec(leave)
    (command,) = re.findall(r"make quickstart\n\.venv/bin/sigreg-lab (.*)", README)
    monkeypatch.setattr("sys.argv", ["sigreg-lab", *command.split()])
    with pytest.raises(SystemExit, match="0"):
        main()
    (shown,) = re.findall(r"^(Not N\(0, I\): .*;) \.\.\.$", README, re.M)
    assert " ".join(capsys.readouterr().out.split()).startswith(shown)


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http)([^)]+)\)", README))
def test_every_link_within_the_project_leads_somewhere(link):
    file, _, place = link.partition("#")
    page = Path(__file__).parents[1] / (file or "README.md")
    assert page.exists()
    if place:
        assert place in {heading_anchor(title) for title in re.findall(r"^#+ (.+)$", page.read_text(), re.M)}
