"""How the variance of a multivariate sample is spread over its directions."""

from torch import Tensor
from torch.linalg import svdvals

from sigreg_lab.validation import check_sample


def effective_rank(x: Tensor) -> Tensor:
    """Exponential of the entropy of the normalised singular values of the centred sample (RankMe).

        erank = exp(-sum_k p_k log p_k),   p_k = s_k / sum_j s_j                                              [1, 2]

    Between 1 (all variance along one direction) and min(N - 1, K) (equal along all); 0 for a constant sample. [2]
    takes the singular values of the sample as it is; here it is centred, so that a common mean does not count.

    Args:
        x: sample, shape (..., N, K).

    Returns:
        Shape (...), float64.

    Raises:
        ValueError: a sample that is empty, not floating point, not finite, or of fewer than 2 rows.

    [1] Roy & Vetterli (2007), EUSIPCO, 606-610. [2] Garrido et al. (2023), ICML (arXiv:2210.02885).
    """
    check_sample(x, "x", ndim=2, min_samples=2)
    centred = x.double() - x.double().mean(-2, keepdim=True)
    singular = svdvals(centred)
    total = singular.sum(-1, keepdim=True)
    share = singular / total.clamp_min(1e-300)
    entropy = -(share * share.clamp_min(1e-300).log()).sum(-1)
    return entropy.exp() * (total.squeeze(-1) > 0)
