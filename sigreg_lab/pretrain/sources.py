"""Where labelled images come from: folders, parquet files of encoded images, torchvision's data sets.

A source opens one image at a time, and knows its label and its name. It is decoded into ``Images`` of one square size:

    rotate as the camera says -> RGB -> shorter side to S (bicubic, smoothed) -> middle S x S

Modes other than RGB are converted (grey repeated, transparency laid on white, 16-bit grey scaled to 8) and counted. An
image that cannot be decoded is named, skipped and counted.
"""

import hashlib
import io
import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif")
#: How folders and files name the splits.
SPLIT_NAMES = {"train": ("train", "training"), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
#: Environment variable: where downloaded data sets are kept.
DATA_HOME = "SIGREG_LAB_DATA"
_PEEK = 64  # images looked at to choose a size
#: Bytes of a parquet split that are held in memory; a larger one is copied once to a file that is mapped.
LARGEST_IN_MEMORY = 4 << 30
_ROWS_AT_ONCE = 256  # of that copy


class Source(NamedTuple):
    """Labelled images that are not decoded yet.

    Attributes:
        open: row -> PIL image.
        labels: shape (N,), 0 .. number of classes - 1.
        names: row -> what a message calls the image.
        classes: names of the classes.
    """

    open: Callable[[int], Any]
    labels: np.ndarray
    names: Callable[[int], str]
    classes: list[str]

    def take(self, rows: np.ndarray) -> "Source":
        """The source of these rows alone."""
        own = rows.tolist()
        return Source(lambda i: self.open(own[i]), self.labels[rows], lambda i: self.names(own[i]), self.classes)


def read_path(path: Path) -> dict[str, Source]:
    """The splits found at a path: a parquet file, a folder of them, or an image folder (with splits or without).

    Raises:
        ValueError: nothing there, no images, no classes, an empty class, or splits with different classes.
    """
    if not path.exists():
        raise ValueError(
            f"no such file or folder: {path.name}; give an image folder, a parquet file or a data set's name"
        )
    if path.is_file():
        if path.suffix != ".parquet":
            raise ValueError(
                f"{path.name} is no parquet file; give an image folder, a parquet file or a data set's name"
            )
        return {"train": _parquet([path])}
    tables = sorted(path.glob("*.parquet")) or sorted(path.glob("data/*.parquet"))
    if tables:
        found = {split: [t for t in tables if _split_of(t.stem) == split] for split in SPLIT_NAMES}
        named = {split: _parquet(files) for split, files in found.items() if files}
        return named if "train" in named else {"train": _parquet(tables)}
    folders = {_split_of(p.name): p for p in sorted(path.iterdir()) if p.is_dir() and _split_of(p.name)}
    if "train" not in folders:
        return {"train": _folder(path)}
    splits = {str(split): _folder(folder) for split, folder in folders.items()}
    for split, source in splits.items():
        if source.classes != splits["train"].classes:
            odd = sorted(set(source.classes) ^ set(splits["train"].classes))
            raise ValueError(f"{path.name}: splits train and {split} have different classes: {', '.join(odd[:5])}")
    return splits


def _split_of(name: str) -> str | None:
    first = name.lower().split("-")[0].split("_")[0]
    return next((split for split, names in SPLIT_NAMES.items() if first in names), None)


def _folder(path: Path) -> Source:
    classes = sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not classes:
        loose = any(p.suffix.lower() in IMAGE_SUFFIXES for p in path.iterdir())
        what = "images without classes" if loose else "no images"
        raise ValueError(f"{path.name} holds {what}; make one folder per class: {path.name}/CLASS/image.png")
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        own = sorted(p for p in (path / name).rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        if not own:
            raise ValueError(
                f"class folder {path.name}/{name} holds no images ({', '.join(IMAGE_SUFFIXES)}); remove it"
            )
        files += own
        labels += [label] * len(own)

    def open_file(row: int) -> Any:
        from PIL import Image

        return Image.open(io.BytesIO(files[row].read_bytes()))  # leaves no file open

    return Source(open_file, np.asarray(labels), lambda row: str(files[row].relative_to(path.parent)), classes)


def _parquet(paths: Sequence[Path]) -> Source:
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = paths[0].name
    try:
        files = [pq.ParquetFile(path) for path in paths]
        size = sum(f.metadata.row_group(i).total_byte_size for f in files for i in range(f.num_row_groups))
        table = _mapped(paths) if size > LARGEST_IN_MEMORY else pa.concat_tables([file.read() for file in files])
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{name} is no readable parquet file: {str(error).splitlines()[0]}") from error
    columns = dict(zip(table.column_names, table.columns, strict=True))
    image = columns.get("image", columns.get("img"))
    encoded = columns.get("image.bytes")
    if encoded is None and image is not None and pa.types.is_struct(image.type):
        encoded = pa.chunked_array([chunk.field("bytes") for chunk in image.chunks])
    elif encoded is None and image is not None and pa.types.is_binary(image.type):
        encoded = image
    if encoded is None:
        raise ValueError(f"{name} has no column image.bytes of encoded images; it has {', '.join(table.column_names)}")
    column = next((columns[key] for key in ("label", "fine_label", "labels") if key in columns), None)
    if column is None:
        raise ValueError(f"{name} has no column label; it has {', '.join(table.column_names)}")
    if column.null_count:
        row = next(i for i, value in enumerate(column.to_pylist()) if value is None)
        raise ValueError(f"{name}: {column.null_count} rows have no label, the first is row {row}; drop them")
    known, labels = np.unique(np.asarray(column.to_pylist()), return_inverse=True)

    def open_bytes(row: int) -> Any:
        from PIL import Image

        data = encoded[row].as_py()
        if data is None:
            raise OSError("no bytes")
        return Image.open(io.BytesIO(data))

    return Source(open_bytes, labels, lambda row: f"{name} row {row}", [str(value) for value in known])


def _mapped(paths: Sequence[Path]) -> Any:
    """The files' table, read from disk as it is asked for.

    Parquet has no quick way to a single row, so the rows are written once, as they are, to an Arrow file in
    ``data_home``, which the system maps into memory.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    state = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    copy = data_home() / "arrow" / f"{hashlib.sha256(repr(state).encode()).hexdigest()[:16]}.arrow"
    if not copy.exists():
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=copy.parent) as scratch:
                fresh = Path(scratch, "rows.arrow")
                with pa.ipc.new_file(str(fresh), pq.ParquetFile(paths[0]).schema_arrow) as writer:
                    for path in paths:
                        for batch in pq.ParquetFile(path).iter_batches(_ROWS_AT_ONCE):
                            writer.write_batch(batch)
                os.replace(fresh, copy)
        except OSError as error:
            raise ValueError(
                f"{paths[0].name} is large and its copy could not be written ({error.strerror or error}); name a "
                f"folder with room for it in ${DATA_HOME}"
            ) from error
    return pa.ipc.open_file(pa.memory_map(str(copy))).read_all()


#: torchvision's data sets: class, and the arguments of each split.
TORCHVISION: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
    "cifar10": ("CIFAR10", {"train": {"train": True}, "test": {"train": False}}),
    "cifar100": ("CIFAR100", {"train": {"train": True}, "test": {"train": False}}),
    "stl10": ("STL10", {"train": {"split": "train"}, "test": {"split": "test"}}),
    "flowers102": (
        "Flowers102",
        {s: {"split": t} for s, t in (("train", "train"), ("validation", "val"), ("test", "test"))},
    ),
    "food101": ("Food101", {"train": {"split": "train"}, "test": {"split": "test"}}),
    "dtd": ("DTD", {s: {"split": t} for s, t in (("train", "train"), ("validation", "val"), ("test", "test"))}),
    "fgvc-aircraft": (
        "FGVCAircraft",
        {s: {"split": t} for s, t in (("train", "train"), ("validation", "val"), ("test", "test"))},
    ),
    "stanford-cars": ("StanfordCars", {"train": {"split": "train"}, "test": {"split": "test"}}),
    "oxford-iiit-pets": ("OxfordIIITPet", {"train": {"split": "trainval"}, "test": {"split": "test"}}),
    "imagenet": ("ImageNet", {"train": {"split": "train"}, "test": {"split": "val"}}),
}


def data_home() -> Path:
    """Where downloaded data sets are kept: the variable ``SIGREG_LAB_DATA``, or the user's cache."""
    return Path(os.environ.get(DATA_HOME) or Path.home() / ".cache" / "sigreg-lab")


def read_torchvision(name: str) -> dict[str, Source]:
    """The splits of one of torchvision's data sets, downloaded if need be.

    Raises:
        ValueError: it is not there and cannot be downloaded.
    """
    from torchvision import datasets

    kind, splits = TORCHVISION[name]
    root = data_home() / name
    found = {}
    for split, arguments in splits.items():
        # ImageNet needs an agreement, so torchvision does not download it.
        download = {} if name == "imagenet" else {"download": True}
        try:
            root.mkdir(parents=True, exist_ok=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                dataset = getattr(datasets, kind)(root=str(root), **arguments, **download)
        except (OSError, RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ValueError(
                f"data {name} is not in ${DATA_HOME} and could not be downloaded ({reason.replace(str(root), name)}); "
                "check the network, or give the path of a folder or parquet file"
            ) from error
        found[split] = _from_torchvision(name, split, dataset)
    return found


def _from_torchvision(name: str, split: str, dataset: Any) -> Source:
    keep = ("targets", "labels", "_labels")
    labels = next((np.asarray(getattr(dataset, key)) for key in keep if hasattr(dataset, key)), None)
    if labels is None:  # StanfordCars
        labels = np.asarray([label for _, label in dataset._samples])
    classes = getattr(dataset, "classes", None) or [str(label) for label in np.unique(labels)]
    return Source(lambda i: dataset[i][0], labels, lambda i: f"{name} {split} image {i}", [str(c) for c in classes])


class Decoded(NamedTuple):
    """Pixels that came out of a source.

    Attributes:
        pixels: (N, 3, S, S) uint8.
        rows: which of the source's rows they are.
        corrupt: names of the images that could not be decoded.
        converted: how many images were in which other mode.
    """

    pixels: Tensor
    rows: np.ndarray
    corrupt: list[str]
    converted: dict[str, int]


def decode(source: Source, size: int, rows: Iterable[int] | None = None, threads: int | None = None) -> Decoded:
    """Decode rows of a source, by threads (PIL decodes outside Python's lock).

    Args:
        source: the images.
        size: S, the side of the square they become.
        rows: which; all if not given.
        threads: how many; the number of processors if not given.
    """
    order = list(range(len(source.labels)) if rows is None else rows)

    def one(row: int) -> tuple[np.ndarray, str] | None:
        try:
            return _pixels(source.open(row), size)
        except Exception:  # PIL raises whatever its decoders raise; the image is named and counted by the caller
            return None

    with ThreadPoolExecutor(threads or min(32, os.cpu_count() or 1)) as pool:
        found = list(pool.map(one, order))
    good = [(row, item) for row, item in zip(order, found, strict=True) if item is not None]
    stack = np.stack([item[0] for _, item in good]) if good else np.zeros((0, size, size, 3), np.uint8)
    return Decoded(
        torch.from_numpy(stack).permute(0, 3, 1, 2).contiguous(),
        np.asarray([row for row, _ in good], dtype=np.int64),
        [source.names(row) for row, item in zip(order, found, strict=True) if item is None],
        dict(Counter(item[1] for _, item in good if item[1] != "RGB")),
    )


def typical_side(source: Source) -> int:
    """Median of the shorter sides of the first images that open; 0 if none does."""
    sides = []
    for row in np.linspace(0, len(source.labels) - 1, min(_PEEK, len(source.labels))).astype(int).tolist():
        try:
            sides.append(min(source.open(row).size))
        except Exception:  # counted when it is decoded
            continue
    return int(np.median(sides)) if sides else 0


def _pixels(image: Any, size: int) -> tuple[np.ndarray, str]:
    from PIL import Image, ImageOps

    image.load()
    mode = image.mode
    image = ImageOps.exif_transpose(image)
    if mode.startswith("I") or mode == "F":
        depth = np.asarray(image, dtype=np.float64)
        scale = 255 / 65535 if depth.max() > 255 else 1.0
        image = Image.fromarray((depth * scale).clip(0, 255).round().astype(np.uint8))
    elif mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, (255, 255, 255, 255)), over)
    image = image.convert("RGB")
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), method=Image.Resampling.BICUBIC)
    return np.asarray(image), mode
