"""LeJEPA pretraining: data, views, model, loop, probes."""

from sigreg_lab.pretrain.config import RECIPES, PretrainConfig, configure
from sigreg_lab.pretrain.data import Images, Splits, load_data
from sigreg_lab.pretrain.loop import PretrainResult, pretrain
from sigreg_lab.pretrain.probes import evaluate, few_shot_accuracies, knn_accuracy, linear_accuracy, probe

__all__ = [
    "RECIPES",
    "Images",
    "PretrainConfig",
    "PretrainResult",
    "Splits",
    "configure",
    "evaluate",
    "few_shot_accuracies",
    "knn_accuracy",
    "linear_accuracy",
    "load_data",
    "pretrain",
    "probe",
]
