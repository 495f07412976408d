"""The text: words by verdict, numbers by lookup, plain words where there are none."""

import pytest

from sigreg_lab.experiment.claims import Claim, every
from sigreg_lab.experiment.estimates import Estimates, about, exactly, tabulate
from sigreg_lab.experiment.tell import findings, tell

TEMPLATE = """
{% block small %}
{% if holds %}All are small: {{ largest | span(2) }} at n = {{ largest.n }}.
{% elif fails %}One is large: {{ largest | span(2) }}.
{% endif %}
{% endblock %}
{% block tables %}
{{ table("x", rows="kind", columns="n", heads="n = {}", digits=1) }}
{% endblock %}
{% block details %}
{{ axis("n") | list_of }}, {{ at("x", n=8, kind="none") | percent }}, {{ settings.words | list_of("or") }}.
{% endblock %}
"""
SMALL = Claim("small", "all are small", lambda e: every(e.of("x"), below=1.0))
OTHER = Claim("other", "others are small too", lambda e: every(e.of("y"), below=1.0), detail=True)


def _table(*values, error=0.01):
    places = [{"kind": "none", "n": 8}, {"kind": "none", "n": 16}, {"kind": "vicreg", "n": 8}]
    return Estimates(tabulate([about("x", v, error, **place) for v, place in zip(values, places, strict=True)]))


def _text(table, claims=(SMALL, OTHER), settings=None):
    settings = settings or {"words": ["red", "blue"]}
    return findings(tell(claims, TEMPLATE, table, settings), TEMPLATE, table, settings)


def test_the_rows_decide_which_words_are_printed():
    assert "**All are small: 0.50 (0.48, 0.52) at n = 16.**" in _text(_table(0.1, 0.5, 0.2))
    assert "**One is large: 5.00 (4.98, 5.02).**" in _text(_table(0.1, 5.0, 0.2))
    assert "**We cannot tell whether all are small.**" in _text(_table(0.1, 1.0, 0.2, error=1.0))


def test_a_claim_without_rows_is_said_to_be_not_measured():
    assert "- Not run with these settings: whether others are small too." in _text(_table(0.1, 0.5, 0.2))


def test_tables_and_details_come_from_lookups():
    text = _text(_table(0.1, 0.5, 0.2))
    assert "| no regulariser | 0.1 (0.1, 0.1) | 0.5 (0.5, 0.5) |" in text
    assert "| VICReg | 0.2 (0.2, 0.2) | - |" in text
    assert "8 and 16, 10% (8%, 12%), red or blue." in text
    assert text.index("| kind |") < text.index("<details>") < text.index("8 and 16")


def test_what_a_claim_became_is_stored():
    record = tell((SMALL, OTHER), TEMPLATE, _table(0.1, 0.5, 0.2), {"words": []})[0].record()
    assert record["verdict"] == record["called"] == "holds"
    assert record["words"].startswith("All are small")


def test_too_many_findings_and_stray_blocks_are_refused():
    table = Estimates(tabulate([exactly("x", 0.5, kind="none", n=8)]))
    many = [Claim(f"c{i}", "it is", SMALL.decide) for i in range(8)]
    with pytest.raises(ValueError, match="7 findings beside the headline; mark all but 6 as detail"):
        tell(many, "", table, {})
    with pytest.raises(ValueError, match="block 'small' of the template is no claim"):
        tell(many[:1], TEMPLATE, table, {})


def test_a_name_that_is_not_there_is_an_error_not_an_empty_text():
    with pytest.raises(Exception, match="'nothing' is undefined"):
        tell((SMALL,), "{% block small %}{{ nothing }}{% endblock %}", _table(0.1, 0.2, 0.3), {})
