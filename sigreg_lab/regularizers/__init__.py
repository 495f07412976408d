"""Regularisers of embeddings, one contract: (V, N, K) -> scalar."""

from collections.abc import Callable

from sigreg_lab.regularizers.base import Regularizer
from sigreg_lab.regularizers.lejepa import LeJEPALoss, LeJEPATerms, prediction_loss
from sigreg_lab.regularizers.sigreg import SIGReg
from sigreg_lab.univariate import AndersonDarling, EppsPulley, ExtendedJarqueBera, VCReg

#: How to build each regulariser, by its name; "none" is the control.
REGISTRY: dict[str, Callable[..., Regularizer | None]] = {
    "sigreg-ep": lambda **options: SIGReg(EppsPulley(), **options),
    "sigreg-ad": lambda **options: SIGReg(AndersonDarling(), **options),
    "sigreg-ejb": lambda **options: SIGReg(ExtendedJarqueBera(), **options),
    "sigreg-vcreg": lambda **options: SIGReg(VCReg(), **options),
    "none": lambda **options: None,
}


def make_regularizer(name: str, **options: int | bool) -> Regularizer | None:
    """Build a regulariser by its name.

    Args:
        name: a key of ``REGISTRY``.
        options: arguments of the regulariser, such as ``num_slices``; "none" takes and ignores them.

    Raises:
        ValueError: an unknown name; the message lists the known ones.
    """
    if name not in REGISTRY:
        raise ValueError(f"unknown regularizer {name!r}; known: {', '.join(REGISTRY)}")
    return REGISTRY[name](**options)


__all__ = [
    "REGISTRY",
    "LeJEPALoss",
    "LeJEPATerms",
    "Regularizer",
    "SIGReg",
    "make_regularizer",
    "prediction_loss",
]
