"""Distributions that studies test against, each with its known moments and characteristic function.

``REGISTRY[name]`` is a univariate law, ``UNIVARIATE`` the tuple of their names, ``MULTIVARIATE[name](dim)`` a law on
R^dim. The name "null" is N(0, 1), or N(0, I), in both.
"""

from sigreg_lab.alternatives.multivariate import MULTIVARIATE, MultivariateAlternative
from sigreg_lab.alternatives.univariate import REGISTRY, UNIVARIATE, UnivariateAlternative

__all__ = [
    "MULTIVARIATE",
    "REGISTRY",
    "UNIVARIATE",
    "MultivariateAlternative",
    "UnivariateAlternative",
]
