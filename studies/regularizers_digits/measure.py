"""What each regulariser of LeJEPA is worth: pretraining on handwritten digits, frozen probes, few labels and all.

A run is LeJEPA with one regulariser, one weight lambda and one seed. Where several lambdas are tried, each regulariser
gets the lambda with the best validation accuracy (mean over the label budgets) on its first ``tuning_seeds`` seeds, and
is reported on the test images of the other seeds. Two controls: no regulariser, and the untrained encoder. Runs of the
same seed start from the same weights and see the same batches and views.
"""

import numpy as np

from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.pretrain import PretrainConfig, evaluate, pretrain


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    name = str(cell["regularizer"])
    train_seed, draw_seed = seed.spawn(2)
    config = PretrainConfig(
        regularizer="none" if name == "untrained" else name,
        lam=float(cell["lam"]),
        seed=int(train_seed.generate_state(1)[0]),
        steps=0 if name == "untrained" else settings["steps"],
        batch_size=settings["batch_size"],
        num_views=settings["num_views"],
        num_slices=settings["num_slices"],
        device="cpu",  # the same rows wherever they are made
    )
    result = pretrain(config)
    row = evaluate(result, draws=settings["draws"], seed=draw_seed)
    final = result.history[-1] if result.history else {}
    return [{**row, **{f"{term}_loss": final.get(term, float("nan")) for term in ("prediction", "regularizer")}}]
