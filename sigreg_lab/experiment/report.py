"""The report over all studies, the ledger of claims and the README's findings: put together from stored results.

``write_report`` makes ``REPORT.md`` and the page ``report.html`` beside the results. ``renew`` writes into pages by
hand: between

    <!-- claims -->  ...  <!-- end -->            one row for each claim that has a source
    <!-- findings: study.claim, ... -->  ... <!-- end -->    one line for each claim named
    <!-- table: study -->  ... <!-- end -->       the first table of its findings

comes what the results say; the rest of the page stays.
"""

import base64
import dataclasses
import json
import os
import re
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sigreg_lab.experiment.provenance import now
from sigreg_lab.experiment.results import (
    CLAIMS,
    FINDINGS,
    MANIFEST,
    check_digests,
    read_manifest,
    read_object,
    sync,
)
from sigreg_lab.experiment.study import TOPICS, Study, StudyError, load_study
from sigreg_lab.experiment.tables import markdown_table

Record = dict[str, Any]
PAGE = "report.html"
TEMPLATE = "page.html.j2"
FIRST = "atlas"  # the ranking of regularisers comes before the other studies of its topic
SYMBOLS = """Brackets hold 95% intervals, wider where the best of several was looked for; "exact" numbers need none.

A batch has N embeddings of K dimensions. SIGReg, the loss of LeJEPA, projects them on M random directions, the slices,
compares each projection with N(0, 1) by the Epps-Pulley statistic, and takes the mean. Lambda is its weight beside the
prediction loss. Kinds of directions: independent; orthogonal in blocks of K; Sobol, of low discrepancy; hd3, random
signs and fast Hadamard transforms. Control variates subtract a part whose mean over directions is known. The published
estimate of the statistic is biased in small batches (a V-statistic); "unbiased" is the one that is not (a U-statistic).
"""
_FOLD = "<details>\n<summary>Details</summary>"
_DENSITY = 2  # pixels of a picture for each of the page


@dataclasses.dataclass(frozen=True)
class Section:
    """What the report says of one study; without a folder it was not run."""

    study: Study
    folder: Path | None = None
    manifest: Record = dataclasses.field(default_factory=dict)
    findings: str = ""
    claims: Sequence[Record] = ()

    @property
    def text(self) -> str:
        """The findings without their fold."""
        return self.findings.partition(_FOLD)[0].strip()

    @property
    def fold(self) -> str:
        """What the findings have in their fold."""
        return self.findings.partition(_FOLD)[2].replace("</details>", "").strip()

    @property
    def command(self) -> str:
        """What makes it again."""
        return f"sigreg-lab study run {self.study.name} --preset {self.manifest.get('preset', 'standard')}"

    @property
    def commits(self) -> str:
        """Those that the rows were made by."""
        states = [session["git"] for session in self.manifest["sessions"]]
        return ", ".join(
            sorted({(git["commit"] or "unknown")[:10] + (" with changes" if git["dirty"] else "") for git in states})
        )

    @property
    def cells(self) -> str:
        """How many cells there are, and how many are still to come."""
        cells, planned = self.manifest["cells"], self.manifest.get("planned", 0)
        return f"{cells} cells" + (f" of {planned}, the others not yet measured" if planned > cells else "")

    @property
    def pictures(self) -> dict[str, str]:
        """Captions by file name."""
        captions = {f"{stem}.png": picture.caption for stem, picture in self.study.pictures.items()}
        return {name: caption for name, caption in captions.items() if name in self.manifest["files"]}


def write_report(results: Path, expected: Sequence[str] = (), own: Sequence[Study] = ()) -> Path:
    """Write ``REPORT.md`` and ``report.html`` beside the results; arguments and warnings as of ``read_sections``."""
    sections = read_sections(results, expected, own)
    report = results / "REPORT.md"
    _write(report, _markdown(sections))
    _write(results / PAGE, render(sections))
    return report


def read_sections(results: Path, expected: Sequence[str] = (), own: Sequence[Study] = ()) -> list[Section]:
    """What a folder of one folder per study says, from their findings alone.

    Results that cannot be read, or of a study that is not there, are named in a warning and passed over.

    Args:
        results: the folder.
        expected: studies that should be there; the report says of each that is not that it was not run.
        own: studies that lie elsewhere than the others.
    """
    elsewhere = {study.name: study for study in own}
    sections: list[Section] = []
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
        sections.append(Section(study, folder, manifest, findings, read_claims(folder)))
    return sections + [Section(load_study(name)) for name in expected if not (results / name / MANIFEST).is_file()]


def _markdown(sections: Sequence[Section]) -> str:
    lines: list[str] = []
    for topic, ones in by_topic(sections).items():
        lines += ["", f"**{topic}**", ""]
        for one in ones:
            title = one.study.title
            words = one.claims[0]["words"] if one.claims else "not run."
            lines.append(f"- [{title}](#{heading_anchor(title)}): {words}")
    head = f"# What the studies found\n\nWritten by `sigreg-lab study` from the rows beside it. {SYMBOLS}"
    ordered = [one for ones in by_topic(sections).values() for one in ones]
    return "\n".join([head, *lines, "", *map(_section, ordered)])


def by_topic(sections: Sequence[Section]) -> dict[str, list[Section]]:
    """Sections under their headings, in the order of ``TOPICS``; studies that were not run come last under each."""
    found: dict[str, list[Section]] = {}
    for key, heading in TOPICS.items():
        ones = [one for one in sections if one.study.topic == key]
        if ones:
            found[heading] = sorted(ones, key=lambda one: (one.folder is None, one.study.name != FIRST))
    return found


