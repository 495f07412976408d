"""What would fail on a GPU, or make the host wait for it, found without one.

The meta device stands for the GPU: it takes no CPU tensors beside its own, and refuses ``item()``, ``bool()`` and
shapes that depend on data, for which a GPU would be waited for. Beyond that, whatever copies from the CPU to the device
has to go through ``on_device``. The registered operations run their own code, not the description of their results.
"""

import contextlib
import traceback
from importlib import import_module

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sigreg_lab import multivariate as mv
from sigreg_lab import univariate as u
from sigreg_lab.kernels import characteristic_function
from sigreg_lab.multivariate import energy
from sigreg_lab.regularizers import REGISTRY, LeJEPALoss, control_variates, make_regularizer, regularizer_options
from sigreg_lab.slicing import DIRECTIONS, infinite, seeded_generator

OPERATIONS = {
    "sort_last": "sorting",
    "matmul": "matmul",
    "hadamard": "hadamard",
    "cosine_sine_sums": "characteristic_function",
    "trigonometric_polynomial": "characteristic_function",
    "sliced_epps_pulley": "epps_pulley",
}
REGULARIZERS = [
    *((name, "iid" if "directions" in regularizer_options(name) else None) for name in REGISTRY if name != "none"),
    *((name, kind) for name in ("sigreg-ep", "sigreg-ad", "visreg", "sphere-slicing") for kind in DIRECTIONS),
]
STATISTICS = [
    *(cls() for cls in u.REGISTRY.values()),
    *(u.EppsPulley(integration=i, estimator=e) for i in ("trapezoid", "exact") for e in ("v", "u", "split")),
    u.ShapiroWilk("rahman", "rahman"),
    u.Entropy(method="right"),
    u.NLL(alpha=0.1),
    u.Wasserstein("exact"),
    *(cls(standardise=standardise) for cls in mv.REGISTRY.values() for standardise in (False, True)),
    u.KSD(),
    u.KSD(estimator="u"),
    *(mv.KSD(kernel, estimator=e) for kernel in ("imq", "gaussian") for e in ("u", "v")),
    mv.InfiniteSliceKSD(),
    mv.InfiniteSliceEppsPulley(u.EppsPulley(integration="exact", estimator="u")),
    mv.COMB(form="product", log=True),
]


class NoWaitingCopies(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        inputs = {x.device.type for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor) and x.ndim}
        outputs = {x.device.type for x in tree_leaves(result) if isinstance(x, torch.Tensor)}
        if "cpu" in inputs and "meta" in inputs | outputs:
            callers = {frame.name for frame in traceback.extract_stack()}
            # A table of a radial function is copied once, when it is made.
            assert callers & {"on_device", "_table"}, f"{function} copies to the device and waits"
        return result


class NoNumbersToTheDevice(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function in (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor):
            assert result.device.type == "cpu", f"{function.__name__} copies to the device and waits"
        return result


@pytest.fixture(autouse=True)
def _meta_as_a_gpu(monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # meta has none
    for name, module in OPERATIONS.items():
        own = getattr(import_module(f"sigreg_lab.kernels.{module}"), f"_{name}")
        monkeypatch.setattr(torch.ops.sigreg_lab, name, own)
    # How far a radial function is tabulated depends on the sample: a call may wait for that number.
    for module in (infinite, energy):
        monkeypatch.setattr(module, "largest_length", lambda x: 10.0)
    monkeypatch.setattr(control_variates, "_range", lambda q: (50.0, 120.0))
    with NoNumbersToTheDevice(), NoWaitingCopies():
        yield


def sample(*shape, dtype=torch.float32):
    return torch.empty(*shape, device="meta", dtype=dtype, requires_grad=True)


def check(value, x):
    assert value.device.type == "meta"
    value.sum().backward()
    assert x.grad.device.type == "meta"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("name", "directions"), dict.fromkeys(REGULARIZERS))
def test_regularizers_stay_on_the_device(name, directions, dtype):
    options = {"num_slices": 40, "directions": directions} if directions else {}
    z = sample(2, 32, 80, dtype=dtype)
    check(LeJEPALoss(make_regularizer(name, **options), dimensions="sum")(z, seeded_generator(0)).total, z)


@pytest.mark.parametrize("shape", [(2, 32, 3), (1, 600, 20)], ids=str)  # the second in blocks of pairs
@pytest.mark.parametrize("statistic", STATISTICS, ids=str)
def test_statistics_stay_on_the_device(statistic, shape):
    if isinstance(statistic, mv.COMB) and statistic.form == "product":
        shape = (1, 6, 3)  # O(N^4)
    x = sample(*shape)
    check(statistic(x), x)


@pytest.mark.parametrize("sampler", mv.sliced.SAMPLERS)
def test_slicing_stays_on_the_device_over_several_steps(sampler):
    # The step is read, as others may write to it; it stays on the CPU here, and all else is on the device.
    test = mv.SlicingUnivariateTest(u.CramerVonMises(), 8, sampler=sampler)
    for _ in range(2):
        x = sample(2, 32, 16)
        check(test(x), x)


def test_derivatives_of_the_characteristic_function_stay_on_the_device():
    x = sample(32, 5)
    (gradient,) = torch.autograd.grad(characteristic_function(x, 3.0, 17)[0].sum(), x, create_graph=True)
    check(gradient, x)
