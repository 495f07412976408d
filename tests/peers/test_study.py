"""The study of peers knows which directions the peers draw."""

import sys

import pytest
import torch

from sigreg_lab.experiment.study import load_study

STUDY = load_study("peers")
CONTESTANTS = sys.modules[STUDY.measure.__module__].contestants


@pytest.mark.parametrize("contestant", ["lightly gathering", "lightly", "stable-pretraining"])
def test_the_formula_on_the_directions_that_a_peer_draws_is_its_value(contestant):
    x = CONTESTANTS.batch(1, 48, 6, near=False)
    found, gradient = CONTESTANTS.value_and_gradient(CONTESTANTS.build(contestant, 16, seed=5), x.float())
    a, other = (CONTESTANTS.directions(contestant, x.float(), 16, seed) for seed in (5, 6))
    value, expected = CONTESTANTS.value_and_gradient(lambda z: CONTESTANTS.exact(z, a), x)
    torch.testing.assert_close(found, value, rtol=1e-5, atol=0)
    assert float((gradient - expected).norm() / expected.norm()) < 1e-4
    assert float((CONTESTANTS.exact(x, other) / value - 1).abs()) > 1e-3


def test_versions_are_told():
    from importlib import metadata

    for contestant, package in CONTESTANTS.PACKAGES.items():
        assert CONTESTANTS.version(contestant) == metadata.version(package)
