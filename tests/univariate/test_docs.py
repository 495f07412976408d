"""docs/statistics.md: its examples run one after the other, and give what is printed beside them."""

import re
from pathlib import Path

import pytest
import torch

TEXT = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text()


def test_the_examples_run_one_after_the_other(capsys):
    torch.manual_seed(0)
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    for block in blocks:
        exec(block, names)
        if "print(result)" in block:
            assert capsys.readouterr().out in TEXT
            assert names["decisions"].shape == (2, 2)
    assert len(blocks) == 5
    n = len(names["x"])
    assert names["estimated_threshold"] == pytest.approx(0.752 / (1 + 0.75 / n + 2.25 / n**2), rel=0.02)
    assert (names["estimated_pvalue"] > 0.01).all()  # normal, though not N(0, 1)
    assert names["pvalue"].shape == names["combined"].shape == (2,)
    assert torch.equal(names["of_rows"], names["combined"])
