"""Probes: what is separable is found, what is noise is not."""

import numpy as np
import pytest
import torch

from sigreg_lab.experiment.intervals import mean_interval, rate_interval
from sigreg_lab.pretrain import (
    PretrainResult,
    configure,
    few_shot_accuracies,
    knn_accuracy,
    linear_accuracy,
    load_data,
    pretrain,
    probe,
)
from sigreg_lab.pretrain.models import Encoder
from sigreg_lab.pretrain.probes import accuracy_interval, commonest, covariance_spectrum, evaluate, fit_linear

LABELS = torch.arange(4).repeat_interleave(25)
NOISE = torch.randn(100, 6, generator=torch.Generator().manual_seed(0))
SEPARABLE = torch.nn.functional.one_hot(LABELS, 6).float() * 10 + NOISE


def test_separable_classes_are_found_with_any_number_of_labels():
    assert linear_accuracy(SEPARABLE, LABELS, SEPARABLE, LABELS) == 1.0
    rng = np.random.default_rng(0)
    scores = few_shot_accuracies(SEPARABLE, LABELS, SEPARABLE, LABELS, shots=1, draws=3, rng=rng)
    assert len(scores) == 3
    assert min(scores) > 0.9


def test_on_noise_accuracy_is_chance():
    fresh = torch.randn(4000, 6, generator=torch.Generator().manual_seed(1))
    accuracy = linear_accuracy(NOISE, LABELS, fresh, torch.arange(4).repeat(1000))
    assert abs(accuracy - 0.25) < 4 * (0.25 * 0.75 / 4000) ** 0.5


def test_too_few_samples_of_a_class_are_refused():
    with pytest.raises(ValueError, match="shots=26, but a class has only 25 samples"):
        few_shot_accuracies(NOISE, LABELS, NOISE, LABELS, shots=26, draws=1, rng=np.random.default_rng(0))


def test_a_budget_of_labels_that_a_class_does_not_have_is_left_out():
    data = load_data("digits", images_per_class=3)
    result = pretrain(configure("digits", "none", 0, ["steps=1", "batch_size=16", "images_per_class=3"]), data)
    row = evaluate(result, draws=1, seed=np.random.SeedSequence(0))
    assert [name for name in ("test_1", "test_5", "test_all") if name in row] == ["test_1", "test_all"]


def test_the_interval_of_an_accuracy_is_that_of_its_images_or_of_its_draws_where_the_other_is_nothing():
    assert accuracy_interval([0.9], 200) == pytest.approx(rate_interval(180, 200))
    assert accuracy_interval([0.9] * 4, 200) == pytest.approx(rate_interval(180, 200))
    scores = [0.82, 0.85, 0.9, 0.8, 0.88]
    assert accuracy_interval(scores, 10**12) == pytest.approx(mean_interval(scores), abs=1e-5)
    low, high = accuracy_interval(scores, 50)
    expected = [
        np.hypot(*(end - 0.85 for end in ends))
        for ends in zip(rate_interval(42.5, 50), mean_interval(scores), strict=True)
    ]
    assert (0.85 - low, high - 0.85) == pytest.approx(expected)
    assert accuracy_interval([1.0, 0.5], 4) == (0.0, 1.0), "an accuracy is a share"


def test_the_interval_covers_the_accuracy_over_draws_and_images():
    """Answers differ by draw of labels and by image, logistic in both; 95% promised, and more where both matter."""
    rng = np.random.default_rng(0)
    covered, total, images, draws = 0, 1000, 150, 5

    def right(count, number):
        skill, ease = 0.4 * rng.standard_normal(count), 1.5 * rng.standard_normal(number)
        return 1 / (1 + np.exp(-(1 + skill[:, None] + ease)))

    truth = right(2000, 2000).mean()
    for _ in range(total):
        scores = (rng.random((draws, images)) < right(draws, images)).mean(1)
        low, high = accuracy_interval(list(scores), images)
        covered += low <= truth <= high
    low, high = rate_interval(covered, total, 0.999)
    assert high > 0.95
    assert covered / total < 0.999, "an interval that always holds says nothing"


