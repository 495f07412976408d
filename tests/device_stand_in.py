"""``benchmarks.device`` on the CPU: CUDA's calls replaced, kernels in Triton's interpreter, everything small.

A captured call is run at its capture as at each replay; what it returned is overwritten in place.
"""

import os
import sys

os.environ["TRITON_INTERPRET"] = "1"

import torch

from benchmarks import device, gpu
from sigreg_lab.pretrain import loop

torch.set_num_threads(1)


def captured(call, *generators):
    outputs = call()

    def replay():
        for old, new in zip(_tensors(outputs), _tensors(call()), strict=True):
            old.data.copy_(new.data)

    return replay, outputs


def captured_step(call, *generators):
    """Of a step, which changes weights: a capture executes nothing."""
    terms = torch.zeros(3)
    return (lambda: terms.copy_(call())), terms


def _tensors(outputs):
    return [] if outputs is None else list(outputs) if isinstance(outputs, tuple) else [outputs]


def replace():
    for name in ("synchronize", "reset_peak_memory_stats"):
        setattr(torch.cuda, name, lambda *_: None)
    torch.cuda.memory_allocated = torch.cuda.max_memory_allocated = lambda *_: 0
    gpu.DEVICE = device.DEVICE = "cpu"
    gpu.captured = device.captured = captured
    loop.captured = captured_step
    loop.Run.captures = property(lambda run: loop.may_capture(run.config, run.train, 1, run.loss_fn), lambda *_: None)
    loop.resolved_precision = lambda config, device: "32-true"
    make_fabric = loop.make_fabric
    loop.make_fabric = device.make_fabric = lambda config: make_fabric(
        loop.dataclasses.replace(config, device="cpu", precision="32-true")
    )
    gpu.LARGE, gpu.TABLE_6, gpu.HADAMARD_LARGE = (64, 16, 64), [(64, 64, 16, 0.5)], (32, 32, 64)
    gpu.CHECKED, gpu.HADAMARD_CHECKED, gpu.NARROW_DIMS = (((63, 16, 33), 17), ((40, 20, 17), 42)), (32,), (16,)
    device.SHAPE, device.TURNS, device.STEPS, device.PIL_TURNS = (2, 32, 16), 2, 2, 1
    device.TRAINING_SECONDS, device.LAMBDAS = 0.2, (0.02, 0.3)
    device.CANDIDATES = (("embedding_dim=16", "embedding_dim=24"), ("lr=4e-3",))
    device.REGISTRY = {name: None for name in ("sigreg-ep", "sigreg-ad", "koleo", "sigreg-ep-infinite", "none")}
    device.DIRECTIONS = {"hd3": None, "sobol": None}
    loss = gpu.loss
    gpu.loss = lambda *arguments, quick: loss(*arguments, quick=True)
    device.COMMAND = (sys.executable, "-m", "tests.device_stand_in")


if __name__ == "__main__":
    replace()
    device.main()
