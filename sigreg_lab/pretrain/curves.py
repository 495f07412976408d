"""What a run reports while it goes on: CSV, TensorBoard, W&B; and where a step's time goes."""

import csv
import time
from pathlib import Path
from typing import Any

import torch


class Curves:
    """Numbers over steps, to ``history.csv``, to TensorBoard if it is installed, to W&B if asked for.

    Args:
        folder: where ``history.csv`` and the folder ``tensorboard`` go; None: nowhere.
        step: rows of this step and later ones, left by an interrupted run, are dropped.
        wandb: the project's name in W&B; empty: none.
        config: saved with the W&B run.

    Raises:
        ValueError: W&B is asked for and not installed.
    """

    def __init__(
        self, folder: Path | None, step: int = 0, wandb: str = "", config: dict[str, Any] | None = None
    ) -> None:
        self.rows: list[dict[str, float]] = []
        self._path = folder / "history.csv" if folder else None
        self._board: Any = None
        self._wandb: Any = None
        if folder is None:
            return
        if self._path is not None and self._path.is_file() and step:
            with self._path.open(newline="") as file:
                self.rows = [
                    {key: int(value) if key == "step" else float(value) for key, value in row.items() if value}
                    for row in csv.DictReader(file)
                    if int(row["step"]) < step
                ]
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            pass
        else:
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step)
        if wandb:
            try:
                import wandb as client  # type: ignore[import-not-found, unused-ignore]
            except ImportError:
                raise ValueError("--wandb: wandb is not installed; pip install wandb") from None
            self._wandb = client.init(project=wandb, name=folder.name, dir=str(folder), config=config, resume="allow")

    def add(self, step: int, values: dict[str, float]) -> None:
        """Report numbers of a step; TensorBoard and W&B see them at once."""
        self.rows.append({"step": step, **values})
        if self._board is not None:
            for key, value in values.items():
                self._board.add_scalar(key, value, step)
        if self._wandb is not None:
            self._wandb.log(values, step=step)

    def flush(self) -> None:
        """Write ``history.csv`` whole; columns that a row lacks stay empty."""
        if self._path is None:
            return
        keys = list(dict.fromkeys(key for row in self.rows for key in row)) or ["step"]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(".partial")
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=keys)
            writer.writeheader()
            writer.writerows(self.rows)
        partial.replace(self._path)
        if self._board is not None:
            self._board.flush()

    def close(self) -> None:
        """Write what is left, and end TensorBoard's and W&B's runs."""
        self.flush()
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


#: Parts of a step that are not the network's (forward, backward and optimiser are).
OUTSIDE = ("data", "views", "loss")


class Stopwatch:
    """Seconds spent in each part of the steps: GPU events on CUDA, which nothing waits for until they are read.

    ``with``-less by intent: ``lap("views")`` closes the part that began at the lap before (or at ``start``). Laps
    captured in a CUDA graph are taken again at each replay; the last replay's count for all since the last reading.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._last: Any = None
        self._pending: list[tuple[str, Any, Any]] = []
        self._captured: list[tuple[str, Any, Any]] = []
        self.replays = 0
        self.seconds: dict[str, float] = {}

    def _now(self) -> Any:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True, external=torch.cuda.is_current_stream_capturing())
        event.record()
        return event

    def start(self) -> None:
        """A step begins."""
        self._last = self._now()

    def lap(self, part: str) -> None:
        """The part that began at the last lap ends."""
        now = self._now()
        captured = self._cuda and torch.cuda.is_current_stream_capturing()
        (self._captured if captured else self._pending).append((part, self._last, now))
        self._last = now

    def read(self) -> dict[str, float]:
        """Seconds of each part since the last reading; waits for the GPU."""
        if self._cuda:
            torch.cuda.synchronize()
        recent: dict[str, float] = {}
        laps = [(1, *lap) for lap in self._pending]
        if self.replays:
            laps += [(self.replays, *lap) for lap in self._captured]
        for times, part, begin, end in laps:
            took = times * (begin.elapsed_time(end) / 1000 if self._cuda else end - begin)
            recent[part] = recent.get(part, 0.0) + took
            self.seconds[part] = self.seconds.get(part, 0.0) + took
        self._pending.clear()
        self.replays = 0
        return recent


def outside_share(seconds: dict[str, float]) -> float:
    """Share of the step time spent outside the network: data, views and loss."""
    total = sum(seconds.values())
    return sum(seconds.get(part, 0.0) for part in OUTSIDE) / total if total else float("nan")
