"""``EmbeddingHealthCallback``: ``HealthMonitor`` as a Lightning callback."""

from typing import Any

import torch
from torch import Tensor

from sigreg_lab.monitor.metric import EmbeddingHealth
from sigreg_lab.monitor.watch import HealthMonitor

try:
    from lightning.pytorch import Callback
except ImportError:
    try:
        from pytorch_lightning import Callback
    except ImportError as error:
        raise ImportError("EmbeddingHealthCallback needs Lightning: pip install 'sigreg-lab[monitor]'") from error


class EmbeddingHealthCallback(Callback):
    """Watches the output of one module of a ``LightningModule``, logs its health, and warns of a collapse.

    The numbers of ``EmbeddingHealth`` go to every logger of the trainer (TensorBoard, W&B, ..), as ``health/NAME``.

    Args:
        module: name of the module whose output is looked at, such as "projector" (``get_submodule``); its output has
            shape (N, K), (V, N, K) or (V N, K). Of several calls in one step the first counts.
        num_views: V, where the output holds V views one after the other, shape (V N, K); the first is taken.
        every_n_steps, max_share: see ``HealthMonitor``.
        **options: see ``EmbeddingHealth``.

    Attributes:
        monitor: the ``HealthMonitor``, from the first training batch on.
        history: the numbers of each measurement, with their step.

    Raises:
        ImportError: torchmetrics or Lightning is not installed.
        ValueError: when training begins: the module is not there, or its output is no tensor of such a shape.
    """

    def __init__(
        self,
        module: str,
        *,
        num_views: int = 1,
        every_n_steps: int = 100,
        max_share: float | None = 0.01,
        **options: Any,
    ) -> None:
        super().__init__()
        if num_views < 1:
            raise ValueError(f"num_views must be at least 1, got {num_views}")
        self.module, self.num_views = module, num_views
        self.every_n_steps, self.max_share, self.options = every_n_steps, max_share, options
        self.monitor: HealthMonitor | None = None
        self.history: list[dict[str, float]] = []
        self._output: Tensor | None = None
        self._hook: Any = None
        self._step = 0
        self._alarm_state: dict[str, Any] | None = None

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        try:
            watched = pl_module.get_submodule(self.module)
        except AttributeError:
            names = ", ".join(name for name, _ in pl_module.named_children())
            raise ValueError(f"module: {type(pl_module).__name__} has no {self.module!r}; it has {names}") from None
        self._hook = watched.register_forward_hook(self._keep)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._output, self._step = None, trainer.global_step

    def _keep(self, module: torch.nn.Module, arguments: Any, output: Any) -> None:
        if not module.training or self._output is not None:
            return
        if not isinstance(output, Tensor) or output.ndim not in (2, 3):
            shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(f"module: the output of {self.module!r} must be a tensor (N, K), got {shape}")
        if self.monitor is None or self.monitor.is_due(self._step):
            view = output.detach()
            self._output = view[: len(view) // self.num_views] if view.ndim == 2 else view

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        z, self._output = self._output, None
        if z is None:
            return
        if self.monitor is None:
            health = EmbeddingHealth(z.shape[-1], **self.options).to(z.device)
            self.monitor = HealthMonitor(health, every_n_steps=self.every_n_steps, max_share=self.max_share)
            if self._alarm_state is not None:
                self.monitor.alarm.load_state_dict(self._alarm_state)
        numbers = self.monitor(self._step, z)
        if numbers is not None:
            self.history.append({"step": self._step, **numbers})
            for logger in trainer.loggers:
                logger.log_metrics({f"health/{name}": value for name, value in numbers.items()}, step=self._step)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def state_dict(self) -> dict[str, Any]:
        return {"alarm": self.monitor.alarm.state_dict()} if self.monitor is not None else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._alarm_state = state_dict.get("alarm")
