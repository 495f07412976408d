"""The files that a check writes. Their places are looked at before the work, and what goes wrong is one line."""

import os
from pathlib import Path


def check_place(place: Path, option: str, source: Path | None) -> None:
    """Raise ``ValueError`` where a file cannot be written, as far as can be known before, or is ``source`` itself."""
    try:
        there = place.exists()
        same = there and source is not None and place.samefile(source)
        reason = ""
        if place.is_dir():
            reason = "is a directory"
        elif not place.parent.is_dir():
            reason = "no such directory"
        elif not os.access(place if there else place.parent, os.W_OK):
            reason = "permission denied"
    except OSError as error:
        raise _not_written(place, error.strerror or str(error), option) from None
    except ValueError as error:  # a NUL character
        raise _not_written(place, str(error), option) from None
    if same or reason:
        raise _not_written(place, reason or "it is the file to check", option)


def write(place: Path, text: str, option: str) -> None:
    """Write a file; ``ValueError`` with the remedy where that fails."""
    try:
        place.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _not_written(place, error.strerror or str(error), option) from None


def _not_written(place: Path, reason: str, option: str) -> ValueError:
    return ValueError(f"cannot write {place}: {reason}; choose another place with {option}")
