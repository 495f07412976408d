"""The official package's sliced test: names, snippet, directions by step, and its calibration."""

import copy

import numpy as np
import pytest
import torch
from scipy import stats

import sigreg_lab
from sigreg_lab import alternatives
from sigreg_lab.multivariate import SlicingUnivariateTest
from sigreg_lab.nulls import forget_laws
from sigreg_lab.slicing import iid_directions, make_directions, seeded_generator, sliced_statistic
from sigreg_lab.univariate import AndersonDarling, EppsPulley, UnivariateTest


@pytest.fixture(autouse=True)
def _no_laws_kept():
    forget_laws()


def normal(n, dim, seed, *batch):
    return torch.randn(*batch, n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_readme_snippet_of_the_official_package():
    import sigreg_lab as lejepa

    univariate_test = lejepa.univariate.EppsPulley(num_points=17)
    loss_fn = lejepa.multivariate.SlicingUnivariateTest(univariate_test=univariate_test, num_slices=1024)
    embeddings = normal(32, 16, 1).float().requires_grad_()
    loss = loss_fn(embeddings)
    loss.backward()
    assert loss.ndim == 0
    assert embeddings.grad.isfinite().all()
    directions = iid_directions(16, 1024, generator=seeded_generator(0))
    expected = EppsPulley()(embeddings.detach() @ directions).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    # the step moves on: new directions
    assert loss_fn(embeddings).item() != loss.item()


def test_official_names_and_arguments():
    room = sigreg_lab.multivariate
    x = normal(12, 3, 2)
    for statistic in (
        room.BHEP(beta=0.1),
        room.BHEP_M(dim=3, beta=10),
        room.BHEP_M(3),
        room.COMB(gamma=0.1),
        room.HV(gamma=1),
        room.HZ(),
        room.SlicingUnivariateTest(EppsPulley(), 8, reduction="sum", sampler="gaussian", clip_value=0.01),
    ):
        assert statistic(x).ndim == 0
    assert SlicingUnivariateTest(EppsPulley(), 8, reduction=None)(x).shape == (8,)


@pytest.mark.parametrize("sampler", ["gaussian", "iid", "orthogonal", "sobol", "hd3", "fixed"])
def test_directions_follow_the_step_alone(sampler):
    x = normal(20, 4, 3, 2)
    first, second = (SlicingUnivariateTest(AndersonDarling(), 6, None, sampler) for _ in range(2))
    values = [first(x) for _ in range(3)]
    torch.manual_seed(99)  # no global state
    for value in values:
        assert torch.equal(second(x), value)
    restored = SlicingUnivariateTest(AndersonDarling(), 6, None, sampler)
    restored.load_state_dict({"global_step": torch.tensor(1)})
    assert torch.equal(restored(x), values[1])
    kind = "iid" if sampler == "gaussian" else sampler
    expected = AndersonDarling()(x @ make_directions(kind, 4, 6, generator=seeded_generator(2)).double())
    torch.testing.assert_close(values[2], expected, rtol=1e-12, atol=1e-12)


def test_reductions_over_slices_and_batch():
    x = normal(20, 4, 4, 3)
    a = make_directions("orthogonal", 4, 9, generator=seeded_generator(5), dtype=torch.float64)
    per_slice = EppsPulley()(x @ a)
    expected = {"mean": per_slice.mean(), "sum": per_slice.sum(), "max": per_slice.amax(-1).mean(), None: per_slice}
    for reduction, value in expected.items():
        torch.testing.assert_close(SlicingUnivariateTest(EppsPulley(), 9, reduction, a)(x), value)
    clipped = SlicingUnivariateTest(EppsPulley(), 9, None, a, clip_value=0.5)(x)
    torch.testing.assert_close(clipped, torch.where(per_slice < 0.5, 0.0, per_slice))


@pytest.mark.parametrize("injected", [False, True])
@pytest.mark.parametrize("reduction", ["max", "mean"])
def test_level_is_held_over_many_slices(reduction, injected):
    n, dim, total = 24, 3, 800
    sampler = make_directions("iid", dim, 16, generator=seeded_generator(6)) if injected else "iid"
    test = SlicingUnivariateTest(EppsPulley(), 16, reduction, sampler)
    pvalues = []
    for step in range(8):  # other directions for each hundred samples
        test.global_step.fill_(step)
        result = test.test(normal(n, dim, 40 + step, total // 8), replicates=4000)
        pvalues.append(result.pvalue)
    pvalues = torch.cat(pvalues)
    for level in (0.1, 0.05):
        lower, upper = stats.binom.interval(0.9999, total, level)
        assert lower <= int((pvalues <= level).sum()) <= upper
    threshold = test.critical_value(0.05, n, dim, replicates=4000)
    single = EppsPulley().critical_value(0.05, n)
    if reduction == "max":
        # one slice's threshold would reject far too often
        assert threshold > single
        per_slice = sliced_statistic(
            normal(n, dim, 50, 400), EppsPulley(), test.directions(dim, seeded_generator(1)), "max"
        )
        assert (per_slice > single).double().mean() > 0.15
    else:
        assert threshold < single


def test_each_slice_alone_is_tested_by_the_univariate_law():
    x = normal(64, 5, 7)
    test = SlicingUnivariateTest(EppsPulley(), 12, None)
    result = test.test(x)
    directions = test.directions(5, seeded_generator(0)).double()
    expected = EppsPulley().test(x @ directions)
    torch.testing.assert_close(result.statistic, expected.statistic)
    torch.testing.assert_close(result.pvalue, expected.pvalue)
    assert int(test.global_step) == 0


def test_max_finds_the_x_that_the_coordinates_hide():
    x = torch.from_numpy(alternatives.MULTIVARIATE["x"](2).sample(np.random.default_rng(8), (50, 200)))
    axes = torch.eye(2)
    diagonals = torch.tensor([[1.0, 1.0], [1.0, -1.0]]) / 2**0.5
    blind = SlicingUnivariateTest(EppsPulley(), 2, "max", axes).test(x, replicates=2000).pvalue
    seeing = SlicingUnivariateTest(EppsPulley(), 2, "max", diagonals).test(x, replicates=2000).pvalue
    assert (blind <= 0.05).double().mean() < 0.25
    assert (seeing <= 0.05).double().mean() == 1


def test_bad_arguments_are_refused_by_name():
    statistic, x = EppsPulley(), normal(8, 3, 9)
    with pytest.raises(ValueError, match="reduction must be"):
        SlicingUnivariateTest(statistic, 4, "median")
    with pytest.raises(ValueError, match="sampler must be one of"):
        SlicingUnivariateTest(statistic, 4, sampler="uniform")
    with pytest.raises(ValueError, match="sampler, if a tensor"):
        SlicingUnivariateTest(statistic, 4, sampler=torch.ones(3, 5))
    with pytest.raises(ValueError, match="num_slices must be"):
        SlicingUnivariateTest(statistic, 0)
    with pytest.raises(ValueError, match="directions must have shape"):
        SlicingUnivariateTest(statistic, 4, sampler=torch.ones(2, 4))(x)
    with pytest.raises(ValueError, match="clip_value must be None"):
        SlicingUnivariateTest(statistic, 4, None, clip_value=0.1).test(x)
    with pytest.raises(ValueError, match="dim must be at least 1"):
        SlicingUnivariateTest(statistic, 4).critical_value(0.05, 1, 3)
    with pytest.raises(ValueError, match="x "):
        SlicingUnivariateTest(statistic, 4)(x[0])


def test_the_step_is_that_of_the_buffer_whoever_has_written_to_it():
    x = normal(20, 4, 3)
    test = SlicingUnivariateTest(AndersonDarling(), 6, None)
    values = [test(x) for _ in range(3)]
    copied = copy.deepcopy(test)
    for other in (test, copied, copied.double()):
        other.load_state_dict({"global_step": torch.tensor(1)})
        assert torch.equal(other(x), values[1])
        assert torch.equal(other(x), values[2])
        other.global_step.zero_()
        assert torch.equal(other(x), values[0])
        # Writes that no version counter counts: those of EMA, of ``dist.broadcast``, of a view into the storage.
        other.global_step.data.fill_(2)
        assert torch.equal(other(x), values[2])
        other.global_step.untyped_storage().fill_(0)
        assert torch.equal(other(x), values[0])
        other.global_step.detach().numpy()[...] = 1
        assert torch.equal(other(x), values[1])
        assert int(other.global_step) == 2
    with torch.inference_mode():
        inside = SlicingUnivariateTest(AndersonDarling(), 6, None)
        for value in values:
            assert torch.equal(inside(x), value)
    given = torch.func.functional_call(test, {"global_step": torch.tensor(2)}, x)
    assert torch.equal(given, values[2])


@pytest.mark.parametrize("reduction", ["mean", "max"])
def test_compiled_it_takes_the_same_directions(reduction):
    x = normal(20, 4, 3).float()
    plain, inner = (SlicingUnivariateTest(EppsPulley(), 6, reduction) for _ in range(2))
    compiled = torch.compile(inner, backend="eager")
    expected = [plain(x) for _ in range(12)]
    for value in expected:
        torch.testing.assert_close(compiled(x), value)
    inner.global_step.data.fill_(3)
    torch.testing.assert_close(compiled(x), expected[3])
    assert int(inner.global_step) == 4


class _Count(UnivariateTest):
    """The share of values beyond 1."""

    name, sensitive_to = "count", "tails"

    def _statistic(self, x):
        return (x.abs() > 1).to(x.dtype).mean(-2)


@pytest.mark.parametrize(("reduction", "num_slices"), [("max", 4), ("mean", 3), ("sum", 2)])
def test_no_level_is_exceeded_where_the_value_has_atoms(reduction, num_slices):
    """The shares of a sample of 12 are twelfths, rounded otherwise in the law's float32 than in the test's float64."""
    n, dim, total = 12, 2, 4000
    axes = torch.eye(dim)[:, torch.arange(num_slices) % dim]
    test = SlicingUnivariateTest(_Count(), num_slices, reduction, axes)
    statistic, pvalue = test.test(normal(n, dim, 20, total), replicates=20_000)
    fresh = test.test(normal(n, dim, 21, 20 * total), replicates=20_000).statistic
    for atom in statistic.unique():  # P(T >= atom), by another simulation
        at_least = (fresh > atom - 1e-9).double().mean()
        error = (at_least * (1 - at_least) * (1 / 20_000 + 1 / len(fresh))) ** 0.5 + 1 / 20_000
        assert ((pvalue[statistic == atom] - at_least).abs() < 4 * error).all()
    for alpha in (0.05, 0.1, 0.3):
        assert (pvalue <= alpha).double().mean() < alpha + 4 * (alpha * (1 - alpha) * (1 / total + 1 / 20_000)) ** 0.5


def test_a_clipped_value_of_0_has_the_pvalue_1():
    test = SlicingUnivariateTest(EppsPulley(), 4, "max", clip_value=6.0)
    statistic, pvalue = test.test(normal(32, 3, 22, 400), replicates=4000)
    assert (statistic == 0).double().mean() > 0.95
    assert (pvalue[statistic == 0] == 1).all()
    assert (pvalue[statistic > 0] < 0.05).all()


def test_beyond_all_replicates_the_pvalue_is_one_over_their_number_plus_one():
    pvalue = SlicingUnivariateTest(EppsPulley(), 4).test(5 + normal(32, 3, 23), replicates=199).pvalue
    assert float(pvalue) == 1 / 200
