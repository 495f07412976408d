"""Where labelled images come from: folders, parquet files of encoded images, torchvision's data sets.

A source opens one image at a time, and knows its label and its name. It is decoded into ``Images`` of one square size:

    rotate as the camera says -> RGB -> shorter side to S (bicubic, smoothed) -> middle S x S

Modes other than RGB are converted (grey repeated, transparency laid on white, grey of 16 bits or of fractions in 0 .. 1
scaled to 8 bits) and counted. An image that cannot be decoded is named, skipped and counted; so is one whose header
says more than ``max_megapixels``, and what is no regular file (a pipe or a device would never end).

All splits, and all files of a split, share one map from names of classes to labels: that of the classes in train.
"""

import errno
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sigreg_lab.cache import cache_folder

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif")
#: How folders and files name the splits.
SPLIT_NAMES = {"train": ("train", "training"), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
#: What may follow a split's name in that of a parquet file: ``train-00000-of-00002``, ``train_1``, the Hub's digest.
_SHARD = re.compile(r"([-_.]\d+([-_]of[-_]\d+)?)?(-[0-9a-f]{16})?")
#: Images of more pixels are skipped; Pillow itself decodes none of more than 178 million.
MAX_MEGAPIXELS, LARGEST_MEGAPIXELS = 64.0, 178.0
#: Environment variable: where downloaded data sets are kept.
DATA_HOME = "SIGREG_LAB_DATA"
_PEEK = 64  # images looked at to choose a size
#: Bytes of a parquet split that are held in memory; a larger one is copied once to a file that is mapped.
LARGEST_IN_MEMORY = 4 << 30
_ROWS_AT_ONCE = 256  # of that copy


class NotDecoded(OSError):
    """An image is left alone; the message says why."""


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
        ValueError: nothing there, no images, no classes, an empty class, splits with different classes, names of which
            some are those of splits and others not, or labels that are no classes of train.
    """
    name = printable(str(path))
    try:
        if not path.exists():
            raise ValueError(
                f"no such file or folder: {name}; give an image folder, a parquet file or a data set's name"
            )
        if path.is_file():
            if path.suffix != ".parquet":
                raise ValueError(
                    f"{name} is no parquet file; give an image folder, a parquet file or a data set's name"
                )
            return _parquet({"train": [path]})
        if not path.is_dir():
            raise ValueError(f"{name} is neither a file nor a folder; give an image folder or a parquet file")
        folders = [p for p in sorted(path.iterdir()) if p.is_dir() and not p.name.startswith(".")]
        tables = sorted(path.glob("*.parquet")) or sorted(path.glob("data/*.parquet"))
        if tables:
            images = next((p for p in folders if any(q.suffix.lower() in IMAGE_SUFFIXES for q in p.iterdir())), None)
            if images:
                raise ValueError(f"{name} holds parquet files and images in {printable(images.name)}; keep one kind")
            return _parquet(_splits_of(name, {table: table.stem for table in tables}, "files") or {"train": tables})
        found = _splits_of(name, {folder: folder.name for folder in folders}, "folders")
        if not found:
            return {"train": _folder(path)}
        _refuse_loose(path, "the folders of its splits")
        several = next((own for own in found.values() if len(own) > 1), None)
        if several:
            names = " and ".join(p.name for p in several)
            raise ValueError(f"{name} holds {names}, two names of one split; keep one of them")
        splits = {split: _folder(folder) for split, (folder,) in found.items()}
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror or error}") from error
    for split, source in splits.items():
        if source.classes != splits["train"].classes:
            odd = sorted(set(source.classes) ^ set(splits["train"].classes))
            raise ValueError(f"{name}: splits train and {split} have different classes: {', '.join(odd[:5])}")
    return splits


def printable(name: str) -> str:
    """A name as text for a terminal: escape sequences, line breaks and undecodable bytes are shown as such."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def _splits_of(name: str, parts: dict[Path, str], kind: str) -> dict[str, list[Path]]:
    """Which files or folders are which split: all of them or none, or the names are not meant as splits."""
    found: dict[str, list[Path]] = {}
    others = []
    for path, stem in parts.items():
        split = _split_of(stem, shards=kind == "files")
        if split:
            found.setdefault(split, []).append(path)
        else:
            others.append(path)
    if found and (others or "train" not in found):
        splits = ", ".join(printable(p.name) for own in found.values() for p in own[:1])
        beside = (
            f"beside others ({', '.join(printable(p.name) for p in others[:3])})" if others else "but none for train"
        )
        raise ValueError(
            f"{name} holds {kind} named as splits ({splits}) {beside}; name all of them train, validation or test, or "
            "none of them"
        )
    return found


def _split_of(stem: str, shards: bool) -> str | None:
    stem = stem.lower()
    for split, names in SPLIT_NAMES.items():
        for name in names:
            if stem == name or (shards and stem.startswith(name) and _SHARD.fullmatch(stem[len(name) :])):
                return split
    return None


def _folder(path: Path) -> Source:
    classes = sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not classes:
        loose = any(p.suffix.lower() in IMAGE_SUFFIXES for p in path.iterdir())
        what = "images without classes" if loose else "no images"
        name = printable(str(path))
        raise ValueError(f"{name} holds {what}; make one folder per class: {name}/CLASS/image.png")
    _refuse_loose(path, "its class folders")
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        own = sorted(p for p in (path / name).rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and not p.is_dir())
        if not own:
            where = printable(str(path / name))
            raise ValueError(f"class folder {where} holds no images ({', '.join(IMAGE_SUFFIXES)}); remove it")
        files += own
        labels += [label] * len(own)
    return _of_files(files, np.asarray(labels), path.parent, [printable(name) for name in classes])


def _of_files(files: Sequence[Path], labels: np.ndarray, root: Path, classes: list[str]) -> Source:
    def open_file(row: int) -> Any:
        from PIL import Image

        if not files[row].is_file():
            raise NotDecoded("no regular file")
        return Image.open(files[row])

    return Source(open_file, labels, lambda row: printable(str(files[row].relative_to(root))), classes)


def unlabelled_images(folder: Path) -> Source:
    """All images of a folder, whatever its subfolders, as one class: for uses that need no labels.

    Raises:
        ValueError: it holds none, or cannot be read.
    """
    try:
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and not p.is_dir())
    except OSError as error:
        raise ValueError(f"{printable(str(folder))} cannot be read: {error.strerror or error}") from error
    files = [p for p in files if not any(part.startswith(".") for part in p.relative_to(folder).parts)]
    if not files:
        raise ValueError(f"{printable(str(folder))} holds no images ({', '.join(IMAGE_SUFFIXES)})")
    return _of_files(files, np.zeros(len(files), dtype=np.int64), folder, ["all"])


