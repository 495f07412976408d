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
    "sigreg-ep-paper-grid": "SIGReg, Epps-Pulley, paper grid",
    "sigreg-ep-full-line": "SIGReg, Epps-Pulley, full line",
    "sigreg-ep-unbiased": "SIGReg, Epps-Pulley, unbiased",
    "sigreg-ep-infinite": "Epps-Pulley, all slices",
    "sigreg-ep-cv": "SIGReg, control variates",
    "sigreg-ep-queue": "SIGReg, queue of batches",
    "tc-sigreg": "TC-SIGReg",
    "subspace-sigreg": "Sub-JEPA",
    "rdmreg": "RDMReg",
    "sigreg-ksd-infinite": "kernel Stein, all slices",
    "sphere-mmd": "sphere, MMD",
    "sphere-ksd": "sphere, kernel Stein",
    "sphere-kl": "sphere, KL",
    "ksd": "kernel Stein discrepancy",
    "ksd-gaussian": "kernel Stein discrepancy, Gaussian kernel",
    "sigreg-ksd": "SIGReg, kernel Stein discrepancy",
    "sigreg-cvm": "SIGReg, Cramér-von Mises",
    "sigreg-watson": "SIGReg, Watson",
    "sigreg-sw": "SIGReg, Shapiro-Wilk",
    "sigreg-moments": "SIGReg, moments",
    "sigreg-mean-std": "SIGReg, mean² + (std - 1)²",
    "sliced-wasserstein": "sliced Wasserstein",
    "visreg": "VISReg",
    "vicreg": "VICReg",
    "barlow-twins": "Barlow Twins",
    "w-mse": "W-MSE",
    "weak-sigreg": "Weak-SIGReg",
    "covariance-identity": "norm of C - I",
    "koleo": "KoLeo",
    "sphere-slicing": "sphere slicing",
    "epps_pulley_u": "Epps-Pulley, U-statistic",
    "none": "no regulariser",
    "null": "null: N(0, 1)",
    "location_0.3": "N(0.3, 1)",
    "scale_1.25": "N(0, 1.25²)",
    "scale_0.8": "N(0, 0.8²)",
    "scale_1.1": "N(0, 1.1²)",
    "scale_0.9": "N(0, 0.9²)",
    "x": "'X'",
    "x_pairs": "'X' in pairs",
    "rank_defect_1": "1 dimension lost",
    "rank_defect_4": "4 dimensions lost",
    "iid_chi_squared_5": "chi-squared(5)",
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
    """A registry key as a reader would write it; FILE.py:CLASS and MODULE:CLASS as they are, without folder."""
    if ":" in key:
        return key.rpartition("/")[2]
    plain = key.removesuffix("_standardised")
    return LABELS.get(plain, plain.replace("_", " ")) + (", standardised" if plain != key else "")


#: Symbols and words for the axes that many studies have.
AXES = {"n": ("N", "batch size N"), "dim": ("K", "dimension K"), "num_slices": ("M", "slices M")}


def axis_symbol(axis: str) -> str:
    """An axis as a heading or a legend has it."""
    return AXES.get(axis, (axis, axis))[0]


def axis_words(axis: str) -> str:
    """An axis as it is written along a picture's edge."""
    return AXES.get(axis, (axis, axis))[1]
