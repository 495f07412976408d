"""Images to pretrain on, with labels for the probes alone: decoded in memory, or decoded batch by batch."""

import dataclasses
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sigreg_lab.pretrain.sources import TORCHVISION, Source, decode, read_path, read_torchvision, typical_side
from sigreg_lab.validation import on_device

#: Shares held out by class when a source has no such split.
TEST_SHARE, VALIDATION_SHARE = 0.2, 0.1
_SPLIT_SEED = 0


class Stream:
    """Images too many for the memory: (N, 3, S, S) uint8, decoded when they are asked for.

    An image that cannot be decoded is replaced by the nearest later one that can, label included, and named in
    ``corrupt``.
    """

    def __init__(self, source: Source, size: int) -> None:
        self._source, self._size = source, size
        self.shape = (len(source.labels), 3, size, size)
        self.device = torch.device("cpu")
        self.corrupt: set[str] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels of these rows, and the rows they really come from."""
        wanted = rows.clone()
        decoded = decode(self._source, self._size, wanted.tolist())
        tries = 0
        while decoded.corrupt:
            with self._lock:
                self.corrupt.update(decoded.corrupt)
            missing = ~torch.isin(wanted, torch.from_numpy(decoded.rows))
            wanted[missing] = (wanted[missing] + 1) % len(self)
            decoded = decode(self._source, self._size, wanted.tolist())
            tries += 1
            if tries > 100:
                raise ValueError(f"100 images in a row cannot be decoded, near {decoded.corrupt[0]}")
        return decoded.pixels, wanted


class Images(NamedTuple):
    """Images and their labels.

    Attributes:
        pixels: (N, C, H, W), float32 in 0 .. 1 or uint8; or a ``Stream`` of uint8.
        labels: (N,) int64.
    """

    pixels: Tensor | Stream
    labels: Tensor

    def take(self, rows: Tensor, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Float32 pixels in 0 .. 1 and labels of these rows, on ``device``."""
        if isinstance(self.pixels, Stream):
            pixels, rows = self.pixels.read(rows)
            rows = on_device(rows, self.labels.device)
        else:
            rows = on_device(rows, self.labels.device)
            pixels = self.pixels[rows]
        return as_float(on_device(pixels, device)), on_device(self.labels[rows], device)

    def to(self, device: torch.device | str) -> "Images":
        """The same on a device; a stream stays where it is."""
        pixels = self.pixels if isinstance(self.pixels, Stream) else self.pixels.to(device)
        return Images(pixels, self.labels.to(device))


def as_float(pixels: Tensor) -> Tensor:
    """Pixels in 0 .. 1; uint8 is divided by 255."""
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels


@dataclasses.dataclass(frozen=True)
class Splits:
    """A data set: pretraining sees the pixels of ``train``; choices are made on ``validation``; ``test`` reports.

    ``facts`` says how it came about: sizes, derived splits, conversions, corrupt images; it goes into the manifest.
    """

    name: str
    train: Images
    validation: Images
    test: Images
    num_classes: int
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


def load_data(name: str, image_size: int = 0, memory_gib: float = 8.0) -> Splits:
    """A data set by its name, or by the path of an image folder, a parquet file, or a folder of parquet files.

    Args:
        name: "digits", one of ``TORCHVISION``, or a path.
        image_size: side of the square that images become; 0 chooses 32 if most are that small, else 128.
        memory_gib: a set that takes more is decoded batch by batch.

    Raises:
        ValueError: an unknown name or wrong path, or data that is not as it should be; the message says what to do.
    """
    if name == "digits":
        return _digits()
    if name in TORCHVISION:
        return splits_from(name, read_torchvision(name), image_size, memory_gib)
    path = Path(name).expanduser()
    if not path.exists() and path.name == name:
        raise ValueError(f"unknown data {name!r}; known: digits, {', '.join(TORCHVISION)}; or the path of images")
    return splits_from(path.resolve().stem, read_path(path), image_size, memory_gib)


def splits_from(name: str, sources: dict[str, Source], image_size: int, memory_gib: float) -> Splits:
    """Decode sources; splits they lack are held out from train, by class, always the same.

    Raises:
        ValueError: fewer than two classes, a class too small to be split, or nothing that can be decoded.
    """
    sources, derived = dict(sources), []
    if "test" not in sources and "validation" in sources:
        sources["test"] = sources.pop("validation")  # a set with train and val alone reports on val, as ImageNet does
        derived.append("test is the source's validation split")
    num_classes = len(sources["train"].classes)
    if num_classes < 2:
        raise ValueError(f"{name} has one class, {sources['train'].classes[0]!r}; probes need two or more")
    for split, share in (("test", TEST_SHARE), ("validation", VALIDATION_SHARE)):
        if split not in sources:
            rest, held_out = hold_out(sources["train"].labels, share)
            train = sources["train"]
            sources |= {"train": train.take(rest), split: train.take(held_out)}
            derived.append(f"{split} is {share:.0%} of each class of train")
    missing = set(range(num_classes)) - set(sources["train"].labels.tolist())
    if missing:
        classes = ", ".join(sources["train"].classes[label] for label in sorted(missing)[:5])
        raise ValueError(f"{name}: no training image is left for class {classes}; a class needs 3 images or more")
    side = image_size or (32 if typical_side(sources["train"]) <= 48 else 128)
    total = sum(len(source.labels) for source in sources.values())
    streamed = total * 3 * side * side > memory_gib * 2**30
    facts: dict[str, Any] = {
        "image_size": side,
        "classes": num_classes,
        "streamed": streamed,
        "derived_splits": derived,
    }
    images = {}
    for split, source in sources.items():
        labels = torch.from_numpy(source.labels).long()
        corrupt: list[str] = []
        converted: dict[str, int] = {}
        if streamed:
            images[split] = Images(Stream(source, side), labels)
        else:
            pixels, rows, corrupt, converted = decode(source, side)
            images[split] = Images(pixels, labels[torch.from_numpy(rows)])
        if not len(images[split].pixels):
            raise ValueError(f"{name}: no image of split {split} can be decoded, for example {corrupt[0]}")
        facts[split] = {
            "images": len(images[split].pixels),
            "corrupt_skipped": len(corrupt),
            "corrupt_names": corrupt[:20],
            "converted_to_rgb": converted,
        }
    return Splits(name, images["train"], images["validation"], images["test"], num_classes, facts)


def hold_out(labels: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows kept and rows held out: of each class the share, rounded, at least one while two or more are there."""
    rng = np.random.default_rng(_SPLIT_SEED)
    kept, held_out = [], []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        count = min(max(1, round(share * len(rows))), len(rows) - 1)
        held_out.append(rows[:count])
        kept.append(rows[count:])
    return np.sort(np.concatenate(kept)), np.sort(np.concatenate(held_out))


def _digits() -> Splits:
    """scikit-learn's handwritten digits: 1,797 scans of 8 x 8 pixels, split 997 / 260 / 540 with equal class shares."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    scans = load_digits()
    index = np.arange(len(scans.target))
    rest, test = train_test_split(index, test_size=540, random_state=0, stratify=scans.target)
    train, validation = train_test_split(rest, test_size=260, random_state=0, stratify=scans.target[rest])

    def take(rows: np.ndarray) -> Images:
        pixels = torch.from_numpy(scans.images[rows]).float().unsqueeze(1) / 16
        return Images(pixels, torch.from_numpy(scans.target[rows]).long())

    return Splits("digits", take(train), take(validation), take(test), num_classes=10)
