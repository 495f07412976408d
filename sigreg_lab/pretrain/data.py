"""Images to pretrain on, with labels for the probes alone: decoded in memory, or decoded batch by batch."""

import dataclasses
import hashlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sigreg_lab.pretrain.sources import (
    LARGEST_MEGAPIXELS,
    MAX_MEGAPIXELS,
    TORCHVISION,
    Source,
    decode,
    printable,
    read_named,
    read_path,
    typical_side,
)
from sigreg_lab.validation import on_device

#: Shares held out by class when a source has no such split.
TEST_SHARE, VALIDATION_SHARE = 0.2, 0.1
_SPLIT_SEED = 0
_TRIES = 100  # images that a stream looks at to replace one


class Stream:
    """Images too many for the memory: (N, 3, S, S) uint8, decoded when they are asked for.

    An image that cannot be decoded is replaced by the nearest later one that can, label included, and named in
    ``corrupt``.
    """

    def __init__(self, source: Source, size: int, max_megapixels: float = MAX_MEGAPIXELS) -> None:
        self._source, self._size, self._max_megapixels = source, size, max_megapixels
        self.shape = (len(source.labels), 3, size, size)
        self.device = torch.device("cpu")
        self.corrupt: set[str] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels of these rows, and the rows they really come from."""
        wanted = rows.clone()
        for _ in range(_TRIES):
            decoded = decode(self._source, self._size, wanted.tolist(), max_megapixels=self._max_megapixels)
            if not decoded.corrupt:
                return decoded.pixels, wanted
            with self._lock:
                self.corrupt.update(decoded.corrupt)
            missing = ~torch.isin(wanted, torch.from_numpy(decoded.rows))
            wanted[missing] = (wanted[missing] + 1) % len(self)
        raise ValueError(f"{_TRIES} images in a row cannot be decoded, near {decoded.corrupt[0]}")


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

    ``classes`` are the names of labels 0, 1, ..., in all splits. ``facts`` says how it came about: sizes, derived
    splits, conversions, corrupt images; it goes into the manifest.
    """

    name: str
    train: Images
    validation: Images
    test: Images
    num_classes: int
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    classes: tuple[str, ...] = ()

    def identity(self) -> dict[str, Any]:
        """What tells these data from others of the same name: classes, and a digest of all labels, row by row."""
        digest = hashlib.sha256()
        for images in (self.train, self.validation, self.test):
            digest.update(f"{len(images.labels)}:".encode() + images.labels.cpu().numpy().tobytes())
        return {"classes": list(self.classes), "labels": digest.hexdigest()}

    def at_most(self, per_class: int) -> "Splits":
        """The same with the first ``per_class`` training samples of each class, which are in memory; 0: all."""
        if not per_class:
            return self
        assert isinstance(self.train.pixels, Tensor)
        rows = torch.from_numpy(first_of_each(self.train.labels.numpy(), per_class))
        return dataclasses.replace(self, train=Images(self.train.pixels[rows], self.train.labels[rows]))

    def relabeled(self, classes: Sequence[str]) -> "Splits":
        """The same images, their labels by another order of the same classes."""
        place = torch.tensor([classes.index(name) for name in self.classes])
        train, validation, test = (
            images._replace(labels=place[images.labels]) for images in (self.train, self.validation, self.test)
        )
        return dataclasses.replace(self, train=train, validation=validation, test=test, classes=tuple(classes))


def load_data(
    name: str,
    image_size: int = 0,
    memory_gib: float = 8.0,
    max_megapixels: float = MAX_MEGAPIXELS,
    images_per_class: int = 0,
) -> Splits:
    """A data set by its name, or by the path of an image folder, a parquet file, or a folder of parquet files.

    Args:
        name: one of ``MADE_HERE`` or ``TORCHVISION``, or a path.
        image_size: side of the square that images become; 0 chooses 32 if most are that small, else 128.
        memory_gib: a set that takes more is decoded batch by batch.
        max_megapixels: larger images are skipped and counted, as those that cannot be decoded; at most 178.
        images_per_class: training images of each class, the first ones; 0: all.

    Raises:
        ValueError: an unknown name or wrong path, or data that is not as it should be; the message says what to do.
    """
    if not name.strip():
        raise ValueError(f"data is empty; give {', '.join([*MADE_HERE, *TORCHVISION])}, or the path of images")
    if not 0 < max_megapixels <= LARGEST_MEGAPIXELS:
        raise ValueError(
            f"max_megapixels must lie in 0 .. {LARGEST_MEGAPIXELS:g} (0 excluded; Pillow decodes no more), "
            f"got {max_megapixels:g}"
        )
    if not 0 <= image_size <= 1000 * max_megapixels**0.5:
        raise ValueError(
            f"image_size must lie in 0 .. {1000 * max_megapixels**0.5:.0f} (max_megapixels={max_megapixels:g}), "
            f"got {image_size}"
        )
    if images_per_class < 0:
        raise ValueError(f"images_per_class must be 0 (all) or more, got {images_per_class}")
    limits = (image_size, memory_gib, max_megapixels, images_per_class)
    if name in MADE_HERE:
        return MADE_HERE[name]().at_most(images_per_class)
    if name in TORCHVISION:
        return splits_from(name, read_named(name), *limits)
    try:
        path = Path(name).expanduser()
        if not path.exists() and path.name == name:
            raise ValueError(
                f"unknown data {printable(name)!r}; known: {', '.join([*MADE_HERE, *TORCHVISION])}; or the path of "
                "images"
            )
        whole = path.resolve()
    except (OSError, RuntimeError) as error:  # a name of 300 letters, a user without a home, a loop of links
        raise ValueError(f"data {printable(name)[:80]} cannot be looked up: {error}"[:200]) from error
    sources = read_path(path)
    return splits_from(whole.stem if path.is_file() else whole.name, sources, *limits)


