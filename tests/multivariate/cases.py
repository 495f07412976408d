"""Samples and instances that the tests of this folder share."""

import torch

from sigreg_lab import multivariate as mv

#: Every statistic at parameters where its terms stay moderate, case 0 and standardised.
INSTANCES = [
    build(standardise)
    for standardise in (False, True)
    for build in (
        lambda s: mv.InfiniteSliceEppsPulley(standardise=s),
        lambda s: mv.BHEP(beta=0.8, standardise=s),
        lambda s: mv.HZ(standardise=s),
        lambda s: mv.BHEP_M(beta=4.0, standardise=s),
        lambda s: mv.BHEP_M(beta=4.0, log=True, standardise=s),
        lambda s: mv.COMB(gamma=3.0, standardise=s),
        lambda s: mv.COMB(gamma=3.0, form="product", standardise=s),
        lambda s: mv.HV(gamma=3.0, standardise=s),
        lambda s: mv.HV(gamma=3.0, log=True, standardise=s),
        lambda s: mv.Energy(standardise=s),
        lambda s: mv.MardiaSkewness(standardise=s),
        lambda s: mv.AlternativeSkewness(standardise=s),
        lambda s: mv.MardiaKurtosis(standardise=s),
    )
]


def sample(n, dim, seed, *batch):
    generator = torch.Generator().manual_seed(seed)
    return 0.2 + 1.1 * torch.randn(*batch, n, dim, generator=generator, dtype=torch.float64)
