"""The loop: seeds, schedule, batches, and what it learns."""

import dataclasses
import itertools
from types import SimpleNamespace

import pytest
import torch

from sigreg_lab.pretrain import PretrainConfig, configure, evaluate, load_data, pretrain
from sigreg_lab.pretrain import config as config_module
from sigreg_lab.pretrain import loop as loop_module
from sigreg_lab.pretrain.loop import Batches, build_encoder, load_again, lr_factor, resolved_precision, spread
from sigreg_lab.pretrain.models import Encoder
from sigreg_lab.regularizers import REGISTRY, Regularizer
from sigreg_lab.regularizers.registry import Entry

TINY = PretrainConfig(steps=3, batch_size=32, num_slices=16)


def _weights(config):
    return torch.cat([p.detach().flatten() for p in pretrain(config).encoder.parameters()])


def test_the_same_seed_agrees_bit_for_bit_and_two_seeds_differ():
    assert torch.equal(_weights(TINY), _weights(TINY))
    assert not torch.equal(_weights(TINY), _weights(dataclasses.replace(TINY, seed=1)))


def test_the_global_random_state_neither_matters_nor_changes():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = _weights(TINY)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(_weights(TINY), first)


def test_regularisers_share_weights_and_batches_but_not_results():
    pixels = load_data("digits").train.pixels
    other = dataclasses.replace(TINY, regularizer="none")
    one, two = build_encoder(TINY, pixels), build_encoder(other, pixels)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(_weights(TINY), _weights(other))


def test_the_learning_rate_warms_up_and_decays_to_a_thousandth():
    config = PretrainConfig(steps=100, warmup=0.1)
    factors = [lr_factor(step, config) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == factors[9] == factors[10] == pytest.approx(1.0)
    assert factors[100] == pytest.approx(1e-3)
    assert all(a >= b for a, b in itertools.pairwise(factors[10:]))


def test_batches_cover_an_epoch_without_repeats_and_orders_change():
    batches = Batches(10, 3, seed=0)
    first = torch.cat([next(batches) for _ in range(3)])
    second = torch.cat([next(batches) for _ in range(3)])
    assert len(first.unique()) == len(second.unique()) == 9
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("count", "most", "rows"), [(10, 4, [0, 3, 6, 9]), (3, 4, [0, 1, 2]), (1, 4, [0]), (0, 4, [])])
def test_images_of_the_online_probe_lie_evenly(count, most, rows):
    """The first 2,048 validation images of a folder are those of its first classes alone."""
    assert spread(count, most).tolist() == rows


def test_data_of_a_run_that_have_moved_are_asked_for():
    with pytest.raises(ValueError, match=r"or the path of images\. The run was trained on gone; .* with --data$"):
        load_again(PretrainConfig(data="gone"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "numbers"}, "unknown data 'numbers'; known: digits"),
        ({"regularizer": "sigreg-xy"}, "unknown regularizer 'sigreg-xy'; did you mean sigreg-ep"),
        ({"backbone": "resnet"}, "unknown backbone 'resnet'; known: small-conv, small-resnet, signal-conv and timm"),
        ({"batch_size": 5000}, "batch_size must lie in 2 .. 997, got 5000"),
        ({"lam": 1.5}, "lam must be 0 .. 1 in the convex form, got 1.5"),
        ({"directions": "uniform"}, "directions must be one of iid, orthogonal, sobol, hd3, fixed, got 'uniform'"),
        ({"regularizer": "vicreg", "directions": "hd3"}, "'vicreg' draws no directions; leave out directions"),
        ({"form": "concave"}, "form must be one of convex, additive"),
    ],
)
def test_bad_configs_are_refused_before_the_first_step(change, message):
    with pytest.raises(ValueError, match=message):
        pretrain(dataclasses.replace(TINY, **change))


def test_runs_take_directions_of_the_kind_asked_for():
    fixed = dataclasses.replace(TINY, directions="fixed")
    assert torch.equal(_weights(fixed), _weights(fixed))
    assert not torch.equal(_weights(fixed), _weights(TINY))


@pytest.mark.parametrize("diagnose_every", [0, 1])
def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(diagnose_every):
    with pytest.raises(FloatingPointError, match=r"at step \d+"):
        pretrain(dataclasses.replace(TINY, lr=1e30, steps=20, diagnose_every=diagnose_every))


