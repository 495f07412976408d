"""Monte-Carlo laws: ranks, thinning, standard error, the cache."""

import numpy as np
import pytest
from scipy import stats

from sigreg_lab.nulls import MonteCarlo, cache_directory


def _exponential(rng, count):
    return rng.exponential(size=count)


def _never(rng, count):
    raise AssertionError("the cached law was simulated again")


def test_pvalues_are_ranks_among_the_replicates():
    values = np.array([3.0, 1.0, 2.0, 5.0, 4.0] * 20) + np.arange(100) / 1000
    law = MonteCarlo(lambda rng, count: values, key="", replicates=100, chunk=100)
    ordered = np.sort(values)
    # (1 + number of replicates >= t) / (1 + replicates): the largest has 2/101, the smallest 1.
    np.testing.assert_allclose(law.survival(ordered), (1 + 100 - np.arange(100)) / 101, rtol=1e-14)
    assert law.survival(np.array(99.0)) == pytest.approx(2 / 101)
    assert law.survival(np.array(-99.0)) == 1.0


def test_law_of_an_exponential_within_its_stated_error():
    law = MonteCarlo(_exponential, key="", replicates=100_000, seed=1)
    for alpha in (0.5, 0.1, 0.05, 0.01, 1e-3):
        size = stats.expon.sf(law.critical_value(alpha))
        assert abs(size - alpha) < 4 * law.standard_error(alpha)
        assert law.survival(np.array(law.critical_value(alpha))) == pytest.approx(alpha, rel=1e-9)
    assert law.standard_error(0.05) == pytest.approx((0.05 * 0.95 / 100_000) ** 0.5)


def test_thinning_moves_no_pvalue_by_more_than_a_tenth_of_its_error():
    law = MonteCarlo(_exponential, key="", replicates=100_000, seed=2)
    assert law.values.size < 13_000
    draws = np.concatenate(
        [_exponential(np.random.default_rng(child), size) for child, size in _parts(100_000, 2048, 2)]
    )
    for alpha in (0.9, 0.5, 0.2, 0.1, 0.05, 0.01):
        value = np.quantile(draws, 1 - alpha)
        exact = (1 + (draws >= value).sum()) / 100_001
        assert abs(law.survival(np.array(value)) - exact) < 0.1 * law.standard_error(alpha)


def _parts(replicates, chunk, seed):
    sizes = [min(chunk, replicates - start) for start in range(0, replicates, chunk)]
    return zip(np.random.SeedSequence(seed).spawn(len(sizes)), sizes, strict=True)


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


@pytest.mark.parametrize("content", [b"", b"not an array", b"\x93NUMPY\x01\x00garbage"])
def test_damaged_file_in_the_cache_is_replaced(content):
    first = MonteCarlo(_exponential, key="k", replicates=1000)
    (path,) = cache_directory().glob("*.npy")
    path.write_bytes(content)
    again = MonteCarlo(_exponential, key="k", replicates=1000)
    np.testing.assert_array_equal(first.values, again.values)
    MonteCarlo(_never, key="k", replicates=1000)


def test_a_pickle_in_the_cache_is_not_loaded():
    MonteCarlo(_exponential, key="k", replicates=1000)
    (path,) = cache_directory().glob("*.npy")
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert MonteCarlo(_exponential, key="k", replicates=1000).values.size == 1000


def test_cache_that_cannot_be_written_is_left_out(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setenv("SIGREG_LAB_CACHE", str(blocked))
    assert MonteCarlo(_exponential, key="k", replicates=1000).values.size == 1000


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="replicates"):
        MonteCarlo(_exponential, key="", replicates=10)
    with pytest.raises(ValueError, match="without NaN"):
        MonteCarlo(lambda rng, count: np.full(count, np.nan), key="", replicates=100)
    with pytest.raises(ValueError, match="must return 100 values"):
        MonteCarlo(lambda rng, count: np.zeros(count + 1), key="", replicates=100)
    with pytest.raises(ValueError, match="replicates=100000 or more"):
        MonteCarlo(_exponential, key="", replicates=1000).critical_value(1e-4)