def _refuse_loose(path: Path, where: str) -> None:
    loose = sorted(p.name for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.is_dir())
    loose = [name for name in loose if not name.startswith(".")]
    if loose:
        raise ValueError(
            f"{printable(str(path))} holds {len(loose)} image(s) outside {where}, for example {printable(loose[0])}; "
            "move them into one or away"
        )


def _parquet(splits: dict[str, list[Path]]) -> dict[str, Source]:
    """The splits of parquet files, their labels by one map: that of the classes in train."""
    import pyarrow as pa

    opened, columns = {}, {}
    order = ["train", *(split for split in splits if split != "train")]
    for split in order:
        paths = splits[split]
        name = printable(str(paths[0]))
        if not all(path.is_file() for path in paths):
            raise ValueError(f"{name} or a file beside it is no regular file; give parquet files")
        try:
            opened[split] = _encoded(paths)
            columns[split] = [_read_labels(path) for path in paths]
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(f"{name} is no readable parquet file: {reason}") from error
    schema = next((own.classes for split in order for own in columns[split] if own.classes), None)
    classes = _classes([own.named(schema) for own in columns["train"]], schema)
    label_of = {name: label for label, name in enumerate(classes)}
    return {
        split: Source(
            opened[split],
            np.concatenate([own.labels(own.named(schema), label_of) for own in columns[split]]),
            partial("{} row {}".format, printable(splits[split][0].name)),
            classes,
        )
        for split in order
    }


