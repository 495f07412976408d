"""What a frozen encoder's embeddings are worth: accuracy of a linear classifier on them, with few labels and all."""

import numpy as np
from torch import Tensor

from sigreg_lab.diagnostics import effective_rank
from sigreg_lab.pretrain.loop import PretrainResult

#: Label budgets of the probes, as they are named in rows: labels per class.
SHOTS = ("1", "5", "all")
LEAST_SCALE = 1e-6  # a coordinate that does not vary stays 0


def evaluate(result: PretrainResult, *, draws: int, seed: np.random.SeedSequence) -> dict[str, float]:
    """Probes of a frozen encoder and the shape of its embeddings.

    The probes see embeddings standardised by mean and standard deviation of all training images, which needs no
    labels; standardising by the few labelled ones would blow up the noise.

    Args:
        result: the pretrained encoder.
        draws: training sets over which a few-shot accuracy is averaged.
        seed: draws those sets; the same for both splits.

    Returns:
        ``validation_<shots>`` and ``test_<shots>`` accuracies for the budgets ``SHOTS``; the effective rank of the
        training images' embeddings and of their projections, and the projections' mean standard deviation.
    """
    data = result.data
    train, projection = result.embed(data.train.pixels)
    mean, scale = train.mean(0), train.std(0).clamp_min(LEAST_SCALE)
    row = {}
    for split in ("validation", "test"):
        images = getattr(data, split)
        scored, _ = result.embed(images.pixels)
        sets = ((train - mean) / scale, data.train.labels, (scored - mean) / scale, images.labels)
        for shots in SHOTS:
            rng = np.random.default_rng(seed)
            row[f"{split}_{shots}"] = (
                linear_accuracy(*sets)
                if shots == "all"
                else few_shot_accuracy(*sets, shots=int(shots), draws=draws, rng=rng)
            )
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
    from sklearn.linear_model import LogisticRegression

    probe = LogisticRegression(max_iter=1000)
    probe.fit(train_x.double().numpy(), train_y.numpy())
    return float(probe.score(test_x.double().numpy(), test_y.numpy()))


def few_shot_accuracy(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    *,
    shots: int,
    draws: int,
    rng: np.random.Generator,
) -> float:
    """Mean of ``linear_accuracy`` over random training sets of ``shots`` labels per class.

    Args:
        train_x: embeddings to draw from; see ``linear_accuracy`` for these four.
        train_y: their labels.
        test_x: embeddings to score.
        test_y: their labels.
        shots: labels per class.
        draws: training sets to average over.
        rng: draws the training sets.

    Raises:
        ValueError: a class has fewer than ``shots`` samples.
    """
    labels = train_y.numpy()
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    if min(len(rows) for rows in members) < shots:
        raise ValueError(f"shots={shots}, but a class has only {min(len(rows) for rows in members)} samples")
    scores = []
    for _ in range(draws):
        rows = np.concatenate([rng.choice(rows, shots, replace=False) for rows in members])
        scores.append(linear_accuracy(train_x[rows], train_y[rows], test_x, test_y))
    return float(np.mean(scores))
