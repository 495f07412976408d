"""The examples of docs/adapters.md and docs/monitor.md run as they stand there.

Those that need other libraries run beside them, in tests/peers.
"""

import re
from pathlib import Path

import pytest
import torch

DOCS = Path(__file__).parents[1] / "docs"
OTHERS = re.compile(r"^(?:import|from) (lightning|lightly|stable_pretraining)\b", re.M)


def sections(page):
    """The Python of each section of a page that has some, by heading."""
    parts = re.split(r"^## (.+)$", (DOCS / page).read_text(encoding="utf-8"), flags=re.M)
    places = zip(parts[1::2], parts[2::2], strict=True)
    code = {title: re.findall(r"```python\n(.*?)```", text, re.S) for title, text in places}
    return {title: "\n".join(blocks) for title, blocks in code.items() if blocks}


@pytest.mark.parametrize("page", ["adapters.md", "monitor.md"])
def test_the_examples_run_one_after_the_other(page, capsys):
    if page == "monitor.md":
        pytest.importorskip("torchmetrics", reason="torchmetrics is not installed; make setup installs it")
    torch.manual_seed(0)  # one of the examples holds for 39 samples of 40
    names: dict[str, object] = {"__name__": "page"}
    here = {title: code for title, code in sections(page).items() if not OTHERS.search(code)}
    for code in here.values():
        exec(code, names)
    if page == "adapters.md":
        assert {*here} == {"A plain loop", "torch.compile", "torch.export"}
        assert names["checkpoint"]["loss"]["_extra_state"].tolist()[-1] == 3
        assert names["embeddings"].grad.abs().sum() > 0
        assert float(names["value"]) == pytest.approx(
            float(names["loss_fn"](names["embeddings"].detach(), directions=names["directions"]).total), rel=1e-5
        )
    else:
        assert len(capsys.readouterr().out.splitlines()) == 7, "begun at steps 5, 10, .. 35, four batches each"
        assert names["monitor"].messages == []


@pytest.mark.parametrize("page", ["adapters.md", "monitor.md"])
def test_links_lead_somewhere(page):
    from sigreg_lab.experiment.report import heading_anchor

    text = (DOCS / page).read_text(encoding="utf-8")
    for file, place in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", text):
        target = (DOCS / file) if file else DOCS / page
        assert target.exists(), file
        if place:
            assert place in {heading_anchor(title) for title in re.findall(r"^#+ (.+)$", target.read_text(), re.M)}
