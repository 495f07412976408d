"""The LeJEPA loss: both prediction losses against loops, their exact difference, both forms, conversion of lambda."""

import itertools
import math

import pytest
import torch

from sigreg_lab.regularizers import LeJEPALoss, SIGReg, convert_lambda, make_regularizer, prediction_loss
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


@pytest.mark.parametrize("dimensions", ["sum", "mean"])
@pytest.mark.parametrize("prediction", ["centroid", "pairwise"])
@pytest.mark.parametrize("given", [("predicted",), ("targets",), ("predicted", "targets")], ids="+".join)
def test_a_predictor_and_another_encoder_take_their_places_in_both_equations(given, prediction, dimensions):
    generator = torch.Generator().manual_seed(1)
    z, num_global = embeddings(), 2
    others = {
        "predicted": torch.randn(V, N, K, generator=generator, dtype=torch.float64),
        "targets": torch.randn(num_global, N, K, generator=generator, dtype=torch.float64),
    }
    p, t = (others[name] if name in given else z for name in ("predicted", "targets"))
    total = 0.0
    for n, v in itertools.product(range(N), range(V)):
        if prediction == "pairwise":
            distances = [(t[g, n] - p[v, n]).square().sum() for g in range(num_global)]
            total += float(sum(distances)) / num_global
        else:
            total += float((t[:num_global, n].mean(0) - p[v, n]).square().sum())
    loss = LeJEPALoss(None, prediction=prediction, dimensions=dimensions, global_views=num_global)
    value = loss(z, seeded_generator(0), **{name: others[name] for name in given}).prediction
    assert float(value) == pytest.approx(total / (N * V * (1 if dimensions == "sum" else K)), rel=1e-12)


def test_the_regulariser_sees_the_embeddings_and_not_the_predictions():
    z = embeddings()
    loss = LeJEPALoss(SIGReg(EppsPulley(), 8), 0.3)
    plain, other = loss(z, seeded_generator(0)), loss(z, seeded_generator(0), predicted=2 * z, targets=3 * z)
    assert torch.equal(plain.regularizer, other.regularizer)
    assert float(other.total) == pytest.approx(
        0.7 * float(other.prediction) + 0.3 * float(plain.regularizer), rel=1e-12
    )


@pytest.mark.parametrize("shape", [(2, N + 1, K), (2, N, 1), (0, N, K), (N, K)])
def test_targets_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"targets must have shape \(V_g, 4, 3\) for z of \(5, 4, 3\), got"):
        prediction_loss(embeddings(), targets=torch.zeros(shape))


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
    with pytest.raises(TypeError, match=r"got 'sigreg-ep'; make_regularizer\(name\) builds one"):
        LeJEPALoss("sigreg-ep")  # type: ignore[arg-type]
    z = embeddings()
    with pytest.raises(ValueError, match="prediction must be one of centroid, pairwise"):
        prediction_loss(z, prediction="median")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="dimensions must be one of sum, mean"):
        prediction_loss(z, dimensions="max")  # type: ignore[arg-type]
    for num_global in (0, V + 1):
        with pytest.raises(ValueError, match=f"global_views must lie in 1 .. {V}"):
            prediction_loss(z, num_global)
    with pytest.raises(ValueError, match=r"z must have shape \(V, N, K\), got"):
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


WAYS = list(itertools.product(["convex", "additive"], ["sum", "mean"], [1, N]))


@pytest.mark.parametrize("second", WAYS)
@pytest.mark.parametrize("first", WAYS)
def test_a_converted_lambda_gives_the_gradient_up_to_one_positive_factor(first, second):
    def gradient(form, dimensions, factor, lam):
        z = embeddings().requires_grad_()
        terms = LeJEPALoss(SIGReg(EppsPulley(), 8), 0.0, dimensions=dimensions, global_views=2)(z, seeded_generator(1))
        keep = 1 - lam if form == "convex" else 1
        # Epps-Pulley carries the factor N; ``factor`` 1 is the statistic without it.
        (grad,) = torch.autograd.grad(keep * terms.prediction + lam * factor / N * terms.regularizer, z)
        return grad / grad.norm()

    lam = convert_lambda(
        0.3,
        form=(first[0], second[0]),
        dimensions=(first[1], second[1]),
        dim=K,
        num_samples=(first[2], second[2]),
    )
    torch.testing.assert_close(gradient(*second, lam), gradient(*first, 0.3), rtol=1e-12, atol=1e-14)


def test_conversion_of_lambda_in_numbers():
    assert convert_lambda(0.2, form=("convex", "additive")) == pytest.approx(0.25, rel=1e-15)
    assert convert_lambda(0.25, form=("additive", "convex")) == pytest.approx(0.2, rel=1e-15)
    assert convert_lambda(0.5, form=("additive", "additive"), dimensions=("mean", "sum"), dim=16) == 8
    assert convert_lambda(0.05, form=("additive", "additive"), num_samples=(256, 1024)) == 0.0125
    assert convert_lambda(0.0, form=("convex", "additive")) == 0
    assert convert_lambda(1.0, dimensions=("mean", "sum"), dim=3, num_samples=(4, 1)) == 1


def test_a_lambda_that_cannot_be_converted_is_refused_by_name():
    with pytest.raises(ValueError, match=r"lam must be 0 \.\. 1 in the convex form, got 2"):
        convert_lambda(2, form=("convex", "additive"))
    for lam in (-1, math.nan, math.inf):
        with pytest.raises(ValueError, match="lam must be 0 or more"):
            convert_lambda(lam, form=("additive", "convex"))
    with pytest.raises(ValueError, match="lam = 1 in the convex form leaves the prediction loss out"):
        convert_lambda(1, form=("convex", "additive"))
    with pytest.raises(ValueError, match=r"form must be a pair \(from, to\) of convex, additive, got 'convex'"):
        convert_lambda(0.1, form="convex")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="dimensions must be a pair"):
        convert_lambda(0.1, dimensions=("sum", "max"))  # type: ignore[arg-type]
    for dim in (None, 0):
        with pytest.raises(ValueError, match="dim must be 1 or more"):
            convert_lambda(0.1, dimensions=("sum", "mean"), dim=dim)
    with pytest.raises(ValueError, match="num_samples must be a pair"):
        convert_lambda(0.1, num_samples=(256, 0))


def test_the_official_scripts_loss_is_the_one_that_the_documentation_names():
    z, directions = torch.randn(4, 32, 8), torch.nn.functional.normalize(torch.randn(8, 16), dim=0)
    # The official minimal script, whose batches are (V, N, K): half-grid, trapezoidal weights, Gaussian window.
    t = torch.linspace(0, 3, 17)
    weights = torch.full((17,), 2 * 3 / 16)
    weights[[0, -1]] = 3 / 16
    window = torch.exp(-(t**2) / 2)
    angles = (z @ directions).unsqueeze(-1) * t
    error = (angles.cos().mean(-3) - window).square() + angles.sin().mean(-3).square()
    sigreg = ((error @ (weights * window)) * z.shape[-2]).mean()
    invariance = (z.mean(0) - z).square().mean()
    regularizer = make_regularizer("sigreg-ep", num_slices=16)
    assert regularizer is not None
    loss = LeJEPALoss(lambda z, generator: regularizer(z, generator, directions=directions), 0.02, dimensions="mean")
    terms = loss(z, torch.Generator())
    torch.testing.assert_close(terms.total, 0.02 * sigreg + 0.98 * invariance)
