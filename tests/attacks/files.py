"""Files as people have them, as they are damaged, and as nobody should write them: for ``check`` and for image data."""

import io
import struct
import warnings
import zipfile
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from hypothesis import strategies as st
from PIL import Image

SUFFIXES = (".npy", ".npz", ".pt", ".pth", ".parquet", ".csv", ".txt", ".tsv", "", ".CSV", ".npy.gz")
SHAPES = ((20, 3), (12, 2))  # few, since the first check of each shape simulates
ODD_SHAPES = ((), (0,), (7,), (0, 3), (3, 0), (1, 4), (2, 2), (4, 20, 3), (2, 0, 3), (1, 1, 12, 2))
DTYPES = ("f2", "f4", "f8", ">f8", "i1", "i8", "u2", "?", "c16", "U3", "S4", "O", "M8[s]", "V5", "f4,i4")
SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-300, 1e300, 5e-324, 1.0)


#: Half of the files are as they should be: what is refused at once tries little of the program.
PLAIN = st.sampled_from((True, False))


def build(make: Callable[..., bytes], *arguments) -> bytes:
    """``make``'s file; an empty one where the library refuses to write such a thing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return make(*arguments)
        except (ValueError, TypeError, RuntimeError, NotImplementedError, OverflowError, pa.ArrowException):
            return b""


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    if draw(PLAIN):
        return np.random.default_rng(draw(st.integers(0, 9))).normal(size=draw(st.sampled_from(SHAPES)))
    shape = draw(st.sampled_from((*SHAPES, *SHAPES, *ODD_SHAPES)))
    x = np.random.default_rng(draw(st.integers(0, 9))).normal(size=shape)
    for place in draw(st.lists(st.integers(0, 59), max_size=3)):
        if x.ndim and x.size:
            x.flat[place % x.size] = draw(st.sampled_from(SPECIAL))
    if draw(st.booleans()):
        x = x * draw(st.sampled_from(SPECIAL[2:]))
    if draw(st.integers(0, 2)):
        return x
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return x.astype(draw(st.sampled_from(DTYPES)))
        except (ValueError, TypeError):
            return x


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    file = io.BytesIO()
    names = st.sampled_from(("x.npy", "y.npy", "arr_0.npy", "notes.txt", "../x.npy", "é.npy", "x"))
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as archive:
        warnings.simplefilter("ignore")  # of names that come twice
        for name in draw(st.lists(names, max_size=3)):
            content = npy(draw(arrays())) if draw(st.integers(0, 3)) else draw(st.binary(max_size=60))
            archive.writestr(name, content, draw(st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))))
    whole = bytearray(file.getvalue())
    if whole[:2] == b"PK" and draw(st.integers(0, 4)) == 0:  # marked as encrypted, in both headers
        for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            place = whole.find(mark)
            if place >= 0:
                whole[place + offset] |= 1
    return bytes(whole)


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9)))
    if draw(PLAIN):
        return torch.randn(draw(st.sampled_from(SHAPES)), generator=generator)
    x = torch.randn(draw(st.sampled_from((*SHAPES, *ODD_SHAPES))), generator=generator)
    form = draw(st.integers(0, 11))
    match form:
        case 0:
            names = ("float16", "bfloat16", "float64", "float8_e4m3fn", "int64", "bool", "complex64", "uint8")
            return x.to(getattr(torch, draw(st.sampled_from(names))))
        case 1:
            return torch.empty(x.shape, device="meta")
        case 2:
            return torch.complex(x, x).conj()
        case 3:
            return x.to_sparse() if x.ndim else x
        case 4:
            return torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)
        case 5:
            return torch.nn.Parameter(x)
        case 6:
            return x.expand(2, *x.shape)
        case 7:
            return torch.nested.nested_tensor([x.reshape(-1), x.reshape(-1)[:1]]) if x.numel() else x
        case _:
            return x


@st.composite
def torch_files(draw: st.DrawFn) -> bytes:
    leaf = st.one_of(tensors(), st.integers(), st.text(max_size=3), st.none(), st.lists(st.floats(), max_size=3))
    keys = st.sampled_from(("x", "embeddings", "y", 0, "[/]", "\x1b[31m"))
    held = draw(
        tensors()
        if draw(PLAIN)
        else st.one_of(leaf, st.dictionaries(keys, leaf, max_size=3), st.lists(leaf, max_size=3))
    )
    file = io.BytesIO()
    torch.save(held, file, _use_new_zipfile_serialization=draw(st.integers(0, 4)) > 0)
    return file.getvalue()


NAMES = ("a", "b", "x0", "label", "0", "1", "", "Unnamed: 0", "$\\alpha_$", "[/]", "[red]", "\x1b[31mred", "é", "a")


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    plain = draw(PLAIN)
    rows = draw(st.sampled_from((12, 20) if plain else (0, 1, 12, 20)))
    rng, columns = np.random.default_rng(draw(st.integers(0, 9))), []
    for _ in range(draw(st.integers(2 if plain else 0, 4))):
        match 9 if plain else draw(st.integers(0, 9)):
            case 0:
                column = pa.array([[1.0, 2.0]] * rows)
            case 1:
                column = pa.array([[[1.0, 2.0]]] * rows)
            case 2:
                column = pa.array(["word"] * rows)
            case 3:
                column = pa.array([None if i % 2 else 1.5 for i in range(rows)], pa.float64())
            case 4:
                column = pa.array([list(range(i % 3)) for i in range(rows)], pa.list_(pa.int64()))
            case 5:
                column = pa.array(rng.normal(size=(rows, 3)).tolist(), pa.list_(pa.float32(), 3))
            case 6:
                column = pa.array([{"a": 1.0}] * rows)
            case 7:
                column = pa.array([True] * rows)
            case _:
                column = pa.array(rng.normal(size=rows))
        columns.append(column)
    names = [draw(st.sampled_from(NAMES)) for _ in columns]
    if plain:
        names = [f"{name} {number}" for number, name in enumerate(names)]
    file = io.BytesIO()
    pq.write_table(pa.table(columns, names=names), file)
    return file.getvalue()


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    separator, point = draw(st.sampled_from(((",", "."), (";", ","), ("\t", "."), (" ", "."), ("|", "."))))
    odd = st.sampled_from(("", "nan", "NaN", "inf", "1e400", "1" * 400, "word", '"', '"a', "0x1p3", "1_000", "١", "\0"))
    number = st.floats(-3, 3).map(lambda value: f"{value:.4f}".replace(".", point))
    plain = draw(PLAIN)
    rows, columns = draw(st.sampled_from(SHAPES if plain else (*SHAPES, (3, 2), (1, 1), (0, 2))))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    lines = [[f"{value:.4f}".replace(".", point) for value in rng.normal(size=columns)] for _ in range(rows)]
    for _ in range(0 if plain else draw(st.integers(0, 2))):
        if lines:
            line = lines[draw(st.integers(0, len(lines) - 1))]
            match draw(st.integers(0, 2)):
                case 0:
                    line.append(draw(number))
                case 1 if line:
                    line.pop()
                case _ if line:
                    line[-1] = draw(odd)
    if draw(st.booleans()):
        lines.insert(0, [draw(st.sampled_from(NAMES)) for _ in range(columns + (not plain and draw(st.booleans())))])
    text = draw(st.sampled_from(("\n", "\r\n", "\r"))).join(separator.join(line) for line in lines)
    codecs = ("utf-8",) if plain else ("utf-8", "utf-8-sig", "utf-16", "latin-1")
    return text.encode(draw(st.sampled_from(codecs)), "replace")


@st.composite
def damages(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """What disks and transfers do to a file, whatever its size."""
    kind, places = draw(st.integers(0, 3)), draw(st.lists(st.floats(0, 1), min_size=1, max_size=4))
    added, changed = draw(st.binary(min_size=1, max_size=8)), draw(st.integers(1, 255))

    def damage(whole: bytes) -> bytes:
        found = [min(int(place * len(whole)), len(whole) - 1) for place in places]
        if not whole or kind == 3:
            return whole + added
        if kind == 0:
            return whole[: found[0]]
        if kind == 1:
            return whole[: found[0]] + added + whole[found[0] :]
        flipped = bytearray(whole)
        for place in found:
            flipped[place] ^= changed
        return bytes(flipped)

    return damage


@st.composite
def samples(draw: st.DrawFn) -> tuple[str, bytes]:
    """A file's ending and what is in it."""
    kinds = {
        ".npy": arrays().map(lambda array: build(npy, array)),
        ".npz": archives(),
        ".pt": torch_files(),
        ".parquet": tables(),
        ".csv": texts(),
    }
    suffix = draw(st.sampled_from(sorted(kinds)))
    content = draw(kinds[suffix])
    match draw(st.sampled_from(("whole", "whole", "whole", "whole", "damaged", "damaged", "renamed", "random"))):
        case "damaged":
            content = draw(damages())(content)
        case "renamed":
            suffix = draw(st.sampled_from(SUFFIXES))
        case "random":
            content = draw(st.binary(max_size=200))
    return suffix, content


def png(side: int, colour: int = 90, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (side, side), colour if len(mode) == 1 else (colour,) * len(mode)).save(file, "png")
    return file.getvalue()


def huge_png() -> bytes:
    """A small file whose header speaks of 12,000 x 12,000 pixels."""
    whole = bytearray(png(8))
    whole[16:24] = struct.pack(">II", 12_000, 12_000)
    return bytes(whole)
