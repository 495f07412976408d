"""LeJEPA pretraining: data, views, model, loop, probes."""

from sigreg_lab.pretrain.data import Images, Splits, load_data
from sigreg_lab.pretrain.loop import PretrainConfig, PretrainResult, pretrain
from sigreg_lab.pretrain.probes import evaluate, few_shot_accuracy, linear_accuracy

__all__ = [
    "Images",
    "PretrainConfig",
    "PretrainResult",
    "Splits",
    "evaluate",
    "few_shot_accuracy",
    "linear_accuracy",
    "load_data",
    "pretrain",
]
