"""The LeJEPA loss: prediction between views, and a regulariser of their embeddings.

    L = (1 - lambda) L_pred + lambda R          convex form, the paper's                              [1, eq. LeJEPA]
    L = L_pred + lambda R                       additive form

With mu_n the mean of sample n's first V_g ("global") views, averaged over the N samples of the batch:

    centroid   L_pred = 1/V sum_v |mu_n - z_nv|^2                                                       [1, eq. 6-7]
    pairwise   L_pred = 1/(V_g V) sum_{g <= V_g} sum_v |z_ng - z_nv|^2                                    [1, eq. 5]

The two differ by the scatter of the global views: pairwise = centroid + 1/V_g sum_g |z_ng - mu_n|^2. They are not
equal, as [1] says they are, but where the global views agree.

Lambda weighs R against L_pred, so its value means something only together with how both are written: convex or
additive, squares summed or averaged over the K coordinates, R with or without the factor N. ``convert_lambda`` goes
from one way to another. The defaults, convex and averaged over coordinates, are those of the official code; the sum, as
eq. 5 and 6 print it, makes the regulariser K times as weak at the same lambda, and is taken where it is asked for.

Both take the views as one tensor (V, N, K), or as a list of V tensors (N, K).

In an initialised process group both terms are those of the whole batch, on every rank, and the mean over ranks of the
parameters' gradients is the gradient of one process on the whole batch (see ``sigreg_lab.distributed``).

[1] Balestriero & LeCun (2025), arXiv:2511.08544.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from sigreg_lab.distributed import agreed_step, mean_over_samples
from sigreg_lab.kernels.operation import untraced
from sigreg_lab.regularizers.base import Regularizer, check_views, stack_views
from sigreg_lab.regularizers.sigreg import UNTRACEABLE
from sigreg_lab.slicing import seeded_generator
from sigreg_lab.slicing.directions import generator_device
from sigreg_lab.validation import at_least_float32

PREDICTIONS = ("centroid", "pairwise")
FORMS = ("convex", "additive")
DIMENSIONS = ("sum", "mean")

Form = Literal["convex", "additive"]
Dimensions = Literal["sum", "mean"]
Views = Tensor | Sequence[Tensor]


def prediction_loss(
    z: Views,
    global_views: int | None = None,
    *,
    prediction: Literal["centroid", "pairwise"] = "centroid",
    dimensions: Dimensions = "mean",
    targets: Views | None = None,
) -> Tensor:
    """Squared distance of each view to the global views, averaged over views and samples.

    Args:
        z: embeddings, shape (V, N, K), or a list of V views (N, K); global views first.
        global_views: V_g; all V if not given.
        prediction: "centroid" (eq. 6) or "pairwise" (eq. 5).
        dimensions: over the K coordinates, "mean" as the paper's Algorithm 2 and the official code compute it, or "sum"
            as eq. 5 and 6 are written, larger by the factor K.
        targets: the global views' embeddings that ``z`` is compared with, shape (V_g, N, K), where they are not the
            first of ``z``: of a predictor's input, or of an averaged encoder. ``global_views`` does not count then.

    Returns:
        A scalar, float32 or better.

    Raises:
        ValueError: an unknown option, ``global_views`` outside 1 .. V, or ``targets`` of another N or K.
    """
    if prediction not in PREDICTIONS:
        raise ValueError(f"prediction must be one of {', '.join(PREDICTIONS)}, got {prediction!r}")
    if dimensions not in DIMENSIONS:
        raise ValueError(f"dimensions must be one of {', '.join(DIMENSIONS)}, got {dimensions!r}")
    z = stack_views(z)
    check_views(z, 1)
    targets = _global(z, global_views) if targets is None else stack_views(targets, "targets")
    if targets.ndim != 3 or not len(targets) or targets.shape[1:] != z.shape[1:]:
        shape = f"(V_g, {z.shape[1]}, {z.shape[2]})"
        raise ValueError(f"targets must have shape {shape} for z of {tuple(z.shape)}, got {tuple(targets.shape)}")
    with torch.autocast(device_type=z.device.type, enabled=False):
        z, targets = at_least_float32(z), at_least_float32(targets)
        centre = targets.mean(0)
        per_sample = (z - centre).square().mean(0)
        if prediction == "pairwise":
            per_sample = per_sample + (targets - centre).square().mean(0)
        loss = mean_over_samples(per_sample)
        return loss.sum() if dimensions == "sum" else loss.mean()


def _global(z: Tensor, global_views: int | None) -> Tensor:
    """The global views of ``z``; ``ValueError`` if it has fewer views."""
    num_global = z.shape[0] if global_views is None else global_views
    if not 1 <= num_global <= z.shape[0]:
        raise ValueError(f"global_views must lie in 1 .. {z.shape[0]} (the number of views), got {num_global}")
    return z[:num_global]


class LeJEPATerms(NamedTuple):
    """The loss and what it is made of; gradients flow through ``total``."""

    total: Tensor
    prediction: Tensor
    regularizer: Tensor


class LeJEPALoss(torch.nn.Module):
    """Prediction loss and regulariser, weighed by one number.

    Called without a generator it steps one of its own: that of call number t is seeded by ``seed`` and t alone. Both
    are part of the state dict, so that a run that goes on draws what it would have drawn. In an initialised process
    group all ranks call together, take the largest t of all, as ``SlicingUnivariateTest`` does, and count on from it;
    the host waits for that number. One process sends and waits for nothing.

    Args:
        regularizer: (V, N, K) -> scalar; None leaves it out (the control).
        lam: lambda, the weight of the regulariser; 0 .. 1 in the convex form.
        form: "convex" ((1 - lambda) and lambda) or "additive" (1 and lambda).
        prediction: "centroid" (eq. 6) or "pairwise" (eq. 5).
        dimensions: "mean" or "sum" over the coordinates of the prediction loss. The official code and its values of
            lambda go with "mean".
        global_views: number of global views, the first of each batch; all if not given.
        seed: of the loss's own generator, the same on all ranks; not used where one is handed in.

    Attributes:
        global_step: calls without a generator so far.

    Raises:
        TypeError: a regulariser that cannot be called, such as its name.
        ValueError: an unknown option, a ``lam`` out of range, or a negative ``seed``.
    """

    def __init__(
        self,
        regularizer: Regularizer | None,
        lam: float = 0.05,
        *,
        form: Form = "convex",
        prediction: Literal["centroid", "pairwise"] = "centroid",
        dimensions: Dimensions = "mean",
        global_views: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
        if prediction not in PREDICTIONS:
            raise ValueError(f"prediction must be one of {', '.join(PREDICTIONS)}, got {prediction!r}")
        if dimensions not in DIMENSIONS:
            raise ValueError(f"dimensions must be one of {', '.join(DIMENSIONS)}, got {dimensions!r}")
        if not (regularizer is None or callable(regularizer)):
            raise TypeError(
                f"regularizer must be a Regularizer or None, got {regularizer!r}; make_regularizer(name) builds one"
            )
        _check_lambda(lam, form)
        if seed < 0:
            raise ValueError(f"seed must be 0 or more, got {seed}")
        self.regularizer = regularizer
        self.lam = float(lam)
        self.form = form
        self.prediction = prediction
        self.dimensions = dimensions
        self.global_views = global_views
        self.seed = int(seed)
        self.global_step = 0

    def get_extra_state(self) -> Tensor:
        """Seed and step; no buffer, since the host would wait for a device to read one."""
        return torch.tensor([self.seed, self.global_step])

    def set_extra_state(self, state: Tensor) -> None:
        self.seed, self.global_step = state.tolist()

    def extra_repr(self) -> str:
        return f"lam={self.lam:g}, form={self.form!r}, prediction={self.prediction!r}, dimensions={self.dimensions!r}"

    def forward(
        self,
        z: Views,
        generator: torch.Generator | None = None,
        *,
        global_views: int | None = None,
        predicted: Views | None = None,
        targets: Views | None = None,
        regularized: Any = None,
        directions: Tensor | None = None,
    ) -> LeJEPATerms:
        """The loss of embeddings ``z``, global views first.

        Args:
            z: embeddings of all views, shape (V, N, K), or a list of V views (N, K).
            generator: the regulariser's randomness, in the same state on all ranks; the loss's own if not given.
            global_views: of this batch; those of the loss if not given.
            predicted: what a predictor makes of ``z``, compared with the targets in its place; shape (V, N, K).
            targets: global views' embeddings by another encoder; those of ``z`` if not given. See ``prediction_loss``.
            regularized: handed to the regulariser instead of ``z``, such as the backbone's embeddings.
            directions: handed to the regulariser, where it takes them as ``SIGReg`` does, shape (K, M); nothing is
                drawn then, and ``torch.compile(fullgraph=True)`` and ``torch.export`` take the loss.

        Returns:
            ``LeJEPATerms(total, prediction, regularizer)``, scalars.
        """
        z = stack_views(z)
        if targets is None:
            targets = _global(z, self.global_views if global_views is None else global_views)
        compared = z if predicted is None else predicted
        pred = prediction_loss(compared, prediction=self.prediction, dimensions=self.dimensions, targets=targets)
        if self.regularizer is None:
            return LeJEPATerms(pred, pred, torch.zeros_like(pred))
        regularized = z if regularized is None else regularized
        if directions is not None:
            reg = self.regularizer(regularized, generator, directions=directions)
        else:
            reg = self.regularizer(regularized, self._own_generator(z.device) if generator is None else generator)
        keep = 1 - self.lam if self.form == "convex" else 1.0
        return LeJEPATerms(keep * pred + self.lam * reg, pred, reg)

    @untraced(UNTRACEABLE)
    def _own_generator(self, device: torch.device) -> torch.Generator:
        """The generator of this call, which the next one follows."""
        if torch.compiler.is_exporting():
            raise RuntimeError(UNTRACEABLE)
        step = agreed_step(self.global_step, device)
        self.global_step = step + 1
        return seeded_generator(self.seed, step, device=generator_device(device))


def convert_lambda(
    lam: float,
    *,
    form: tuple[Form, Form] = ("convex", "convex"),
    dimensions: tuple[Dimensions, Dimensions] = ("mean", "mean"),
    dim: int | None = None,
    num_samples: tuple[float, float] = (1, 1),
) -> float:
    """The lambda that weighs the two terms, written in one way, as ``lam`` weighs them, written in another.

    Each pair says how the loss is written that ``lam`` belongs to, then how that of the result is. On the same batch
    the gradients of both are then equal up to one positive factor, which Adam does not see and SGD's step size absorbs.

    Args:
        lam: lambda of the first.
        form: "convex" ((1 - lambda) and lambda) or "additive" (1 and lambda).
        dimensions: "mean" or "sum" over the coordinates of the prediction loss.
        dim: K, the number of coordinates; needed if ``dimensions`` change.
        num_samples: the factor that the regulariser carries: N, or 1 for a statistic without it. (N, N') also goes from
            batches of N to batches of N', where the population's part, which grows with N, keeps its weight; the
            V-statistic's bias, which does not grow, and the noise then do not keep theirs.

    Returns:
        The lambda of the second.

    Raises:
        ValueError: an unknown form, a ``lam`` out of range, ``dim`` missing or below 1, a ``num_samples`` that is not
            positive, or a convex ``lam`` of 1, without prediction loss, which no additive one equals.
    """
    for name, pair, known in (("form", form, FORMS), ("dimensions", dimensions, DIMENSIONS)):
        if isinstance(pair, str) or len(pair) != 2 or any(item not in known for item in pair):
            raise ValueError(f"{name} must be a pair (from, to) of {', '.join(known)}, got {pair!r}")
    _check_lambda(lam, form[0])
    if dimensions[0] != dimensions[1] and (dim is None or dim < 1):
        raise ValueError(f"dim must be 1 or more, the number of coordinates, where dimensions change; got {dim}")
    if len(num_samples) != 2 or not all(0 < count < math.inf for count in num_samples):
        raise ValueError(f"num_samples must be a pair (from, to) of positive numbers, got {num_samples!r}")
    if form == ("convex", "additive") and lam == 1:
        raise ValueError("lam = 1 in the convex form leaves the prediction loss out; no additive lambda does")
    # Weights (of the prediction loss, of the regulariser), both in the units of the second way.
    keep, weight = (1 - lam if form[0] == "convex" else 1.0), float(lam)
    if dimensions[0] != dimensions[1] and dim is not None:
        keep = keep / dim if dimensions[0] == "mean" else keep * dim
    weight *= num_samples[0] / num_samples[1]
    return weight / (keep + weight) if form[1] == "convex" else weight / keep


def _check_lambda(lam: float, form: Form) -> None:
    if not 0 <= lam < math.inf or (form == "convex" and lam > 1):
        limits = "0 .. 1 in the convex form" if form == "convex" else "0 or more"
        raise ValueError(f"lam must be {limits}, got {lam}")
