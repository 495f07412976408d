"""Monte-Carlo laws: ranks, thinning, standard error, the cache."""

import io

import numpy as np
import pytest
import torch
from scipy import stats

from sigreg_lab.cache import cache_folder
from sigreg_lab.nulls import MonteCarlo, monte_carlo
from tests.test_cache import make_homeless


def _exponential(rng, count):
    return rng.exponential(size=count)


def _never(rng, count):
    raise AssertionError("the cached law was simulated again")


def test_pvalues_are_ranks_among_the_replicates():
    values = np.array([3.0, 1.0, 2.0, 5.0, 4.0] * 20) + np.arange(100) / 1000
    law = MonteCarlo(lambda rng, count: values, key="", replicates=100, chunk=100)
    ordered = np.sort(values)
    # (1 + number of replicates >= t) / (1 + replicates): the largest has 2/101, the smallest 1, beyond it is 1/101.
    np.testing.assert_allclose(law.survival(ordered), (1 + 100 - np.arange(100)) / 101, rtol=1e-14)
    between = (ordered[1:] + ordered[:-1]) / 2
    np.testing.assert_allclose(law.survival(between), law.survival(ordered[1:]), rtol=1e-14)
    assert law.survival(np.array([values.max(), 99.0, np.inf])) == pytest.approx([2 / 101, 1 / 101, 1 / 101], rel=1e-14)
    assert law.survival(np.array([-99.0, -np.inf])).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_long_simulation_says_on_a_terminal_how_far_it_is(monkeypatch, terminal):
    stderr = io.StringIO()
    monkeypatch.setattr(stderr, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr("sys.stderr", stderr)
    monkeypatch.setattr(monte_carlo, "_SILENT", -1.0)
    MonteCarlo(_exponential, key="", replicates=400, chunk=100)
    lines = [line.strip() for line in stderr.getvalue().split("\r") if line.strip()]
    expected = [f"simulating a null law, kept for the next time: {part}%" for part in (0, 25, 50, 75)]
    assert lines == (expected if terminal else [])
    assert not terminal or stderr.getvalue().endswith("\r"), "the line is wiped"


@pytest.mark.parametrize("replicates", [100, 199, 10_000])
def test_beyond_all_replicates_the_pvalue_is_one_over_their_number_plus_one(replicates):
    law = MonteCarlo(_exponential, key="", replicates=replicates)
    assert float(law.pvalue(torch.tensor(99.0))) == 1 / (replicates + 1)


#: Discrete, mixed and continuous laws: how they are drawn, and their exact upper tail P(T > t).
LAWS = {
    "rare event": (lambda r, n: (r.random(n) < 0.03).astype(float), stats.bernoulli(0.03).sf),
    "common event": (lambda r, n: (r.random(n) < 0.6).astype(float), stats.bernoulli(0.6).sf),
    "constant": (lambda r, n: np.full(n, 2.5), lambda t: np.less(t, 2.5).astype(float)),
    "count": (lambda r, n: r.poisson(1.3, n).astype(float), stats.poisson(1.3).sf),
    "share": (lambda r, n: r.binomial(20, 0.3, n) / 20, lambda t: stats.binom(20, 0.3).sf(np.rint(20 * t))),
    "many atoms": (lambda r, n: r.poisson(1e6, n).astype(float), stats.poisson(1e6).sf),
    "atom below": (
        lambda r, n: (r.random(n) > 0.96) * (1 + r.exponential(size=n)),
        lambda t: 0.04 * stats.expon.sf(np.maximum(np.asarray(t) - 1, 0)),
    ),
    "atom above": (lambda r, n: np.minimum(r.exponential(size=n), 2.5), lambda t: stats.expon.sf(t) * np.less(t, 2.5)),
    "atom within": (
        lambda r, n: np.where(r.random(n) < 0.1, 1.0, r.exponential(size=n)),
        lambda t: 0.9 * stats.expon.sf(t) + 0.1 * np.less(t, 1),
    ),
    "negative": (lambda r, n: -r.exponential(size=n), lambda t: stats.expon.cdf(-np.asarray(t))),
    "infinite at times": (
        lambda r, n: np.where(r.random(n) < 0.02, np.inf, r.exponential(size=n)),
        lambda t: np.where(np.isinf(t), 0, 0.02 + 0.98 * stats.expon.sf(t)),
    ),
    "continuous": (lambda r, n: r.standard_normal(n), stats.norm.sf),
}
every_law = pytest.mark.parametrize("name", LAWS)


@every_law
@pytest.mark.parametrize("replicates", [100, 10_000, 300_000])
def test_no_level_is_exceeded_by_more_than_the_error_of_the_calibration(name, replicates):
    """P(p <= a) <= a for every a, exactly in the sample (``exceeds``), up to the calibration's error in the law."""
    simulate, exceeds = LAWS[name]
    law = MonteCarlo(simulate, key="", replicates=replicates, seed=3)
    # p <= a where T lies above the value whose p-value above is a; between these levels nothing changes.
    level = law.pvalues
    error = np.sqrt(level * (1 - level) / replicates) + 1 / replicates
    assert (exceeds(law.values) - level < 4.5 * error).all()
    assert float(law.pvalue(torch.tensor(law.values[0]))) == 1.0


@every_law
def test_the_level_is_exact_over_many_simulations(name):
    """Over the simulation and the sample together; two-sided where the law is continuous."""
    simulate, exceeds = LAWS[name]
    runs, replicates = 400, 199
    laws = [MonteCarlo(simulate, key="", replicates=replicates, seed=seed) for seed in range(runs)]
    for alpha in (0.055, 0.1, 0.5):
        sizes = exceeds(np.array([law.critical_value(alpha) for law in laws]))
        exact = np.floor(alpha * (replicates + 1)) / (replicates + 1)
        error = np.sqrt(exact * (1 - exact) / replicates / runs)
        assert sizes.mean() - exact < 4 * error
        if name in ("continuous", "negative"):
            assert abs(sizes.mean() - exact) < 4 * error


@every_law
@pytest.mark.parametrize("replicates", [199, 100_000])
def test_the_pvalue_is_at_most_the_level_exactly_above_the_critical_value(name, replicates):
    simulate, _ = LAWS[name]
    law = MonteCarlo(simulate, key="", replicates=replicates, seed=4)
    fresh = simulate(np.random.default_rng(5), 20_000)
    for alpha in (0.06, 0.1, 0.25, 0.5, 0.9):
        threshold = law.critical_value(alpha)
        values = np.append(fresh, threshold)
        np.testing.assert_array_equal(law.survival(values) <= alpha, values > threshold)


def test_pvalues_at_the_atoms_of_a_rare_event():
    law = MonteCarlo(LAWS["rare event"][0], key="", replicates=10_000)
    least, half, one, beyond = law.pvalue(torch.tensor([0.0, 0.5, 1.0, 1.5])).tolist()
    assert (least, beyond) == (1.0, 1 / 10_001)
    assert half == one == pytest.approx(0.0323, abs=5e-5)  # 322 ones under this seed
    assert law.critical_value(0.05) == 0.0
    assert law.critical_value(0.01) == 1.0


def test_an_atom_is_met_within_rounding():
    thirds = np.arange(1, 5) / 3
    law = MonteCarlo(lambda rng, count: rng.choice(thirds, count), key="", replicates=1000)
    expected = law.survival(thirds)
    np.testing.assert_array_equal(law.survival(np.nextafter(thirds, 9)), expected)
    np.testing.assert_array_equal(law.survival(np.nextafter(thirds, -9)), expected)
    for rounded in (torch.tensor(thirds).float(), torch.tensor(thirds).float() * (1 + 1e-6)):
        np.testing.assert_array_equal(law.pvalue(rounded), expected)
    assert (law.survival(thirds[1:] * (1 + 1e-9)) < expected[1:]).all()


def test_law_of_an_exponential_within_its_stated_error():
    law = MonteCarlo(_exponential, key="", replicates=100_000, seed=1)
    for alpha in (0.5, 0.1, 0.05, 0.01, 1e-3):
        size = stats.expon.sf(law.critical_value(alpha))
        assert abs(size - alpha) < 4 * law.standard_error(alpha)
    assert law.standard_error(0.05) == pytest.approx((0.05 * 0.95 / 100_000) ** 0.5)


@every_law
@pytest.mark.parametrize("replicates", [20_000, 300_000])
def test_thinning_raises_pvalues_by_a_tenth_of_their_error_at_most(name, replicates):
    simulate, _ = LAWS[name]
    law = MonteCarlo(simulate, key="", replicates=replicates, seed=2, chunk=replicates)
    assert law.values.size < 32 * replicates**0.5
    (child,) = np.random.SeedSequence(2).spawn(1)
    ordered = np.sort(simulate(np.random.default_rng(child), replicates))
    exact = (1 + replicates - np.searchsorted(ordered, ordered)) / (1 + replicates)
    excess = law.survival(ordered) - exact
    assert excess.min() >= 0
    assert (excess <= 0.1 * np.sqrt(exact * (1 - exact) / replicates) + 1e-15).all()
    assert law.pvalues[-1] == 1 / (1 + replicates)


def test_same_key_is_read_from_the_cache_and_another_is_not():
    first = MonteCarlo(_exponential, key="exponential", replicates=1000)
    again = MonteCarlo(_never, key="exponential", replicates=1000)
    np.testing.assert_array_equal(first.values, again.values)
    np.testing.assert_array_equal(first.pvalues, again.pvalues)
    for changed in ({"key": "other"}, {"seed": 1}, {"replicates": 999}):
        with pytest.raises(AssertionError, match="simulated again"):
            MonteCarlo(_never, **{"key": "exponential", "replicates": 1000, **changed})


def test_same_seed_gives_the_same_law_whatever_was_drawn_before():
    np.random.default_rng(0).standard_normal(10)
    one = MonteCarlo(_exponential, key="", replicates=5000, seed=7)
    two = MonteCarlo(_exponential, key="", replicates=5000, seed=7)
    np.testing.assert_array_equal(one.values, two.values)
    assert not np.array_equal(one.values, MonteCarlo(_exponential, key="", replicates=5000, seed=8).values)


def _one_digit_changed(content):
    return content[:400] + bytes([content[400] ^ 1]) + content[401:]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"not an array",
        lambda content: b"\x93NUMPY\x01\x00garbage",
        lambda content: content[:-1],
        _one_digit_changed,
    ],
)
def test_damaged_file_in_the_cache_is_replaced(damage):
    first = MonteCarlo(_exponential, key="k", replicates=1000)
    (path,) = (cache_folder() / "nulls").glob("*.npy")
    path.write_bytes(damage(path.read_bytes()))
    again = MonteCarlo(_exponential, key="k", replicates=1000)
    np.testing.assert_array_equal(first.values, again.values)
    MonteCarlo(_never, key="k", replicates=1000)


