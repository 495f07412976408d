"""Registry keys as a reader would write them."""

#: Readable names of registry keys, for axes and legends.
LABELS = {
    "epps_pulley": "Epps-Pulley",
    "epps_pulley_paper_grid": "Epps-Pulley, paper grid",
    "epps_pulley_full_line": "Epps-Pulley, full line",
    "epps_pulley_full_line_sigma_1": "Epps-Pulley, full line, σ = 1",
    "anderson_darling": "Anderson-Darling",
    "extended_jarque_bera": "extended Jarque-Bera",
    "cramer_von_mises": "Cramér-von Mises",
    "watson": "Watson",
    "kolmogorov_smirnov": "Kolmogorov-Smirnov",
    "shapiro_wilk": "Shapiro-Wilk",
    "shapiro_francia": "Shapiro-Francia",
    "jarque_bera": "Jarque-Bera",
    "dagostino_k2": "D'Agostino K²",
    "vcreg": "VCReg",
    "mean_std": "mean² + (std - 1)²",
    "entropy": "Vasicek entropy",
    "nll": "order-statistic NLL",
    "wasserstein": "Wasserstein",
    "infinite_slice_epps_pulley": "Epps-Pulley, all slices",
    "epps_pulley_mean_of_slices": "Epps-Pulley, mean of slices",
    "epps_pulley_max_of_slices": "Epps-Pulley, max of slices",
    "bhep": "BHEP",
    "bhep_m": "BHEP, moment generating",
    "henze_zirkler": "Henze-Zirkler",
    "comb": "product statistic",
    "hv": "HV",
    "mardia_skewness": "Mardia skewness",
    "mardia_kurtosis": "Mardia kurtosis",
    "sigreg-ep": "SIGReg, Epps-Pulley",
    "sigreg-ad": "SIGReg, Anderson-Darling",
    "sigreg-ejb": "SIGReg, ext. Jarque-Bera",
    "sigreg-vcreg": "SIGReg, VCReg",
    "none": "no regulariser",
    "null": "null: N(0, 1)",
    "location_0.3": "N(0.3, 1)",
    "scale_1.25": "N(0, 1.25²)",
    "scale_0.8": "N(0, 0.8²)",
    "laplace": "Laplace",
    "t5": "Student t5",
    "beta_2": "beta(2, 2)",
    "chi_squared_2": "exponential",
    "chi_squared_5": "chi-squared(5)",
    "skew_normal_4": "skew-normal",
    "gauss_hermite_2": "Gauss-Hermite, 2 atoms",
    "gauss_hermite_3": "Gauss-Hermite, 3 atoms",
    "gauss_hermite_5": "Gauss-Hermite, 5 atoms",
    "gauss_hermite_10": "Gauss-Hermite, 10 atoms",
}


def label(key: str) -> str:
    """A registry key as a reader would write it."""
    plain = key.removesuffix("_standardised")
    return LABELS.get(plain, plain.replace("_", " ")) + (", standardised" if plain != key else "")
