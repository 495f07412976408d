"""The callback in a Lightning trainer: it logs, warns of a collapse with the step, and goes on after a checkpoint."""

import pytest
import torch

from sigreg_lab.regularizers import LeJEPALoss, make_regularizer

pl = pytest.importorskip("lightning.pytorch")

from sigreg_lab.monitor import CollapseWarning, EmbeddingHealthCallback  # noqa: E402  (refused without Lightning)

STEPS, DIM = 120, 8


class Pretraining(pl.LightningModule):
    def __init__(self, lam):
        super().__init__()
        self.backbone = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.ReLU())
        self.projector = torch.nn.Linear(64, DIM)
        self.loss_fn = LeJEPALoss(make_regularizer("sigreg-ep", num_slices=64), lam=lam)

    def training_step(self, batch, batch_idx):
        views = torch.cat([batch + 0.3 * torch.randn_like(batch) for _ in range(2)])
        z = self.projector(self.backbone(views)).unflatten(0, (2, -1))
        return self.loss_fn(z).total

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 3e-3)


def fit(tmp_path, lam, callback, *, steps=STEPS, logger=False, checkpoint=None):
    pl.seed_everything(0, verbose=False)
    loader = torch.utils.data.DataLoader(torch.randn(64 * 4, 32), batch_size=64)
    trainer = pl.Trainer(
        max_steps=steps, callbacks=[callback], logger=logger, accelerator="cpu", enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, default_root_dir=tmp_path, log_every_n_steps=1,
    )  # fmt: skip
    model = Pretraining(lam)
    trainer.fit(model, loader, ckpt_path=checkpoint, weights_only=False)
    return trainer, model


def watching(**options):
    options = {"num_views": 2, "every_n_steps": 10, "max_share": None, "max_samples": 64} | options
    return EmbeddingHealthCallback("projector", **options)


def test_a_collapse_is_warned_of_with_the_step_and_logged(tmp_path):
    from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

    callback = watching()
    loggers = [TensorBoardLogger(tmp_path, name="board"), CSVLogger(tmp_path, name="csv")]
    with pytest.warns(CollapseWarning, match=r"^step \d+: the embeddings collapse to ") as caught:
        fit(tmp_path, 0.0, callback, logger=loggers)
    said = [str(one.message) for one in caught if issubclass(one.category, CollapseWarning)]
    assert said == callback.monitor.messages
    assert [row["step"] for row in callback.history] == list(range(10, STEPS, 10))
    assert callback.history[0]["num_samples"] == 64, "of two views the first"
    assert callback.history[-1]["variance_mean"] < 0.1 * callback.history[0]["variance_mean"]

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(loggers[0].log_dir).Reload()
    logged = [(event.step, event.value) for event in board.Scalars("health/effective_rank")]
    expected = [(row["step"], row["effective_rank"]) for row in callback.history]
    assert logged == [pytest.approx(pair) for pair in expected]
    assert "health/effective_rank" in (tmp_path / "csv" / "version_0" / "metrics.csv").read_text()


def test_a_run_that_keeps_its_dimensions_is_not_warned_of(tmp_path, recwarn):
    callback = watching()
    fit(tmp_path, 0.5, callback)
    assert [str(one.message) for one in recwarn if issubclass(one.category, CollapseWarning)] == []
    assert callback.history[-1]["effective_rank"] > 6


def test_what_was_said_is_not_said_again_after_a_checkpoint(tmp_path):
    first = watching()
    with pytest.warns(CollapseWarning):
        trainer, _ = fit(tmp_path, 0.0, first)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    second = watching()
    fit(tmp_path, 0.0, second, steps=STEPS + 25, checkpoint=tmp_path / "last.ckpt")
    assert second.monitor.alarm.best[0] >= first.monitor.alarm.best[0]
    assert second.history
    assert not {m.split(": ", 1)[1][:35] for m in first.monitor.messages} & {
        m.split(": ", 1)[1][:35] for m in second.monitor.messages
    }


def test_by_default_the_first_measurement_of_a_short_run_is_made(tmp_path):
    """Steps here take a millisecond or so: 1% of the time would leave none. 16 steps of 64 rows fill the sample."""
    callback = EmbeddingHealthCallback("projector", num_views=2)
    fit(tmp_path, 0.5, callback)
    assert [row["step"] for row in callback.history] == [115]


def test_the_hook_is_taken_off_and_validation_does_not_count(tmp_path):
    callback = watching()
    _, model = fit(tmp_path, 0.5, callback, steps=12)
    assert not model.projector._forward_hooks
    model.eval()
    callback._keep(model.projector, (), torch.zeros(4, DIM))
    assert callback._output is None


def test_wrong_names_and_outputs_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"module: Pretraining has no 'head'; it has backbone, projector, loss_fn"):
        fit(tmp_path, 0.5, EmbeddingHealthCallback("head"))
    with pytest.raises(ValueError, match=r"module: the output of 'loss_fn' must be a tensor \(N, K\), got LeJEPATerms"):
        fit(tmp_path, 0.5, EmbeddingHealthCallback("loss_fn"))
    with pytest.raises(ValueError, match="num_views must be at least 1"):
        EmbeddingHealthCallback("projector", num_views=0)
