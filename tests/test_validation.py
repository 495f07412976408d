"""Bad input is refused with the argument's name and the remedy."""

import pytest
import torch

from sigreg_lab.validation import at_least_float32, check_sample

CASES = [
    ([1.0, 2.0], "z must be a torch.Tensor, got list; use torch.as_tensor"),
    (torch.ones(5, 2, dtype=torch.int64), r"z must be floating point, got torch.int64; convert it with z.float\(\)"),
    (torch.ones(5), "z must have at least 2 dimension"),
    (torch.ones(0, 2), "z is empty"),
    (torch.ones(5, 0), "z is empty"),
    (torch.ones(1, 2), r"z holds 1 sample\(s\).*at least 2 are needed"),
    (torch.tensor([[1.0], [float("nan")], [0.0]]), r"z holds 1 NaN or infinite value\(s\) out of 3; drop"),
    (torch.tensor([[1.0], [float("inf")], [-float("inf")]]), "z holds 2 NaN or infinite"),
]


@pytest.mark.parametrize(("value", "message"), CASES)
def test_bad_samples_are_refused(value, message):
    with pytest.raises(ValueError, match=message):
        check_sample(value, "z", ndim=2, min_samples=2)


def test_a_good_sample_passes():
    check_sample(torch.randn(4, 3), "z", ndim=2, min_samples=4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_finite_numbers_whose_sum_overflows_pass(dtype):
    check_sample(torch.full((4, 3), torch.finfo(dtype).max, dtype=dtype), "z", ndim=2, min_samples=4)


@pytest.mark.parametrize(
    ("dtype", "lifted"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_low_precision_is_lifted(dtype, lifted):
    assert at_least_float32(torch.ones(2, dtype=dtype)).dtype == lifted
