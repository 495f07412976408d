"""Who is compared: every regulariser and both controls, and published SIGReg with one thing changed at a time.

A contender is a regulariser as ``pretrain`` takes it, and settings of pretraining; lambda is tuned for each. The base
of every variant is ``sigreg-ep``: 256 iid slices, drawn anew each step, 17 points on [0, 3], projector, per view.
"""

from pathlib import Path
from typing import NamedTuple

from sigreg_lab.compare.protocol import CONTROLS
from sigreg_lab.regularizers import REGISTRY

FIRST = "sigreg-ep"
_TARGETS = Path(__file__).with_name("targets.py")


class Contender(NamedTuple):
    """A regulariser, and what is changed in the recipe."""

    spec: str
    changes: tuple[str, ...] = ()


def _changed(*changes: str) -> Contender:
    return Contender(FIRST, changes)


#: What users ask: the question, and the contenders that answer it beside ``sigreg-ep``.
QUESTIONS: dict[str, dict[str, Contender]] = {
    "views": {"all views as one sample": Contender("sigreg-ep:per_view=False")},
    "prediction": {"eq. 5": _changed("prediction=pairwise")},
    "estimator": {"sigreg-ep-unbiased": Contender("sigreg-ep-unbiased")},
    "slices": {f"{count} slices": _changed(f"num_slices={count}") for count in (16, 64, 1024, 4096)},
    "directions": {f"{kind} directions": _changed(f"directions={kind}") for kind in ("orthogonal", "hd3", "fixed")},
    "batch": {f"batch of {count}": _changed(f"batch_size={count}") for count in (32, 64, 256)},
    "target": {f"target {law}": Contender(f"{_TARGETS}:Target:law={law}") for law in ("ball", "sphere", "laplace")},
    "weight": {
        "paper's grid": Contender("sigreg-ep-paper-grid"),
        "narrow weight": Contender("sigreg-ep:sigma=1.0"),
        "wide weight": Contender("sigreg-ep:sigma=2.0,t_max=4.0,n_points=23"),
    },
    "precision": {"bf16": _changed("precision=bf16-mixed")},
    "width": {f"projector of {width}": _changed(f"projector=256,{width}") for width in (16, 128)},
    "predictor": {"predictor": _changed("predictor=64")},
    "average": {"averaged encoder": _changed("swa=0.99")},
    "placement": {f"on {place}": _changed(f"placement={place}") for place in ("backbone", "both")},
}

#: Candidates for a better default, written down before the first run, as the other studies suggest them: less noise of
#: the directions, no bias of the statistic, another weight, the least noisy statistics, both ends of the projector.
CANDIDATES: dict[str, Contender] = {
    "hd3 with 4 x the slices": _changed("directions=hd3", "num_slices=1024"),
    "unbiased hd3 with 4 x the slices": Contender("sigreg-ep-unbiased", ("directions=hd3", "num_slices=1024")),
    "sigreg-ep-infinite": Contender("sigreg-ep-infinite"),
    "narrow weight": QUESTIONS["weight"]["narrow weight"],
    "wide weight": QUESTIONS["weight"]["wide weight"],
    "sigreg-moments": Contender("sigreg-moments"),
    "sigreg-vcreg": Contender("sigreg-vcreg"),
    "on both": QUESTIONS["placement"]["on both"],
}

#: The two of them with the largest mean gain over the sets of data, digits and mnist1d; they run again on fresh seeds.
FINALISTS = ["sigreg-ep-infinite", "unbiased hd3 with 4 x the slices"]

REGULARIZERS = [FIRST, *(name for name in REGISTRY if name not in (FIRST, *CONTROLS))]
CONTENDERS: dict[str, Contender] = {name: Contender(name) for name in [*REGULARIZERS, *CONTROLS]}
for _group in (CANDIDATES, *QUESTIONS.values()):
    CONTENDERS |= _group
