"""What a run tells while it goes."""

from typing import TYPE_CHECKING

from sigreg_lab.experiment.study import Cell, Study

if TYPE_CHECKING:
    from rich.console import Console


class Progress:
    """Told how a run goes; this one keeps silent."""

    def begin(self, study: Study, total: int, missing: list[Cell], stale: int, workers: int) -> None:
        """The study starts: ``missing`` of its ``total`` cells are to compute, ``stale`` of them for older code."""

    def advance(self, cell: Cell) -> None:
        """A cell is finished."""

    def end(self) -> None:
        """The study is computed, or was stopped."""


class TerminalProgress(Progress):
    """A bar with what runs and what remains; lines of text where there is no terminal."""

    def __init__(self, console: "Console") -> None:
        from rich import progress

        self._console = console
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("elapsed"),
            progress.TimeElapsedColumn(),
            progress.TextColumn("left"),
            progress.TimeRemainingColumn(),
            progress.TextColumn("[dim]{task.fields[running]}"),
            console=console,
            disable=not console.is_terminal,
            speed_estimate_period=3600,
        )
        self._waiting: list[Cell] = []
        self._workers = 1
        self._finished = 0

    def begin(self, study: Study, total: int, missing: list[Cell], stale: int, workers: int) -> None:
        self._waiting, self._workers, self._total = list(missing), workers, len(missing)
        if stale:
            self._console.print(f"{study.name}: {stale} cells are of older code or versions and are computed anew")
        if len(missing) < total:
            self._console.print(f"{study.name}: {total - len(missing)} of {total} cells are finished already")
        if missing:
            self._bar.start()
            self._task = self._bar.add_task(study.name, total=len(missing), running=self._running())
            if not self._console.is_terminal:
                self._console.print(f"{study.name}: {len(missing)} cells to compute")

    def advance(self, cell: Cell) -> None:
        self._waiting.remove(cell)
        self._finished += 1
        self._bar.update(self._task, advance=1, running=self._running())
        if not self._console.is_terminal and (self._finished * 10) % self._total < 10:
            self._console.print(f"  {self._finished} of {self._total}")

    def end(self) -> None:
        self._bar.stop()

    def _running(self) -> str:
        """Cells start in order, so the first that are not finished are those that run."""
        from rich.markup import escape

        cells = (" ".join(str(value) for value in cell.values()) for cell in self._waiting[: self._workers])
        return escape("; ".join(cells))
