"""What all tests share: one thread, so that two test processes do not fight over two cores; signals that are heard.

Whoever starts the tests by nohup or in the background hands on that SIGHUP and SIGINT are ignored, and tests that send
them would wait in vain.
"""

import functools
import importlib.metadata
import os
import signal

# Each run asks for versions and, by Lightning Fabric, for callbacks of all installed packages: a tenth of a second.
for name in ("entry_points", "version"):
    setattr(importlib.metadata, name, functools.cache(getattr(importlib.metadata, name)))

for library in ("OMP", "OPENBLAS", "MKL"):  # of the processes that tests start too
    os.environ[f"{library}_NUM_THREADS"] = "1"

import torch  # noqa: E402
from threadpoolctl import threadpool_limits  # noqa: E402

torch.set_num_threads(1)
threadpool_limits(1)  # of what was loaded before
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)
