"""What a study may say: only what a claim decides, with numbers from its rows alone, short enough to read."""

import json
import re
from pathlib import Path

import jinja2
import pytest
from jinja2 import nodes

from sigreg_lab.experiment.claims import Claim, Decision, Verdict
from sigreg_lab.experiment.results import read_estimates, read_manifest
from sigreg_lab.experiment.study import list_studies, load_study
from sigreg_lab.experiment.tell import OTHER_BLOCKS, TEMPLATE, tell

RESULTS = Path(__file__).parents[2] / "results"
#: Names that hold a numeral.
NAMES = re.compile(
    r"(Theorem|Lemma|Table|Fig\.|Figure|[Ss]ection|[Ee]qs?\.|Algorithm|[Aa]ppendix) ?[\dA-Z][\d.]*(\([a-z\d]\))?"
    r"|\bB\.\d+|N\(0, (I|1)\)|b?float\d+|CIFAR-10|hd3|mean² \+ \(std - 1\)²|K²|1/N|10\^|T1[abc]?|L2"
)
#: What concludes: it belongs in the words of a verdict.
CONCLUDES = re.compile(
    r"\b(better|worse|best|worst|beats?|fails?|holds|wins?|loses?|never|always|hardly|as the paper says|false|wrong|"
    r"outperforms?|no difference|proves?|confirms?|shows? that|larger than|smaller than)\b"
)


TOLD = [name for name in list_studies() if (RESULTS / name / "claims.json").is_file()]


def _template(name):
    return (load_study(name).folder / TEMPLATE).read_text(encoding="utf-8")


def _plain(tree):
    return " ".join(data.data for data in tree.find_all(nodes.TemplateData))


def numerals(text):
    """Numerals in the plain text of a template."""
    return re.findall(r"\S*\d\S*", NAMES.sub("", _plain(jinja2.Environment().parse(text))))


def bare_conclusions(text, claims):
    """Sentences that conclude, outside of the words of a verdict."""
    tree = jinja2.Environment().parse(text)
    found = []
    for block in tree.find_all(nodes.Block):
        if block.name in claims:
            loose = [data.data for part in block.body if isinstance(part, nodes.Output) for data in part.nodes]
            found += [one for one in map(str, loose) if one.strip()]
            branches = [part for part in block.body if isinstance(part, nodes.If)]
            if any(not isinstance(part.test, nodes.Name | nodes.Not) for part in branches):
                found.append(f"block {block.name} branches on something else than its verdict")
        else:
            found += CONCLUDES.findall(_plain(block))
    outside = [data.data for part in tree.body if isinstance(part, nodes.Output) for data in part.nodes]
    return found + [one for one in map(str, outside) if one.strip()]


@pytest.mark.parametrize("name", list_studies())
def test_no_numeral_and_no_bare_conclusion_stands_in_a_template(name):
    claims = {claim.id for claim in load_study(name).claims}
    assert numerals(_template(name)) == []
    assert bare_conclusions(_template(name), claims) == []


@pytest.mark.parametrize(
    ("text", "numeral", "conclusion"),
    [
        ("{% block a %}{% if holds %}It is {{ x }} at N(0, 1).{% endif %}{% endblock %}", False, False),
        ("{% block a %}{% if holds %}It is 0.3 at most.{% endif %}{% endblock %}", True, False),
        ("{% block a %}It is so.{% endblock %}", False, True),
        ("{% block a %}{% if x > y %}It is so.{% endif %}{% endblock %}", False, True),
        ("{% block tables %}As the table shows, Theorem 4 fails.{% endblock %}", False, True),
        ("{% block tables %}Power by law (Table 1).{% endblock %}", False, False),
        ("It holds.{% block tables %}{% endblock %}", False, True),
    ],
)
def test_what_is_not_allowed_is_found(text, numeral, conclusion):
    assert bool(numerals(text)) == numeral
    assert bool(bare_conclusions(text, {"a"})) == conclusion


@pytest.mark.parametrize("name", TOLD)
def test_headline_and_findings_are_short(name):
    """A finding has at most 30 words, the headline 45; an interval counts for nothing, "N = 64" for one word."""
    for place, record in enumerate(json.loads((RESULTS / name / "claims.json").read_text())):
        words = re.sub(r"\([^()]*\)", "", record["words"])
        words = re.sub(r" ([=×±<>-]|to) (?=[\d-])", "=", words)
        if not record["detail"]:
            assert len(words.split()) <= (30 if place else 45), record["words"]


@pytest.mark.parametrize("name", TOLD)
def test_every_verdict_of_every_claim_has_words_and_failing_is_said(name):
    """Each claim turned round: with the evidence of the committed rows, the text of each verdict can be written.

    Where only a part of the cells is measured, claims that need others have no evidence yet.
    """
    study, estimates = load_study(name), read_estimates(RESULTS / name)
    manifest = read_manifest(RESULTS / name)
    settings, part = study.settings(manifest["config"]), manifest.get("planned", 0) > manifest["cells"]
    decided = {claim.id: claim.decision(estimates) for claim in study.claims}
    waiting = {claim for claim, decision in decided.items() if part and decision.verdict == Verdict.NOT_RUN}
    assert len(waiting) < len(decided)
    evidence = {claim: decision.evidence for claim, decision in decided.items()}
    texts = {}
    for verdict in Verdict:
        turned = [
            c
            if c.id in waiting
            else Claim(
                c.id, c.statement, lambda _, c=c, v=verdict: Decision(v, evidence[c.id]), c.source, detail=c.detail
            )
            for c in study.claims
        ]
        for one in tell(turned, _template(name), estimates, settings):
            texts.setdefault(one.claim.id, set()).add(one.words)
    for claim, words in texts.items():
        assert len(words) == (1 if claim in waiting else len(Verdict)), f"{claim}: two verdicts have the same words"
        assert all(len(text) > 10 for text in words)


@pytest.mark.parametrize("name", list_studies())
def test_the_committed_text_is_that_of_todays_template(name):
    from sigreg_lab.experiment.results import MANIFEST, telling

    if (RESULTS / name / MANIFEST).is_file():
        told = read_manifest(RESULTS / name).get("told", {}).get("by")
        assert told == telling(load_study(name)), f"stale: run sigreg-lab study report --study {name}"
    assert set(OTHER_BLOCKS) == {"tables", "details"}
