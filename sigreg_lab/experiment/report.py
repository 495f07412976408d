"""The report over all studies, the ledger of claims and the README's findings: put together from stored results.

``write_report`` makes ``REPORT.md`` beside the results. ``renew`` writes into pages by hand: between

    <!-- claims -->  ...  <!-- end -->            one row for each claim that has a source
    <!-- findings: study.claim, ... -->  ... <!-- end -->    one line for each claim named

comes what the results say; the rest of the page stays.
"""

import json
import re
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sigreg_lab.experiment.results import (
    CLAIMS,
    FINDINGS,
    MANIFEST,
    check_digests,
    read_manifest,
    read_object,
    sync,
)
from sigreg_lab.experiment.study import Study, StudyError, load_study
from sigreg_lab.experiment.tables import markdown_table

Record = dict[str, Any]


def write_report(results: Path, expected: Sequence[str] = (), own: Sequence[Study] = ()) -> Path:
    """Write ``REPORT.md`` of a folder that holds one folder per study, from their findings alone.

    Results that cannot be read, or of a study that is not there, are named in a warning and passed over.

    Args:
        results: the folder.
        expected: studies that should be there; the report says of each that is not that it was not run.
        own: studies that lie elsewhere than the others.
    """
    elsewhere = {study.name: study for study in own}
    sections: list[tuple[Study, str, str]] = []  # study, its finding in a line, its section
    for manifest_file in sorted(results.glob(f"*/{MANIFEST}")):
        folder = manifest_file.parent
        try:
            files = read_object(manifest_file).get("files")
            if isinstance(files, dict) and FINDINGS not in files:
                continue  # of a benchmark, or of a study that could not tell of its rows
            manifest = read_manifest(folder)
            study = elsewhere.get(manifest["study"]) or load_study(manifest["study"])
            check_digests(folder, {name: manifest["files"].get(name) for name in (FINDINGS, CLAIMS)})
        except StudyError as error:
            warnings.warn(f"{folder} is not in the report: {error}", stacklevel=2)
            continue
        findings = (folder / FINDINGS).read_text(encoding="utf-8").strip()
        sections.append((study, read_claims(folder)[0]["words"], _section(study, findings, manifest, folder)))
    for study in (load_study(name) for name in expected if not (results / name / MANIFEST).is_file()):
        needs = f" It needs {study.needs}." if study.needs else ""
        text = f"**Not run.**{needs} Command: `sigreg-lab study run {study.name} --preset standard`."
        sections.append((study, "not run.", f"{_heading(study)}\n\n{text}\n"))
    contents = [f"- [{study.title}](#{_anchor(study.title)}): {first}" for study, first, _ in sections]
    head = "# What the studies found\n\nWritten by `sigreg-lab study` from the rows beside it. In a line each:\n"
    report = results / "REPORT.md"
    _write(report, "\n".join([head, "\n".join(contents) + "\n", *(text for _, _, text in sections)]))
    return report


def read_claims(folder: Path) -> list[Record]:
    """The claims of a study's results, each with its verdict and its words."""
    records: list[Record] = json.loads((folder / CLAIMS).read_text(encoding="utf-8"))
    return [{**record, "study": folder.name} for record in records]


def renew(page: Path, results: Path) -> None:
    """Write what the results say into the marked places of a page.

    Raises:
        StudyError: a claim that the page names is not in the results.
    """
    text = renewed(page.read_text(encoding="utf-8"), results)
    if text != page.read_text(encoding="utf-8"):
        _write(page, text)


def renewed(text: str, results: Path) -> str:
    """A page's text with what the results say in its marked places; errors as of ``renew``."""
    records = [record for file in sorted(results.glob(f"*/{CLAIMS}")) for record in read_claims(file.parent)]

    def claims(match: re.Match[str]) -> str:
        return f"{match[1]}\n{_ledger(records)}\n{match[3]}"

    def findings(match: re.Match[str]) -> str:
        known = {f"{record['study']}.{record['id']}": record for record in records}
        names = [name.strip() for name in match[2].split(",")]
        missing = [name for name in names if name not in known]
        if missing:
            raise StudyError(f"no claim {missing[0]!r} in {results}; known: {', '.join(known)}")
        return f"{match[1]}\n{chr(10).join(_line(known[name]) for name in names)}\n{match[3]}"

    text = re.sub(r"(<!-- claims -->)(.*?)(<!-- end -->)", claims, text, flags=re.S)
    return re.sub(r"(<!-- findings: ([^>]*?) -->).*?(<!-- end -->)", findings, text, flags=re.S)


def _ledger(records: Sequence[Record]) -> str:
    rows = sorted((r for r in records if r["source"]), key=lambda r: (_natural(r["source"]), r["study"]))
    lines = [[f"{r['source']}: {r['statement']}", r["called"], r["words"], f"`{r['study']}`"] for r in rows]
    table = markdown_table(
        ["claim", "verdict", "what was measured", "study"],
        [[cell.replace("|", "\\|") for cell in line] for line in lines],
    )
    return table.replace("---:", "---")


def _natural(text: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]


def _line(record: Record) -> str:
    return f"- {record['words']} ([{record['study']}](results/REPORT.md#{_anchor(load_study(record['study']).title)}))"


def _section(study: Study, findings: str, manifest: Record, folder: Path) -> str:
    """A study's part of the report, in Markdown, with links that hold in the folder above ``folder``."""
    link = f"{folder.name}/"
    figures = "\n\n".join(
        f"![{picture.caption}]({link}{stem}.png)"
        for stem, picture in study.pictures.items()
        if f"{stem}.png" in manifest["files"]
    )
    states = [session["git"] for session in manifest["sessions"]]
    commits = {(git["commit"] or "unknown")[:10] + (" with changes" if git["dirty"] else "") for git in states}
    source = (
        f"Rows: [rows.csv]({link}rows.csv), estimates: [estimates.csv]({link}estimates.csv), "
        f"how they were made: [manifest.json]({link}manifest.json) "
        f"(preset {manifest['preset']}, commit {', '.join(sorted(commits))}, {_count(manifest)}). "
        f"Again: `sigreg-lab study run {study.name} --preset {manifest['preset']}`."
    )
    return f"{_heading(study)}\n\n{findings}\n\n{figures}\n\n{source}\n"


def _count(manifest: Record) -> str:
    """How many cells there are, and how many are still to come."""
    planned = manifest.get("planned", manifest["cells"])
    return f"{manifest['cells']} cells" + (f" of {planned}" if planned > manifest["cells"] else "")


def _heading(study: Study) -> str:
    return f"## {study.title}\n\n**Question.** {study.question}\n\n**Expected.** {study.expectation}"


def _anchor(title: str) -> str:
    """The link that Markdown viewers make of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _write(path: Path, text: str) -> None:
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}-", dir=path.parent) as scratch:
        fresh = Path(scratch, path.name)
        fresh.write_text(text, encoding="utf-8")
        sync(fresh)
        fresh.replace(path)
