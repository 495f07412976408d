"""The page stands alone, says what it shows, and survives hostile names; the JSON is plain."""

import io
import json
import re

import numpy as np
import pandas as pd
import pytest
import torch

from sigreg_lab.alternatives import MULTIVARIATE
from sigreg_lab.check import Sample, diagnose, pictures, text
from sigreg_lab.check.page import render
from tests.browser import look

OPTIONS = {"num_slices": 32, "replicates": 199}


def _findings(name, n=300, dim=4, features=None):
    x = torch.from_numpy(MULTIVARIATE[name](dim).sample(np.random.default_rng(0), n))
    names = features or tuple(f"f{i}" for i in range(dim))
    return diagnose(Sample(x, names, "e.csv", 9000, ("sampled 300 of 9,000 rows at random",)), **OPTIONS)


@pytest.fixture(scope="module", params=["null", "x", "rank_defect_1"])
def findings(request):
    return _findings(request.param)


@pytest.fixture(scope="module")
def page(findings):
    return render(findings)


def test_the_page_stands_alone_and_holds_what_was_found(findings, page):
    assert not re.findall(r"(?:src|srcset|href)=\"(?!data:image/svg\+xml;base64,)", page)
    assert "<script" not in page
    assert findings.verdict in page.replace("&#x27;", "'")
    assert "sampled 300 of 9,000 rows" in page
    assert page.count("<img") == (4 if findings.pairs and "square" in str(_found(findings)) else 3)
    for test in findings.tests:
        assert test.label.replace("'", "&#x27;") in page


def test_on_narrow_screens_figures_are_drawn_anew_and_cells_carry_their_names(page):
    assert page.count("<picture><source media") == 3
    directions = page[page.index("<h2>Directions") :]
    row = directions[directions.index("</tr>") : directions.index("</tr>", directions.index("</tr>") + 1)]
    names = re.findall(r'data-name="([^"]*)"', row)
    assert names == re.findall(r"<th[^>]*>([^<]*)</th>", directions[: directions.index("</tr>")])
    assert len(names) == 7


@pytest.mark.parametrize("dim", [2, 3, 4, 13])
def test_ticks_of_an_axis_that_counts_are_whole_numbers(dim):
    findings = _findings("null", dim=dim)
    for width in (pictures.WIDE, pictures.NARROW):
        figure = pictures.spectrum_figure(findings, width)
        axis = figure.axes[0]
        assert [label.get_text() for label in axis.get_xticklabels()] == [f"{t:.0f}" for t in axis.get_xticks()]
        assert all(float(tick).is_integer() for tick in axis.get_xticks())


def _found(findings):
    return [t.name for t in findings.tests if t.adjusted is not None and t.adjusted < findings.alpha]


def test_the_json_is_plain_and_complete(findings):
    plain = json.loads(json.dumps(findings.to_json(), allow_nan=False))
    assert plain["verdict"] == findings.verdict
    assert len(plain["slice_statistics"]) == 32
    assert [t["name"] for t in plain["tests"]] == [t.name for t in findings.tests]
    assert "projection" not in plain["worst"][0]


@pytest.mark.parametrize("name", ["location_0.3", "x"])
def test_names_of_columns_are_escaped_and_nothing_is_markup(name):
    names = ("<script>alert(1)</script>\n", "[/]", "$\\alpha_$", "\x1b[31mred\u202e\udcff" + 200 * "名")
    findings = _findings(name, n=800, features=names)
    page = render(findings)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    printed = _printed(findings)
    for text_shown in (page, printed.replace("\n", "")):
        assert all(character.isprintable() or character in "\n" for character in text_shown)
        assert "\\x1b[31m" in text_shown.replace(" ", "")
    assert "[/]" in printed
    assert "$\\alpha_$" in printed
    page.encode()


def test_the_features_stand_right_after_the_verdict_and_the_explanations_after_them(tmp_path):
    findings = _findings("location_0.3", n=800)
    page = render(findings)
    places = [page.index(part) for part in ("<h1>", "<h2>Features", "sampled 300", "<h2>What this says", "<h2>Tests")]
    assert places == sorted(places)
    assert page[: page.index("<h2>Features")].count("<p") == 1  # what was checked
    printed = _printed(findings)
    titles = ("Checked:", "Features", "Note:", "Is it N(0, I)?", "Directions", "What this says")
    places = [printed.index(part) for part in titles]
    assert places == sorted(places)
    (tmp_path / "page.html").write_text(page)
    for told in look(tmp_path / "page.html", tmp_path):
        assert told["reach"] <= told["width"]
        assert not told["problems"] + told["broken"]


@pytest.mark.usefixtures("undrawn")
def test_directions_are_in_the_order_that_their_title_says_and_axes_have_their_expected_std():
    findings = _findings("scale_1.1", n=800)
    extreme = [d for d in findings.worst if not d.label.startswith("axis")]
    assert [d.statistic for d in extreme] == sorted((d.statistic for d in extreme), reverse=True)
    assert [d.label for d in findings.worst[len(extreme) :]] == ["axis of most variance", "axis of least variance"]
    shown = _printed(findings)
    assert "Directions: those furthest from N(0, 1), two principal axes, the median slice" in shown
    for axis in findings.worst[-2:]:
        told = f"{axis.std:.3g} ({axis.expected_std:.2g} expected)"
        assert told in shown
        assert told in render(findings)


@pytest.mark.parametrize("columns", [80, 100])
def test_a_terminal_has_room_for_what_a_feature_departs_in(columns):
    x = np.random.default_rng(0).standard_normal((300, 6))
    x[:, 3] = 0.9 * x[:, 2] + 0.4 * x[:, 3]
    findings = diagnose(pd.DataFrame(x, columns=[f"a very long name, {k}" for k in range(6)]), **OPTIONS)
    table = text.brief(findings, columns).split("distinct: number")[0]
    assert table.count("correlation\n") == 2
    assert "values" not in table
    assert "distinct  p, Holm  departs in" in table


def test_printed_findings_are_the_verdict_the_features_and_the_tests():
    findings = _findings("location_0.3", n=800)
    printed = str(findings)
    assert printed.startswith(findings.verdict[:40])
    assert " ".join(findings.verdict.split()) in " ".join(printed.split())
    for label in (*(test.label for test in findings.tests), *(feature.name for feature in findings.features)):
        assert label in printed
    assert "What this says" not in printed
    assert "Directions" not in printed
    assert max(map(len, printed.splitlines())) <= 100
    assert repr(findings) == f"Findings({findings.verdict!r}, 800 rows, 4 features)"


def _printed(findings):
    from rich.console import Console

    console = Console(width=100, record=True, file=io.StringIO())
    text.show(findings, console)
    return console.export_text()


def test_the_terminal_shows_names_with_markup_of_any_kind():
    findings = _findings("null", features=("[/]", "[bold]", "[link=x]", "[/red]"))
    assert "[link=x]" in _printed(findings)


def test_collapsed_and_single_features_have_pages():
    for x in (torch.zeros(10, 3), torch.randn(40, 1, generator=torch.Generator().manual_seed(0))):
        findings = diagnose(x, **OPTIONS)
        assert "<h1>" in render(findings)
        assert findings.verdict.split(":")[0] in _printed(findings)


def test_pvalues_are_written_without_false_zeros():
    assert [text.pvalue(p) for p in (None, 0.0, 3e-11, 0.00123, 0.5)] == ["-", "<1e-10", "<1e-10", "0.0012", "0.5"]