def splits_from(
    name: str,
    sources: dict[str, Source],
    image_size: int,
    memory_gib: float,
    max_megapixels: float = MAX_MEGAPIXELS,
    images_per_class: int = 0,
) -> Splits:
    """Decode sources; splits they lack are held out from train, by class, always the same.

    Raises:
        ValueError: fewer than two classes, a class too small to be split, labels that are none of the classes, or
            nothing that can be decoded in a split or in a class of train.
    """
    sources, derived = dict(sources), []
    if "test" not in sources and "validation" in sources:
        sources["test"] = sources.pop("validation")  # a set with train and val alone reports on val, as ImageNet does
        derived.append("test is the source's validation split")
    classes = sources["train"].classes
    for split, source in sources.items():
        if not len(source.labels):
            raise ValueError(f"{name}: split {split} holds no images")
        outside = source.labels[(source.labels < 0) | (source.labels >= len(classes))]
        if len(outside):
            raise ValueError(f"{name}: split {split} holds label {outside[0]}, which is none of {len(classes)} classes")
    if len(classes) < 2:
        raise ValueError(f"{name} has one class, {classes[0]!r}; probes need two or more")
    for split, share in (("test", TEST_SHARE), ("validation", VALIDATION_SHARE)):
        if split not in sources:
            train = sources["train"]
            rest, held_out = hold_out(train.labels, share)
            if not len(held_out):
                raise ValueError(
                    f"{name} has too few images to hold out {split} from them: a class needs 3 images or more; add "
                    f"images, or splits named train, validation and test"
                )
            sources |= {"train": train.take(rest), split: train.take(held_out)}
            derived.append(f"{split} is {share:.0%} of each class of train")
    _refuse_missing(name, sources["train"].labels, classes, "no training image is left for")
    if images_per_class:
        sources["train"] = sources["train"].take(first_of_each(sources["train"].labels, images_per_class))
        derived.append(f"train is the first {images_per_class} images of each class")
    side = image_size or (32 if typical_side(sources["train"]) <= 48 else 128)
    total = sum(len(source.labels) for source in sources.values())
    streamed = total * 3 * side * side > memory_gib * 2**30
    facts: dict[str, Any] = {
        "image_size": side,
        "classes": len(classes),
        "streamed": streamed,
        "derived_splits": derived,
    }
    images = {}
    for split, source in sources.items():
        labels = torch.from_numpy(source.labels).long()
        corrupt: list[str] = []
        converted: dict[str, int] = {}
        if streamed:
            images[split] = Images(Stream(source, side, max_megapixels), labels)
        else:
            pixels, rows, corrupt, converted = decode(source, side, max_megapixels=max_megapixels)
            images[split] = Images(pixels, labels[torch.from_numpy(rows)])
        if not len(images[split].pixels):
            raise ValueError(f"{name}: no image of split {split} can be decoded, for example {corrupt[0]}")
        facts[split] = {
            "images": len(images[split].pixels),
            "corrupt_skipped": len(corrupt),
            "corrupt_names": corrupt[:20],
            "converted_to_rgb": converted,
        }
    _refuse_missing(name, images["train"].labels.numpy(), classes, "no training image can be decoded of")
    return Splits(
        name, images["train"], images["validation"], images["test"], len(classes), facts, classes=tuple(classes)
    )


def _refuse_missing(name: str, labels: np.ndarray, classes: Sequence[str], what: str) -> None:
    missing = sorted(set(range(len(classes))) - set(labels.tolist()))
    if missing:
        some = ", ".join(classes[label] for label in missing[:5])
        raise ValueError(f"{name}: {what} class {some}; a class needs 3 images or more")


def first_of_each(labels: np.ndarray, count: int) -> np.ndarray:
    """Rows of the first samples of each class, ascending."""
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[:count] for label in np.unique(labels)]))


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

    return Splits("digits", take(train), take(validation), take(test), num_classes=10, classes=tuple("0123456789"))


def _mnist1d() -> Splits:
    from sigreg_lab.pretrain.signals import mnist1d

    return mnist1d()


#: Data sets that need no files, by name: a function that makes the splits. One's own goes in here.
MADE_HERE: dict[str, Callable[[], Splits]] = {"digits": _digits, "mnist1d": _mnist1d}
