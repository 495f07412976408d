"""docs/regularizers.md: it lists every regulariser, and its examples run one after the other."""

import re
from pathlib import Path

from sigreg_lab.regularizers import REGISTRY

TEXT = (Path(__file__).parents[2] / "docs" / "regularizers.md").read_text()


def test_every_name_has_its_row_and_every_row_a_name():
    table = TEXT[TEXT.index("## The list") : TEXT.index("What to know before comparing them")]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall("`([^`]+)`", row)} == set(REGISTRY)


def test_the_examples_run_one_after_the_other():
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    for block in blocks:
        exec(block, names)
    assert len(blocks) == 5
    assert names["small"].queue.shape == (4, 32, 64)
