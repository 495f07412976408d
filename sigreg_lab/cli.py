"""The command line: ``sigreg-lab study | pretrain``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sigreg_lab.experiment.study import PRESETS, StudyError

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


@study_app.command("list")
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


@study_app.command("run")
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


@study_app.command("figures")
def figures_command(
    name: Annotated[str, typer.Argument(help="A study's name.")], preset: Preset = "standard", out: Out = RUNS
) -> None:
    """Draw a run's summary and figures again, from its rows alone."""
    from sigreg_lab.experiment.run import draw, write_report

    folder = out / preset / name
    draw(name, folder)
    write_report(folder.parent)
    print(f"Drawn: {folder} ({_names(folder, '*.png')})")


@study_app.command("publish")
def publish_command(
    name: Annotated[str, typer.Argument(help="A study's name.")],
    preset: Preset = "standard",
    out: Out = RUNS,
    results: Annotated[Path, typer.Option(help="Folder of the committed results.")] = Path("results"),
) -> None:
    """Copy a run, made from a clean commit, into the committed results, and renew their report."""
    from sigreg_lab.experiment.run import publish

    print(f"Published: {publish(name, preset=preset, out=out, results=results)}")


@app.command("pretrain")
def pretrain_command(
    data: Annotated[str, typer.Option(help="A data set's name.")] = "digits",
    regularizer: Annotated[str, typer.Option(help="A regulariser's name.")] = "sigreg-ep",
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    settings: Set = None,
    out: Out = RUNS / "pretrain",
) -> None:
    """Pretrain one encoder, then fit probes on its frozen embeddings."""
    from rich.console import Console
    from rich.progress import Progress

    from sigreg_lab.pretrain.run import configure, run

    config = configure(data, regularizer, seed, settings or ())
    progress = Progress(console=Console(stderr=True))
    task = progress.add_task(f"{data} {regularizer}", total=config.steps)

    def on_step(step: int, terms: dict[str, float]) -> None:
        progress.start()  # not before the config has proved good; idempotent
        progress.update(task, completed=step + 1)

    try:
        folder, row = run(config, out, on_step)
    finally:
        if progress.live.is_started:
            progress.stop()
    for key, value in row.items():
        print(f"{key:28} {value:.4f}")
    print(f"Results: {folder} (row.csv, history.csv, config.json, manifest.json)")


def _names(folder: Path, pattern: str) -> str:
    return ", ".join(path.name for path in sorted(folder.glob(pattern)))


def main() -> None:
    """Run the command line; what the user can mend ends in one line and exit code 2."""
    try:
        app()
    except (StudyError, ValueError, FloatingPointError) as error:
        print(f"sigreg-lab: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("sigreg-lab: stopped; finished cells are kept: run the same command to go on", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