def render(sections: Sequence[Section]) -> str:
    """The page as text: claims first, then every study; style, script and pictures inside, nothing fetched."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")

    def md(text: str) -> Markup:
        html = str(markdown.render(text)).replace("<table>", '<div class="wide"><table>')
        return Markup(html.replace("</table>", "</table></div>"))

    environment = Environment(
        loader=PackageLoader("sigreg_lab.experiment", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"md": md, "inline": lambda text: Markup(markdown.renderInline(text))}
    topics = by_topic(sections)
    order = [one for ones in topics.values() for one in ones]
    claims = [record for one in order for record in one.claims if not record["detail"]]
    return environment.get_template(TEMPLATE).render(
        claims=sorted(claims, key=lambda record: (not record["source"], _natural(record["source"]))),
        kinds={"holds": "holds", "fails": "fails"},
        titles={one.study.name: one.study.title for one in sections},
        topics={heading: [one.study for one in ones] for heading, ones in topics.items()},
        symbols=SYMBOLS,
        sections=[_shown(one) for one in order],
        written=now()[:10],
    )


def _shown(one: Section) -> dict[str, Any]:
    """A section as the page's template takes it."""
    shown: dict[str, Any] = {"study": one.study, "folder": one.folder, "command": one.command}
    if one.folder is None:
        return shown
    text, fold = one.text, one.fold
    headline, _, findings = text.partition("\n\n")
    pictures = []
    for name, caption in one.pictures.items():
        content = (one.folder / name).read_bytes()
        width, height = (int.from_bytes(content[at : at + 4], "big") // _DENSITY for at in (16, 20))
        data = f"data:image/png;base64,{base64.b64encode(content).decode()}"
        pictures.append({"caption": caption, "data": data, "width": width, "height": height})
    return shown | {
        "headline": headline.strip("* \n"),
        "findings": findings,
        "details": fold,
        "pictures": pictures,
        "manifest": one.manifest,
        "commits": one.commits,
        "cells": one.cells,
        "settings": json.dumps(one.manifest["config"], indent=1),
    }


def read_claims(folder: Path) -> list[Record]:
    """The claims of a study's results, each with its verdict and its words."""
    records: list[Record] = json.loads((folder / CLAIMS).read_text(encoding="utf-8"))
    return [{**record, "study": folder.name} for record in records]


def renew(page: Path, results: Path) -> None:
    """Write what the results say into the marked places of a page.

    Raises:
        StudyError: a claim or a study that the page names is not in the results.
    """
    text = renewed(page, results)
    if text != page.read_text(encoding="utf-8"):
        _write(page, text)


def renewed(page: Path, results: Path) -> str:
    """A page's text with what the results say in its marked places; errors as of ``renew``."""
    text = page.read_text(encoding="utf-8")
    report = Path(os.path.relpath(results / "REPORT.md", page.parent)).as_posix()
    records = [record for file in sorted(results.glob(f"*/{CLAIMS}")) for record in read_claims(file.parent)]

    def claims(match: re.Match[str]) -> str:
        return f"{match[1]}\n{_ledger(records)}\n{match[3]}"

    def findings(match: re.Match[str]) -> str:
        known = {f"{record['study']}.{record['id']}": record for record in records}
        names = [name.strip() for name in match[2].split(",")]
        missing = [name for name in names if name not in known]
        if missing:
            raise StudyError(f"no claim {missing[0]!r} in {results}; known: {', '.join(known)}")
        return f"{match[1]}\n{chr(10).join(_line(known[name], report) for name in names)}\n{match[3]}"

    def table(match: re.Match[str]) -> str:
        file = results / match[2] / FINDINGS
        found = re.search(r"(^\|.*\n?)+", file.read_text(encoding="utf-8") if file.is_file() else "", re.M)
        if found is None:
            raise StudyError(f"no table of study {match[2]!r} in {results}")
        return f"{match[1]}\n{found[0].strip()}\n{match[3]}"

    text = re.sub(r"(<!-- table: (\w+) -->).*?(<!-- end -->)", table, text, flags=re.S)
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


def _line(record: Record, report: str) -> str:
    place = heading_anchor(load_study(record["study"]).title)
    return f"- {record['words']} ([{record['study']}]({report}#{place}))"


def _section(one: Section) -> str:
    """A study's part of the report, in Markdown, with links that hold in the folder above its own."""
    study = one.study
    heading = f"## {study.title}\n\n**Question.** {study.question}\n\n**Expected.** {study.expectation}"
    if one.folder is None:
        needs = f" It needs {study.needs}." if study.needs else ""
        return f"{heading}\n\n**Not run.**{needs} Command: `{one.command}`.\n"
    link = f"{one.folder.name}/"
    figures = "\n\n".join(f"![{caption}]({link}{name})" for name, caption in one.pictures.items())
    more = f"More tables: [findings.md]({link}{FINDINGS}). " if one.fold else ""
    source = (
        f"{more}Rows: [rows.csv]({link}rows.csv), estimates: [estimates.csv]({link}estimates.csv), "
        f"how they were made: [manifest.json]({link}manifest.json) "
        f"(preset {one.manifest['preset']}, commit {one.commits}, {one.cells}). Again: `{one.command}`."
    )
    return f"{heading}\n\n{one.text}\n\n{figures}\n\n{source}\n"


def heading_anchor(title: str) -> str:
    """The link that Markdown viewers make of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _write(path: Path, text: str) -> None:
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}-", dir=path.parent) as scratch:
        fresh = Path(scratch, path.name)
        fresh.write_text(text, encoding="utf-8")
        sync(fresh)
        fresh.replace(path)
