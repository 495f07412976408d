"""The examples of docs/adapters.md that need Lightning, lightly or stable-pretraining."""

import pytest

from sigreg_lab.adapters import LightlySIGReg, SteppedRegularizer
from tests.test_pages import OTHERS, sections

EXAMPLES = {title: code for title, code in sections("adapters.md").items() if OTHERS.search(code)}


@pytest.mark.parametrize("title", EXAMPLES)
def test_the_example_runs(title, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    exec(EXAMPLES[title], names)
    if title == "Lightning":
        assert names["watching"].monitor is not None
        assert names["trainer"].global_step == 8
    elif title == "lightly":
        assert isinstance(names["loss_fn"].sigreg, LightlySIGReg)
        assert names["loss"].isfinite()
    else:
        assert isinstance(names["model"].sigreg, SteppedRegularizer)
        assert names["output"].loss.isfinite()
        assert names["model"].projector.weight.grad.isfinite().all()


def test_no_example_is_left_out():
    assert {*EXAMPLES} == {"Lightning", "lightly", "stable-pretraining"}