def _encoded(paths: Sequence[Path]) -> Callable[[int], Any]:
    """Opens the image of a row of these files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = printable(str(paths[0]))
    size = 0
    for path in paths:
        with pq.ParquetFile(path) as file:
            size += sum(file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups))
    if size > LARGEST_IN_MEMORY:
        table = _mapped(paths, size)
    else:
        table = pa.concat_tables([pq.ParquetFile(path).read() for path in paths])
    column = _column(table.schema, ("image.bytes", "image", "img"), name, "image.bytes of encoded images")
    image = table.column(column)
    if pa.types.is_struct(image.type) and image.type.get_field_index("bytes") >= 0:
        image = pa.chunked_array([chunk.field("bytes") for chunk in image.chunks], image.type.field("bytes").type)
    if not (pa.types.is_binary(image.type) or pa.types.is_large_binary(image.type)):
        raise ValueError(f"{name} has no column image.bytes of encoded images: {column} holds {image.type}")

    def open_bytes(row: int) -> Any:
        from PIL import Image

        data = image[row].as_py()
        if data is None:
            raise NotDecoded("no bytes")
        return Image.open(io.BytesIO(data))

    return open_bytes


def _column(schema: Any, known: Sequence[str], name: str, what: str) -> str:
    """The first of the known columns that the schema has.

    Raises:
        ValueError: it has none, or two of that name.
    """
    own = list(schema.names)
    found = next((column for column in known if column in own), None)
    if found is None:
        raise ValueError(f"{name} has no column {what}; it has {', '.join(map(printable, own[:20]))}")
    if own.count(found) > 1:
        raise ValueError(f"{name} has {own.count(found)} columns {found}; keep one")
    return found


class _Labels(NamedTuple):
    """The column of labels of one parquet file.

    Attributes:
        where: file and column, for messages.
        values: the distinct values.
        held: shape (N,), which of them each row holds.
        classes: names of the classes by the file's own schema; empty if it has none.
    """

    where: str
    values: list[Any]
    held: np.ndarray
    classes: list[str]

    def named(self, schema: list[str] | None) -> list[str]:
        """The class of each of ``values``; those of a file without names of its own by the names of the others.

        Raises:
            ValueError: a value that is no class.
        """
        names = self.classes or schema
        found = []
        for place, value in enumerate(self.values):
            rows = f"in {int((self.held == place).sum())} of {len(self.held)} rows"
            if not isinstance(value, str) and value < 0:
                raise ValueError(
                    f"{self.where} holds {value} {rows}: hidden labels, or no class; leave those rows or that file out"
                )
            if names and (value not in names if isinstance(value, str) else value >= len(names)):
                raise ValueError(
                    f"{self.where} holds {printable(str(value))} {rows}, which is none of the {len(names)} classes "
                    f"named in the file ({_some(names)}); mend or drop them"
                )
            found.append(names[value] if names and not isinstance(value, str) else printable(str(value)))
        return found

    def labels(self, named: list[str], label_of: dict[str, int]) -> np.ndarray:
        """Labels of the rows, by the map that all splits share.

        Raises:
            ValueError: a class that is not in it.
        """
        unknown = [name for name in named if name not in label_of]
        if unknown:
            raise ValueError(
                f"{self.where} holds {_some(unknown)}, which train does not know (it has {_some(list(label_of))}); "
                "leave those rows out"
            )
        return np.asarray([label_of[name] for name in named], dtype=np.int64)[self.held]


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _classes(named: list[list[str]], schema: list[str] | None) -> list[str]:
    """Classes that occur: in the order of the file's names for them, else numbers by size, then texts."""
    found = {name for own in named for name in own}
    if schema and found <= set(schema):
        return [name for name in schema if name in found]
    return sorted(found, key=lambda name: (0, int(name), "") if name.isdecimal() else (1, 0, name))


