"""The page of all studies: complete in itself, safe from what its rows say, and fit for a phone."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sigreg_lab.experiment import report
from sigreg_lab.experiment.report import write_report
from sigreg_lab.experiment.study import list_studies
from tests.browser import look

RESULTS = Path(__file__).parents[2] / "results"


class Links(HTMLParser):
    """Names that elements have, and what they point at."""

    def __init__(self, text: str):
        super().__init__()
        self.names, self.targets, self.tags = set(), [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        given = dict(attributes)
        self.names.add(given.get("id"))
        self.targets += [given[key] for key in ("href", "src", "srcset", "action", "data") if given.get(key)]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """That of the committed results."""
    place, write = tmp_path_factory.mktemp("page"), report._write
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "_write", lambda path, text: write(place / path.name, text))
        write_report(RESULTS, expected=list_studies())
    return place / "report.html"


def test_it_holds_all_it_shows(page):
    text = page.read_text(encoding="utf-8")
    links = Links(text)
    assert len(links.targets) > 50
    for target in links.targets:
        assert target.startswith(("data:", "#"))
        assert target[0] != "#" or target[1:] in links.names
    assert not re.search(r"@import|url\(", text)
    assert not links.tags & {"iframe", "object", "embed", "form", "base"}


def test_every_picture_says_what_it_shows(page):
    pictures = re.findall(r'<img alt="([^"]*)"', page.read_text(encoding="utf-8"))
    studies = [file.parent for file in RESULTS.glob("*/estimates.csv")]
    assert len(pictures) == sum(len(list(folder.glob("*.png"))) for folder in studies) > len(studies)
    assert all(len(alt) > 20 for alt in pictures)


def test_what_studies_say_is_text(page):
    """A claim or a name cannot bring an element along."""
    sections = [
        report.Section(
            study=type("S", (), {"name": "toy", "title": "<b>T</b>", "question": "<script>q()</script>", "needs": "<i>",
                                 "expectation": "", "pictures": {}, "topic": "other"}),
        )
    ]  # fmt: skip
    text = report.render(sections)
    assert "<script>q()" not in text
    assert "&lt;script&gt;q()" in text
    assert "&lt;b&gt;T" in text


def test_a_browser_sees_what_does_not_fit_or_load(page, tmp_path):
    text = page.read_text(encoding="utf-8")
    faults = '<main><p style="width:700px">x</p><img alt="gone" src="data:image/png;base64,AA"><script>no()</script>'
    (tmp_path / "page.html").write_text(text.replace("<main>", faults), encoding="utf-8")
    phone, laptop = look(tmp_path / "page.html", tmp_path)
    assert phone["reach"] > phone["width"]
    assert len(phone["beyond"]) == 1
    assert laptop["beyond"] == []
    for told in (phone, laptop):
        assert told["broken"] == ["gone"]
        assert any("no is not defined" in problem for problem in told["problems"])


def test_a_browser_shows_it_at_every_width(page, tmp_path):
    for told in look(page, tmp_path):
        assert told["reach"] <= told["width"]
        assert told["beyond"] == []
        assert told["broken"] == []
        assert told["problems"] == []
        assert told["buttons"] > 50
        assert told["unreachable"] == 0
