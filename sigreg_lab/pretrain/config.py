"""All knobs of a pretraining run, and the recipes that set them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from sigreg_lab.experiment.study import parse_like
from sigreg_lab.pretrain.crops import CropConfig
from sigreg_lab.pretrain.signals import SignalConfig
from sigreg_lab.pretrain.sources import MAX_MEGAPIXELS
from sigreg_lab.pretrain.views import ViewConfig
from sigreg_lab.regularizers import resolve_regularizer
from sigreg_lab.validation import check_intervals, did_you_mean


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """All knobs of a run; saved with its result."""

    data: str = "digits"
    regularizer: Any = "sigreg-ep"  # a name, FILE.py:CLASS, MODULE:CLASS, all with :key=value,...; a class, an object
    regularizer_source: str = ""  # of one's own, the digest of its code: other code is another run
    seed: int = 0

    # Loss. ``dimensions="mean"`` is the scale on which the paper's lambda = 0.05 is meant (its Algorithm 2).
    lam: float = 0.05
    num_slices: int = 256
    directions: str = "iid"  # kind of the slices' directions
    form: str = "convex"
    prediction: str = "centroid"
    dimensions: str = "mean"
    placement: str = "projector"  # of the regulariser: "projector", "backbone" or "both", the mean of both values

    # Model. ``embedding_dim=0`` is the backbone's own width. The last five are ablations and options of timm models.
    backbone: str = "small-conv"
    embedding_dim: int = 64
    projector: tuple[int, ...] = (256, 32)
    predictor: int = 0  # width of the predictor's hidden layer; 0: none
    swa: float = 0.0  # decay of the moving average of the encoder that gives the centre of the views; 0: none
    register_tokens: int = 0
    patch_size: int = 0  # 0: the model's own
    drop_path: float = 0.0

    # Optimisation: AdamW, linear warm-up (a share of the run), cosine to lr / 1000.
    steps: int = 300
    epochs: float = 0.0  # if not 0, it sets the steps
    batch_size: int = 128  # images a step, over all devices
    accumulate: int = 1  # parts that the encoder sees one after the other; the loss is that of the whole batch
    num_views: int = 4  # of the affine kind; the crops have their own
    lr: float = 2e-3
    weight_decay: float = 5e-2
    warmup: float = 0.1
    precision: str = "auto"  # bf16-mixed on a GPU, else 32-true
    device: str = "auto"  # auto, cpu, cuda
    compile: bool = False
    graph: bool = True  # on one GPU, the whole step as one CUDA graph, where the regulariser can be captured

    # Views: "affine" for scans of digits, "crops" for images, "signals".
    augment: str = "affine"
    views: ViewConfig = dataclasses.field(default_factory=ViewConfig)
    crops: CropConfig = dataclasses.field(default_factory=CropConfig)
    signals: SignalConfig = dataclasses.field(default_factory=SignalConfig)

    # Images from files: the side of the square they are stored as (0: 32 if most are that small, else 128), and how
    # much memory the decoded set may take before it is decoded batch by batch instead.
    image_size: int = 0
    images_per_class: int = 0  # of the training set, at most; 0: all
    memory_gib: float = 8.0
    max_megapixels: float = MAX_MEGAPIXELS  # larger images are skipped and counted

    # Reports: losses every ``log_every`` steps, diagnostics and the online probe every ``diagnose_every`` (0: never).
    log_every: int = 1
    diagnose_every: int = 0
    online_probe: bool = False
    checkpoint_minutes: float = 3.0
    wait_seconds: float = 60.0  # of many processes: how long they wait for one that does not answer, then end

    # Probes at the end of a run on images: passes of the linear probe, training sets of each few-shot probe.
    probe_epochs: int = 100
    probe_draws: int = 5


PLACEMENTS = ("projector", "backbone", "both")

#: Where the numbers of a run may lie; "[1, inf)" leaves infinity out.
INTERVALS = {
    "seed": "[0, inf)",
    "lam": "[0, inf)",
    "num_slices": "[1, inf)",
    "embedding_dim": "[0, inf)",
    "projector": "[1, inf)",
    "predictor": "[0, inf)",
    "swa": "[0, 1)",
    "register_tokens": "[0, inf)",
    "patch_size": "[0, inf)",
    "drop_path": "[0, 1)",
    "steps": "[0, inf)",
    "epochs": "[0, inf)",
    "batch_size": "[2, inf)",
    "accumulate": "[1, inf)",
    "num_views": "[1, inf)",
    "lr": "(0, inf)",
    "weight_decay": "[0, inf)",
    "warmup": "[0, 1]",
    "image_size": "[0, inf)",
    "images_per_class": "[0, inf)",
    "memory_gib": "(0, inf)",
    "log_every": "[1, inf)",
    "diagnose_every": "[0, inf)",
    "checkpoint_minutes": "[0, inf)",
    "wait_seconds": "(0, inf)",
    "probe_epochs": "[1, inf)",
    "probe_draws": "[0, inf)",
}
_VIEW_INTERVALS = {
    "views": {name: "[0, inf)" for name in ViewConfig._fields},
    "crops": {
        "global_views": "[1, inf)",
        **dict.fromkeys(
            ("local_views", "global_size", "local_size", "brightness", "contrast", "saturation"), "[0, inf)"
        ),
        **dict.fromkeys(("global_scale", "local_scale"), "(0, 1]"),
        **dict.fromkeys(("ratio", "sigma"), "(0, inf)"),
        **dict.fromkeys(("flip", "jitter", "grayscale", "blur", "solarize"), "[0, 1]"),
        "hue": "[0, 0.5]",
    },
    "signals": {"shift": "[0, 1]", "scale": "[0, inf)", "noise": "[0, inf)", "mask": "[0, 1]"},
}


def check_config(config: PretrainConfig) -> None:
    """Raise ``ValueError`` for a number out of its range, or a setting that the chosen views would not look at."""
    check_intervals(vars(config), INTERVALS)
    for part, intervals in _VIEW_INTERVALS.items():
        check_intervals(getattr(config, part)._asdict(), intervals, f"{part}.")
    for name in ("global_scale", "local_scale", "ratio", "sigma"):
        ends = getattr(config.crops, name)
        if len(ends) != 2 or ends[0] > ends[1]:
            told = ", ".join(map(str, ends))
            raise ValueError(f"crops.{name} must be two numbers, from the smaller to the larger, got {told}")
    if config.placement not in PLACEMENTS:
        raise ValueError(f"placement must be one of {', '.join(PLACEMENTS)}, got {config.placement!r}")
    if not config.projector:
        raise ValueError("projector is empty; give the widths of its layers, the last that of the projections")
    default = PretrainConfig()
    idle = [part for part in PARTS if part != _PART_OF.get(config.augment, part)]
    for part in idle:
        if getattr(config, part) != getattr(default, part):
            raise ValueError(f"augment={config.augment!r} does not look at {part}; leave {part}.* out")
    if config.augment == "crops" and config.num_views != default.num_views:
        raise ValueError("augment='crops' does not look at num_views; set crops.global_views")


_IMAGES: dict[str, Any] = {
    "augment": "crops",
    "backbone": "resnet18",
    "embedding_dim": 0,
    "projector": (2048, 2048, 64),
    "num_slices": 1024,
    "batch_size": 256,
    "epochs": 100.0,
    "lr": 2e-3,
    "weight_decay": 5e-4,
    "log_every": 10,
    "diagnose_every": 100,
    "online_probe": True,
}

#: A comparison of regularisers in minutes: a narrow network, small images, few passes. Found by measurement, see
#: docs/pretraining.md.
_FAST: dict[str, Any] = {
    **_IMAGES,
    "backbone": "small-resnet",
    "embedding_dim": 512,
    "projector": (1024, 64),
    "image_size": 32,
    "lam": 0.02,
    "batch_size": 128,
    "epochs": 7.0,
    "crops": CropConfig(blur=0.0),
    "log_every": 50,
    "diagnose_every": 0,
    "online_probe": False,
    "probe_epochs": 10,
    "probe_draws": 0,
}

#: Images on processors: minutes instead of days.
_SMALL: dict[str, Any] = {
    **_FAST,
    "embedding_dim": 128,
    "projector": (256, 32),
    "num_slices": 128,
    "batch_size": 128,
    "epochs": 0.0,
    "steps": 200,
    "log_every": 5,
    "probe_epochs": 20,
    "probe_draws": 2,
}

#: Named settings, as changes of ``PretrainConfig``.
RECIPES: dict[str, dict[str, Any]] = {
    "digits": {},
    "mnist1d": {
        "data": "mnist1d",
        "augment": "signals",
        "backbone": "signal-conv",
        "projector": (128, 32),
        "lam": 0.02,
        "num_slices": 64,
        "steps": 400,
        "log_every": 20,
    },
    "images": _IMAGES,
    "images-small": _SMALL,
    "cifar10-small": {**_SMALL, "data": "cifar10", "image_size": 16, "images_per_class": 500, "steps": 500},
    # Table 5's in-domain run: 32 px, small stem; the number of epochs is ours, the paper does not print it.
    "cifar10-resnet18": {**_IMAGES, "data": "cifar10", "epochs": 400.0, "image_size": 32},
    "cifar10-fast": {**_FAST, "data": "cifar10"},
    # The official minimal run: Imagenette at 128 px, 4 views, lambda 0.02, 800 epochs.
    "imagenette-vit-s8": {
        **_IMAGES,
        "backbone": "vit_small_patch8_224",
        "embedding_dim": 512,
        "projector": (2048, 2048, 16),
        "drop_path": 0.1,
        "lam": 0.02,
        "num_slices": 256,
        "weight_decay": 5e-2,
        "warmup": 1 / 800,
        "epochs": 800.0,
        "image_size": 128,
        "crops": CropConfig(
            global_views=4, global_scale=(0.08, 1.0), brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2
        ),
    },
    # Section 4's multi-crop for ViTs: 2 global and 6 local views.
    "multicrop-vit": {
        **_IMAGES,
        "backbone": "vit_small_patch16_224",
        "projector": (2048, 2048, 128),
        "lr": 5e-4,
        "weight_decay": 5e-2,
        "image_size": 224,
        "crops": CropConfig(global_views=2, local_views=6, global_scale=(0.3, 1.0), local_size=96),
    },
}
#: Settings that have settings of their own.
PARTS: dict[str, Any] = {"views": ViewConfig, "crops": CropConfig, "signals": SignalConfig}
_PART_OF = {"affine": "views", "crops": "crops", "signals": "signals"}
_FIXED = ("data", "regularizer", "regularizer_source", "seed", *PARTS)


def default_recipe(data: str | None, gpu: bool = True) -> str:
    """The recipe of data that comes with none: its own, or that of images, the small one without a GPU."""
    return (data or "digits") if data in (None, "digits", "mnist1d") else "images" if gpu else "images-small"


def configure(
    data: str | None, regularizer: Any, seed: int, overrides: Sequence[str] = (), recipe: str | None = None
) -> PretrainConfig:
    """The config of a run: a recipe, changed by ``key=value`` (of views ``views.key=value``, ``crops.key=value``).

    Args:
        data: a data set's name or path; the recipe's if None.
        regularizer: a regulariser's name, or one's own; see ``resolve_regularizer``.
        seed: of everything random.
        overrides: changes to the recipe.
        recipe: a name in ``RECIPES``; ``default_recipe``'s if not given.

    Raises:
        ValueError: an unknown recipe or key, or a value of another type than the default's.
    """
    if data is not None and not data.strip():
        raise ValueError("--data is empty; give a data set's name, or the path of a folder or parquet file")
    recipe = recipe or default_recipe(data)
    if recipe not in RECIPES:
        raise ValueError(f"unknown recipe {recipe!r}; known: {', '.join(RECIPES)}")
    base = PretrainConfig(**RECIPES[recipe])
    if data is None and recipe != "digits" and "data" not in RECIPES[recipe]:
        raise ValueError(f"recipe {recipe} needs --data: a data set's name, or the path of a folder or parquet file")
    config = dataclasses.replace(base, data=data or base.data, regularizer=regularizer, seed=seed)
    known = _known(config)
    changed: dict[str, Any] = {}
    for override in overrides:
        key, given, text = override.partition("=")
        if not given or key not in known:
            raise ValueError(
                f"--set {override}: not a setting of pretraining; {did_you_mean(key, known)}write --set key=value with "
                f"one of {', '.join(known)}"
            )
        value = parse_like(known[key], text, f"--set {override}")
        changed[key] = tuple(value) if isinstance(value, list) else value
    parts = {}
    for part in PARTS:
        prefix = f"{part}."
        own = {key.removeprefix(prefix): changed.pop(key) for key in list(changed) if key.startswith(prefix)}
        parts[part] = getattr(config, part)._replace(**own)
    config = dataclasses.replace(config, **changed, **parts)
    check_config(config)
    return config


def _known(config: PretrainConfig) -> dict[str, Any]:
    """The settings that ``key=value`` changes, with their values."""
    known: dict[str, Any] = {k: v for k, v in vars(config).items() if k not in _FIXED}
    return known | {f"{part}.{key}": value for part in PARTS for key, value in getattr(config, part)._asdict().items()}


def setting_names() -> list[str]:
    """What ``key=value`` can change."""
    return list(_known(PretrainConfig()))


def as_dict(config: PretrainConfig) -> dict[str, Any]:
    """The config as numbers, texts, lists and dicts: what JSON and a checkpoint can hold.

    A regulariser that is a class or an object becomes its name: ``regularizer_source`` tells it from others.
    """
    saved = {**vars(config), **{part: getattr(config, part)._asdict() for part in PARTS}}
    if not isinstance(config.regularizer, str):
        saved["regularizer"] = resolve_regularizer(config.regularizer).name
    return {
        key: {k: list(v) if isinstance(v, tuple) else v for k, v in value.items()}
        if isinstance(value, dict)
        else list(value)
        if isinstance(value, tuple)
        else value
        for key, value in saved.items()
    }


def from_dict(saved: dict[str, Any]) -> PretrainConfig:
    """The config that ``as_dict`` wrote."""

    def tuples(values: dict[str, Any]) -> dict[str, Any]:
        return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}

    parts = {part: kind(**tuples(saved.get(part, {}))) for part, kind in PARTS.items()}
    return PretrainConfig(**{**tuples(saved), **parts})
