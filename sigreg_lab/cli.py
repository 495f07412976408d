"""The command line: ``sigreg-lab compare | check | pretrain | probe | study | figures``."""

import errno
import io
import math
import os
import re
import shlex
import signal
import sys
import textwrap
import time
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from sigreg_lab import __version__
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


class PretrainCommand(Command):
    """Its help names regularisers, data, recipes and settings, which are read when help is asked for."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        from sigreg_lab.compare.protocol import CONTROLS
        from sigreg_lab.compare.tables import CRITERIA
        from sigreg_lab.pretrain.config import RECIPES, setting_names
        from sigreg_lab.pretrain.data import MADE_HERE
        from sigreg_lab.pretrain.sources import TORCHVISION
        from sigreg_lab.regularizers import REGISTRY

        compares = self.name == "compare"
        named = {
            "Regularisers": [*REGISTRY, *(one for one in CONTROLS if compares and one not in REGISTRY)],
            "Data": [*MADE_HERE, *TORCHVISION],
            "Recipes": RECIPES,
            "Settings": setting_names(),
            "Probes": CRITERIA if compares else (),
        }
        _write_names(formatter, named)


class StudyCommand(Command):
    """Its help names the studies."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        from sigreg_lab.experiment.study import list_studies

        _write_names(formatter, {"Studies": list_studies()})


def _write_names(formatter: Any, named: Mapping[str, Collection[str]]) -> None:
    for title, names in named.items():
        if names:
            with formatter.section(title):
                width = formatter.width - formatter.current_indent
                lines = textwrap.wrap(", ".join(names), width, break_on_hyphens=False)  # names are copied
                formatter.write(textwrap.indent("\n".join(lines), " " * formatter.current_indent) + "\n")


app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
study_app = typer.Typer(help="Run studies, draw their figures, publish their results.", no_args_is_help=True)
app.add_typer(study_app, name="study")
figures_app = typer.Typer(help="Draw the figures and tables of the LeJEPA paper anew.", no_args_is_help=True)
app.add_typer(figures_app, name="figures")


