"""The LeJEPA loss: both prediction losses against loops, their exact difference, both forms."""

import pytest
import torch

from sigreg_lab.regularizers import LeJEPALoss, SIGReg, make_regularizer, prediction_loss
from sigreg_lab.slicing import seeded_generator
from sigreg_lab.univariate import EppsPulley

V, N, K = 5, 4, 3


def embeddings() -> torch.Tensor:
    return torch.randn(V, N, K, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5


@pytest.mark.parametrize("num_global", [1, 2, 5])
def test_pairwise_equals_equation_5_by_loops(num_global):
    z = embeddings()
    total = 0.0
    for n in range(N):
        for g in range(num_global):
            for v in range(V):
                total += float((z[g, n] - z[v, n]).square().sum()) / (num_global * V)
    value = prediction_loss(z, num_global, prediction="pairwise")
    assert float(value) == pytest.approx(total / N, rel=1e-12)


@pytest.mark.parametrize("num_global", [1, 2, 5])
def test_centroid_equals_equation_6_by_loops(num_global):
    z = embeddings()
    total = 0.0
    for n in range(N):
        centre = sum(z[g, n] for g in range(num_global)) / num_global
        total += sum(float((centre - z[v, n]).square().sum()) for v in range(V)) / V
    assert float(prediction_loss(z, num_global)) == pytest.approx(total / N, rel=1e-12)


@pytest.mark.parametrize("num_global", [1, 2, 5])
def test_the_two_equations_differ_by_the_scatter_of_the_global_views(num_global):
    z = embeddings()
    scatter = (z[:num_global] - z[:num_global].mean(0)).square().sum(-1).mean()
    difference = prediction_loss(z, num_global, prediction="pairwise") - prediction_loss(z, num_global)
    torch.testing.assert_close(difference, scatter, rtol=1e-12, atol=1e-15)
    assert (num_global == 1) == (float(difference) == 0)


@pytest.mark.parametrize("prediction", ["centroid", "pairwise"])
def test_mean_over_dimensions_is_smaller_by_their_number(prediction):
    z = embeddings()
    total = prediction_loss(z, 2, prediction=prediction)
    torch.testing.assert_close(prediction_loss(z, 2, prediction=prediction, dimensions="mean"), total / K)


@pytest.mark.parametrize("prediction", ["centroid", "pairwise"])
def test_prediction_gradcheck(prediction):
    z = embeddings().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: prediction_loss(x, 2, prediction=prediction), z)


@pytest.mark.parametrize(("form", "keep"), [("convex", 0.7), ("additive", 1.0)])
def test_total_is_the_weighed_sum(form, keep):
    z = embeddings().requires_grad_()
    regularizer = SIGReg(EppsPulley(), 8)
    loss = LeJEPALoss(regularizer, 0.3, form=form, global_views=2, dimensions="mean")
    terms = loss(z, seeded_generator(1))
    torch.testing.assert_close(terms.prediction, prediction_loss(z, 2, dimensions="mean"))
    torch.testing.assert_close(terms.regularizer, regularizer(z, seeded_generator(1)))
    torch.testing.assert_close(terms.total, keep * terms.prediction + 0.3 * terms.regularizer)
    (expected,) = torch.autograd.grad(keep * terms.prediction + 0.3 * terms.regularizer, z, retain_graph=True)
    (gradient,) = torch.autograd.grad(terms.total, z)
    torch.testing.assert_close(gradient, expected)


def test_without_regularizer_the_prediction_loss_remains():
    z = embeddings()
    terms = LeJEPALoss(make_regularizer("none"), 0.3)(z, seeded_generator(0))
    torch.testing.assert_close(terms.total, prediction_loss(z))
    assert float(terms.regularizer) == 0


def test_low_precision_is_lifted():
    z = embeddings().bfloat16()
    assert prediction_loss(z).dtype == torch.float32
    assert prediction_loss(embeddings()).dtype == torch.float64
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(prediction_loss(z), prediction_loss(z.float()))


def test_bad_options_are_refused_by_name():
    z = embeddings()
    with pytest.raises(ValueError, match="prediction must be one of centroid, pairwise"):
        prediction_loss(z, prediction="median")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="dimensions must be one of sum, mean"):
        prediction_loss(z, dimensions="max")  # type: ignore[arg-type]
    for num_global in (0, V + 1):
        with pytest.raises(ValueError, match=f"global_views must lie in 1 .. {V}"):
            prediction_loss(z, num_global)
    with pytest.raises(ValueError, match="z must have at least 3"):
        prediction_loss(z[0])
    with pytest.raises(ValueError, match="form must be one of convex, additive"):
        LeJEPALoss(None, form="sum")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="prediction must be one of"):
        LeJEPALoss(None, prediction="sum")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="dimensions must be one of"):
        LeJEPALoss(None, dimensions="all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"lam must be 0 \.\. 1 in the convex form, got 1.5"):
        LeJEPALoss(None, 1.5)
    with pytest.raises(ValueError, match=r"lam must be 0 or more, got -0\.1"):
        LeJEPALoss(None, -0.1, form="additive")
    assert LeJEPALoss(None, 1.5, form="additive").lam == 1.5
