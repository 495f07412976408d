"""The command line: ``sigreg-lab compare | check | pretrain | probe | study``."""

import errno
import io
import math
import os
import shlex
import signal
import sys
import time
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

RESULTS = Path("results")
RUNS = RESULTS / "runs"
Preset = Annotated[str, typer.Option(help=f"How large: {', '.join(PRESETS)}.")]
Results = Annotated[Path, typer.Option(help="Folder of the committed results.")]
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


@app.command("compare", cls=Command)
def compare_command(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Regularisers: names, FILE.py:CLASS or MODULE:CLASS, with :key=value,... if need be."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All of the registry, after those named.")] = False,
    data: Annotated[str | None, typer.Option(help="A data set's name, or the path of an image folder.")] = None,
    seeds: Annotated[int, typer.Option(help="Reported runs of each regulariser.")] = 5,
    budget: Annotated[str | None, typer.Option(help="Stop after that time, such as 30m; run again to go on.")] = None,
    settings: Set = None,
    recipe: Annotated[str | None, typer.Option(help="Named settings; by the data if not given.")] = None,
    lambdas: Annotated[str | None, typer.Option(help="The grid of lambda to begin with, as 0.01,0.1,0.5.")] = None,
    extra: Annotated[int, typer.Option(help="Tuning runs beyond the grid: they widen it, or refine it.")] = 3,
    tuning_seeds: Annotated[int, typer.Option(help="Seeds of the last two candidates for lambda; 1, 2, 4, ...")] = 4,
    first_seed: Annotated[int, typer.Option(help="The first of the reported seeds.")] = 0,
    rank_by: Annotated[str, typer.Option(help="The probe that tunes and ranks.")] = "backbone_linear_all",
    workers: Annotated[int | None, typer.Option(help="Runs at a time; the number of cores if not given.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler, to run there.")] = None,
    out: Out = RUNS / "compare",
) -> None:
    """Compare regularisers by the accuracy of frozen probes: tuned alike, with ranks, intervals and their cost."""
    from rich.console import Console

    from sigreg_lab.compare import compare, prepare, show
    from sigreg_lab.compare.command import PAGE, parse_lambdas
    from sigreg_lab.compare.progress import TerminalProgress

    console = Console(stderr=True)
    comparison = prepare(
        names or (), every=every, data=data, recipe=recipe, overrides=settings or (), seeds=seeds,
        first_seed=first_seed, tuning_seeds=tuning_seeds, lambdas=parse_lambdas(lambdas), extra=extra, rank_by=rank_by,
    )  # fmt: skip
    folder, found = compare(
        comparison, out, workers=workers, scheduler=scheduler, budget=budget, progress=TerminalProgress(console),
        on_note=_noted(console),
    )  # fmt: skip
    print(show(found))
    print(f"\nPage:    {folder / PAGE}\nResults: {folder} (rows.csv, summary.csv, manifest.json)")


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
    budget: Annotated[str | None, typer.Option(help="Stop after that time, such as 30m; run again to go on.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Count finished cells of older code too.")] = False,
    earlier: Annotated[
        Path | None, typer.Option("--from", metavar="RESULTS", help="Take finished cells from these results.")
    ] = None,
    out: Out = RUNS,
) -> None:
    """Compute the missing cells of studies, then write what they say. Finished cells are kept."""
    from rich.console import Console

    from sigreg_lab.experiment.progress import TerminalProgress
    from sigreg_lab.experiment.run import run_study
    from sigreg_lab.experiment.study import list_studies, parse_duration

    names = list_studies() if names == ["all"] else names
    if len(names) > 1 and settings:
        raise StudyError(f"--set goes with one study, not with {len(names)}")
    deadline = None if budget is None else time.monotonic() + parse_duration(budget, "--budget")
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
            limit=None if deadline is None else max(0.0, deadline - time.monotonic()),
            keep=keep,
            earlier=None if earlier is None else earlier / Path(item).name,
            progress=TerminalProgress(console),
        )
        folders.append(outcome.folder)
        left = f", {outcome.missing} left: the same command goes on" if outcome.missing else ""
        console.print(f"{item}: {outcome.computed} cells computed, {outcome.reused} found finished{left}")
    print(f"Report:  {folders[0].parent / 'REPORT.md'}")
    for folder in folders:
        print(f"Results: {folder} (rows.csv, estimates.csv, findings.md, {_names(folder, '*.png')})")


@study_app.command("tell", cls=Command)
def tell_command(
    name: Annotated[str, typer.Argument(help="A study's name.")],
    preset: Preset = "standard",
    settings: Set = None,
    out: Out = RUNS,
) -> None:
    """Write a run's estimates, findings and pictures again, from its rows alone."""
    from sigreg_lab.experiment.report import write_report
    from sigreg_lab.experiment.results import retell, run_folder
    from sigreg_lab.experiment.study import load_study

    study = load_study(name)
    folder = run_folder(study, out, preset, settings or ())
    retell(study, folder, folder)
    write_report(folder.parent, own=[study])
    print(f"Told: {folder} ({_names(folder, '*.png')})")


@study_app.command("publish", cls=Command)
def publish_command(
    name: Annotated[str, typer.Argument(help="A study's name.")],
    preset: Preset = "standard",
    settings: Set = None,
    out: Out = RUNS,
    results: Results = RESULTS,
) -> None:
    """Tell of a run, made from a clean commit, in the committed results, and renew the report."""
    from sigreg_lab.experiment.results import publish

    print(f"Published: {publish(name, preset=preset, out=out, results=results, overrides=settings or ())}")
    _renew(results)


@study_app.command("report", cls=Command)
def report_command(
    results: Results = RESULTS,
    names: Annotated[list[str] | None, typer.Option("--study", help="Only this study; repeat for more.")] = None,
) -> None:
    """Tell of all committed results anew from their rows; renew REPORT.md and what pages say of them."""
    from sigreg_lab.experiment.results import MANIFEST, retell
    from sigreg_lab.experiment.study import list_studies, load_study

    for name in names or list_studies():
        study = load_study(name)
        if (results / name / MANIFEST).is_file():
            retell(study, results / name, results / name)
            print(f"Told: {results / name}")
    _renew(results)


def _renew(results: Path) -> None:
    from sigreg_lab.experiment.report import renew, write_report
    from sigreg_lab.experiment.study import list_studies

    print(f"Report: {write_report(results, expected=list_studies())}")
    for page in (*(results.parent / "docs").glob("*.md"), *results.parent.glob("README.md")):
        renew(page, results)


@app.command("pretrain", cls=Command)
def pretrain_command(
    data: Annotated[
        str | None, typer.Option(help="digits, a data set's name, or the path of an image folder or parquet file.")
    ] = None,
    regularizer: Annotated[str, typer.Option(help="A name, or FILE.py:CLASS; both with :key=value.")] = "sigreg-ep",
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
    "compare": "stopped; finished runs are kept: run the same command to go on",
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
