"""A run that costs nothing: accuracy as a curve over lambda, effects of seeds and images, and noise."""

import functools
import math
from concurrent.futures import Executor, Future
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from sigreg_lab.compare.measure import packed
from sigreg_lab.compare.protocol import Protocol
from sigreg_lab.compare.runs import Candidate, Settings, make_runs
from sigreg_lab.experiment.store import Store
from sigreg_lab.pretrain import PretrainConfig

CRITERION = "backbone_linear_all"
FEW = "backbone_few-shot_10"


class Inline(Executor):
    """Runs at once what is submitted."""

    def submit(self, function, /, *arguments, **named):
        future = Future()
        try:
            future.set_result(function(*arguments, **named))
        except BaseException as error:
            future.set_exception(error)
        return future


@functools.lru_cache(maxsize=8)
def _difficulty(trial, split, images):
    return np.random.default_rng([trial, split]).standard_normal(images)


class Surrogate:
    """The logit of a right answer: 2 - curvature log(w / best)^2, with effects of run seed, run and image.

    Two names differ in their runs' noise alone, unless ``gain`` says otherwise. With ``slope`` there is a probe with
    few labels, whose accuracy falls by it with each factor e of lambda.
    """

    def __init__(self, trial=0, *, curvature=0.02, noise=0.2, images=300, best=0.06, gain=None, slope=0.0):
        self.trial, self.curvature, self.noise, self.images = trial, curvature, noise, images
        self.best, self.gain, self.slope, self.calls = best, gain or {}, slope, []

    def __call__(self, config):
        self.calls.append((config.regularizer, config.lam, config.seed, config.steps))
        who = int.from_bytes(config.regularizer.encode(), "little") % 2**31
        weight = config.lam / (1 - config.lam)
        own = np.random.default_rng([self.trial, 0, who, config.seed, int(1e9 * weight), config.steps])
        seed = np.random.default_rng([self.trial, 1, config.seed])
        logit = 1.5 if not weight else 2 - self.curvature * math.log(weight / self.best) ** 2
        logit += self.gain.get(config.regularizer, 0.0)
        logit += self.noise * (0.5 * seed.standard_normal() + own.standard_normal())
        row = {"right": {}, "images": self.images, "collapsed": False}
        for split in (2, 3):
            difficulty = _difficulty(self.trial, split, self.images)
            right = own.random(self.images) < 1 / (1 + np.exp(-logit - 1.5 * difficulty))
            row[f"{'validation' if split == 2 else 'test'}_{CRITERION}"] = float(right.mean())
            row["right"][CRITERION] = packed(right)
            if self.slope and weight:
                few = 0.5 - self.slope * math.log(weight / self.best) + 0.01 * own.standard_normal()
                row[f"{'validation' if split == 2 else 'test'}_{FEW}"] = few
        return row


def candidates(*names):
    """Regularisers by any name, and the controls."""
    controls = [Candidate(name, "none", {"head": name}) for name in ("none", "untrained")]
    return [Candidate(name, name, {"head": name}) for name in names] + controls


def settings(measure, **protocol):
    """A comparison of surrogates."""
    return Settings(PretrainConfig(), {"name": "made up"}, Protocol(**protocol), measure, {"code": "1"})


def run(shared, who, store=None, **options):
    """Make the runs, one after the other, in this process."""
    store = store or Store(Path(":memory:"))
    return make_runs(shared, who, store, lambda: nullcontext(Inline()), **{"workers": 1, **options})
