"""The command line in this process, with what a person would see of it."""

import contextlib
import faulthandler
import io
import signal
import sys
from typing import NamedTuple
from unittest import mock

from sigreg_lab import cli

LONGEST = 60  # seconds that one command may take: far more than any of these needs


class Seen(NamedTuple):
    """What came of a command."""

    code: int
    out: str
    err: str


class Hung(BaseException):
    """A command went on; no ``except Exception`` may swallow it."""


def call(*arguments: str) -> Seen:
    """Run ``sigreg-lab`` with these arguments."""

    def hung(*_):
        raise Hung(arguments)

    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    code = 0
    before = signal.signal(signal.SIGALRM, hung)
    signal.alarm(LONGEST)
    faulthandler.dump_traceback_later(2 * LONGEST, exit=True)  # where even an exception does not get through
    try:
        with (
            mock.patch.object(sys, "argv", ["sigreg-lab", *arguments]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            cli.main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())
    return Seen(code, *texts)


def check_manners(seen: Seen) -> None:
    """Exit code 0, or 2 with one last line that says what to do; no traceback, nothing that steers a terminal."""
    assert "Traceback" not in seen.err + seen.out
    assert not {c for c in seen.out + seen.err if not c.isprintable() and c != "\n"}
    assert seen.code in (0, 2)
    if seen.code == 2 and not seen.err.startswith("Usage: "):
        last = seen.err.splitlines()[-1]
        assert last.startswith("sigreg-lab: ")
        assert len(last) > len("sigreg-lab: ") + 10, "it says what to do"
