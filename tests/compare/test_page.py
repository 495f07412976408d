"""The page holds all it shows, tells numbers in words, and takes any name as text."""

import re

import pytest

from sigreg_lab.compare.page import render
from sigreg_lab.compare.tables import find, show, summary_rows
from tests.browser import look
from tests.compare.surrogate import Surrogate, candidates, run, settings

pytestmark = pytest.mark.usefixtures("light")
ABOUT = {
    "git": {"commit": "0123456789abcdef", "dirty": True},
    "versions": {"sigreg-lab": "0.1.0", "torch": "2.15"},
    "hardware": {"cpu": "a <processor>"},
    "written": "2026-01-01",
}
SMALL = {"weights": (0.01, 0.1), "extra": 1, "tuning_seeds": 2, "seeds": 3}


class Curved(Surrogate):
    """With losses along the run, and what a step costs."""

    def __call__(self, config):
        if config.regularizer == "late" and config.seed == 1:
            raise RuntimeError("<b>no</b> \x1b[31m")
        curve = [[0, 2.0, 1.0, 1.0], [5, 1.0, 0.5, 0.25]] if config.steps else []
        cost = {"regularizer_seconds": 0.001, "regularizer_mib": 0.5} if config.lam else {}
        return super().__call__(config) | {"curve": curve, **cost}


def _found(*names):
    shared = settings(Curved(), **SMALL)
    return find(shared, run(shared, candidates(*names)))


def test_the_page_fetches_nothing_and_all_its_pictures_say_what_they_show():
    page = render(_found("one", "late"), ABOUT)
    addresses = re.findall(r"(?:src|href|srcset)=[\"']?([^\"' >]*)", page)
    assert addresses
    assert all(address.startswith("data:") for address in addresses)
    assert "url(" not in page
    assert "<script" not in page
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page
    pictures = re.findall(r"<picture><source [^>]*><img alt=\"([^\"]+)\" src=\"data:image/svg", page)
    assert len(pictures) == page.count("<picture>") == 2 + 2 + 3
    assert all(re.search(r"\d\.\d", words) for words in pictures)
    assert "commit 0123456789ab with changes" in page
    for words in ("Ranking", "What it takes", "Tuning lambda", "Learning curves", "All probes", "Runs that broke"):
        assert f"<h2>{words}" in page
    assert "late: 1 of 3 reported runs broke; its accuracy is over the 2 that finished, which favours it." in page


def test_names_and_reasons_are_text():
    page = render(_found("one", "<i>two</i>\u202e", "late"), ABOUT)
    assert "<i>two" not in page
    assert "&lt;i&gt;two&lt;/i&gt;\\u202e" in page
    assert "&lt;b&gt;no&lt;/b&gt; \\x1b[31m" in page
    assert "a &lt;processor&gt;" in page


def test_a_comparison_without_results_has_a_page():
    shared = settings(Curved(), **SMALL)
    found = find(shared, run(shared, candidates("one", "two"), seconds=0.0, expected=1.0))
    page = render(found, ABOUT)
    assert "Nothing to rank yet." in page
    assert "The time ran out. Not run: one: 5 tuning runs and 3 of 3 seeds" in page
    planned = "Lambda is to be tuned by 5 runs on 2 other seeds for each regulariser; run so far: one 0, two 0."
    for text in (page, show(found)):
        assert "Nothing to rank yet." in text
        assert "over 3 seeds (planned)" in text
        assert planned in text
        assert "was tuned by" not in text


class Shaped(Curved):
    """With what measures the features' shape, as rows hold it."""

    def __call__(self, config):
        ranks = {"embedding_rank": 8.0, "initial_rank": 32.0, "projection_rank": 29.9, "projection_std": 0.0021}
        return super().__call__(config) | ranks


def test_the_page_has_a_title_and_tells_scale_beside_rank(tmp_path):
    shared = settings(Shaped(), **SMALL)
    found = find(shared, run(shared, candidates("one", "two")))
    text = render(found, ABOUT)
    assert "<header>Comparison of regularisers on made up, 2026-01-01</header>" in text
    assert '<td data-label="effective rank" class="">8.0</td>' in text
    assert '<td data-label="of the start" class="">25%</td>' in text
    assert '<td data-label="standard deviation" class="">0.0021</td>' in text
    assert "The effective rank ignores scale" in text
    assert {row["std_projector"] for row in summary_rows(found)} == {0.0021}
    page = tmp_path / "page.html"
    page.write_text(text)
    for told in look(page, tmp_path):
        assert told["reach"] <= told["width"]
        assert told["problems"] == []
        assert told["beyond"] == []


@pytest.mark.usefixtures("undrawn")
def test_rows_without_a_shape_are_told_without_one():
    assert '<td data-label="standard deviation" class="none">-</td>' in render(_found("one"), ABOUT)


def test_every_number_of_the_summary_is_of_one_regulariser():
    rows = summary_rows(_found("one", "late"))
    assert [row["regularizer"] for row in rows][:1] != []
    assert {len(row) for row in rows} == {len(rows[0])}
    late = next(row for row in rows if row["regularizer"] == "late")
    assert (late["seeds_finished"], late["seeds_broke"], late["runs"]) == (2, 1, 8)
    assert late["regularizer_seconds"] == pytest.approx(0.001)