def test_a_short_run_beats_the_untrained_encoder_with_few_labels():
    import numpy as np

    seed = np.random.SeedSequence(0)
    config = PretrainConfig(steps=60, batch_size=128, lam=0.01, num_slices=64)
    trained = evaluate(pretrain(config), draws=10, seed=seed)
    untrained = evaluate(pretrain(dataclasses.replace(config, steps=0)), draws=10, seed=seed)
    assert trained["test_1"] > untrained["test_1"] + 0.05
    assert 1 < trained["effective_rank"] < 64


def _linear_encoder(config, pixels):
    """Without batch normalisation and dropout, parts of a batch are the batch."""
    encoder = Encoder(torch.nn.Flatten(), 64, (8,))
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)) / 8)
    return encoder


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"placement": "both"},
        {"swa": 0.9},
        {"regularizer": "sigreg-ad"},
        {"regularizer": "vicreg"},
    ],
    ids=str,
)
@pytest.mark.parametrize("accumulate", [2, 5])
def test_accumulation_gives_the_gradient_of_the_whole_batch(monkeypatch, change, accumulate):
    monkeypatch.setattr(loop_module, "build_encoder", _linear_encoder)
    config = dataclasses.replace(TINY, precision="64-true", num_slices=4, **change)
    digits = load_data("digits")
    wide = dataclasses.replace(digits, train=digits.train._replace(pixels=digits.train.pixels.double()))
    norms, weights = [], []
    for parts in (1, accumulate):
        result = pretrain(dataclasses.replace(config, accumulate=parts, diagnose_every=1), wide)
        norms.append([row["gradient_norm"] for row in result.history])
        weights.append(torch.cat([p.detach().flatten() for p in result.encoder.parameters()]))
    assert norms[0] == pytest.approx(norms[1], rel=1e-9)
    assert torch.allclose(weights[0], weights[1], rtol=1e-6, atol=1e-9)


def test_accumulation_with_batch_normalisation_leaves_running_means_of_one_pass():
    once, twice = pretrain(TINY), pretrain(dataclasses.replace(TINY, accumulate=2))
    counts = [r.encoder.backbone[1].num_batches_tracked.item() for r in (once, twice)]
    assert counts == [3, 6], "one update a part, none by the pass that only looks"


@pytest.mark.parametrize("regularizer", REGISTRY)
def test_every_regulariser_trains_on_digits(regularizer):
    history = pretrain(dataclasses.replace(TINY, regularizer=regularizer, steps=2)).history
    assert all(torch.isfinite(torch.tensor(row["total"])) for row in history)