def _read_labels(path: Path) -> _Labels:
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = printable(str(path))
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        column = _column(schema, ("label", "fine_label", "labels"), name, "label")
        values = file.read(columns=[column]).column(column)
    where = f"{name}: column {column}"
    kind = values.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
        values = values.cast(kind)
    number = pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_floating(kind)
    if not (number or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise ValueError(f"{where} holds {kind}, which are no classes; give whole numbers or names")
    missing = values.is_null(nan_is_null=True).to_numpy()
    if missing.any():
        raise ValueError(f"{where}: {missing.sum()} rows have no label, the first is row {missing.argmax()}; drop them")
    if pa.types.is_boolean(kind):
        values = values.cast(pa.int8())
    distinct, index = np.unique(np.asarray(values.to_numpy()), return_inverse=True)
    if pa.types.is_floating(kind):
        if (distinct != np.floor(distinct)).any():
            raise ValueError(f"{where} holds fractions, which are no classes; give whole numbers or names")
        distinct = distinct.astype(np.int64)
    return _Labels(where, distinct.tolist(), index, _class_names(schema, column))


def _class_names(schema: Any, column: str) -> list[str]:
    """Names of the classes in a parquet schema: a ClassLabel of Hugging Face's, or ``class_names``, by commas."""
    metadata = schema.metadata or {}
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][column]["names"]
    except (KeyError, ValueError, TypeError):
        names = [name.strip() for name in metadata.get(b"class_names", b"").decode(errors="replace").split(",")]
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        return []
    return [
        printable(name) if names.count(name) == 1 else f"{printable(name)} ({label})"
        for label, name in enumerate(names)
    ]


def _mapped(paths: Sequence[Path], size: int) -> Any:
    """The files' table, read from disk as it is asked for.

    Parquet has no quick way to a single row, so the rows are written once, as they are, to an Arrow file in
    ``data_home``, which the system maps into memory.
    """
    import pyarrow as pa

    state = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    copy = data_home() / "arrow" / f"{hashlib.sha256(repr(state).encode()).hexdigest()[:16]}.arrow"
    if copy.exists():
        try:
            return pa.ipc.open_file(pa.memory_map(str(copy))).read_all()
        except (pa.ArrowException, OSError):
            copy.unlink()  # it is damaged, and only a copy
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        if size > shutil.disk_usage(copy.parent).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with tempfile.TemporaryDirectory(dir=copy.parent) as scratch:
            fresh = Path(scratch, "rows.arrow")
            _copy_rows(paths, fresh)
            os.replace(fresh, copy)
    except OSError as error:
        raise ValueError(
            f"{printable(str(paths[0]))} is large and its copy of {size / 2**30:.1f} GiB could not be written "
            f"({error.strerror or error}); name a folder with room for it in ${DATA_HOME}"
        ) from error
    return pa.ipc.open_file(pa.memory_map(str(copy))).read_all()


