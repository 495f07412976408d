"""The code on the pages runs as it stands there, and each page is on the site."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
BLOCKS = {
    page.name: re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M) for page in PAGES
}
#: Pages whose examples other tests run, with more to assert.
ELSEWHERE = {
    "adapters.md", "comparing.md", "differences.md", "monitor.md", "multivariate.md", "pretraining.md",
    "regularizers.md", "statistics.md", "writing-a-study.md",
}  # fmt: skip


@pytest.mark.parametrize("page", sorted(name for name, blocks in BLOCKS.items() if blocks and name not in ELSEWHERE))
def test_the_examples_of_a_page_run_one_after_the_other(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in BLOCKS[page]:
        exec(block, names)
        for made in [value for value in names.values() if isinstance(value, type) and hasattr(value, "setup")]:
            benchmark = made()
            benchmark.setup()
            for name in filter(re.compile("time_|track_").match, dir(benchmark)):
                getattr(benchmark, name)()


def test_every_page_is_on_the_site():
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    missing = [
        page for page in (ROOT / "docs").rglob("*.md") if f": {page.relative_to(ROOT / 'docs').as_posix()}" not in site
    ]
    assert missing == []
