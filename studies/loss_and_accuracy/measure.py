"""Does the training loss rank runs as the accuracy of a frozen probe does, and what does lambda alone do?

LeJEPA (arXiv 2511.08544, section 6.2) minimises (1 - lambda) prediction + lambda SIGReg and finds that

    C(alpha) = -Spearman(loss / lambda^alpha, accuracy)                                                     [eq. 8]

over runs that differ in learning rate, weight decay, epochs and lambda is about 0.85 at alpha = 0 and 0.99 at
alpha = 0.4, so that a run can be chosen without labels. Its Fig. 11 draws |C|; here C keeps its sign, and is positive
where less loss goes with more accuracy. A run is a pretraining on handwritten digits; its loss is the mean over the
last tenth of the steps, its accuracy that of a linear probe on the test images.
"""

import numpy as np

from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.pretrain import PretrainConfig, evaluate, pretrain

#: Label budgets of the probe, as ``evaluate`` names them.
LABELS = {"all": "all 997 labels", "1": "1 label per class"}
#: Loss terms: their columns here, where "regularizer" is an axis, and in the history of a run.
TERMS = {"loss": "total", "prediction": "prediction", "penalty": "regularizer"}


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    train_seed, draw_seed = seed.spawn(2)
    config = PretrainConfig(
        regularizer=str(cell["regularizer"]),
        lam=float(cell["lam"]),
        lr=float(cell["lr"]),
        weight_decay=float(cell["weight_decay"]),
        steps=int(cell["steps"]),
        seed=int(train_seed.generate_state(1)[0]),
        batch_size=settings["batch_size"],
        device="cpu",  # the same rows wherever they are made
    )
    result = pretrain(config)
    last = result.history[-max(1, config.steps // 10) :]
    row = {column: float(np.mean([step[term] for step in last])) for column, term in TERMS.items()}
    accuracy = evaluate(result, draws=settings["draws"], seed=draw_seed)
    return [row | {name: accuracy[name] for budget in LABELS for name in (f"validation_{budget}", f"test_{budget}")}]