def test_chance_is_the_share_of_the_commonest_class():
    assert commonest(torch.tensor([0, 1, 1, 2])) == 0.5


def test_nearest_neighbours_by_cosine_find_what_is_separable_and_ignore_length():
    scale = torch.linspace(0.1, 10, 100)[:, None]
    assert knn_accuracy(SEPARABLE, LABELS, SEPARABLE * scale, LABELS) == 1.0
    fresh = torch.randn(4000, 6, generator=torch.Generator().manual_seed(2))
    accuracy = knn_accuracy(NOISE, LABELS, fresh, torch.arange(4).repeat(1000))
    assert abs(accuracy - 0.25) < 4 * (0.25 * 0.75 / 4000) ** 0.5


def test_nearest_neighbours_agree_with_scikit_learn():
    from sklearn.neighbors import KNeighborsClassifier

    fresh = torch.randn(300, 6, generator=torch.Generator().manual_seed(3))
    truth = torch.arange(4).repeat(75)
    reference = KNeighborsClassifier(7, weights=lambda d: np.exp((1 - d) / 0.2), metric="cosine")
    expected = reference.fit(NOISE.numpy(), LABELS.numpy()).score(fresh.numpy(), truth.numpy())
    assert knn_accuracy(NOISE, LABELS, fresh, truth, neighbours=7, temperature=0.2) == pytest.approx(expected)


def test_the_linear_probe_separates_and_is_chance_on_noise():
    head = fit_linear(SEPARABLE, LABELS, 4, epochs=100, lr=1e-2, seed=0)
    assert (head(SEPARABLE).argmax(1) == LABELS).double().mean() > 0.98
    fresh = torch.randn(4000, 6, generator=torch.Generator().manual_seed(4))
    guess = fit_linear(NOISE, LABELS, 4, epochs=5, lr=1e-2, seed=0)(fresh).argmax(1)
    accuracy = (guess == torch.arange(4).repeat(1000)).double().mean().item()
    assert abs(accuracy - 0.25) < 4 * (0.25 * 0.75 / 4000) ** 0.5


def test_the_spectrum_is_the_covariances():
    spectrum = covariance_spectrum(SEPARABLE)
    assert torch.all(spectrum[:-1] >= spectrum[1:])
    assert spectrum.sum().item() == pytest.approx(SEPARABLE.double().var(0).sum().item())


@pytest.fixture(scope="module")
def trained(image_folder):
    settings = ["epochs=0", "steps=1", "batch_size=6", "num_slices=8", "projector=16,8", "backbone=test_vit"]
    return pretrain(configure(str(image_folder), "sigreg-ep", 0, settings))


def test_images_get_every_probe_at_backbone_and_projector(trained):
    rows = probe(trained, epochs=2, draws=2, finetune_epochs=1)
    kinds = [(row["features"], row["probe"], row["shots"], row["draw"]) for row in rows]
    each = [("linear", "all", 0), ("knn", "all", 0), ("few-shot", "1", 0), ("few-shot", "1", 1)]
    expected = [(where, *kind) for where in ("backbone", "projector") for kind in each]
    assert kinds == [*expected, ("backbone", "finetuned", "all", 0)], "10 shots are left out: a class has only 7 images"
    assert all(0 <= row[split] <= 1 for row in rows for split in ("validation", "test"))
    assert probe(trained, epochs=2, draws=2) == rows[:-1], "probes leave the encoder as it was, and repeat"


def test_classes_of_brightness_are_found_in_images(image_folder):
    """Images whose classes differ in brightness, an encoder that keeps it: every probe finds them."""
    data = load_data(str(image_folder))
    encoder = Encoder(torch.nn.Sequential(torch.nn.AvgPool2d(16), torch.nn.Flatten()), 12, (4,)).eval()
    rows = probe(PretrainResult(encoder, data, []), epochs=200, draws=2)
    scores = {(row["features"], row["probe"], row["shots"]): row["test"] for row in rows}
    assert scores["backbone", "few-shot", "1"] == 1.0
