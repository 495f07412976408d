"""The command line: ``sigreg-lab study | pretrain | probe``."""

import errno
import io
import math
import os
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from sigreg_lab.experiment.study import PRESETS, StudyError

if TYPE_CHECKING:
    from rich.console import Console


class Command(TyperCommand):
    """A command whose numbers are finite: neither Python nor click minds ``nan`` and ``inf``."""

    def invoke(self, ctx: Any) -> Any:
        """Run it, unless an option is no finite number."""
        for option in self.params:
            value = ctx.params.get(option.name or "")
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{option.opts[0]} must be a finite number, got {value}")
        return super().invoke(ctx)


app = typer.Typer(
    help="Compare distribution-matching regularisers: studies of their statistics, and pretraining with them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
study_app = typer.Typer(help="Run studies, draw their figures, publish their results.", no_args_is_help=True)
app.add_typer(study_app, name="study")

RUNS = Path("results/runs")
Preset = Annotated[str, typer.Option(help=f"How large: {', '.join(PRESETS)}.")]
Out = Annotated[Path, typer.Option(help="Folder of the runs' results.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Change a setting, key=value; repeat for more.")]


@app.command("check", cls=Command)
def check_command(
    file: Annotated[Path, typer.Argument(help="Embeddings, one row a sample: .npy, .npz, .pt, .parquet or .csv.")],
    key: Annotated[str | None, typer.Option(help="Which array of an .npz, tensor of a .pt, list column.")] = None,
    group: Annotated[
        str | None, typer.Option(help="Column or array that is equal for rows that depend on each other.")
    ] = None,
    drop: Annotated[list[str] | None, typer.Option(help="A column that is no feature; repeat for more.")] = None,
    separator: Annotated[
        str | None, typer.Option(help="Of a .csv: comma, semicolon, tab, bar, space; found if not given.")
    ] = None,
    decimal: Annotated[str | None, typer.Option(help="Of a .csv: point or comma; found if not given.")] = None,
    header: Annotated[
        bool | None,
        typer.Option("--header/--no-header", help="Whether a .csv starts with names; found if not given."),
    ] = None,
    max_rows: Annotated[int | None, typer.Option(help="Sample more rows down to this number (default 4096).")] = None,
    slices: Annotated[int, typer.Option(help="Random directions to project on.")] = 256,
    seed: Annotated[int, typer.Option(help="Seed of sampling and directions.")] = 0,
    max_gb: Annotated[float, typer.Option(help="Gigabytes that the sample and its projections may take.")] = 2.0,
    max_minutes: Annotated[float, typer.Option(help="Minutes that the work may take on one core, estimated.")] = 10.0,
    out: Annotated[Path | None, typer.Option(help="The page to write; next to the file if not given.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the findings as JSON; - prints them instead.")
    ] = None,
) -> None:
    """Measure how far embeddings are from N(0, I), in which way and along which directions."""
    import json

    from rich.console import Console

    from sigreg_lab.check import diagnose, read_sample
    from sigreg_lab.check.page import render
    from sigreg_lab.check.plain import plain
    from sigreg_lab.check.text import show
    from sigreg_lab.check.write import check_place, write

    progress = Console(stderr=True)
    sample = read_sample(
        file,
        key=key,
        group=group,
        drop=tuple(drop or ()),
        separator=separator,
        decimal=decimal,
        header=header,
        max_rows=max_rows,
        max_gigabytes=max_gb,
        seed=seed,
    )
    page = out or file.with_name(f"{file.name}.check.html")
    printed = json_file == Path("-")
    check_place(page, "--out", file)
    if json_file and not printed:
        check_place(json_file, "--json", file)
    findings = diagnose(
        sample,
        num_slices=slices,
        seed=seed,
        max_gigabytes=max_gb,
        max_minutes=max_minutes,
        on_simulate=lambda count: progress.print(
            f"First check of {len(sample.x):,} x {sample.x.shape[1]:,}: simulating {count} samples of N(0, I) ..."
        ),
    )
    text = json.dumps(findings.to_json(), indent=1, allow_nan=False)
    write(page, render(findings), "--out")
    if printed:
        print(text)
        return
    if json_file:
        write(json_file, f"{text}\n", "--json")
    show(findings, Console())
    print(f"\nPage: {plain(str(page))}" + (f"\nJSON: {plain(str(json_file))}" if json_file else ""))


@study_app.command("list", cls=Command)
def list_command() -> None:
    """Name each study, its question and the number of its cells."""
    from rich.console import Console
    from rich.table import Table

    from sigreg_lab.experiment.study import list_studies, load_study

    table = Table("study", "question", "cells (standard)", box=None, pad_edge=False)
    for name in list_studies():
        study = load_study(name)
        table.add_row(name, study.question, str(len(study.cells(study.configure("standard")))))
    Console().print(table)


@study_app.command("run", cls=Command)
def run_command(
    names: Annotated[list[str], typer.Argument(help="Names of studies, or 'all'.")],
    preset: Preset = "standard",
    settings: Set = None,
    workers: Annotated[int, typer.Option(help="Processes, of one thread each.")] = 1,
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler, to compute there.")] = None,
    out: Out = RUNS,
) -> None:
    """Compute the missing cells of studies, then write rows, summary, figures, report. Finished cells are kept."""
    from rich.console import Console

    from sigreg_lab.experiment.progress import TerminalProgress
    from sigreg_lab.experiment.run import run_study
    from sigreg_lab.experiment.study import list_studies

    names = list_studies() if names == ["all"] else names
    if len(names) > 1 and settings:
        raise StudyError(f"--set goes with one study, not with {len(names)}")
    console = Console(stderr=True)
    folders = []
    for item in names:
        outcome = run_study(
            item,
            preset=preset,
            out=out,
            overrides=settings or (),
            workers=workers,
            scheduler=scheduler,
            progress=TerminalProgress(console),
        )
        folders.append(outcome.folder)
        console.print(f"{item}: {outcome.computed} cells computed, {outcome.reused} found finished")
    print(f"Report:  {folders[0].parent / 'REPORT.md'}")
    for folder in folders:
        print(f"Results: {folder} (rows.csv, summary.csv, manifest.json, {_names(folder, '*.png')})")


@study_app.command("figures", cls=Command)
def figures_command(
    name: Annotated[str, typer.Argument(help="A study's name.")], preset: Preset = "standard", out: Out = RUNS
) -> None:
    """Draw a run's summary and figures again, from its rows alone."""
    from sigreg_lab.experiment.run import draw, write_report

    folder = out / preset / name
    draw(name, folder)
    write_report(folder.parent)
    print(f"Drawn: {folder} ({_names(folder, '*.png')})")


@study_app.command("publish", cls=Command)
def publish_command(
    name: Annotated[str, typer.Argument(help="A study's name.")],
    preset: Preset = "standard",
    out: Out = RUNS,
    results: Annotated[Path, typer.Option(help="Folder of the committed results.")] = Path("results"),
) -> None:
    """Copy a run, made from a clean commit, into the committed results, and renew their report."""
    from sigreg_lab.experiment.run import publish

    print(f"Published: {publish(name, preset=preset, out=out, results=results)}")


@app.command("pretrain", cls=Command)
def pretrain_command(
    data: Annotated[
        str | None, typer.Option(help="digits, a data set's name, or the path of an image folder or parquet file.")
    ] = None,
    regularizer: Annotated[str, typer.Option(help="A regulariser's name.")] = "sigreg-ep",
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    recipe: Annotated[str | None, typer.Option(help="Named settings; by the data if not given.")] = None,
    settings: Set = None,
    out: Out = RUNS / "pretrain",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's checkpoint.")] = False,
    max_minutes: Annotated[float, typer.Option(help="Stop after that time, to go on with --resume; 0: never.")] = 0.0,
    wandb: Annotated[str, typer.Option(help="Report to this project of W&B too.")] = "",
) -> None:
    """Pretrain one encoder, then fit probes on its frozen embeddings. Under torchrun, on many devices."""
    import torch
    from rich.console import Console

    from sigreg_lab.pretrain.config import default_recipe
    from sigreg_lab.pretrain.progress import RunProgress
    from sigreg_lab.pretrain.run import configure, outside_line, run

    chosen = recipe or default_recipe(data, gpu=torch.cuda.is_available())
    note = "no GPU: --recipe images-small, minutes; --recipe images is the full one" if chosen == "images-small" else ""
    config = configure(data, regularizer, seed, settings or (), chosen)
    console = Console(stderr=True)
    with RunProgress(f"{Path(config.data).name} {regularizer}", console, "" if recipe else note) as progress:
        folder, row = run(
            config,
            out,
            progress,
            resume=resume,
            max_minutes=max_minutes,
            wandb=wandb,
            on_note=_noted(console),
            end_group=True,
        )
    if not row:
        return  # another process of torchrun reports
    print(outside_line(row))
    if len(row) == 1:
        print(f"Stopped after {max_minutes:g} minutes: {folder}; run the same command with --resume to go on")
        return
    _print_row(row)
    print(f"Results: {folder} (row.csv, history.csv, config.json, manifest.json, checkpoint.pt, views.png)")


@app.command("probe", cls=Command)
def probe_command(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoint.pt of a pretraining run, or the run's folder.")],
    data: Annotated[str | None, typer.Option(help="Data to probe on; that of the run if not given.")] = None,
    epochs: Annotated[int, typer.Option(help="Epochs of the linear probe.")] = 100,
    draws: Annotated[int, typer.Option(help="Training sets of each few-shot probe.")] = 5,
    finetune_epochs: Annotated[int, typer.Option(help="Epochs of full fine-tuning; 0 leaves it out.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Probe a checkpoint: linear, nearest neighbours, few labels, at backbone and projector."""
    from rich.console import Console

    from sigreg_lab.pretrain.run import run_probes, summary

    folder, rows = run_probes(
        checkpoint, data, epochs=epochs, draws=draws, finetune_epochs=finetune_epochs, device=device,
        on_note=_noted(Console(stderr=True)),
    )  # fmt: skip
    _print_row(summary(rows))
    print(f"Results: {folder} (probes.csv, probes.json)")


def _noted(console: "Console") -> Callable[[str], None]:
    """What prints a note as it is: names in it are text, no markup."""
    return lambda note: console.print(note, markup=False, highlight=False)


def _print_row(row: dict[str, float]) -> None:
    for key, value in row.items():
        print(f"{key:36} {value:.4f}")


def _names(folder: Path, pattern: str) -> str:
    return ", ".join(path.name for path in sorted(folder.glob(pattern)))


#: What a person does about a failure of the system.
REMEDIES = {
    errno.ENOSPC: "make room, then run the same command again",
    errno.EDQUOT: "make room, then run the same command again",
    errno.EROFS: "choose another place with --out",
    errno.EACCES: "mend its permissions, or choose another place",
    errno.EPERM: "mend its permissions, or choose another place",
    errno.EEXIST: "choose another place, or move it away",
    errno.ENOTDIR: "a file is in the way: choose another place, or move it away",
    errno.EISDIR: "a folder is in the way: choose another place, or move it away",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.ENOENT: "check the path",
    errno.EMFILE: "raise the limit of open files with ulimit -n",
    errno.ENOMEM: "use fewer rows, workers or a smaller batch",
}
#: What is left of the work when a command is stopped.
STOPPED = {
    "check": "stopped; nothing was written",
    "pretrain": "stopped; the last checkpoint is kept: run the same command with --resume to go on",
    "probe": "stopped; nothing was written",
}
CELLS_KEPT = "stopped; finished cells are kept: run the same command to go on"


def main() -> None:
    """Run the command line: whatever fails ends in one line and exit code 2, what a signal stops in 128 + its number.

    ``SIGREG_LAB_DEBUG=1`` shows the traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.formatwarning = lambda message, *_, **__: _line(f"warning: {message}")
    with _signals_as_ctrl_c() as received:
        try:
            app()
        except SystemExit as end:
            if end.code != 130:  # Ctrl-C, which Typer has caught
                raise
            command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
            sys.stderr.write(_line(STOPPED.get(command, CELLS_KEPT)))
            raise SystemExit(128 + next(iter(received), signal.SIGINT)) from None
        except Exception as error:
            if os.environ.get("SIGREG_LAB_DEBUG") == "1":
                traceback.print_exception(error)
            sys.stderr.write(_line(_explained(error)))
            raise SystemExit(2) from None


@contextmanager
def _signals_as_ctrl_c() -> Iterator[list[int]]:
    """SIGTERM and SIGHUP end the program as Ctrl-C does; yields those that came.

    One that is ignored, as nohup has it, stays so. Under torchrun they keep their way: a rank that waits for the others
    would not notice.
    """
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt

    names = () if "TORCHELASTIC_RUN_ID" in os.environ else ("SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    mine = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in mine:
        signal.signal(number, stop)
    try:
        yield received
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)


def _explained(error: Exception) -> str:
    """What happened, where, and what to do about it."""
    text, hint = str(error), "SIGREG_LAB_DEBUG=1 shows where"
    if isinstance(error, OSError) and error.errno is not None:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}; {REMEDIES.get(error.errno, hint)}"
    if text and isinstance(error, StudyError | ValueError | FloatingPointError | MemoryError) and _is_ours(error):
        return text
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        hint = REMEDIES[errno.ENOMEM]
    command = shlex.join(Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:])
    return f"{command[:200]}: {type(error).__name__}{text and ': '}{text}; {hint}"


def _is_ours(error: Exception) -> bool:
    """Whether this package raised it, in its own words."""
    last = [*traceback.walk_tb(error.__traceback__)][-1][0]
    return Path(last.f_code.co_filename).is_relative_to(Path(__file__).parent)


def _line(text: str) -> str:
    """One line of text, in which what would steer a terminal is written out."""
    words = " ".join(text.split())
    return f"sigreg-lab: {''.join(c if c.isprintable() else repr(c)[1:-1] for c in words)}\n"


if __name__ == "__main__":
    main()
