"""With ``import sigreg_lab as lejepa``: what the official package's own tests look at holds, but for differences by
decision, which docs/differences.md lists one by one.

The behaviours are those that rbalestr-lab/lejepa, commit a74fcb9, looks at in its folder tests/; the checks are ours.
"""

import inspect
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Exponential, Laplace, StudentT

import sigreg_lab as lejepa

DOCS = (Path(__file__).parents[1] / "docs" / "differences.md").read_text()
UNIVARIATE = ("EppsPulley", "AndersonDarling", "CramerVonMises", "Watson", "ExtendedJarqueBera", "ShapiroWilk")
every = pytest.mark.parametrize("name", UNIVARIATE)
bhep_and_hz = pytest.mark.parametrize("name", ["BHEP", "HZ"])


def univariate(name, **options):
    return getattr(lejepa.univariate, name)(**options)


def multivariate(name, **options):
    return getattr(lejepa.multivariate, name)(**options)


def seeded(seed=42):
    return torch.Generator().manual_seed(seed)


def normal(n, dim=1, seed=42):
    return torch.randn(n, dim, generator=seeded(seed))


def array(n, dim=2, seed=42, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(dtype)


# Univariate statistics


@every
@pytest.mark.parametrize(
    ("n", "dim"), [(5, 3), (10, 3), (50, 1), (100, 5), (100, 100), (500, 50), (1000, 10), (5000, 3)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_number_for_each_column(name, n, dim, dtype):
    value = univariate(name)(normal(n, dim).to(dtype))
    assert isinstance(value, torch.Tensor)
    assert value.shape == (dim,)
    assert value.isfinite().all()
    assert (value >= 0).all()
    if name == "ShapiroWilk":
        assert (value <= 1).all()


@every
def test_the_least_samples(name):
    least = 3 if name == "ShapiroWilk" else 2
    value = univariate(name)(normal(least, 4))
    assert value.shape == (4,)
    assert value.isfinite().all()


@every
def test_repeated_and_permuted(name):
    statistic, x = univariate(name), normal(100, 4)
    value = statistic(x)
    assert torch.equal(statistic(x), value)
    order = torch.randperm(100, generator=seeded())
    assert torch.allclose(statistic(x[order]), value, rtol=1e-4)
    assert torch.allclose(statistic(x[:, [2, 0, 3, 1]]), value[[2, 0, 3, 1]], rtol=1e-4)


@every
def test_columns_are_tested_by_themselves_and_normal_ones_are_least(name):
    columns = [normal(500), torch.rand(500, 1, generator=seeded(1)), normal(500, seed=2) + 5]
    value = univariate(name)(torch.cat(columns, 1))
    assert value[0] < value[1]
    if name != "ShapiroWilk":
        assert value[0] < value[2]


#: Least value that each departure has for 500 samples, by statistic; "means" 0.5 to 5, "stds" 0.5 to 10.
@every
@pytest.mark.parametrize(
    ("departure", "least"),
    {
        "uniform": {"EppsPulley": 0.05, "AndersonDarling": 2.492, "ExtendedJarqueBera": 50, "ShapiroWilk": 0.01},
        "exponential": {"EppsPulley": 0.05, "AndersonDarling": 2.492, "ExtendedJarqueBera": 10, "ShapiroWilk": 0.05},
        "bimodal": {"EppsPulley": 0.01, "AndersonDarling": 2.492, "ExtendedJarqueBera": 0},
        "t3": {"EppsPulley": 0.01, "AndersonDarling": 0, "ExtendedJarqueBera": 5, "ShapiroWilk": 0},
        "laplace": {"ExtendedJarqueBera": 5},
        "means": {"AndersonDarling": 5, "ShapiroWilk": 0},
        "stds": {"AndersonDarling": 5, "ShapiroWilk": 0},
        "near 0": {"AndersonDarling": 5},
    }.items(),
)
def test_departures_are_far(name, departure, least):
    torch.manual_seed(42)
    x = {
        "uniform": lambda: torch.rand(500, 3),
        "exponential": lambda: Exponential(1.0).sample((500, 3)),
        "bimodal": lambda: torch.cat([torch.randn(250, 3) - 2, torch.randn(250, 3) + 2]),
        "t3": lambda: StudentT(df=3.0).sample((500, 3)),
        "laplace": lambda: Laplace(0, 1).sample((500, 3)),
        "means": lambda: torch.randn(500, 4) + torch.tensor([0.5, 1.0, 5.0, -3.0]),
        "stds": lambda: torch.randn(500, 4) * torch.tensor([0.5, 2.0, 5.0, 10.0]),
        "near 0": lambda: torch.full((500, 3), 0.01),
    }[departure]()
    assert (univariate(name)(x) > least.get(name, 0.001)).all()


@pytest.mark.parametrize("name", [name for name in UNIVARIATE if name not in ("ShapiroWilk", "Watson")])
def test_farther_means_and_scales_give_more(name):
    statistic = univariate(name)
    for moved in (lambda x, a: x + a, lambda x, a: x * (1 + a)):
        values = [statistic(moved(normal(500, seed=seed), a))[0] for seed, a in enumerate((0.0, 1.0, 3.0, 5.0))]
        if name == "EppsPulley" and moved(torch.ones(1), 1.0) == 2:  # whose grid does not see all of a large shift
            values = values[:3]
        assert values == sorted(values)


@pytest.mark.parametrize(("name", "threshold"), [("AndersonDarling", 2.492), ("ExtendedJarqueBera", 9.488)])
def test_published_thresholds_hold_their_level_and_have_power(name, threshold):
    statistic = univariate(name)
    rejected = [float(statistic(normal(200, seed=seed))) > threshold for seed in range(100)]
    assert 1 < sum(rejected) < 15
    shifted = [float(statistic(normal(200, seed=seed) + 0.5)) > threshold for seed in range(20)]
    assert sum(shifted) > 14
    assert 2 < np.mean([float(univariate("ExtendedJarqueBera")(normal(200, seed=s))) for s in range(100)]) < 8


def test_anderson_darling_is_near_scipys_of_the_fitted_law():
    x = normal(100, 3)
    for value, column in zip(univariate("AndersonDarling")(x), x.T.numpy(), strict=True):
        assert abs(float(value) - stats.anderson(column, "norm", method="interpolate").statistic) < 0.5


def test_watson_is_cramer_von_mises_less_the_part_of_the_location():
    watson, cramer = univariate("Watson"), univariate("CramerVonMises")
    assert isinstance(watson, type(cramer))
    x = normal(500, 5)
    assert (watson(x) <= cramer(x) + 1e-6).all()
    moved = x + 2
    assert (cramer(moved) - watson(moved) > 0.01).all()
    mean = torch.special.ndtr(moved.double()).mean(0)
    torch.testing.assert_close(cramer(moved.double()) - watson(moved.double()), 500 * (mean - 0.5) ** 2)


@pytest.mark.parametrize("expectation_mode", ["elfving", "blom", "rahman"])
@pytest.mark.parametrize("covariance_mode", [None, "shapiro_francia", "rahman"])
def test_modes_of_shapiro_wilk(expectation_mode, covariance_mode):
    options = {} if covariance_mode is None else {"covariance_mode": covariance_mode}
    for eps in (1e-5, 1e-9):
        value = univariate("ShapiroWilk", expectation_mode=expectation_mode, eps=eps, **options)(normal(100, 3))
        assert (value >= 0).all()
        assert (value < (0.2 if covariance_mode == "rahman" else 0.1)).all()
    if expectation_mode != "blom" and covariance_mode is None:
        same = univariate("ShapiroWilk", expectation_mode=expectation_mode, covariance_mode="shapiro_francia")
        assert torch.equal(value, same(normal(100, 3)))


@pytest.mark.parametrize("n_points", [5, 10, 17, 20, 50])
def test_points_of_epps_pulley(n_points):
    value = univariate("EppsPulley", n_points=n_points)(normal(100, 3))
    assert value.isfinite().all()
    assert (value >= 0).all()


@every
def test_constant_columns_and_empty_samples(name):
    x = normal(100, 3)
    for width in (0.0, 1e-6):
        x[:, 1] = 5 + width * torch.randn(100, generator=seeded(1))
        value = univariate(name)(x)
        assert value.isfinite().all()
        if name != "ShapiroWilk" or width == 0:
            assert value[1] > {"ShapiroWilk": 0.5, "Watson": 8}.get(name, 10)
    with pytest.raises(ValueError, match="x is empty"):
        univariate(name)(torch.empty(0, 3))


# Multivariate statistics


@bhep_and_hz
@pytest.mark.parametrize("convert", [lambda x: x, torch.from_numpy], ids=["array", "tensor"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "dim"), [(2, 2), (5, 3), (50, 1), (50, 2), (100, 10), (200, 20), (1000, 2)])
def test_arrays_and_tensors_give_a_scalar_tensor_on_the_cpu(name, convert, dtype, n, dim):
    statistic, x = multivariate(name), convert(array(n, dim, dtype=dtype))
    value = statistic(x)
    assert isinstance(value, torch.Tensor)
    assert not isinstance(value, np.ndarray)
    assert value.shape == torch.Size([])
    assert value.device.type == "cpu"
    assert torch.isfinite(value)
    assert torch.equal(statistic.forward(x), value)
    assert torch.equal(multivariate(name)(x), value)


@bhep_and_hz
def test_what_moves_a_multivariate_statistic(name):
    statistic, x = multivariate(name), array(50, dtype=np.float64)
    value = statistic(x)
    assert torch.allclose(statistic(x[np.random.default_rng(0).permutation(50)]), value, atol=1e-6)
    assert not torch.allclose(statistic(2 * x), value)
    assert not torch.allclose(statistic(x + 5), value)
    normal_value, uniform = statistic(array(200)), statistic(np.random.default_rng(0).uniform(-3, 3, (200, 2)))
    bimodal = statistic(np.concatenate([array(100) - 3, array(100, seed=1) + 3]))
    assert 0 <= normal_value < 1
    assert normal_value < uniform
    assert normal_value < bimodal


@bhep_and_hz
@pytest.mark.parametrize(
    "x",
    [
        np.ones((10, 2)),
        np.column_stack([np.linspace(0, 1, 50)] * 2),
        1000 * array(50),
        1e-6 * array(50),
        array(50) * np.array([1000, 0.001], dtype=np.float32),
        -np.abs(array(50)),
        np.column_stack([array(50, 1), 1 + 1e-8 * array(50, 1, seed=1)]),
    ],
    ids=["identical", "collinear", "large", "small", "mixed", "negative", "constant"],
)
def test_extreme_samples_have_a_finite_statistic(name, x):
    assert torch.isfinite(multivariate(name)(x))


@pytest.mark.parametrize("beta", [0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 10.0])
def test_width_of_bhep(beta):
    statistic = multivariate("BHEP", beta=beta)
    assert statistic.beta == beta
    assert torch.isfinite(statistic(array(50)))
    assert repr(statistic) == f"BHEP(beta={beta})"
    assert multivariate("BHEP").beta == 0.1
    assert not torch.allclose(statistic(array(50)), multivariate("BHEP", beta=0.3)(array(50)))
    for wrong in (0, -0.1):
        with pytest.raises(ValueError, match="beta must be positive"):
            multivariate("BHEP", beta=wrong)


@pytest.mark.parametrize(("n", "dim"), [(50, 2), (100, 3), (200, 5), (500, 10)])
def test_width_of_henze_and_zirkler(n, dim):
    width = lejepa.multivariate.HZ.compute_bandwidth(n_samples=n, n_dims=dim)
    assert isinstance(width, float)
    assert width == pytest.approx(((2 * dim + 1) * n / 4) ** (1 / (dim + 4)) / math.sqrt(2), rel=1e-12)
    for wrong in (0, -5):
        with pytest.raises(ValueError, match="n_samples must be a positive integer"):
            lejepa.multivariate.HZ.compute_bandwidth(n_samples=wrong, n_dims=dim)
        with pytest.raises(ValueError, match="n_dims must be a positive integer"):
            lejepa.multivariate.HZ.compute_bandwidth(n_samples=n, n_dims=wrong)
    assert repr(multivariate("HZ")) == "HZ()"


def test_the_readmes_loss():
    loss_fn = lejepa.multivariate.SlicingUnivariateTest(
        univariate_test=lejepa.univariate.EppsPulley(num_points=17), num_slices=64
    )
    x = normal(128, 16).requires_grad_()
    loss = loss_fn(x)
    loss.backward()
    assert loss.shape == ()
    assert x.grad is not None
    assert loss_fn(torch.stack([x, x])).shape == ()
    assert int(loss_fn.global_step) == 2


# Defaults


@pytest.mark.parametrize(
    ("room", "name", "official"),
    [
        ("univariate", "EppsPulley", {"t_max": 3, "n_points": 17, "integration": "trapezoid"}),
        ("univariate", "AndersonDarling", {"eps": 1e-5, "sorted": False}),
        ("univariate", "Entropy", {"m": 1, "eps": 1e-5, "method": "centered", "sorted": False}),
        ("univariate", "Moments", {"k_max": 4}),
        ("univariate", "NLL", {"alpha": 0.5, "k": None, "N": None}),
        ("univariate", "ShapiroWilk", {"eps": 1e-5, "sorted": False}),
        ("multivariate", "BHEP", {"beta": 0.1}),
        ("multivariate", "BHEP_M", {"beta": 10}),
        ("multivariate", "COMB", {"gamma": 0.1}),
        ("multivariate", "HV", {"gamma": 1}),
        (
            "multivariate",
            "SlicingUnivariateTest",
            {"reduction": "mean", "sampler": "gaussian", "clip_value": None},
        ),
    ],
)
def test_defaults_are_the_official_ones(room, name, official):
    parameters = inspect.signature(getattr(getattr(lejepa, room), name)).parameters
    assert {key: parameters[key].default for key in official} == official
    taken = [key for key in parameters if key in official]
    assert taken == list(official), "in the official order"


# Differences by decision: each fails as it says, and stands in docs/differences.md.


def fails(call, error=ValueError, match=""):
    with pytest.raises(error, match=match):
        call()


def _epps_pulley_carries_n():
    # The official code gives these numbers too (tests/regularizers/test_lejepa.py has its formula); its tests' bounds
    # are of a statistic without N.
    values = univariate("EppsPulley")(normal(5000, 5))
    assert (values > 0.1).any()
    assert (values / 5000 < 0.05).all()


def _cramer_von_mises_carries_n():
    for name, bound in (("CramerVonMises", 0.002), ("Watson", 0.05)):
        values = univariate(name)(normal(10_000, 5))
        assert (values > bound).any()
        assert (values / 10_000 < 0.002).all()


def _moments_are_central():
    x = normal(100, 2)
    std = x.std(0)
    skewness, kurtosis = (((x - x.mean(0)) / std).pow(k).mean(0) for k in (3, 4))
    first = 100 * x.mean(0) ** 2 / std**2 + 99 * (std**2 - 1) ** 2 / 2
    official = first + 100 / 6 * (skewness**2 + (kurtosis - 3) ** 2 / 4)
    value = univariate("ExtendedJarqueBera")(x)
    assert not torch.allclose(value, official, rtol=1e-5)
    assert torch.allclose(value, official, rtol=0.1)


def _shapiro_wilk_looks_at_the_shape_alone():
    statistic, x = univariate("ShapiroWilk"), normal(500, 3)
    torch.testing.assert_close(statistic(3 * x + 5), statistic(x), rtol=1e-3, atol=1e-6)
    assert (statistic(x + 5) < 0.1).all()
    # Twice 1 - sqrt(W), where W is near 1.
    tridiagonal = univariate("ShapiroWilk", covariance_mode="rahman")(normal(100, 5))
    assert (tridiagonal > 0.1).any()
    assert (1 - (1 - tridiagonal).sqrt() < 0.1).all()


def _nan_is_refused():
    x = normal(100, 3)
    x[50, 1] = math.nan
    for name in UNIVARIATE:
        fails(lambda name=name: univariate(name)(x), match="NaN")
        assert univariate(name)(x, nan_policy="propagate").isnan().tolist() == [False, True, False]
    fails(lambda: multivariate("HZ")(x), match="NaN")


def _infinite_values_are_refused():
    x = normal(100, 3)
    x[50, 1] = math.inf
    for name in UNIVARIATE:
        fails(lambda name=name: univariate(name)(x), match="infinite")
    fails(lambda: multivariate("HZ")(x), match="infinite")


def _too_few_samples_are_refused():
    for name in ("EppsPulley", "CramerVonMises", "Watson"):
        fails(lambda name=name: univariate(name)(normal(1, 3)), match="at least 2")
    fails(lambda: univariate("ShapiroWilk")(normal(2, 3)), match="at least 3")
    for name in ("BHEP", "HZ"):
        fails(lambda name=name: multivariate(name)(np.array([[1.0, 2.0]])), match="at least 2")


def _one_dimension_is_a_sample_and_three_a_batch():
    for name in UNIVARIATE:
        assert univariate(name)(normal(100)[:, 0]).ndim == 0
    assert multivariate("HZ")(np.ones((10, 5, 3))).shape == (10,)
    fails(lambda: multivariate("HZ")(array(50)[:, 0]), match="at least 2 dimension")


def _modes_are_refused_when_a_test_is_built():
    fails(lambda: univariate("ShapiroWilk", expectation_mode="invalid"), match="expectation_mode must be one of")
    fails(lambda: univariate("ShapiroWilk", covariance_mode="invalid"), match="covariance_mode must be one of")


def _messages_name_the_argument():
    for name in ("BHEP", "HZ"):
        fails(lambda name=name: multivariate(name)(np.empty((0, 2))), match="^x is empty")


def _no_warnings_of_small_samples():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lejepa.multivariate.HZ.compute_bandwidth(n_samples=5, n_dims=3)
        lejepa.multivariate.HZ.compute_bandwidth(n_samples=50, n_dims=10)


def _str_is_repr():
    assert str(multivariate("HZ")) == "HZ()"


def _what_the_official_class_has_not_got_either():
    for option in ("t_range", "weight_type"):
        fails(lambda option=option: univariate("EppsPulley", **{option: None}), error=TypeError, match=option)
    for method in ("empirical_cf", "normal_cf", "weight_function"):
        assert not hasattr(univariate("EppsPulley"), method)


def _internals():
    for name in ("prepare_data", "get_shapiro_weights", "_k", "g"):
        assert not hasattr(univariate("ShapiroWilk"), name)
    assert not hasattr(lejepa.univariate, "utils")


def _width_is_a_parameter_of_the_test_not_of_the_call():
    fails(lambda: multivariate("BHEP")(array(50), beta=0.5), error=TypeError, match="beta")


DIFFERENCES = {
    "internals": _internals,
    "options of another version": _what_the_official_class_has_not_got_either,
    "`EppsPulley` carries N": _epps_pulley_carries_n,
    "`CramerVonMises`, `Watson` carry N": _cramer_von_mises_carries_n,
    "`ExtendedJarqueBera`: central moments": _moments_are_central,
    "`ShapiroWilk`: shape alone": _shapiro_wilk_looks_at_the_shape_alone,
    "`ShapiroWilk`: unknown modes": _modes_are_refused_when_a_test_is_built,
    "NaN": _nan_is_refused,
    "infinite values": _infinite_values_are_refused,
    "too few samples": _too_few_samples_are_refused,
    "other numbers of dimensions": _one_dimension_is_a_sample_and_three_a_batch,
    "messages": _messages_name_the_argument,
    "`HZ.compute_bandwidth` warns": _no_warnings_of_small_samples,
    "`str(HZ())`": _str_is_repr,
    "`BHEP()(x, beta=...)`": _width_is_a_parameter_of_the_test_not_of_the_call,
}


def _listed():
    section = DOCS.split("## The official package's tests")[1].split("\n## ")[0]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in section.splitlines() if line.startswith("| ")]
    return rows[1:]  # below the head


def test_the_page_lists_the_differences_one_by_one():
    assert _listed() == list(DIFFERENCES)


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_each_difference_is_one(difference):
    DIFFERENCES[difference]()
