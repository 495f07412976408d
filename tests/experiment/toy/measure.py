"""The mean of draws, which takes no time to speak of."""

import time

import numpy as np
import torch


def measure(cell, settings, seed):
    """One row."""
    if cell["seed"] == settings["fail_at"]:
        raise SystemExit("as asked")  # which is no Exception
    time.sleep(settings["pause"])
    values = np.random.default_rng(seed).normal(cell["shift"], settings["scale"], settings["draws"])
    return [{"mean": float(values.mean()), "threads": torch.get_num_threads()}]
