"""The loop: seeds, schedule, batches, and what it learns."""

import dataclasses
import itertools

import pytest
import torch

from sigreg_lab.pretrain import PretrainConfig, evaluate, load_data, pretrain
from sigreg_lab.pretrain.loop import Batches, build_encoder, lr_factor

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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "numbers"}, "unknown data 'numbers'; known: digits"),
        ({"regularizer": "sigreg-xy"}, "unknown regularizer 'sigreg-xy'; known: sigreg-ep"),
        ({"backbone": "resnet"}, "unknown backbone 'resnet'; known: small-conv"),
        ({"batch_size": 5000}, "batch_size must lie in 2 .. 997, got 5000"),
        ({"lam": 1.5}, "lam must be 0 .. 1 in the convex form, got 1.5"),
        ({"form": "concave"}, "form must be one of convex, additive"),
    ],
)
def test_bad_configs_are_refused_before_the_first_step(change, message):
    with pytest.raises(ValueError, match=message):
        pretrain(dataclasses.replace(TINY, **change))


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step():
    with pytest.raises((FloatingPointError, ValueError), match=r"at step \d+|NaN"):
        pretrain(dataclasses.replace(TINY, lr=1e30, steps=20))


def test_a_short_run_beats_the_untrained_encoder_with_few_labels():
    import numpy as np

    seed = np.random.SeedSequence(0)
    config = PretrainConfig(steps=60, batch_size=128, lam=0.01, num_slices=64)
    trained = evaluate(pretrain(config), draws=10, seed=seed)
    untrained = evaluate(pretrain(dataclasses.replace(config, steps=0)), draws=10, seed=seed)
    assert trained["test_1"] > untrained["test_1"] + 0.05
    assert 1 < trained["effective_rank"] < 128