def test_a_pickle_in_the_cache_is_not_loaded():
    MonteCarlo(_exponential, key="k", replicates=1000)
    (path,) = (cache_folder() / "nulls").glob("*.npy")
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert MonteCarlo(_exponential, key="k", replicates=1000).values.size == 1000


def test_cache_that_cannot_be_written_is_left_out(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setenv("SIGREG_LAB_CACHE", str(blocked))
    assert MonteCarlo(_exponential, key="k", replicates=1000).values.size == 1000
    make_homeless(monkeypatch)
    assert MonteCarlo(_exponential, key="k", replicates=1000).values.size == 1000


def test_a_full_disk_leaves_nothing_in_the_cache(monkeypatch):
    def full(descriptor):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert MonteCarlo(_exponential, key="k", replicates=1000).values.size == 1000
    assert list((cache_folder() / "nulls").iterdir()) == []


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="replicates"):
        MonteCarlo(_exponential, key="", replicates=10)
    with pytest.raises(ValueError, match="without NaN"):
        MonteCarlo(lambda rng, count: np.full(count, np.nan), key="", replicates=100)
    with pytest.raises(ValueError, match="must return 100 values"):
        MonteCarlo(lambda rng, count: np.zeros(count + 1), key="", replicates=100)
    with pytest.raises(ValueError, match="replicates=100000 or more"):
        MonteCarlo(_exponential, key="", replicates=1000).critical_value(1e-4)
