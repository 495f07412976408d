"""The page on writing a study: its example, as it stands there, from question to page."""

import json
import re
from pathlib import Path

import pytest

from sigreg_lab import cli
from sigreg_lab.experiment.study import forget

PAGE = Path(__file__).parents[1] / "docs" / "writing-a-study.md"


def _call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["sigreg-lab", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code or 0, capsys.readouterr()


def test_the_example_of_the_page_runs_and_its_page_says_what_the_rows_say(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "mean_of_exponentials"
    folder.mkdir()
    measure, study = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    (template,) = re.findall(r"```jinja\n(.*?)```", PAGE.read_text(), re.S)
    for name, text in (("measure.py", measure), ("study.py", study), ("findings.md.j2", template)):
        (folder / name).write_text(text)
    assert len((measure + template).splitlines()) <= 40
    command = ("study", "run", "./mean_of_exponentials", "--preset", "smoke", "--set", "n=2,64")
    code, printed = _call(monkeypatch, capsys, *command, "--set", "replicates=20000")
    assert code == 0, printed.err
    (run,) = tmp_path.glob("results/runs/smoke-*/mean_of_exponentials")
    (record,) = json.loads((run / "claims.json").read_text())
    assert record["verdict"] in ("fails", "cannot be told", "holds")
    assert record["words"] in (run / "findings.md").read_text()
    assert (run / "rejections.png").is_file()
    (folder / "measure.py").write_text(measure.replace('cell["n"])).mean(1)', 'cell["n"])).mean(1) + 1'))
    forget("mean_of_exponentials")
    code, printed = _call(monkeypatch, capsys, *command)
    assert code == 2
    assert "contradicts exactly known values: mean (n=2)" in printed.err
    forget("mean_of_exponentials")