def _copy_rows(paths: Sequence[Path], copy: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pa.ipc.new_file(str(copy), pq.ParquetFile(paths[0]).schema_arrow) as writer:
        for path in paths:
            for batch in pq.ParquetFile(path).iter_batches(_ROWS_AT_ONCE):
                writer.write_batch(batch)


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
    """Where downloaded data sets are kept: the folder that ``$SIGREG_LAB_DATA`` names, or the user's cache.

    Raises:
        ValueError: neither variable is set and the user has no home.
    """
    try:
        return Path(os.environ.get(DATA_HOME) or cache_folder())
    except RuntimeError:
        raise ValueError(f"this user has no home folder; name a folder for data in ${DATA_HOME}") from None


def read_named(name: str) -> dict[str, Source]:
    """The splits of one of torchvision's data sets: of the parquet files in its folder, else torchvision's download.

    Raises:
        ValueError: it is not there and cannot be downloaded, or torchvision is not installed.
    """
    root = data_home() / name
    if any(root.glob("*.parquet")):
        return read_path(root)
    try:
        from torchvision import datasets
    except ImportError:
        raise ValueError(
            f"data {name} comes from torchvision, which is not installed: pip install 'sigreg-lab[vision]'"
        ) from None

    kind, splits = TORCHVISION[name]
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
        corrupt: names of the images that could not be decoded, or were left alone (then with the reason).
        converted: how many images were in which other mode.
    """

    pixels: Tensor
    rows: np.ndarray
    corrupt: list[str]
    converted: dict[str, int]


def decode(
    source: Source,
    size: int,
    rows: Iterable[int] | None = None,
    threads: int | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Decoded:
    """Decode rows of a source, by threads (PIL decodes outside Python's lock).

    Args:
        source: the images.
        size: S, the side of the square they become.
        rows: which; all if not given.
        threads: how many; the number of processors if not given.
        max_megapixels: larger images are left alone; at most 178.
    """
    order = list(range(len(source.labels)) if rows is None else rows)
    stack = np.empty((len(order), 3, size, size), np.uint8)
    from PIL import Image

    def one(place: int) -> tuple[str, str]:
        """The image's mode, or why it was not decoded."""
        row = order[place]
        try:
            with source.open(row) as image:
                megapixels = image.width * image.height / 1e6
                if megapixels > max_megapixels:
                    raise NotDecoded(f"{megapixels:.1f} megapixels, more than max_megapixels={max_megapixels:g}")
                pixels, mode = _pixels(image, size)
            stack[place] = pixels.transpose(2, 0, 1)
            return mode, ""
        except NotDecoded as error:
            return "", f"{source.names(row)} ({error})"
        except Image.DecompressionBombError:
            return "", f"{source.names(row)} (more than max_megapixels={max_megapixels:g})"
        except Exception:  # PIL raises whatever its decoders raise; the image is named and counted by the caller
            return "", source.names(row)

    _silence_pillow()
    with ThreadPoolExecutor(threads or min(32, os.cpu_count() or 1)) as pool:
        found = list(pool.map(one, range(len(order))))
    good = np.asarray([place for place, (_, why) in enumerate(found) if not why], dtype=np.int64)
    return Decoded(
        torch.from_numpy(stack if len(good) == len(order) else stack[good]),
        np.asarray(order, dtype=np.int64)[good],
        [why for _, why in found if why],
        dict(Counter(mode for mode, why in found if not why and mode != "RGB")),
    )


def typical_side(source: Source) -> int:
    """Median of the shorter sides of the first images that open, by their headers; 0 if none does."""
    _silence_pillow()
    sides = []
    for row in np.linspace(0, len(source.labels) - 1, min(_PEEK, len(source.labels))).astype(int).tolist():
        try:
            with source.open(row) as image:
                sides.append(min(image.size))
        except Exception:  # counted when it is decoded
            continue
    return int(np.median(sides)) if sides else 0


def _silence_pillow() -> None:
    """Pillow warns of images beyond 89 megapixels as it reads their header; ``max_megapixels`` decides on them."""
    from PIL import Image

    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def _white(mode: str, largest: float) -> float:
    """The value of white in a grey image of more than 8 bits: by its mode, else by its largest value."""
    if mode.startswith("I;16") or largest > 255:
        return 65535.0
    return 1.0 if mode == "F" and largest <= 1 else 255.0


def _pixels(image: Any, size: int) -> tuple[np.ndarray, str]:
    from PIL import Image, ImageOps

    image.load()
    mode = image.mode
    image = ImageOps.exif_transpose(image)
    if mode.startswith("I") or mode == "F":
        depth = np.asarray(image, dtype=np.float64)
        if not np.isfinite(depth).all():
            raise NotDecoded("NaN or infinite values")
        image = Image.fromarray((depth * (255 / _white(mode, depth.max()))).clip(0, 255).round().astype(np.uint8))
    elif mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, (255, 255, 255, 255)), over)
    image = image.convert("RGB")
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), method=Image.Resampling.BICUBIC)
    return np.asarray(image), mode
