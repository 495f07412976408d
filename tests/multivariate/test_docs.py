"""docs/multivariate.md: its example runs, and its table of differences holds the values that the code gives."""

import re
from pathlib import Path

import pytest

from sigreg_lab import multivariate as mv

TEXT = (Path(__file__).parents[2] / "docs" / "multivariate.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


def test_the_examples_run():
    names: dict[str, object] = {}
    for block in BLOCKS:
        exec(block, names)
    assert len(BLOCKS) == 2
    assert names["x"].shape == (100, 4)
    assert names["threshold"] > 0


@pytest.mark.parametrize(
    ("row", "statistic"),
    [
        ("`BHEP(beta=0.1)`", mv.BHEP(beta=0.1)),
        ("`HZ()`", mv.HZ()),
        ("`BHEP_M(dim, beta=10)`", mv.BHEP_M(beta=10)),
        ("`COMB(gamma=3)`", mv.COMB(gamma=3)),
        ("`HV(gamma=1)`", mv.HV(gamma=1)),
    ],
)
def test_the_table_of_differences_holds(row, statistic):
    names: dict[str, object] = {}
    exec(BLOCKS[1], names)
    printed = next(line for line in TEXT.splitlines() if line.startswith(f"| {row} |")).split("|")[-2]
    assert float(printed) == pytest.approx(statistic(names["x"]).item(), rel=1e-4)
