import functools

import pytest
import torch

from sigreg_lab.kernels import native
from tests.kernels.cases import PROCESSORS


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def processor(request, monkeypatch):
    """The C kernels as they are built for another processor."""
    flags = PROCESSORS[request.param]
    if "-mavx2" in flags and "avx2" not in native._machine()[2]:
        pytest.skip("this processor has no AVX2")
    monkeypatch.setattr(native, "_FLAG_SETS", (flags,))
    for name in ("_library", "_build_or_reason"):
        monkeypatch.setattr(native, name, functools.cache(getattr(native, name).__wrapped__))
    return request.param
