"""Nothing in the committed results is without the manifest of the run that made it."""

import hashlib
import json
from pathlib import Path

import pytest

from sigreg_lab.experiment import report
from sigreg_lab.experiment.report import renewed
from sigreg_lab.experiment.study import StudyError, list_studies

RESULTS = Path(__file__).parents[1] / "results"
FILES = [path.relative_to(RESULTS) for path in RESULTS.rglob("*.*") if path.suffix in (".csv", ".png")]
FOLDERS = sorted({RESULTS / file.parent for file in FILES if file.parts[0] != "runs"})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_result_has_its_manifest_and_is_the_file_the_manifest_means(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    files = {path.name for path in folder.iterdir() if path.is_file() and path.name != "manifest.json"}
    assert files == set(manifest["files"])
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    for session in manifest["sessions"]:
        assert session["git"]["commit"]
        assert session["git"]["dirty"] is False


ROOT = RESULTS.parent
PAGES = [
    page for page in (*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md") if "<!-- end -->" in page.read_text()
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_say_what_the_results_say(page):
    """Stale: run sigreg-lab study report."""
    assert {"claims.md", "README.md", "what-sigreg-tests.md"} <= {page.name for page in PAGES}
    assert renewed(page, RESULTS) == page.read_text(encoding="utf-8")


def test_the_report_is_put_together_from_todays_results(monkeypatch):
    written = {}
    monkeypatch.setattr(report, "_write", lambda path, text: written.update({path.name: text}))
    report.write_report(RESULTS, expected=list_studies())
    assert written["REPORT.md"] == (RESULTS / "REPORT.md").read_text(encoding="utf-8")
    for study in list_studies():
        assert f'<h2 id="{study}">' in written["report.html"]


def test_a_changed_number_in_the_results_makes_the_pages_stale(tmp_path):
    for file in RESULTS.glob("*/claims.json"):
        (tmp_path / file.parent.name).mkdir()
        (tmp_path / file.parent.name / file.name).write_text(file.read_text().replace("Lemma 1 holds", "Lemma 1 fails"))
    page = ROOT / "docs" / "claims.md"
    assert renewed(page, tmp_path) != page.read_text(encoding="utf-8")


def test_a_page_takes_the_first_table_of_a_studys_findings(tmp_path):
    (tmp_path / "peers").mkdir()
    tables = "| a | b |\n| --- | ---: |\n| 1 | 2 |\n\nWords.\n\n| c |\n| --- |\n"
    (tmp_path / "peers" / "findings.md").write_text(f"**Words.**\n\n{tables}")
    text = "before\n<!-- table: peers -->\nold\n<!-- end -->\nafter <!-- end -->"
    first = tables.partition("\n\n")[0]
    page = tmp_path / "page.md"
    for before in (text, text.replace("old", first)):
        page.write_text(before)
        assert renewed(page, tmp_path) == text.replace("old", first)
    page.write_text("<!-- table: others --><!-- end -->")
    with pytest.raises(StudyError, match="no table of study 'others'"):
        renewed(page, tmp_path)