class _Watched(Regularizer):
    """Mean square of what it gets, which it counts."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def _value(self, z, generator):
        self.seen.append(z.detach())
        return z.square().mean()


@pytest.mark.parametrize("change", [{}, {"predictor": 8}, {"swa": 0.9}, {"prediction": "pairwise", "form": "additive"}])
def test_the_regulariser_is_placed_on_projections_embeddings_or_both(monkeypatch, change):
    """One step from the same weights: what it gets, and how the loss weighs it."""
    monkeypatch.setitem(REGISTRY, "watched", Entry(_Watched))
    runs, kept = {}, {}

    class Kept(loop_module.Run):
        def __init__(self, config, *rest):
            super().__init__(config, *rest)
            kept[config.placement] = [m.seen for m in self.loss_fn.modules() if isinstance(m, _Watched)]

    monkeypatch.setattr(loop_module, "Run", Kept)
    for placement in config_module.PLACEMENTS:
        config = dataclasses.replace(TINY, steps=1, regularizer="watched", placement=placement, **change)
        runs[placement] = pretrain(config).history[0]
    shapes = {placement: [tuple(z.shape) for seen in places for z in seen] for placement, places in kept.items()}
    assert shapes == {"projector": [(4, 32, 32)], "backbone": [(4, 32, 64)], "both": [(4, 32, 32), (4, 32, 64)]}
    assert torch.equal(kept["both"][0][0], kept["projector"][0][0])
    assert torch.equal(kept["both"][1][0], kept["backbone"][0][0])
    values = {placement: row["regularizer"] for placement, row in runs.items()}
    assert values["backbone"] == pytest.approx(float(kept["backbone"][0][0].square().mean()), rel=1e-6)
    assert values["both"] == pytest.approx((values["projector"] + values["backbone"]) / 2, rel=1e-6)
    for row in runs.values():
        assert row["prediction"] == pytest.approx(runs["projector"]["prediction"], rel=1e-6)
        keep = 1.0 if change.get("form") == "additive" else 1 - TINY.lam
        assert row["total"] == pytest.approx(keep * row["prediction"] + TINY.lam * row["regularizer"], rel=1e-5)


def test_on_the_backbone_the_projector_feels_the_prediction_loss_alone():
    """And with the whole weight on the regulariser nothing but weight decay."""
    config = dataclasses.replace(TINY, steps=2, lam=1.0, weight_decay=0.0)
    start = [p.clone() for p in build_encoder(config, load_data("digits").train.pixels).projector.parameters()]
    for placement, moved in (("backbone", False), ("both", True)):
        projector = pretrain(dataclasses.replace(config, placement=placement)).encoder.projector
        changed = [not torch.equal(a, b) for a, b in zip(projector.parameters(), start, strict=True)]
        assert any(changed) == moved


def test_unknown_placements_and_directions_nobody_draws_are_refused():
    with pytest.raises(ValueError, match="placement must be one of projector, backbone, both, got 'head'"):
        pretrain(dataclasses.replace(TINY, placement="head"))
    with pytest.raises(ValueError, match="regularizer 'ksd' draws no directions"):
        pretrain(dataclasses.replace(TINY, regularizer="ksd", directions="hd3"))


class _ReplayedOnTheCPU:
    """What a CUDA graph does: the step that was captured runs again, with its own numbers but for what is prepared."""

    def __init__(self, run, step, rows):
        self._run, self._step, self._rows = run, step, rows.clone()

    def __call__(self, rows):
        self._rows.copy_(rows)
        return self._run.compute(self._step, loop_module.Batch(self._rows), diagnose=False)[0]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"augment": "crops", "regularizer": "sigreg-ad", "placement": "both"},
        {"swa": 0.9, "predictor": 8, "online_probe": True},
    ],
)
def test_a_captured_step_is_the_step(monkeypatch, change):
    config = dataclasses.replace(TINY, steps=8, diagnose_every=5, **change)
    expected = _weights(config)
    monkeypatch.setattr(loop_module, "_Graph", _ReplayedOnTheCPU)
    monkeypatch.setattr(loop_module.Run, "captures", property(lambda _: True, lambda *_: None), raising=False)
    assert torch.equal(_weights(config), expected)


def test_what_looks_at_values_or_reads_ahead_is_not_captured(image_folder):
    data = load_data("digits").train
    assert loop_module.may_capture(TINY, data, 1, loop_module.make_loss(TINY))
    changes = (
        {"regularizer": "sigreg-ep-infinite"},
        {"regularizer": "sigreg-ep-queue"},
        {"directions": "sobol"},
        {"accumulate": 2},
        {"graph": False},
    )
    for change in changes:
        config = dataclasses.replace(TINY, **change)
        assert not loop_module.may_capture(config, data, 1, loop_module.make_loss(config)), change
    streamed = load_data(str(image_folder), memory_gib=1e-9).train
    assert not loop_module.may_capture(TINY, streamed, 1, loop_module.make_loss(TINY))
    assert not loop_module.may_capture(TINY, data, 2, loop_module.make_loss(TINY))


def test_a_predictor_and_an_averaged_encoder_change_the_run():
    plain = _weights(TINY)
    assert not torch.equal(_weights(dataclasses.replace(TINY, swa=0.9))[: len(plain)], plain)
    assert not torch.equal(_weights(dataclasses.replace(TINY, predictor=8))[: len(plain)], plain)


def _steps(config):
    """A run's steps, one by one: the run after each."""
    run = loop_module.Run(config, load_data("digits"), loop_module.make_fabric(config), loop_module.make_loss(config))
    for step, batch in enumerate(run.batches(0)):
        run.step(step, batch, diagnose=False)
        yield run


