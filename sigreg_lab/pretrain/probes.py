"""What a frozen encoder's embeddings are worth: linear and nearest-neighbour classifiers, with few labels and all.

``evaluate`` is the digits' protocol: logistic regressions on the embedding. ``probe`` is that of images:

    linear       LayerNorm, then a linear layer, AdamW with weight decay 1e-6 and cosine decay, on stored features; the
                 learning rate with the best validation accuracy                                             [1, app.]
    knn          20 nearest neighbours by cosine, votes weighed by exp(cosine / 0.07)                        [2]
    few-shot     logistic regression on 1 and 10 labels per class, several draws
    fine-tuning  the whole backbone trained on with all labels (optional)

"backbone" features are class tokens of the last two blocks side by side for vision transformers, patch means where
there is no class token, otherwise the embedding; "projector" is what the loss saw.

[1] Balestriero & LeCun (2025), arXiv:2511.08544. [2] Wu et al. (2018), CVPR, arXiv:1805.01978.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sigreg_lab.diagnostics import effective_rank
from sigreg_lab.experiment.intervals import mean_interval, rate_interval
from sigreg_lab.pretrain.crops import CropConfig, make_crops
from sigreg_lab.pretrain.data import Images, Splits, Stream
from sigreg_lab.pretrain.loop import EAGER_STEPS, Batches, PretrainResult, captured, set_rate, side_stream
from sigreg_lab.slicing import seeded_generator

#: Label budgets of the probes, as they are named in rows: labels per class.
SHOTS = ("1", "5", "all")
LEAST_SCALE = 1e-6  # a coordinate that does not vary stays 0

FEW_SHOTS = (1, 10)
LINEAR_LRS = (1e-3, 1e-2)
_LINEAR_DECAY, _LINEAR_BATCH = 1e-6, 512
_NEIGHBOURS, _TEMPERATURE = 20, 0.07
_TUNE = CropConfig(global_views=1, global_scale=(0.5, 1.0), jitter=0.0, grayscale=0.0, blur=0.0, solarize=0.0)
_TUNE_LR, _TUNE_DECAY = 2e-4, 5e-2
_PROBE_SEED = 20251111  # the probes' own randomness does not follow the run's


def evaluate(result: PretrainResult, *, draws: int, seed: np.random.SeedSequence) -> dict[str, float]:
    """Probes of a frozen encoder and the shape of its embeddings.

    The probes see embeddings standardised by mean and standard deviation of all training images, which needs no
    labels; standardising by the few labelled ones would blow up the noise.

    Args:
        result: the pretrained encoder.
        draws: training sets over which a few-shot accuracy is averaged.
        seed: draws those sets; the same for both splits.

    Returns:
        ``validation_<shots>`` and ``test_<shots>`` accuracies for the budgets ``SHOTS`` that the smallest class has
        labels for, each with its interval (``_low``, ``_high``, see ``accuracy_interval``); ``validation_images``,
        ``test_images`` and ``chance``, the share of the commonest class among the test images; the effective rank of
        the training images' embeddings and of their projections, and the projections' mean standard deviation.
    """
    data = result.data
    train, projection = result.embed(_in_memory(data.train))
    mean, scale = train.mean(0), train.std(0).clamp_min(LEAST_SCALE)
    row: dict[str, float] = {}
    smallest = int(data.train.labels.unique(return_counts=True)[1].min())
    budgets = [shots for shots in SHOTS if shots == "all" or int(shots) <= smallest]
    for split in ("validation", "test"):
        images = getattr(data, split)
        scored, _ = result.embed(_in_memory(images))
        sets = ((train - mean) / scale, data.train.labels, (scored - mean) / scale, images.labels)
        for shots in budgets:
            rng = np.random.default_rng(seed)
            scores = (
                [linear_accuracy(*sets)]
                if shots == "all"
                else few_shot_accuracies(*sets, shots=int(shots), draws=draws, rng=rng)
            )
            row |= told_accuracy(f"{split}_{shots}", scores, len(images.labels))
        row[f"{split}_images"] = len(images.labels)
    row["chance"] = commonest(data.test.labels)
    row["effective_rank"] = float(effective_rank(train))
    row["projection_rank"] = float(effective_rank(projection))
    row["projection_std"] = float(projection.std(0).mean())
    return row


def linear_accuracy(train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor) -> float:
    """Test accuracy of a multinomial logistic regression on the embeddings (L2 penalty, C = 1).

    Args:
        train_x: embeddings to fit on, shape (N, D).
        train_y: their labels, shape (N,).
        test_x: embeddings to score, shape (N', D).
        test_y: their labels, shape (N',).
    """
    (answers,) = _logistic_answers(train_x, train_y, test_x)
    return _share(answers, test_y)


def _logistic_answers(train_x: Tensor, train_y: Tensor, *asked: Tensor) -> list[Tensor]:
    """Answers of one logistic regression on several sets of embeddings."""
    from sklearn.linear_model import LogisticRegression

    probe = LogisticRegression(max_iter=1000)
    probe.fit(train_x.double().numpy(), train_y.numpy())
    return [torch.from_numpy(probe.predict(x.double().numpy())) for x in asked]


def few_shot_accuracies(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    *,
    shots: int,
    draws: int,
    rng: np.random.Generator,
) -> list[float]:
    """``linear_accuracy`` of random training sets of ``shots`` labels per class.

    Args:
        train_x: embeddings to draw from; see ``linear_accuracy`` for these four.
        train_y: their labels.
        test_x: embeddings to score.
        test_y: their labels.
        shots: labels per class.
        draws: number of training sets.
        rng: draws the training sets.

    Raises:
        ValueError: a class has fewer than ``shots`` samples.
    """
    labels = train_y.numpy()
    smallest = np.unique(labels, return_counts=True)[1].min()
    if smallest < shots:
        raise ValueError(f"shots={shots}, but a class has only {smallest} samples")
    scores = []
    for _ in range(draws):
        rows = _few(labels, shots, rng)
        scores.append(linear_accuracy(train_x[rows], train_y[rows], test_x, test_y))
    return scores


def accuracy_interval(scores: Sequence[float], images: int) -> tuple[float, float]:
    """95% interval of a mean accuracy over draws of few labels, all scored on the same images.

    The draw of the images gives Wilson's interval, as if the draws were one; the draws of labels Student's, where there
    are two or more. Their distances from the mean are added in squares [1]. It speaks of one encoder: other
    seeds of pretraining vary beyond it.

    Args:
        scores: accuracies, one a draw.
        images: how many images each is a share of.

    [1] Zou & Donner (2008), Statistics in Medicine 27, 1693-1702.
    """
    mean = float(np.mean(scores))
    ends = np.array([rate_interval(mean * images, images)])
    if len(scores) > 1:
        ends = np.vstack([ends, mean_interval(scores)])
    low, high = mean + np.array([-1, 1]) * np.linalg.norm(ends - mean, axis=0)
    return max(0.0, float(low)), min(1.0, float(high))


def told_accuracy(name: str, scores: Sequence[float], images: int) -> dict[str, float]:
    """A mean accuracy under its name, and the ends of its interval under ``name_low`` and ``name_high``."""
    low, high = accuracy_interval(scores, images)
    return {name: float(np.mean(scores)), f"{name}_low": low, f"{name}_high": high}


def commonest(labels: Tensor) -> float:
    """Share of the commonest class: the best accuracy without a look at the images."""
    return float(torch.bincount(labels.cpu()).max()) / len(labels)


def _few(labels: np.ndarray, shots: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of a training set with ``shots`` labels per class."""
    members = (np.flatnonzero(labels == label) for label in np.unique(labels))
    return np.concatenate([rng.choice(rows, shots, replace=False) for rows in members])


def probe(
    result: PretrainResult,
    data: Splits | None = None,
    *,
    epochs: int = 100,
    draws: int = 5,
    finetune_epochs: int = 0,
    seed: int = _PROBE_SEED,
) -> list[dict[str, Any]]:
    """Probes of a frozen encoder on labelled images.

    Args:
        result: the pretrained encoder.
        data: images to probe on; those it was trained on if not given.
        epochs: of the linear probe.
        draws: training sets of each few-shot probe.
        finetune_epochs: of full fine-tuning; 0 leaves it out.
        seed: of the probes.

    Returns:
        One row a number: ``features`` (backbone, projector), ``probe`` (linear, knn, few-shot, finetuned), ``shots``
        (labels per class, or "all"), ``draw``, ``validation`` and ``test`` accuracy; ``low`` and ``high``, Wilson's 95%
        interval of the latter; ``images``, the number of test images; ``chance``, the share of their commonest class;
        ``epochs``, those of the linear probe and of fine-tuning, 0 for the others.

    Raises:
        ValueError: fewer than two classes of labels.
    """
    data = data or result.data
    if data.num_classes < 2:
        raise ValueError("probes need two classes or more")
    rows: list[dict[str, Any]] = [
        {**told._asdict(), "test": float(told.test.double().mean())}
        for told in probe_images(result, data, epochs=epochs, draws=draws, seed=seed)
    ]
    if finetune_epochs:
        validation, test = finetuned_accuracy(result, data, finetune_epochs, seed)
        names = {"features": "backbone", "probe": "finetuned", "shots": "all", "draw": 0}
        rows.append({**names, "validation": validation, "test": test})
    labels = data.test.labels
    passes = {"linear": epochs, "finetuned": finetune_epochs}
    for row in rows:
        row |= dict(zip(("low", "high"), accuracy_interval([row["test"]], len(labels)), strict=True))
        row |= {"images": len(labels), "chance": commonest(labels), "epochs": passes.get(row["probe"], 0)}
    return rows


class Probed(NamedTuple):
    """What one probe says.

    Attributes:
        features: "backbone" or "projector".
        probe: "linear", "knn" or "few-shot".
        shots: labels per class, or "all".
        draw: which of the few-shot training sets.
        validation: accuracy.
        test: which test images it gets right, (N,) bool on the CPU.
    """

    features: str
    probe: str
    shots: str
    draw: int
    validation: float
    test: Tensor


def probe_images(
    result: PretrainResult,
    data: Splits,
    *,
    epochs: int,
    draws: int,
    seed: int = _PROBE_SEED,
    logistic: bool = False,
) -> Iterator[Probed]:
    """The probes of ``probe``, fine-tuning aside, image by image.

    Args:
        result: the pretrained encoder.
        data: images to probe on.
        epochs: of the linear probe.
        draws: training sets of each few-shot probe.
        seed: of the probes.
        logistic: whether the linear probe on all labels is a logistic regression on standardised features, fitted to
            its end, as for the digits; stochastic steps are too few where training samples are.
    """
    found = {split: result.features(getattr(data, split)) for split in ("train", "validation", "test")}
    for where, index in (("backbone", 0), ("projector", 2)):
        sets = {split: (features[index], labels) for split, (features, labels) in found.items()}
        (x, y), validation, test = sets["train"], sets["validation"], sets["test"]
        mean, scale = x.mean(0), x.std(0).clamp_min(LEAST_SCALE)
        standard = [((part - mean) / scale).cpu() for part in (x, validation[0], test[0])]
        labels, truths = y.cpu(), [validation[1].cpu(), test[1].cpu()]

        def told(
            kind: str, shots: str, draw: int, answers: list[Tensor], where: str = where, truths: list[Tensor] = truths
        ) -> Probed:
            right = [given == truth for given, truth in zip(answers, truths, strict=True)]
            return Probed(where, kind, shots, draw, float(right[0].double().mean()), right[1])

        if logistic:
            yield told("linear", "all", 0, _logistic_answers(standard[0], labels, *standard[1:]))
        else:
            yield told("linear", "all", 0, _linear_probe(x, y, validation, test, data.num_classes, epochs, seed))
        yield told("knn", "all", 0, [knn_answers(x, y, asked).cpu() for asked, _ in (validation, test)])
        smallest = int(torch.bincount(labels, minlength=data.num_classes).min())
        for shots in FEW_SHOTS:
            if shots > smallest:
                continue  # a class has fewer images: no such probe
            for draw in range(draws):
                rows = _few(labels.numpy(), shots, np.random.default_rng([seed, draw]))
                yield told(
                    "few-shot", str(shots), draw, _logistic_answers(standard[0][rows], labels[rows], *standard[1:])
                )


def _linear_probe(
    x: Tensor,
    y: Tensor,
    validation: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    num_classes: int,
    epochs: int,
    seed: int,
) -> list[Tensor]:
    """The linear probe's answers on validation and test, at the learning rate that validation prefers."""
    tried = []
    for lr in LINEAR_LRS:
        head = fit_linear(x, y, num_classes, epochs=epochs, lr=lr, seed=seed)
        with torch.no_grad():
            answers = [head(asked).argmax(1).cpu() for asked, _ in (validation, test)]
        tried.append((_share(answers[0], validation[1].cpu()), answers))
    return max(tried, key=lambda pair: pair[0])[1]


def fit_linear(x: Tensor, y: Tensor, num_classes: int, *, epochs: int, lr: float, seed: int) -> nn.Module:
    """LayerNorm and a linear layer, trained on stored features.

    Args:
        x: features, shape (N, D).
        y: labels, shape (N,), below ``num_classes``.
        num_classes: number of classes.
        epochs: passes over the features.
        lr: peak learning rate; it falls to 0 by a cosine.
        seed: orders the batches. The weights begin at zero.
    """
    head = _head(x.shape[1], num_classes).to(x.device)
    gpu: dict[str, Any] = {"fused": True, "capturable": True} if x.is_cuda else {}
    rate = torch.tensor(lr, device=x.device) if gpu else lr
    optimizer = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=_LINEAR_DECAY, **gpu)
    size = min(_LINEAR_BATCH, len(x))
    steps = epochs * (len(x) // size)
    order = Batches(len(x), size, seed, device=x.device)
    rows = torch.empty(size, dtype=torch.int64, device=x.device)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(head(x[rows]), y[rows]).backward()
        optimizer.step()

    run: Callable[[], None] = step
    with side_stream(x.device):
        for number in range(steps):
            rows.copy_(next(order))
            set_rate(optimizer, lr * (1 + math.cos(math.pi * number / steps)) / 2)
            if gpu and number == EAGER_STEPS:
                run, _ = captured(step)
            run()
    return head.eval()


def _head(dim: int, num_classes: int) -> nn.Module:
    linear = nn.Linear(dim, num_classes)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.LayerNorm(dim), linear)


def _share(answers: Tensor, labels: Tensor) -> float:
    """Share of right answers."""
    return float((answers == labels.to(answers.device)).double().mean())


def knn_accuracy(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    *,
    neighbours: int = _NEIGHBOURS,
    temperature: float = _TEMPERATURE,
) -> float:
    """Share of ``test_y`` that ``knn_answers`` gets right."""
    answers = knn_answers(train_x, train_y, test_x, neighbours=neighbours, temperature=temperature)
    return float((answers == test_y).double().mean())


@torch.no_grad()
def knn_answers(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    *,
    neighbours: int = _NEIGHBOURS,
    temperature: float = _TEMPERATURE,
) -> Tensor:
    """Classes by the weighted vote of the nearest neighbours by cosine: vote_c = sum_{i of class c} exp(cos_i / T).

    Args:
        train_x: features to search, shape (N, D).
        train_y: their labels, shape (N,).
        test_x: features to classify, shape (N', D).
        neighbours: k; at most N.
        temperature: T.

    Returns:
        Classes, shape (N',).
    """
    known = nn.functional.normalize(train_x, dim=1)
    num_classes = int(train_y.max()) + 1
    answers = []
    for x in test_x.split(1024):
        cosine, nearest = (nn.functional.normalize(x, dim=1) @ known.T).topk(min(neighbours, len(known)), dim=1)
        votes = torch.zeros(len(x), num_classes, device=x.device)
        votes.scatter_add_(1, train_y[nearest], ((cosine - 1) / temperature).exp())
        answers.append(votes.argmax(1))
    return torch.cat(answers)


def finetuned_accuracy(result: PretrainResult, data: Splits, epochs: int, seed: int) -> tuple[float, float]:
    """Validation and test accuracy of the backbone trained on with all labels: AdamW, crops and flips, cosine decay."""
    encoder = copy.deepcopy(result.encoder).train()
    device = next(encoder.parameters()).device
    head = _head(encoder.embedding_dim, data.num_classes).to(device)
    parameters = [*encoder.backbone.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=_TUNE_LR, weight_decay=_TUNE_DECAY)
    size = min(result.config.batch_size, len(data.train.pixels))
    steps = epochs * (len(data.train.pixels) // size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    order = Batches(len(data.train.pixels), size, seed)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for step in range(steps):
            pixels, labels = data.train.take(next(order), device)
            (views,) = make_crops(pixels, seeded_generator(seed, step, device=device), _TUNE)
            optimizer.zero_grad()
            nn.functional.cross_entropy(head(encoder(views[0])[0]), labels).backward()
            optimizer.step()
            schedule.step()
    encoder.eval()
    scores = []
    for images in (data.validation, data.test):
        correct = 0
        with torch.no_grad():
            for rows in torch.arange(len(images.pixels)).split(size):
                pixels, labels = images.take(rows, device)
                correct += int((head(encoder(pixels)[0]).argmax(1) == labels).sum())
        scores.append(correct / len(images.pixels))
    return scores[0], scores[1]


def covariance_spectrum(x: Tensor) -> Tensor:
    """Eigenvalues of the sample covariance of features (N, D), descending, shape (D,), float64."""
    return torch.linalg.eigvalsh(torch.cov(x.double().T)).flip(0)


def _in_memory(images: Images) -> Tensor:
    if isinstance(images.pixels, Stream):
        raise ValueError("this protocol needs images in memory; raise memory_gib")
    return images.pixels
