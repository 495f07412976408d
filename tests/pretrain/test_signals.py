"""MNIST-1D as its authors make it, views of signals, and a run on them."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from sigreg_lab.pretrain import configure, evaluate, load_data, pretrain
from sigreg_lab.pretrain.signals import LENGTH, NOISE, SignalConfig, make_signal_views, make_signals
from sigreg_lab.slicing import seeded_generator

STILL = SignalConfig(shift=0.0, scale=0.0, noise=0.0, mask=0.0)
X = torch.randn(50, 1, LENGTH, generator=torch.Generator().manual_seed(0))


def published_sample(label, rng):
    """One signal by the published recipe, step by step: pad, stretch, scale, turn, noise, shear, sample."""
    from scipy.ndimage import gaussian_filter

    from sigreg_lab.pretrain.signals import TEMPLATES

    t = TEMPLATES - TEMPLATES.mean(1, keepdims=True)
    t /= t.std(1, keepdims=True)
    x = (t - t[:, :1])[label] / 6 + 1e-8

    def resample(x, n):
        return np.interp(np.linspace(0, 1, n), np.linspace(0, 1, len(x)), x)

    x = resample(np.concatenate([x, np.zeros(36 + int(rng.random() * 25))]), 72)
    x = np.roll(x * (1 + 0.4 * (rng.random() - 0.5)), rng.integers(48))
    x = np.where(x != 0, x, gaussian_filter(0.25 * rng.standard_normal(72), 2)) + 2e-2 * rng.standard_normal(72)
    return resample(x - 0.75 * (rng.random() - 0.5) * np.linspace(-0.5, 0.5, 72), LENGTH)


def test_signals_follow_the_law_of_the_published_recipe():
    rng = np.random.default_rng(1)
    ours, labels = make_signals(300, rng)
    pvalues = []
    for label in range(10):
        theirs = np.stack([published_sample(label, rng) for _ in range(300)])
        own = ours[labels == label]
        assert own.shape == theirs.shape
        for summary in (lambda x: x[:, 0], lambda x: x[:, 20], lambda x: x.std(1), lambda x: np.abs(np.diff(x)).max(1)):
            pvalues.append(stats.ks_2samp(summary(own), summary(theirs)).pvalue)
    assert min(pvalues) > 1e-3 / len(pvalues)  # one false alarm in a thousand, over all of them


def test_the_noise_alone_differs_from_point_to_point():
    assert make_signals(2, np.random.default_rng(0))[0].std() > 3 * NOISE


def test_the_data_set_is_always_the_same_and_balanced():
    data, again = load_data("mnist1d"), load_data("mnist1d")
    assert torch.equal(data.train.pixels, again.train.pixels)
    sizes = [tuple(s.pixels.shape) for s in (data.train, data.validation, data.test)]
    assert sizes == [(4000, 1, LENGTH), (1000, 1, LENGTH), (1000, 1, LENGTH)]
    assert torch.bincount(data.train.labels).tolist() == [400] * 10
    assert data.train.pixels.mean().abs() < 1e-6
    small = load_data("mnist1d", images_per_class=7).train
    assert torch.bincount(small.labels).tolist() == [7] * 10


def test_with_everything_off_views_are_the_signals():
    assert torch.equal(make_signal_views(X, 3, seeded_generator(0), STILL), X.expand(3, -1, -1, -1))


@pytest.mark.parametrize("name", SignalConfig._fields)
def test_each_change_does_what_it_says(name):
    config = STILL._replace(**{name: 0.25})
    views = make_signal_views(X, 400, seeded_generator(0), config)
    if name == "shift":
        assert torch.equal(views.sort(-1).values[0], X.sort(-1).values), "a shift moves numbers around"
        turned = torch.stack([X.roll(s, -1) for s in range(-10, 11)])
        assert (turned[:, None] == views).all(-1).any(0).all()
    elif name == "scale":
        factor = (views / X)[..., 0]
        assert 0.75 <= factor.min() < 0.76
        assert 1.24 < factor.max() <= 1.25
    elif name == "noise":
        error = (views - X).std().item()
        assert abs(error / 0.25 - 1) < 4 / (2 * views.numel()) ** 0.5
    else:
        share = (views == 0).float().mean(-1)
        assert share.max() == 0.25
        assert abs(share.mean().item() - 0.125) < 0.01


def test_views_depend_on_the_generator_alone():
    config = SignalConfig()
    one, same, other = (make_signal_views(X, 2, seeded_generator(s), config) for s in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_run_beats_the_untrained_encoder():
    config = configure("mnist1d", "sigreg-ep", 0)
    seed = np.random.SeedSequence(0)
    trained = evaluate(pretrain(config), draws=5, seed=seed)
    untrained = evaluate(pretrain(dataclasses.replace(config, steps=0)), draws=5, seed=seed)
    for shots, gain in (("all", 0.03), ("5", 0.05)):
        assert trained[f"test_{shots}"] > untrained[f"test_{shots}"] + gain


def test_what_does_not_fit_is_said():
    with pytest.raises(ValueError, match="backbone resnet18 takes images, but the samples have shape"):
        pretrain(configure("mnist1d", "sigreg-ep", 0, ["backbone=resnet18"]))
    with pytest.raises(ValueError, match="backbone small-conv does not take views of 1x40"):
        pretrain(configure("mnist1d", "sigreg-ep", 0, ["backbone=small-conv"]))
    with pytest.raises(ValueError, match="augment='crops' makes views of images, but mnist1d holds samples of shape"):
        pretrain(configure("mnist1d", "sigreg-ep", 0, ["augment=crops"]))
    with pytest.raises(ValueError, match="augment='signals' makes views of signals, but digits holds samples of shape"):
        pretrain(configure("digits", "sigreg-ep", 0, ["augment=signals"]))


def test_the_documented_kind_of_ones_own_runs():
    page = (Path(__file__).parents[2] / "docs" / "pretraining.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert example.count("\n") <= 20
    names = {}
    try:
        exec(example, names)
        assert len(names["run"].history) == 20
        scores = names["evaluate"](names["run"], draws=1, seed=np.random.SeedSequence(0))
        assert 0.5 <= scores["test_all"] <= 1
    finally:
        for registry, name in (("MADE_HERE", "beats"), ("VIEWS", "louder"), ("BACKBONES", "dense")):
            names[registry].pop(name, None)
