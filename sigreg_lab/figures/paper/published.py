"""The numbers that the paper and the official package print; they stand in ``published.json`` alone."""

import json
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@cache
def _read() -> dict[str, Any]:
    text = resources.files(__package__).joinpath("published.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def published(item: str) -> "pd.DataFrame":
    """The published numbers of an item, one a row: its axes, and ``value``."""
    import pandas as pd

    found = _read()["items"][item]
    return pd.DataFrame(found["rows"], columns=[*found["axes"], "value"])


def setting(item: str) -> str:
    """What was measured and where it is printed, for a caption."""
    found = _read()["items"][item]
    note = f"; {found['note']}" if "note" in found else ""
    return f"{found['what']} ({found['source']}{note})"
