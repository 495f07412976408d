"""``sigreg-lab check`` as a person meets it: a table, a page, JSON; errors in one line, exit code 2."""

import json

import numpy as np
import pytest

from sigreg_lab import cli

pytestmark = pytest.mark.usefixtures("undrawn")


def _call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["sigreg-lab", "check", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "120")
    code = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = stop.code or 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "e.npy"
    np.save(path, np.random.default_rng(0).standard_normal((160, 3)))
    return path


def test_a_check_prints_a_table_and_writes_a_page_beside_the_file(monkeypatch, capsys, file):
    code, out, err = _call(monkeypatch, capsys, file, "--slices", "16", "--json", file.with_name("e.json"))
    assert code == 0
    assert "No departure from N(0, I) found in 160 rows of 3 features" in out
    assert "Ledoit-Wolf" in out
    assert "simulating" in err
    page = file.with_name("e.npy.check.html")
    assert f"Page: {page}" in out
    assert page.read_text().startswith("<!doctype html>")
    assert json.loads(file.with_name("e.json").read_text())["num_rows"] == 160
    assert str(file.parent) not in page.read_text()


def test_json_can_be_printed_instead(monkeypatch, capsys, file):
    code, out, _ = _call(
        monkeypatch,
        capsys,
        file,
        "--slices",
        "16",
        "--json",
        "-",
        "--max-rows",
        "140",
        "--out",
        file.with_name("p.html"),
    )
    assert code == 0
    found = json.loads(out)
    assert found["num_rows"] == 140
    assert "sampled 140 of 160 rows" in found["notes"][0]
    assert file.with_name("p.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing.npy",), "no such file"),
        (("e.npy", "--slices", "0"), "num_slices"),
        (("e.npy", "--max-rows", "3"), "max_rows must be at least 8"),
        (("e.npy", "--key", "z"), "--key names an array"),
        (("e.npy", "--seed", "-1"), "seed must be 0 or more, got -1"),
        (("e.npy", "--slices", "8", "--out", "nowhere/p.html"), "choose another place with --out"),
        (("e.npy", "--slices", "8", "--json", "nowhere/p.json"), "choose another place with --json"),
        (("e.npy", "--slices", "8", "--out", "e.npy"), "cannot write e.npy: it is the file to check"),
        (("e.npy", "--slices", "8", "--json", "./e.npy"), "cannot write e.npy: it is the file to check"),
        (("e.npy", "--slices", "8", "--out", "."), "is a directory; choose another place with --out"),
        (("e.npy", "--slices", "8", "--out", "a" * 300), "File name too long; choose another place with --out"),
        (("e.npy", "--slices", "8", "--out", "/dev/full"), "No space left on device; choose another place with --out"),
        (
            ("e.npy", "--slices", "8", "--json", "/dev/full"),
            "No space left on device; choose another place",
        ),
        (("a" * 300 + ".npy",), "File name too long"),
        (("e.npy", "--slices", str(10**12)), "the limit is 2 (max_gigabytes, --max-gb)"),
        (("e.npy", "--max-minutes", "1e-9"), "the limit is 1e-09 (max_minutes, --max-minutes)"),
        (("e.npy", "--max-gb", "1e-9"), "the limit is 1e-09 GB (--max-gb)"),
        (("e.npy", "--group", "image"), "save both as an .npz"),
        (("e.npy", "--no-header"), "tell how a .csv is written"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_exit_code_2(monkeypatch, capsys, file, arguments, message):
    monkeypatch.chdir(file.parent)
    code, out, err = _call(monkeypatch, capsys, *arguments)
    assert code == 2
    assert message in err
    assert err.splitlines()[-1].startswith("sigreg-lab: ")
    assert "Traceback" not in err
    assert not out


def test_limits_of_the_command_are_those_of_the_functions():
    import inspect

    from sigreg_lab.check import diagnose, read_sample

    command = inspect.signature(cli.check_command).parameters
    for function in (read_sample, diagnose):
        assert command["max_gb"].default == inspect.signature(function).parameters["max_gigabytes"].default
    assert command["max_minutes"].default == inspect.signature(diagnose).parameters["max_minutes"].default


def test_a_column_of_groups_makes_views(monkeypatch, capsys, tmp_path):
    rng = np.random.default_rng(0)
    rows = np.repeat(rng.standard_normal((80, 3)), 2, 0) * 0.9 + rng.standard_normal((160, 3)) * 0.19**0.5
    path = tmp_path / "e.csv"
    text = "\n".join(",".join(map(str, (*row, i // 2))) for i, row in enumerate(rows))
    path.write_text("a,b,c,image\n" + text)
    code, out, _ = _call(monkeypatch, capsys, path, "--slices", "8", "--group", "image")
    assert code == 0
    assert "No departure from N(0, I) found in 2 views of 80 rows of 3 features" in " ".join(out.split())
    assert "160 rows in 80 groups" in out
