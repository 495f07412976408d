"""``HealthMonitor``: in a plain loop, every so many steps, within a share of the time."""

import math
import time
import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sigreg_lab.distributed import agreed_step, rank, total_samples
from sigreg_lab.monitor.alarm import CollapseAlarm, CollapseWarning

if TYPE_CHECKING:
    from sigreg_lab.monitor.metric import EmbeddingHealth


#: So many measurements are made whatever they cost, so that a short run is watched too.
FIRST = 10


class HealthMonitor:
    """Measures embeddings every ``every_n_steps`` steps, more rarely where that would take too long, and warns.

    A measurement begins ``every_n_steps`` steps after the last one began, the first as many after the first call: a
    network that has not learnt yet may be all but constant. It takes the rows of as many steps as fill the metric's
    sample of ``max_samples``, and ends with the last of them.

    The first ten measurements are made whatever they cost. From then on the time of one is held against that of the
    steps: the next is due when the steps have taken 1/``max_share`` times as long. The bands are simulated once, at
    the first call, before anything is measured.

    In an initialised process group all ranks call at every step, with their own rows, and measure together.

    Args:
        health: the metric; it is reset after each measurement.
        every_n_steps: the least number of steps from the beginning of a measurement to that of the next.
        max_share: the largest share of the run's time that measurements take. Not counted are the first ten, the
            simulation of the bands at the first call and, on a GPU, the wait for steps that are still queued. None
            sets no limit, for short runs.

    Attributes:
        alarm: what finds a collapse.
        messages: all that was said, rank 0 aside in a warning too.

    Raises:
        ValueError: ``every_n_steps`` below 1, or ``max_share`` outside (0, 1].
    """

    def __init__(self, health: "EmbeddingHealth", *, every_n_steps: int = 100, max_share: float | None = 0.01) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, got {every_n_steps}")
        if max_share is not None and not 0 < max_share <= 1:
            raise ValueError(f"max_share must lie in (0, 1], got {max_share}; None sets no limit")
        self.health, self.every_n_steps, self.max_share = health, every_n_steps, max_share
        self.alarm = CollapseAlarm()
        self.messages: list[str] = []
        self._cost = 0.0  # seconds of the last measurement
        self._made = 0  # measurements so far
        self._since: tuple[int, float] | None = None  # step and time of its end
        self._due: int | None = None
        self._lacking = 0  # rows of the measurement that goes on

    def is_due(self, step: int) -> bool:
        """Whether the embeddings of this step are looked at; those of other steps need not be handed in, but are not
        in the way."""
        return self._due is None or self._lacking > 0 or step >= self._due

    def __call__(self, step: int, embeddings: Tensor) -> dict[str, float] | None:
        """Look at a step's embeddings.

        Args:
            step: its number, for the messages; it rises from call to call.
            embeddings: shape (N, K), or (V, N, K), of which the first view is taken.

        Returns:
            The numbers of ``EmbeddingHealth`` at the end of a measurement, else None.

        Raises:
            ValueError: the embeddings have another shape, or are no floating-point numbers; said at the first call, and
                at those that are measured.

        Warns:
            CollapseWarning: a collapse begins (see ``CollapseAlarm``); rank 0 alone warns.
        """
        if self._due is None:
            self.health.first_view(embeddings)
            self.health.prepare()
            self._due = step + self.every_n_steps
            return None
        if not self.is_due(step):
            return None
        device = embeddings.device
        if self._lacking <= 0:
            self._due = self._postponed(step, device)
            if step < self._due:
                return None
            self._due = step + self.every_n_steps  # of the next; this one goes on until its sample is full
            self._lacking = self.health.max_samples
            self._cost = 0.0
        start = self._now(device)
        self.health.update(embeddings)
        self._lacking -= int(total_samples(embeddings.shape[-2], device))
        if self._lacking > 0:
            self._cost += self._now(device) - start
            return None
        numbers = {name: float(value) for name, value in self.health.compute().items()}
        self.health.reset()
        end = self._now(device)
        self._cost += end - start
        self._since, self._made = (step, end), self._made + 1
        self._warn(step, numbers)
        return numbers

    def _postponed(self, step: int, device: torch.device) -> int:
        """The step at which the measurements so far take no more than their share; the same on all ranks."""
        if self.max_share is None or self._since is None or self._made < FIRST:
            return step
        last, then = self._since
        seconds = (time.perf_counter() - then) / max(1, step - last)
        steps = math.ceil(self._cost * (1 / self.max_share - 1) / max(seconds, 1e-9))
        return agreed_step(max(step, last + steps), device)

    def _warn(self, step: int, numbers: dict[str, float]) -> None:
        for message in self.alarm(step, numbers):
            self.messages.append(message)
            if rank() == 0:
                warnings.warn(message, CollapseWarning, stacklevel=3)

    @staticmethod
    def _now(device: torch.device) -> float:
        """The time, after what the device still had to do."""
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()
