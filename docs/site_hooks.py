"""What the site takes from beside this folder: the README as its first page, the report, and the studies' figures.

Links that leave the folder are turned: to the site's pages, to a study's place in the report, to a figure. A file of
the repository that the site does not hold is named, not linked.
"""

import re
from pathlib import Path

from mkdocs.structure.files import File

from sigreg_lab.experiment.report import heading_anchor, read_sections, render
from sigreg_lab.experiment.study import list_studies, load_study

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def on_files(files, config):
    """Add the first page, the report, and the figures that pages show."""
    first = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = {"index.md": first, "report.html": render(read_sections(RESULTS, list_studies()))}
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    for picture in sorted(RESULTS.glob("*/*.png")):
        files.append(File.generated(config, f"results/{picture.parent.name}/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turn the links of a page by where its text lies in the repository."""
    name = page.file.src_uri
    folder = ROOT if name == "index.md" else (ROOT / "docs" / name).parent

    places = {heading_anchor(load_study(study).title): study for study in list_studies()}

    def turned(match):
        image, text, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        path, _, place = target.partition("#")
        at = (folder / path).resolve()
        if not at.exists():
            return match[0]  # of a page that is made here, or a fault, which the build tells
        within = at.relative_to(ROOT).as_posix()
        if within == "results/REPORT.md":
            within, place = "results/report.html", places[place] if place else ""
        known = {"README.md": "index.md", "results/report.html": "report.html"}
        inside = known.get(within, within.removeprefix("docs/"))
        if files.get_file_from_path(inside) is None:
            return text if text.startswith("`") else f"{text} (`{within}`)" if text != within else f"`{within}`"
        up = "../" * name.count("/")
        return f"{image}[{text}]({up}{inside}{'#' + place if place else ''})"

    return _LINK.sub(turned, markdown)
