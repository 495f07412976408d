"""The embedded digits."""

import pytest
import torch

from sigreg_lab.pretrain import load_data


def test_digits_are_split_without_overlap_and_with_all_classes():
    data = load_data("digits")
    assert [len(part.pixels) for part in (data.train, data.validation, data.test)] == [997, 260, 540]
    assert data.train.pixels.shape[1:] == (1, 8, 8)
    assert data.train.pixels.dtype == torch.float32
    assert data.train.pixels.min() >= 0
    assert data.train.pixels.max() == 1
    for part in (data.train, data.validation, data.test):
        assert part.labels.unique().tolist() == list(range(data.num_classes))
    every = torch.cat([part.pixels for part in (data.train, data.validation, data.test)]).flatten(1)
    assert len(every.unique(dim=0)) == 1797, "each scan is in one split, and none twice"


def test_the_split_is_always_the_same():
    assert torch.equal(load_data("digits").test.pixels, load_data("digits").test.pixels)


def test_unknown_data_lists_the_known():
    with pytest.raises(ValueError, match="unknown data 'numbers'; known: digits"):
        load_data("numbers")