def _version(asked: bool) -> None:
    if asked:
        print(f"sigreg-lab {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Compare distribution-matching regularisers: studies of their statistics, and pretraining with them."""


RESULTS = Path("results")
RUNS = RESULTS / "runs"
Preset = Annotated[str, typer.Option(help=f"How large: {', '.join(PRESETS)}.")]
Results = Annotated[Path, typer.Option(help="Folder of the committed results.")]
Out = Annotated[Path, typer.Option(help="Folder of the runs' results.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Change a setting, key=value; repeat for more.")]


@app.command("check", cls=Command)
def check_command(
    file: Annotated[
        Path | None,
        typer.Argument(help="Embeddings, one row a sample: .npy, .npz, .pt, .parquet or .csv; or a checkpoint.pt."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Embed images first: a name of timm's, or checkpoint.pt of a pretraining run.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="The images: a folder; of a checkpoint what it was trained on if not given.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="Array of an .npz, tensor of a .pt, list column; of a checkpoint projection or embedding."),
    ] = None,
    standardise: Annotated[
        bool, typer.Option("--standardise", help="Bring each feature to mean 0 and variance 1: units do not count.")
    ] = False,
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
    """Measure how far embeddings are from N(0, I), in which way and along which directions.

    Of a file: sigreg-lab check embeddings.npy. Of a model: sigreg-lab check --model resnet18.a1_in1k --data photos.
    """
    import json

    from rich.console import Console

    from sigreg_lab.check import diagnose, read_sample
    from sigreg_lab.check.page import render
    from sigreg_lab.check.plain import plain
    from sigreg_lab.check.text import show
    from sigreg_lab.check.write import check_place, write

    progress = Console(stderr=True)
    if (file is None) == (model is None):
        raise ValueError("name a file of embeddings, or a model with --model; one of them")
    if file is not None and (file.is_dir() or file.suffix in (".pt", ".pth")):
        from sigreg_lab.pretrain.checkpoint import is_checkpoint

        model = str(file) if is_checkpoint(file) else None
    if model is None and data is not None:
        raise ValueError("--data names images for a model: name it with --model")
    origin = file if model is None else Path(model) if Path(model).exists() else None
    name = re.sub(r"[^\w.-]+", "_", model or "")
    page = out or (origin.with_name(f"{origin.name}.check.html") if origin else Path(f"{name}.check.html"))
    printed = json_file == Path("-")

    def check_places() -> None:
        check_place(page, "--out", origin)
        if json_file and not printed:
            check_place(json_file, "--json", origin)

    if model is not None:
        if group or drop or separator or decimal or header is not None:
            raise ValueError("--group, --drop, --separator, --decimal and --header go with a file of embeddings")
        from sigreg_lab.check.model import read_embeddings

        check_places()
        progress.print(f"Embedding images with {plain(model)} ...", markup=False)
        sample = read_embeddings(model, data, key=key, max_rows=max_rows, max_gigabytes=max_gb, seed=seed)
    else:
        assert file is not None
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
        check_places()
    findings = diagnose(
        sample,
        standardise=standardise,
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


@app.command("compare", cls=PretrainCommand)
def compare_command(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Regularisers: names, as below, FILE.py:CLASS or MODULE:CLASS; all with :key=value,..."),
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


@study_app.command("run", cls=StudyCommand)
def run_command(
    names: Annotated[list[str], typer.Argument(help="Names of studies, as below, paths of your own, or 'all'.")],
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


@study_app.command("tell", cls=StudyCommand)
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


@study_app.command("publish", cls=StudyCommand)
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


@study_app.command("report", cls=StudyCommand)
def report_command(
    results: Results = RESULTS,
    names: Annotated[list[str] | None, typer.Option("--study", help="Only this study; repeat for more.")] = None,
) -> None:
    """Tell of all committed results anew from their rows; renew REPORT.md and what pages say of them."""
    from sigreg_lab.experiment.results import MANIFEST, retell
    from sigreg_lab.experiment.study import list_studies, load_study

    if not results.is_dir():
        raise StudyError(f"no folder {results} there; name that of the committed results with --results")
    failed = []
    for name in names or list_studies():
        study = load_study(name)
        if (results / name / MANIFEST).is_file():
            try:
                retell(study, results / name, results / name)
                print(f"Told: {results / name}")
            except StudyError as error:
                failed.append(str(error))
    _renew(results)
    if failed:
        raise StudyError("; ".join(failed))


def _renew(results: Path) -> None:
    from sigreg_lab.experiment.report import renew, write_report
    from sigreg_lab.experiment.study import list_studies

    print(f"Report: {write_report(results, expected=list_studies())}")
    for page in (*(results.parent / "docs").glob("*.md"), *results.parent.glob("README.md")):
        renew(page, results)


@figures_app.command("paper", cls=Command)
def paper_command(
    only: Annotated[list[str] | None, typer.Option("--only", help="A key such as fig-05; repeat for more.")] = None,
    results: Results = RESULTS,
    out: Annotated[Path, typer.Option(help="Folder of the pictures.")] = RUNS / "figures",
) -> None:
    """Draw the paper's figures and tables from stored results, theory and published numbers; nothing is trained."""
    from rich.console import Console

    from sigreg_lab.figures.paper.write import CAPTIONS, write_figures

    console = Console(stderr=True)
    written = write_figures(
        only or (), results, out, on_item=lambda item: console.print(f"{item.paper}: {item.title}", markup=False)
    )
    print(f"Figures: {out} ({len(written)} files; {CAPTIONS} says what they show)")


@figures_app.command("index", cls=Command)
def index_command() -> None:
    """Print docs/figures.md: each figure of the paper, what it is drawn from, its command."""
    from sigreg_lab.figures.paper.write import page

    print(page(), end="")


@app.command("pretrain", cls=PretrainCommand)
def pretrain_command(
    data: Annotated[
        str | None, typer.Option(help="digits, a data set's name, or the path of an image folder or parquet file.")
    ] = None,
    regularizer: Annotated[
        str, typer.Option(help="A name, as below, FILE.py:CLASS or MODULE:CLASS; all with :key=value,...")
    ] = "sigreg-ep",
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    recipe: Annotated[str | None, typer.Option(help="Named settings; by the data if not given.")] = None,
    settings: Set = None,
    out: Out = RUNS / "pretrain",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's checkpoint.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Train a finished run anew, and replace it.")] = False,
    max_minutes: Annotated[float, typer.Option(help="Stop after that time, to go on with --resume; 0: never.")] = 0.0,
    wandb: Annotated[str, typer.Option(help="Report to this project of W&B too.")] = "",
) -> None:
    """Pretrain one encoder, then fit probes on its frozen embeddings. Under torchrun, on many devices."""
    import torch
    from rich.console import Console

    from sigreg_lab.pretrain.config import default_recipe
    from sigreg_lab.pretrain.progress import RunProgress
    from sigreg_lab.pretrain.run import FEW_SHOT_DRAWS, configure, legend, outside_line, run

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
            again=again,
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
    _print_row(row, config.probe_draws if config.augment == "crops" else FEW_SHOT_DRAWS)
    print(legend(config))
    print(f"Results: {folder} (row.csv, history.csv, config.json, manifest.json, checkpoint.pt, views.png)")


@app.command("probe", cls=Command)
def probe_command(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoint.pt of a pretraining run, or the run's folder.")],
    data: Annotated[str | None, typer.Option(help="Data to probe on; that of the run if not given.")] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of the linear probe; as in the run if not given.")
    ] = None,
    draws: Annotated[
        int | None, typer.Option(min=0, help="Training sets of each few-shot probe; as in the run if not given.")
    ] = None,
    finetune_epochs: Annotated[int, typer.Option(min=0, help="Epochs of full fine-tuning; 0 leaves it out.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Probe a checkpoint: linear, nearest neighbours, few labels, at backbone and projector."""
    from rich.console import Console

    from sigreg_lab.pretrain.progress import RunProgress
    from sigreg_lab.pretrain.run import image_legend, run_probes, summary

    console = Console(stderr=True)
    with RunProgress(checkpoint.name, console, before="reading data, fitting probes"):
        table, rows = run_probes(
            checkpoint, data, epochs=epochs, draws=draws, finetune_epochs=finetune_epochs, device=device,
            on_note=_noted(console),
        )  # fmt: skip
    used = max((row["draw"] + 1 for row in rows if row["probe"] == "few-shot"), default=0)
    _print_row(summary(rows), used)
    print(image_legend(rows[0]["epochs"], used, finetune_epochs))
    print(f"Results: {table.parent} ({table.name}, {table.with_suffix('.json').name})")


def _noted(console: "Console") -> Callable[[str], None]:
    """What prints a note as it is: names in it are text, no markup."""
    return lambda note: console.print(note, markup=False, highlight=False, soft_wrap=True)


def _print_row(row: dict[str, float], draws: int) -> None:
    """Numbers of a run; accuracies with their 95% intervals, what chance has, and what these rest on.

    Args:
        row: of a run, or of ``summary``.
        draws: random draws of few labels behind each few-shot accuracy.
    """
    images = {key: int(value) for key, value in row.items() if key.endswith("_images")}
    chance = row["chance"]
    for key, value in row.items():
        name, _, end = key.rpartition("_")
        if key in images or key == "chance" or (end in ("low", "high") and name in row):
            continue
        told = f"{key:36} {value:.4f}"
        if f"{key}_low" in row:
            low, high = row[f"{key}_low"], row[f"{key}_high"]
            few = f", {draws} draws" if end.isdigit() else ""
            same = ", not distinguishable from chance" if low <= chance <= high else ""
            told += f" ({low:.4f}, {high:.4f}){few}, chance {chance:.4f}{same}"
        print(told)
    counts = ", ".join(f"{count:,} {key.removesuffix('_images')} images" for key, count in images.items())
    print(f"In brackets: 95% intervals of this encoder's accuracy ({counts})")
    print("Chance: the share of the commonest class among the test images")


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
    "figures": "stopped; nothing was written",
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
            if "TORCHELASTIC_RUN_ID" in os.environ:
                _end_at_once(2)
            raise SystemExit(2) from None


def _end_at_once(code: int) -> NoReturn:
    """End a rank without what Python does at exit: NCCL waits there for ranks that wait for this one.

    torchrun ends those.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


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
    return f"{shlex.join(sys.argv[1:])[:200]}: {type(error).__name__}{text and ': '}{text}; {hint}"


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
