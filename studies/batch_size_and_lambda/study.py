"""What a lambda means: ratios of the two terms' gradients, exponents of N, views flattened or not, eq. 5 and 6."""

from sigreg_lab.experiment import Decision, Picture, Study, claim, every, presets
from sigreg_lab.experiment.cells import Cell, Config
from sigreg_lab.experiment.estimates import Estimates
from sigreg_lab.figures.kinds import curves

from .estimates import estimate
from .measure import BATCH, EQUATIONS, MANY_VIEWS, VIEWS, measure

PARTS = {"mean": "mean, for A", "noise": "noise, for A", "embedding": "one embedding's, rms"}
SETTINGS = {
    "scale_1": "null: N(0, I)",
    "scale_0.8": "N(0, 0.8² I)",
    "scale_1.25": "N(0, 1.25² I)",
    "defect_0.1": "weak rank defect",
}


@claim("a flattened regulariser pushes the views of a sample apart")
def flattened_pushes(e: Estimates) -> Decision:
    """Above which lambda the push exceeds the pull, in the convex form: (1 - lambda) pull = lambda push."""
    push = e.of("flattened, slope in rho").largest()
    pull = -e.at("prediction, slope in rho", setting=push.setting, n=push.n).exact
    low, value, high = (pull / (pull + end) for end in (push.high, push.value, push.low))
    lam = type(push)(push.row | {"estimate": value, "low": low, "high": high})
    return every(lam, above=0.0, below=0.5).also(lam=lam, rho=push.number)


@claim("taken view by view the regulariser does not push views apart")
def per_view_does_not(e: Estimates) -> Decision:
    return every(e.of("per view, slope in rho"), above=-0.5, below=0.5)


@claim("eq. 5 equals eq. 6 up to a factor", source="eq. 5 and 6 (B.6)", fails="false as printed")
def equations_agree(e: Estimates) -> Decision:
    return every(e.of("cosine"), above=0.999).also(views=MANY_VIEWS)


@claim("lambda proportional to 1/N keeps the balance of the two terms")
def one_rule(e: Estimates) -> Decision:
    return every(e.of([f"exponent, ratio, {part}" for part in PARTS]), above=0.9, below=1.1)


@claim("Algorithm 2 computes eq. 6", source="Algorithm 2, prediction loss", fails="holds up to the factor K")
def algorithm_2(e: Estimates) -> Decision:
    return every(e.of("eq. 6 over Algorithm 2"), above=0.99, below=1.01)


def keep(cell: Cell, settings: Config) -> bool:
    """The batch size varies for the balance of the two terms alone."""
    return cell["setting"] in BATCH or cell["n"] == settings["n_elsewhere"]


ALL, FEW = [*BATCH, *VIEWS, *EQUATIONS], ["scale_1", "rho_0", "rho_0.9", "global_2", "global_10"]
SIZES = [16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 16384]

STUDY = Study(
    name="batch_size_and_lambda",
    title="Batch size and lambda",
    question="Which lambda at another batch size, number of views or notation weighs the two terms as before?",
    expectation="lambda ~ 1/N, because the statistic carries N; flattened views V times stronger and nothing else; eq. "
    "5 and eq. 6 differ by a factor 2 where all views are global.",
    topic="batches",
    seed=20251120,
    axes=("setting", "n"),
    keep=keep,
    presets=presets(
        "setting n n_elsewhere blocks samples samples_elsewhere",
        smoke=(FEW, [16, 64], 64, 8, 256, 1_024),
        quick=(ALL, [16, 64, 256], 64, 20, 1_024, 4_096),
        standard=(ALL, [16, 64, 256, 1024, 4096], 256, 40, 8_192, 32_768),
        paper=(ALL, SIZES, 256, 100, 65_536, 262_144),
        least_replicates=4,
    ),
    measure=measure,
    estimate=estimate,
    claims=(flattened_pushes, one_rule, equations_agree, algorithm_2, per_view_does_not),
    pictures={
        "batch_size": Picture(
            "Gradient of the regulariser over that of the prediction loss, against N.",
            lambda e: curves(
                e.of([f"ratio, {part}" for part in PARTS]),
                x="n",
                hue="setting",
                names=SETTINGS,
                column="quantity",
                titles={"quantity": lambda name: PARTS[name.removeprefix("ratio, ")]},
                y_label="gradient, regulariser / prediction",
                exact="exact",
                log_y=True,
                share_y=False,
                size=(3.2, 3.0),
                legend_columns=5,
            ),
        ),
        "views": Picture(
            "Four views, all N(0, 1), taken one by one or flattened, by their correlation.",
            lambda e: curves(
                e.of(["per view, slope in rho", "flattened, slope in rho"]),
                x="number",
                hue="quantity",
                x_label="correlation of two views",
                y_label="slope of Epps-Pulley in it",
                exact="exact",
                log_x=False,
                size=(4.2, 2.9),
            ),
        ),
    },
)
