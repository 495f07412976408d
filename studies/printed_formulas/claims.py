"""What may be concluded from printed formulas and right values."""

from typing import Any

from sigreg_lab.experiment import Claim, Decision, claim, every
from sigreg_lab.experiment.estimates import Estimates

OVER, CHANCE = "printed over right", "deviation over that of chance"
CLOSED = ["BHEP", "eq. 58", "eq. 59", "eq. 61", "eq. 63"]
RIGHT, KERJEPA = {"above": 1 - 1e-6, "below": 1 + 1e-6}, "KerJEPA (arXiv 2512.19605)"


def as_printed(name: str, source: str, statement: str, *formulas: str, **called: str) -> Claim:
    """The claim that formulas have the right value, to rounding."""

    def decide(e: Estimates) -> Decision:
        found = e.of(OVER, formula=list(formulas))
        return every(found, **RIGHT).also(off=max(abs(one.value - 1) for one in found), first=next(iter(found)))

    decide.__name__ = name
    return claim(statement, source=source, detail=name != "closed_forms", **called)(decide)


def serves(name: str, formula: str, statement: str, **options: Any) -> Claim:
    """The claim that an approximation of Shapiro-Wilk moves W by less than chance does, at every size."""

    def decide(e: Estimates) -> Decision:
        found = e.of(CHANCE, formula=formula)
        own, sizes = e.of("deviation of W", formula=formula, law="null"), (found.first("n"), found.last("n"))
        small, large = (own.at("deviation of W", n=n) for n in sizes)
        return every(found, below=1.0).also(small=small, large=large)

    decide.__name__ = name
    return claim(statement, source=f"Appendix E, {formula}", **options)(decide)


@claim("an 'X' of normal marginals and covariance I is not N(0, I) along directions other than the axes",
       source="Lemma 3", holds="holds, but is faint over all directions in high dimension")  # fmt: skip
def x_is_seen(e: Estimates) -> Decision:
    seen, means = e.of("slice statistic", at=45), e.of("mean over directions")
    axes = every(e.of("slice statistic", at=[0, 90]), above=-0.003, below=0.003)
    faint = means.at("mean over directions", dim=means.last("dim"))
    decision = every([*seen, *e.of("mean over drawn directions")], above=0.0) & axes & every(faint, below=1e-6)
    return decision.also(seen=next(iter(seen)), mean=means.at("mean over directions", dim=2), faint=faint)


@claim("Weak-SIGReg has its minimum at the covariance I, also where it sketches",
       source="Weak-SIGReg (arXiv 2603.05924)", fails="false where it sketches: it lies elsewhere")  # fmt: skip
def weak_at_identity(e: Estimates) -> Decision:
    found = e.of("least at")
    sketched = found.of(dim=lambda dim: dim > found.first("dim"))
    rest = e.of("squared norm at I").largest()
    return every(sketched, above=0.99, below=1.01).also(rows=found.first("dim"), rest=rest)


@claim("slicing gives a Gaussian kernel polynomial tails, the same in every dimension", source=f"{KERJEPA}, tails")
def tails_are_heavy(e: Estimates) -> Decision:
    wide = e.of("half of the kernel at")
    gap = e.of("gap to the inverse multiquadric").at("gap to the inverse multiquadric", dim=wide.last("dim"))
    return every(e.of("exponent of the tail"), above=-1.01, below=-0.99).also(wide=wide.largest(), gap=gap)


@claim("anisotropic features have the lower variance of least squares", source="Fig. 17, caption",
       fails="false: caption against Lemma 2")  # fmt: skip
def caption_17(e: Estimates) -> Decision:
    return every(e.of("anisotropic over isotropic"), below=1.0)


@claim("eq. 54 approximates the variances of normal order statistics, within a half", source="eq. 54", detail=True,
       fails="false as printed: one p should be 1 - p")  # fmt: skip
def variances_right(e: Estimates) -> Decision:
    corrected = every(e.of(OVER, formula="eq. 54, corrected"), above=0.5, below=1.5).evidence
    decision = every(e.of(OVER, formula="eq. 54"), above=0.5, below=1.5)
    return decision.also(corrected=corrected["least"], rank=e.at("rank", formula="eq. 54"))


@claim("skewness is 0 and kurtosis K(K + 2) on normal data", source="eq. 64 to 66", detail=True,
       fails="false on batches: the skewnesses are not 0")  # fmt: skip
def moments_of_a_batch(e: Estimates) -> Decision:
    return every(e.of("mean skewness"), above=-0.1, below=0.1)


@claim("the error of the trapezoidal rule falls faster than the square of its step", source="Fig. 20", detail=True,
       fails="false on some of the grids in use")  # fmt: skip
def rule_is_fast(e: Estimates) -> Decision:
    found = e.of("error over that at twice the step")
    half, paper = (found.of(point=grid, at=17).largest() for grid in ("[0, 3]", "[-5, 5]"))
    return every(found, below=0.2).also(half=half, paper=paper)


CLAIMS = (
    as_printed("closed_forms", "Appendix F", "the closed forms of appendix F equal their integrals", *CLOSED,
               holds="holds as printed"),
    x_is_seen, weak_at_identity, tails_are_heavy, caption_17,
    serves("scores_serve", "eq. 52", "Blom's scores with V = I move W by less than its own standard deviation"),
    serves("tridiagonal_serves", "eq. 53 and 56", "the tridiagonal inverse moves W by less than its own standard "
           "deviation", fails="false from some size on"),
    serves("ranks_serve", "eq. 53", "scores at i/(n + 1) with V = I move W by less than its own standard deviation",
           detail=True),
    as_printed("target_right", "Appendix F, target", "BHEP compares with exp(-|t|/2)", "BHEP's integral",
               fails="false as printed: with exp(-|t|²/2)"),
    as_printed("mean_of_squares", "eq. 21 and 24 (B.6)", "the mean of squared norms is the squared norm of the "
               "mean", "eq. 21", fails="false unless all global views agree"),
    as_printed("w_is_w", "eq. 51", "eq. 51 is Shapiro-Wilk's W", "eq. 51", fails="false: a square is missing"),
    variances_right,
    moments_of_a_batch, rule_is_fast,
    as_printed("sign_right", "eq. 8", "C(α) is 1 where the lower loss always has the higher accuracy", "eq. 8",
               fails="false: the sign"),
    as_printed("weight_is_one", "Weight", "the text's weight, σ = 1, and Algorithm 1's give one statistic",
               "weight", fails="false: σ² is 1 in the text, 2 in the code"),
    as_printed("ep_is_mmd", f"{KERJEPA}, EP", "EP on the line is N √(2π) times a squared MMD of Gaussian kernel",
               "EP as MMD"),
    as_printed("mean_in_closed_form", f"{KERJEPA}, slices", "the means of sliced MMD and KSD over all directions "
               "have closed forms", "sliced MMD", "sliced KSD"),
)  # fmt: skip
