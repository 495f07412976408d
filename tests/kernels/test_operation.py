"""How the operations are registered, and what a process pays for their first call."""

import os
import subprocess
import sys

import pytest

FIRST_CALLS = """
import sys, torch
from sigreg_lab.kernels import characteristic_function, gaussian_grid, hd3_project
from sigreg_lab.kernels import matmul, sliced_epps_pulley, sort_samples
import sigreg_lab.adapters, sigreg_lab.monitor, sigreg_lab.multivariate
from sigreg_lab.regularizers import LeJEPALoss, make_regularizer

x = torch.ones(20, 16, requires_grad=True)
grid = gaussian_grid(3.0, 17, 2**0.5, x.device)
c, s = characteristic_function(matmul(x, torch.eye(16)), 3.0, 17)
slow = sliced_epps_pulley(x, torch.eye(16), 3.0, 17, *grid) + c.sum() + s.sum()
(slow + sort_samples(x).sum() + hd3_project(x, torch.ones(1, 3, 16)).sum()).backward()
assert x.grad.isfinite().all()
LeJEPALoss(make_regularizer("sigreg-ep", num_slices=16))(torch.randn(2, 20, 16, requires_grad=True)).total.backward()
compilers = ("torch._dynamo", "torch._inductor")
print("loaded:", *sorted({name.split(".")[1] for name in sys.modules if name.startswith(compilers)}))
"""

READABLE = os.access("/proc/self/clear_refs", os.W_OK)
PEAK = """
import re, torch
from pathlib import Path
from sigreg_lab.kernels import gaussian_grid, sliced_epps_pulley

def loss(x):
    return sliced_epps_pulley(x, directions, 3.0, 17, *gaussian_grid(3.0, 17, 2**0.5, x.device))

def mib(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

generator = torch.Generator().manual_seed(0)
directions = torch.randn(512, 1024, generator=generator) / 512**0.5
x = torch.randn(8192, 512, generator=generator).requires_grad_()
loss(torch.randn(64, 512, generator=generator).requires_grad_()).backward()
Path("/proc/self/clear_refs").write_text("5")
before = mib("VmRSS")
loss(x).backward()
print(mib("VmHWM") - before)
"""


@pytest.fixture(scope="module")
def said():
    """Output of a process of one thread, whose malloc gives back what it gets back.

    glibc's, left alone, keeps blocks of the size of those that were freed before, or not, by where they lie: the
    same program peaked at 29, 45 or 49 MiB.
    """
    fixed = {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    code = FIRST_CALLS + (PEAK if READABLE else "")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **fixed})
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_first_calls_do_not_load_the_compiler_of_torch(said):
    """It costs more than a second of every process that does not use it."""
    assert said[0] == "loaded:"


@pytest.mark.skipif(not READABLE, reason="peak memory is read from Linux's /proc")
def test_memory_is_one_gradient_and_one_block(said):
    """16 MiB of gradient, 8 of projections, 4 of a part of its product, 2 of coefficients and directions."""
    assert 16 < float(said[1]) < 45
