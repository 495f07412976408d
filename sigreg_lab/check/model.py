"""Embeddings of images by a model: this project's own checkpoint, or a model of timm by its name.

Images are brought to the model's size as in pretraining (``pretrain.sources``): turned as the camera says, shorter side
to S, middle S x S; without augmentation. Of a checkpoint it is what the regulariser sees, the projections, or with
``key="embedding"`` what the backbone gives; of timm's models what they give in place of class scores.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sigreg_lab.check.reader import Sample, checked_sample
from sigreg_lab.check.request import LEAST_ROWS, MAX_GIGABYTES, MAX_ROWS, ReadError, Table, line
from sigreg_lab.pretrain.checkpoint import (
    check_same_data,
    is_checkpoint,
    load_checkpoint,
    load_weights,
    read_config,
)
from sigreg_lab.pretrain.data import MADE_HERE, Images, Splits
from sigreg_lab.pretrain.loop import CHECKPOINT, PretrainResult, load, load_again, make_fabric
from sigreg_lab.pretrain.models import build_encoder
from sigreg_lab.pretrain.sources import (
    TORCHVISION,
    Source,
    decode,
    printable,
    read_named,
    read_path,
    unlabelled_images,
)

OUTPUTS = ("projection", "embedding")
_AT_ONCE = 64  # images decoded and embedded together


def read_embeddings(
    model: str,
    data: str | None = None,
    *,
    key: str | None = None,
    max_rows: int | None = None,
    max_gigabytes: float = MAX_GIGABYTES,
    seed: int = 0,
) -> Sample:
    """Embed images.

    Args:
        model: ``checkpoint.pt`` of a pretraining run or the run's folder; or a name that ``timm.create_model`` takes,
            whose weights are downloaded if need be.
        data: a folder, of which all images count, whatever its subfolders; a .parquet of images or a data set's name,
            of which the test split counts. If not given, the test split of what a checkpoint was trained on.
        key: of a checkpoint "projection" (what the regulariser sees; the default) or "embedding" (the backbone's).
        max_rows: more images are sampled down to this number before they are decoded; 4,096 if not given.
        max_gigabytes: what the decoded images may take.
        seed: of that sampling.

    Raises:
        ValueError: no such model or data, images of another shape than the checkpoint's, fewer than 8 images that can
            be decoded, weights that cannot be had, or more memory than ``max_gigabytes``.
    """
    if max_rows is not None and max_rows < LEAST_ROWS:
        raise ReadError(f"max_rows must be at least {LEAST_ROWS}, got {max_rows}")
    if seed < 0:
        raise ReadError(f"seed must be 0 or more, got {seed}")
    path = Path(model)
    limit = max_rows or MAX_ROWS
    if is_checkpoint(path) or path.suffix in (".pt", ".pth") or path.is_dir():
        if key not in (None, *OUTPUTS):
            raise ReadError(f"--key must be one of {', '.join(OUTPUTS)} of a checkpoint, got {key}")
        rows, table = _of_checkpoint(path, data, key or OUTPUTS[0], limit, max_gigabytes, seed)
    elif key is not None:
        raise ReadError(f"--key goes with a checkpoint; timm's {model} has one output")
    elif data is None:
        raise ReadError(f"name the images for timm's {model}: --data FOLDER")
    else:
        rows, table = _of_timm(model, data, limit, seed)
    total, notes, source = table
    features = [str(k) for k in range(rows.shape[1])]
    return checked_sample(
        Table(rows.double().numpy(), features, total, notes, printable(source)), source, seed, may_be_transposed=False
    )


#: How many images there are, notes on them, and what the sample is called.
_About = tuple[int, list[str], str]


def _of_checkpoint(
    path: Path, data: str | None, key: str, limit: int, max_gigabytes: float, seed: int
) -> tuple[Tensor, _About]:
    state = load_checkpoint(path / CHECKPOINT if path.is_dir() else path)
    config = read_config(state["config"])
    shape = tuple(state["image_shape"])
    encoder = build_encoder(config, torch.zeros(1, *shape))
    load_weights(encoder, state["encoder"], config.backbone)
    notes = [f"{key}s after {state['step']:,} steps of pretraining, in evaluation mode, of images without augmentation"]
    if data is None or data in MADE_HERE:
        splits = load_again(config) if data is None else load(config, data)
        if data is None:
            check_same_data(state, splits.identity())
        name, total = f"{splits.name}, split test", len(splits.test.pixels)
        images = Images(*splits.test.take(torch.from_numpy(_chosen(total, limit, seed))))
    else:
        source, name = _source(data)
        total = len(source.labels)
        rows, side = _chosen(total, limit, seed), shape[-1]
        size = 3.0 * len(rows) * side**2
        if size > max_gigabytes * 1e9:
            raise ReadError(
                f"{len(rows):,} images take {size / 1e9:,.2f} GB, the limit is {max_gigabytes:g} (--max-gb)"
            )
        decoded = decode(source.take(rows), side)
        if not len(decoded.pixels):
            raise ReadError(f"no image of {name} can be decoded, for example {decoded.corrupt[0]}")
        notes += _skipped(decoded.corrupt, len(rows))
        images = Images(decoded.pixels, torch.zeros(len(decoded.pixels), dtype=torch.long))
    found = tuple(images.pixels.shape[1:])
    if found != shape:
        raise ReadError(
            f"the checkpoint was trained on images of shape {shape}, {name} has {found}; name others with --data"
        )
    encoder = encoder.to(make_fabric(config).device).eval()
    result = PretrainResult(encoder, Splits(name, images, images, images, 0), [], config)
    features, _ = result.features(images)
    rows_found: Tensor = getattr(features, key).cpu()
    return rows_found, (total, notes, f"{path.name} on {name}")


def _of_timm(name: str, data: str, limit: int, seed: int) -> tuple[Tensor, _About]:
    import timm

    if ":" not in name and not timm.is_model(name):
        near = timm.list_models(f"*{name}*")[:5]
        hint = f", such as {', '.join(near)}" if near else ""
        raise ReadError(f"model {name!r} is no checkpoint of sigreg-lab pretrain and no model of timm's{hint}")
    source, images = _source(data)
    try:
        network = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # of the hub, of files, of models that have no weights: a dozen kinds
        raise ReadError(
            f"the weights of timm's {name} cannot be had ({line(error)}); check the name and the network"
        ) from error
    facts = timm.data.resolve_model_data_config(network)
    side = facts["input_size"][-1]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = network.to(device).eval()
    mean, std = (torch.tensor(facts[part], device=device).view(-1, 1, 1) for part in ("mean", "std"))
    rows = _chosen(len(source.labels), limit, seed)
    parts: list[Tensor] = []
    corrupt: list[str] = []
    for some in np.array_split(rows, -(-len(rows) // _AT_ONCE)):
        decoded = decode(source.take(some), side)
        corrupt += decoded.corrupt
        if len(decoded.pixels):
            with torch.no_grad():
                found = network((decoded.pixels.to(device).float() / 255 - mean) / std)
            parts.append(found.float().cpu())
    if not parts:
        raise ReadError(f"no image of {images} can be decoded, for example {corrupt[0]}")
    if parts[0].ndim != 2:
        raise ReadError(f"timm's {name} gives embeddings of shape {tuple(parts[0].shape[1:])}; one vector is needed")
    notes = [f"what timm's {name} gives in place of class scores, of images of {side} x {side} pixels"]
    return torch.cat(parts), (len(rows), notes + _skipped(corrupt, len(rows)), f"{name} on {images}")


def _chosen(total: int, limit: int, seed: int) -> np.ndarray:
    """All rows, or as many at random as the limit allows, ascending."""
    if total <= limit:
        return np.arange(total)
    return np.sort(np.random.default_rng(seed).choice(total, limit, replace=False))


def _source(data: str) -> tuple[Source, str]:
    """Images to embed, and what they are called: all of a folder, or the test split of a data set."""
    if data in TORCHVISION:
        splits, name = read_named(data), data
    else:
        path = Path(data).expanduser()
        name = printable(path.resolve().name)
        if path.is_dir() and not any((*path.glob("*.parquet"), *path.glob("data/*.parquet"))):
            return unlabelled_images(path), name
        splits = read_path(path)
    split = next(part for part in ("test", "validation", "train") if part in splits)
    return splits[split], f"{name}, split {split}"


def _skipped(names: list[str], total: int) -> list[str]:
    if not names:
        return []
    return [f"{len(names)} of {total} images could not be read and were left out: {', '.join(names[:3])}"]
