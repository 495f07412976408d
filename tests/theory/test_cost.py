"""The model of a step's cost against what docs/scaling-out.md prints; against counted bytes: tests/distributed."""

import re
from pathlib import Path

import pytest

from sigreg_lab.theory.cost import step_cost

PAGE = Path(__file__).parents[2] / "docs" / "scaling-out.md"
MIB = 2**20


def test_the_table_of_the_page_is_the_models():
    text = PAGE.read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if re.match(r"\| [\d,]+ \| ", line)]
    assert [row[0] for row in rows] == ["1", "8", "64", "1,024"]
    for row in rows:
        ranks, samples, *printed = (float(cell.replace(",", "")) for cell in row)
        assert samples == 64 * ranks
        sums, gather = (
            step_cost(int(samples), 512, 1024, num_views=8, ranks=int(ranks), way=way) for way in ("sums", "gather")
        )
        assert sums.products == gather.products
        gradients = 2 * (ranks - 1) / ranks * 4 * 304e6
        expected = [sums.products / 1e9, sums.kept / MIB, sums.sent / MIB, gather.kept / MIB, gather.sent / MIB]
        assert printed == pytest.approx([*expected, gradients / MIB], rel=0.02, abs=0.5)
        assert sums.sent <= 0.01 * gradients


def test_another_way_is_refused():
    with pytest.raises(ValueError, match="way must be 'sums' or 'gather', got 'ring'"):
        step_cost(8, 2, 4, way="ring")