def test_the_averaged_encoder_is_the_moving_average_from_the_first_step_on():
    expected = None
    for run in _steps(dataclasses.replace(TINY, swa=0.9, predictor=8, steps=5)):
        now = [p.detach().double() for p in run.encoder.parameters()]
        expected = now if expected is None else [0.9 * e + 0.1 * n for e, n in zip(expected, now, strict=True)]
        for mean, value in zip(run.average.parameters(), expected, strict=True):
            torch.testing.assert_close(mean.double(), value, rtol=1e-5, atol=1e-7)
            assert not mean.requires_grad
    assert not torch.equal(now[0], expected[0])


def test_running_statistics_of_the_averaged_encoder_are_those_of_its_own_activations(monkeypatch):
    inputs, averaged = [], loop_module.averaged

    def watched(encoder):
        average = averaged(encoder)
        average.backbone[1].register_forward_pre_hook(lambda _, given: inputs.append(given[0].detach().double()))
        return average

    monkeypatch.setattr(loop_module, "averaged", watched)
    mean, variance, run = 0.0, 1.0, None
    for run in _steps(dataclasses.replace(TINY, swa=0.9, steps=4)):  # noqa: B007
        x = inputs.pop().transpose(0, 1).flatten(1)
        mean, variance = 0.9 * mean + 0.1 * x.mean(1), 0.9 * variance + 0.1 * x.var(1)
    own, other = run.average.backbone[1], run.encoder.backbone[1]
    torch.testing.assert_close(own.running_mean.double(), mean, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(own.running_var.double(), variance, rtol=1e-4, atol=1e-6)
    assert not torch.equal(own.running_mean, other.running_mean)


def test_the_averaged_encoder_sees_the_parts_that_the_encoder_sees():
    """One update of the running statistics a part."""
    (run,) = _steps(dataclasses.replace(TINY, swa=0.9, accumulate=3, steps=1))
    counts = [encoder.backbone[1].num_batches_tracked.item() for encoder in (run.encoder, run.average)]
    assert counts == [3, 3]


def test_the_averaged_encoder_has_no_dropout_and_normalises_by_the_batch(monkeypatch):
    def with_dropout(config, pixels):
        layers = torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.BatchNorm1d(64)
        return Encoder(torch.nn.Sequential(*layers), 64, (8,))

    monkeypatch.setattr(loop_module, "build_encoder", with_dropout)
    (run,) = _steps(dataclasses.replace(TINY, swa=0.9, steps=1))
    views = [torch.rand(4, 32, 1, 8, 8, generator=torch.Generator().manual_seed(0))]
    first, second = (run._average_targets(views[0], [torch.arange(32)]) for _ in range(2))
    assert torch.equal(first, second)
    assert run.encoder.training
    flat = views[0].flatten(0, 1).flatten(1)
    normalised = (flat - flat.mean(0)) / (flat.var(0, correction=0) + 1e-5).sqrt()
    layer = run.average.backbone[2]
    expected = run.average.projector(layer.weight * normalised + layer.bias).unflatten(0, (4, 32))
    torch.testing.assert_close(first, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "said",
    [
        "Timed out waiting 4000ms for recv operation to complete",
        "Watchdog caught collective operation timeout: WorkNCCL() ran for 60001 milliseconds before timing out.",
        "NCCL error: remote process exited or there was a network error, NCCL version 2.27",
        "NCCL communicator was aborted on rank 0.",
    ],
)
def test_a_process_left_alone_says_so_in_one_line(monkeypatch, said):
    def alone(*arguments):
        raise torch.distributed.DistBackendError(said)

    monkeypatch.setitem(loop_module.VIEWS, "affine", alone)
    monkeypatch.setattr(loop_module, "world_size", lambda: 2)
    with pytest.raises(RuntimeError, match="process 0: another process of the run has ended, or has not answered"):
        pretrain(TINY)


@pytest.mark.parametrize("prediction", ["centroid", "pairwise"])
@pytest.mark.parametrize("change", [{}, {"predictor": 8}, {"swa": 0.9}, {"predictor": 8, "swa": 0.9}], ids=str)
def test_predictor_and_average_keep_the_prediction_loss_that_was_asked_for(monkeypatch, change, prediction):
    """In the first step the averaged encoder is the encoder."""
    config = dataclasses.replace(TINY, steps=1, batch_size=4, num_views=3, prediction=prediction, **change)
    seen, outputs_of = [], loop_module.Run._outputs
    monkeypatch.setattr(loop_module.Run, "_outputs", lambda *a, **k: seen.append(outputs_of(*a, **k)) or seen[-1])
    (row,) = pretrain(config).history
    z = seen[0][0].detach().double()
    z, predicted = z.chunk(2, -1) if config.predictor else (z, z)
    views, images = range(3), range(4)
    if prediction == "pairwise":
        distances = [(z[g, n] - predicted[v, n]).square().mean() for g in views for v in views for n in images]
    else:
        distances = [(z[:, n].mean(0) - predicted[v, n]).square().mean() for v in views for n in images]
    assert row["prediction"] == pytest.approx(float(torch.stack(distances).mean()), rel=1e-5)
    assert row["total"] == pytest.approx(0.95 * row["prediction"] + 0.05 * row["regularizer"], rel=1e-6)


def test_diagnostics_are_reported_when_due():
    history = pretrain(dataclasses.replace(TINY, diagnose_every=2, online_probe=True)).history
    assert [("gradient_norm_regularizer" in row, "probe_accuracy" in row) for row in history] == [
        (True, True), (False, False), (True, True)
    ]  # fmt: skip
    last = history[-1]
    assert 1 <= last["projection_rank"] <= 32
    assert 0 < last["outside_share"] < 1
    assert last["gradient_norm_prediction"] > 0
    assert last["images_per_second"] > 0


def test_reporting_changes_nothing():
    assert torch.equal(_weights(TINY), _weights(dataclasses.replace(TINY, log_every=2, diagnose_every=1)))


def test_a_loss_that_is_not_finite_names_step_batch_and_last_checkpoint(monkeypatch, tmp_path):
    config = dataclasses.replace(TINY, checkpoint_minutes=0.0, steps=6)
    augment = loop_module.Run.augment

    def broken(self, pixels):
        return [views * (float("inf") if self._steps == 4 else 1) for views in augment(self, pixels)]

    monkeypatch.setattr(loop_module.Run, "augment", broken)
    rows = Batches(997, 32, seed=0, start=3).__next__()[:2].tolist()
    message = (
        rf"at step 3, batch of training images {rows[0]}, {rows[1]}, .*good checkpoint: checkpoint\.pt, after 3 steps"
    )
    with pytest.raises(FloatingPointError, match=message):
        pretrain(config, folder=tmp_path)


def test_out_of_memory_is_one_line_with_the_remedy(monkeypatch):
    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB\nmore lines")

    monkeypatch.setitem(loop_module.VIEWS, "affine", full)
    with pytest.raises(MemoryError, match="out of memory on cpu at batch_size=32, accumulate=1; raise accumulate"):
        pretrain(TINY)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_a_missing_gpu_is_said():
    with pytest.raises(ValueError, match="device=cuda, but PyTorch sees no CUDA GPU here"):
        pretrain(dataclasses.replace(TINY, device="cuda"))


def test_bf16_is_the_default_on_a_gpu_that_has_it_and_refused_where_it_is_not(monkeypatch):
    cuda, config = torch.device("cuda"), PretrainConfig()
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert resolved_precision(config, cuda) == "bf16-mixed"
    assert resolved_precision(config, torch.device("cpu")) == "32-true"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    assert resolved_precision(config, cuda) == "32-true"
    with pytest.raises(ValueError, match="this GPU does not compute in bfloat16"):
        resolved_precision(dataclasses.replace(config, precision="bf16-mixed"), cuda)


@pytest.mark.parametrize("change", [{"swa": 1.0}, {"accumulate": 20}, {"augment": "blur"}, {"precision": "16-true"}])
def test_options_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        pretrain(dataclasses.replace(TINY, **change))


#: What makes a recipe of the documentation small; everything else stays as it is.
SMALL = ["epochs=0", "steps=2", "batch_size=4", "num_slices=8", "projector=16,8", "log_every=1", "diagnose_every=1"]


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        ("images", []),
        ("cifar10-resnet18", []),
        ("imagenette-vit-s8", ["image_size=32"]),
        (
            "multicrop-vit",
            ["image_size=32", "crops.local_size=16", "patch_size=8", "accumulate=2", "register_tokens=1"],
        ),
        ("cifar10-small", ["precision=bf16-mixed"]),
        # Half a minute each where bfloat16 is emulated.
        pytest.param("cifar10-resnet18", ["precision=bf16-mixed"], marks=pytest.mark.long),
        pytest.param("imagenette-vit-s8", ["image_size=32", "precision=bf16-mixed"], marks=pytest.mark.long),
    ],
)
def test_the_recipes_run_a_few_steps_on_a_folder_never_seen(image_folder, recipe, changes):
    config = configure(str(image_folder), "sigreg-ep", 0, [*SMALL, *changes], recipe)
    result = pretrain(config)
    assert len(result.history) == 2
    assert all(torch.isfinite(torch.tensor(row["total"])) for row in result.history)
    features, labels = result.features(result.data.test)
    assert features.projection.shape == (6, 8)
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_a_stream_trains_as_memory_does(image_folder):
    config = configure(str(image_folder), "sigreg-ep", 0, [*SMALL, "backbone=resnet10t", "online_probe=false"])
    streamed = dataclasses.replace(config, memory_gib=1e-9, steps=4)
    assert torch.equal(_weights(dataclasses.replace(config, steps=4)), _weights(streamed))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("projector=-1", r"projector must lie in \[1, inf\), got \(-1,\)"),
        ("steps=-3", r"steps must lie in \[0, inf\), got -3"),
        ("warmup=-1", r"warmup must lie in \[0, 1\]"),
        ("drop_path=2", r"drop_path must lie in \[0, 1\)"),
        ("embedding_dim=-4", "embedding_dim must lie in"),
        ("lr=0", r"lr must lie in \(0, inf\)"),
        ("crops.flip=1.5", r"crops.flip must lie in \[0, 1\]"),
        ("crops.hue=0.7", r"crops.hue must lie in \[0, 0.5\]"),
        ("crops.global_scale=0.9,0.2", "crops.global_scale must be two numbers, from the smaller .*, got 0.9, 0.2"),
        ("crops.global_scale=0.5", "crops.global_scale must be two numbers, .*, got 0.5"),
        ("crops.ratio=1,2,3", "crops.ratio must be two numbers, .*, got 1.0, 2.0, 3.0"),
        ("crops.global_views=0", "crops.global_views must lie in"),
        ("views.noise=0.2", "augment='crops' does not look at views"),
        ("num_views=2", "augment='crops' does not look at num_views; set crops.global_views"),
        ("drop_path=0.1", "backbone small-resnet has no drop_path"),
        ("register_tokens=2", "backbone small-resnet has no register_tokens"),
    ],
)
def test_numbers_out_of_range_and_settings_without_effect_are_refused(image_folder, change, message):
    with pytest.raises(ValueError, match=message):
        pretrain(configure(str(image_folder), "sigreg-ep", 0, [*SMALL, change], "images-small"))


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1.0])
@pytest.mark.parametrize("name", ["epochs", "checkpoint_minutes", "lr", "weight_decay", "wait_seconds", "lam"])
def test_numbers_that_are_none_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        pretrain(dataclasses.replace(TINY, **{name: value}))


def test_every_number_of_a_run_has_an_interval():
    numbers = {f.name for f in dataclasses.fields(PretrainConfig) if f.type in ("int", "float", "tuple[int, ...]")}
    assert numbers - set(config_module.INTERVALS) <= {"max_megapixels"}  # whose limits load_data checks
    for part, kind in config_module.PARTS.items():
        assert set(config_module._VIEW_INTERVALS[part]) == set(kind._fields)


def test_more_parts_than_a_process_has_images_are_refused(monkeypatch):
    """Each process needs an image for each part, else they would wait in different collectives."""
    monkeypatch.setattr(loop_module, "make_fabric", lambda config: SimpleNamespace(world_size=4))
    with pytest.raises(ValueError, match=r"batch_size=10 .*start at most 2 processes, or lower accumulate"):
        pretrain(dataclasses.replace(TINY, batch_size=10, accumulate=5))
