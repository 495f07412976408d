"""What every univariate statistic keeps to, over the registry and its variants."""

import pytest
import torch

from sigreg_lab import univariate as u
from tests.univariate.cases import CASES, DEFAULTS

every = pytest.mark.parametrize("statistic", CASES.values(), ids=CASES.keys())
registered = pytest.mark.parametrize("statistic", DEFAULTS.values(), ids=DEFAULTS.keys())


def _sample(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 1.2 + 0.1


@every
def test_batch_equals_a_loop_over_columns(statistic):
    x = _sample(2, 3, 17, 4)
    value = statistic(x)
    assert value.shape == (2, 3, 4)
    loop = torch.stack([statistic(x[i, j, :, k]) for i in range(2) for j in range(3) for k in range(4)])
    torch.testing.assert_close(value.flatten(), loop, rtol=1e-12, atol=1e-12)


@every
def test_one_dimension_gives_a_scalar(statistic):
    assert statistic(_sample(12)).shape == ()


@every
def test_order_of_the_samples_does_not_matter(statistic):
    x = _sample(20, 3)
    if isinstance(statistic, u.EppsPulley) and statistic.estimator == "split":
        # Its two halves are what they are, but within each the order is free.
        order = torch.cat([torch.randperm(10), 10 + torch.randperm(10)])
        assert not torch.allclose(statistic(x), statistic(x.flip(0).roll(5, 0)))
    else:
        order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(statistic(x[order]), statistic(x), rtol=1e-11, atol=1e-12)


@every
@pytest.mark.parametrize(
    ("given", "returned"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
    ],
)
def test_dtype_is_kept_or_lifted_to_float32(statistic, given, returned):
    x = _sample(30, 2).to(given)
    value = statistic(x)
    assert value.dtype == returned
    if given != returned:
        torch.testing.assert_close(value, statistic(x.float()), rtol=0, atol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(statistic(x), value, rtol=0, atol=0)


@every
def test_input_is_left_alone(statistic):
    for x in (_sample(15, 2), _sample(15), _sample(15, 2).T.contiguous().T):
        before = x.clone()
        statistic(x)
        assert torch.equal(x, before)


#: Not smooth where a sample meets a bound, or cancelling in float32 by nature.
_FLOAT32 = {"epps_pulley": 1e-6, "anderson_darling": 1e-6, "extended_jarque_bera": 1e-6, "vcreg": 1e-6, "moments": 1e-6}


@every
@pytest.mark.parametrize("n", [20, 100, 1023])
def test_float32_is_close_to_float64(statistic, n):
    x = _sample(n, 8, seed=2, dtype=torch.float32)
    rtol = _FLOAT32.get(statistic.name, 1e-5) if statistic in DEFAULTS.values() else 1e-5
    torch.testing.assert_close(statistic(x).double(), statistic(x.double()), rtol=rtol, atol=0)


@every
def test_gradcheck(statistic):
    x = _sample(2, max(7, statistic.min_samples), 2, seed=3).requires_grad_()
    assert torch.autograd.gradcheck(statistic, (x,))


@every
@pytest.mark.parametrize("kind", ["least", "collapsed", "zero", "ties", "far"])
def test_gradient_is_finite(statistic, kind):
    n = statistic.min_samples if kind == "least" else statistic.min_samples + 4
    x = {
        "least": _sample(n, 3),
        "collapsed": torch.full((n, 3), 0.7, dtype=torch.float64),
        "zero": torch.zeros(n, 3, dtype=torch.float64),
        "ties": _sample(n, 3).round(),
        "far": 50 * _sample(n, 3).sign() + 0.0,
    }[kind]
    for dtype in (torch.float64, torch.float32):
        y = x.to(dtype).requires_grad_()
        value = statistic(y)
        assert value.isfinite().all()
        (gradient,) = torch.autograd.grad(value.sum(), y)
        assert gradient.isfinite().all()


@every
def test_bad_input_is_refused_by_name(statistic):
    good = _sample(20, 2)
    for spoil in (float("nan"), float("inf"), -float("inf")):
        x = good.clone()
        x[3, 1] = spoil
        for call in (statistic, statistic.test, lambda x: u.evaluate([statistic], x)):
            with pytest.raises(ValueError, match="x holds 1 NaN or infinite"):
                call(x)
    for call in (statistic, statistic.test, lambda x: u.evaluate([statistic], x)):
        with pytest.raises(ValueError, match="x is empty"):
            call(good[:0])
        with pytest.raises(ValueError, match="x holds"):
            call(good[: statistic.min_samples - 1])
        with pytest.raises(ValueError, match="x must be floating point"):
            call(torch.ones(20, 2, dtype=torch.int64))
        with pytest.raises(ValueError, match="x must hold real numbers, got list of <U1"):
            call([["a", "b"]] * 20)
    with pytest.raises(ValueError, match="x must have at least 1"):
        statistic(torch.tensor(1.0))


@every
def test_larger_means_further_away(statistic):
    x = _sample(2000, 4, seed=4) / 1.2 - 0.1 / 1.2
    if statistic.null_hypothesis == "composite":
        torch.testing.assert_close(statistic(3 * x - 2), statistic(x), rtol=1e-8, atol=1e-10)
        further = x.exp()
    else:
        further = 3 * x + 2
    assert (statistic(further) > 2 * statistic(x).abs()).all()


COMPOSITE = {name: case for name, case in CASES.items() if case.null_hypothesis == "composite"}


@pytest.mark.parametrize("statistic", COMPOSITE.values(), ids=COMPOSITE.keys())
def test_units_of_any_size_do_not_change_a_statistic_of_any_normal_law(statistic):
    """Not the value, nor the gradient but for the units: a floor under variances is for samples without any."""
    x = _sample(40, 2).requires_grad_()
    value = statistic(x)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    for unit in (1e-150, 1e-7, 1e150):
        own = (x.detach() * unit).requires_grad_()
        torch.testing.assert_close(statistic(own), value, rtol=1e-11, atol=1e-13)
        torch.testing.assert_close(torch.autograd.grad(statistic(own).sum(), own)[0] * unit, gradient)
    constant = torch.full((40, 1), 0.7, dtype=torch.float64)
    assert statistic(constant).isfinite().all()


@registered
def test_declares_what_it_is(statistic):
    assert u.REGISTRY[statistic.name] is type(statistic)
    assert statistic.sensitive_to
    assert statistic.null_hypothesis in ("simple", "composite")
    assert statistic.suitable_as_loss == (statistic.name != "kolmogorov_smirnov")


def test_each_variant_has_a_description_of_its_own():
    # The cache of null laws is keyed by it.
    assert len({str(statistic) for statistic in CASES.values()}) == len(CASES)
