"""The code on the pages runs as it stands there, and each page is on the site."""

import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from sigreg_lab import cli
from sigreg_lab.experiment.study import StudyError, parse_duration

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
BLOCKS = {
    page.name: re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M) for page in PAGES
}
#: Pages whose examples other tests run, with more to assert.
ELSEWHERE = {
    "adapters.md", "comparing.md", "differences.md", "monitor.md", "multivariate.md", "pretraining.md",
    "regularizers.md", "statistics.md", "writing-a-study.md",
}  # fmt: skip


@pytest.mark.parametrize("page", sorted(name for name, blocks in BLOCKS.items() if blocks and name not in ELSEWHERE))
def test_the_examples_of_a_page_run_one_after_the_other(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in BLOCKS[page]:
        exec(block, names)
        for made in [value for value in names.values() if isinstance(value, type) and hasattr(value, "setup")]:
            benchmark = made()
            benchmark.setup()
            for name in filter(re.compile("time_|track_").match, dir(benchmark)):
                getattr(benchmark, name)()


def commands():
    """Lines on the pages that call the command line, as a reader would copy them."""
    for page in (ROOT / "README.md", *PAGES):
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        call = (
            r"^ *(?:\.venv/bin/sigreg-lab|sigreg-lab|(?:srun )?torchrun .*-m sigreg_lab\.cli) +([^#\[\n]+?) *(?:#.*)?$"
        )
        for words in re.findall(call, text, re.M):
            yield pytest.param(words, id=f"{page.name}: {words[:60]}")


COMMANDS = [*commands()]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_on_a_page_is_one(line):
    """Its options are there and take such values; nothing is run."""
    command, words = typer.main.get_command(cli.app), shlex.split(line)
    while isinstance(command, TyperGroup):
        command = command.commands[words.pop(0)]
    context = command.make_context("sigreg-lab", words)
    if context.params.get("budget"):
        assert parse_duration(context.params["budget"], "--budget") > 0


def test_there_are_commands_to_look_at():
    assert len(COMMANDS) > 20
    with pytest.raises(StudyError, match="must be a time such as"):
        test_every_command_on_a_page_is_one("study run power --budget 3h50m")
    with pytest.raises(Exception, match="No such option"):
        test_every_command_on_a_page_is_one("study run power --wrokers 3")


def test_every_page_is_on_the_site():
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    missing = [
        page for page in (ROOT / "docs").rglob("*.md") if f": {page.relative_to(ROOT / 'docs').as_posix()}" not in site
    ]
    assert missing == []
