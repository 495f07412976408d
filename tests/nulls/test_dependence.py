"""Rows that depend in groups: the level of the combined p-value, whatever the dependence, and its power."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from sigreg_lab.multivariate import SlicingUnivariateTest
from sigreg_lab.nulls import combine_pvalues, split_groups
from sigreg_lab.nulls.dependence import holm
from sigreg_lab.univariate import AndersonDarling, EppsPulley

VIEWS, GROUPS, TOTAL = 8, 250, 3000


def views(correlation, shift=0.0):
    """Rows that are each N(shift, 1), of a group correlated like this; shape (VIEWS, GROUPS, TOTAL)."""
    generator = torch.Generator().manual_seed(1)
    common = torch.randn(GROUPS, TOTAL, generator=generator, dtype=torch.float64)
    own = torch.randn(VIEWS, GROUPS, TOTAL, generator=generator, dtype=torch.float64)
    return shift + math.sqrt(correlation) * common + math.sqrt(1 - correlation) * own


@pytest.mark.parametrize("correlation", [0.0, 0.95, 1.0])
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_the_level_is_held_whatever_the_dependence(correlation, alpha):
    """By the asymptotic law, good at N = 250. Exact in the extremes: half of 8 independent ones, or one p-value."""
    x = views(correlation)
    rejected = (combine_pvalues(AndersonDarling().test(x).pvalue) <= alpha).double().mean()
    error = math.sqrt(alpha * (1 - alpha) / TOTAL)
    assert rejected <= alpha + 4 * error
    exact = {0.0: stats.binom(8, alpha / 2).sf(3), 1.0: alpha / 2}
    if correlation in exact:
        size = exact[correlation]
        assert abs(rejected - size) <= 4 * math.sqrt(size * (1 - size) / TOTAL) + 0.02 * alpha
    else:  # while all rows at once are rejected in most samples
        assert (AndersonDarling().test(x.flatten(0, 1)).pvalue <= alpha).double().mean() > 0.5


def test_a_shift_is_found_in_dependent_rows():
    x = views(0.95, shift=0.25)
    single = AndersonDarling().test(x[0]).pvalue
    found, of_one_view = (combine_pvalues(AndersonDarling().test(x).pvalue) <= 0.05), single <= 0.05
    assert found.double().mean() > 0.8
    assert found.double().mean() > of_one_view.double().mean() - 0.15  # what twice the median costs


def test_groups_are_split_into_samples_of_one_row_each():
    x = torch.arange(10.0)[:, None] * torch.ones(3)
    groups = ["b", "a", "b", "a", "c", "c", "a", "c", "b", "a"]
    expected = torch.tensor([[1.0, 0.0, 4.0], [3.0, 2.0, 5.0], [6.0, 8.0, 7.0]])  # a, b, c; the fourth a is left out
    numbers = [{"a": 5, "b": 7, "c": 9}[label] for label in groups]
    for labels in (groups, np.array(groups), torch.tensor(numbers)):
        assert torch.equal(split_groups(x, labels)[..., 0], expected)
    assert split_groups(x, groups).shape == (3, 3, 3)
    assert torch.equal(split_groups(x, range(10))[0], x)


def test_views_and_their_rows_with_labels_give_the_same_pvalue():
    generator = torch.Generator().manual_seed(2)
    z = torch.randn(4, 30, 5, generator=generator)
    order = torch.randperm(120, generator=generator)
    rows, labels = z.flatten(0, 1)[order], torch.arange(30).repeat(4)[order]
    for test in (SlicingUnivariateTest(EppsPulley(), 6), SlicingUnivariateTest(EppsPulley(), 6, "max")):
        per_view = test.test(z, replicates=500).pvalue
        assert per_view.shape == (4,)
        assert combine_pvalues(per_view) == min(1.0, 2 * float(per_view.sort().values[1]))
        split = split_groups(rows, labels)
        assert split.shape == z.shape
        assert 0 < combine_pvalues(test.test(split, replicates=500).pvalue) <= 1


def test_combined_values():
    p = torch.tensor([[0.3, 0.9], [0.01, 0.8], [0.02, 0.7]])
    torch.testing.assert_close(combine_pvalues(p), torch.tensor([0.02 * 1.5, 1.0]))
    torch.testing.assert_close(combine_pvalues(p, dim=1), torch.tensor([0.6, 0.02, 0.04]))
    torch.testing.assert_close(combine_pvalues(p[:1]), p[0])


def test_bad_arguments_are_refused():
    for groups in ([1, 2], [[1], [2], [3]]):
        with pytest.raises(ValueError, match="groups must hold one label for each of the 3 rows"):
            split_groups(torch.zeros(3, 2), groups)
    for bad in (torch.tensor([]), torch.tensor([0.5, 1.5]), torch.tensor([0.5, torch.nan])):
        with pytest.raises(ValueError, match="pvalue must hold"):
            combine_pvalues(bad)


def test_holm_is_that_of_statsmodels():
    from statsmodels.stats.multitest import multipletests

    rng = np.random.default_rng(0)
    for size in (1, 2, 7, 40):
        pvalues = rng.random(size) ** 4
        expected = multipletests(pvalues, method="holm")[1]
        assert holm(torch.from_numpy(pvalues)).numpy() == pytest.approx(expected, rel=1e-12)
    found = holm(torch.tensor([[0.01, torch.nan], [0.04, 0.03]], dtype=torch.float64))
    assert found[~found.isnan()].tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert found[0, 1].isnan()
    assert holm(torch.full((3,), torch.nan)).isnan().all()
