"""Folders, parquet files and torchvision's sets: what is read, what is converted, what is refused."""

import json
import os
import shutil
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from sigreg_lab.pretrain import data as data_module
from sigreg_lab.pretrain import load_data, sources
from sigreg_lab.pretrain.data import hold_out
from sigreg_lab.pretrain.sources import decode, read_path


def _write(path, rows, form="struct", labels=True):
    images = [row["bytes"] for row in rows]
    columns = {"image": [{"bytes": b, "path": None} for b in images]} if form == "struct" else {"image.bytes": images}
    if labels:
        columns["label"] = [row["label"] for row in rows]
    pq.write_table(pa.table(columns), path)


def test_an_image_folder_needs_only_its_path(image_folder):
    data = load_data(str(image_folder))
    assert data.num_classes == 3
    assert data.train.pixels.dtype == torch.uint8
    assert data.train.pixels.shape == (21, 3, 32, 32)
    assert data.validation.labels.bincount().tolist() == [1, 1, 1]
    assert data.test.labels.bincount().tolist() == [2, 2, 2]
    assert data.facts["derived_splits"] == [
        "test is 20% of each class of train",
        "validation is 10% of each class of train",
    ]
    brightness = [data.train.pixels[data.train.labels == c].float().mean().item() for c in range(3)]
    assert brightness == pytest.approx([49.5, 99.5, 149.5], abs=3), "labels follow the folders' alphabetical order"


def test_derived_splits_are_always_the_same_and_do_not_overlap(image_folder):
    one, two = load_data(str(image_folder)), load_data(str(image_folder))
    assert torch.equal(one.test.pixels, two.test.pixels)
    every = torch.cat([part.pixels for part in (one.train, one.validation, one.test)]).flatten(1)
    assert len(every.unique(dim=0)) == 30


def test_held_out_shares_are_by_class_and_leave_one():
    kept, held_out = hold_out(np.repeat([0, 1, 2], [10, 2, 1]), 0.3)
    labels = np.repeat([0, 1, 2], [10, 2, 1])
    assert np.bincount(labels[held_out], minlength=3).tolist() == [3, 1, 0]
    assert sorted([*kept, *held_out]) == list(range(13))


def test_folders_named_as_splits_are_the_splits(image_folder, tmp_path):
    for split in ("train", "val", "test"):
        shutil.copytree(image_folder, tmp_path / split)
    data = load_data(str(tmp_path))
    assert [len(part.pixels) for part in (data.train, data.validation, data.test)] == [30, 30, 30]
    assert data.facts["derived_splits"] == []


@pytest.mark.parametrize("form", ["struct", "flat"])
def test_parquet_files_in_both_forms(encoded_rows, tmp_path, form):
    _write(tmp_path / "train-00000-of-00001.parquet", encoded_rows[:16], form)
    _write(tmp_path / "test-00000-of-00001.parquet", encoded_rows[16:], form)
    data = load_data(str(tmp_path), image_size=16)
    assert len(data.test.pixels) == 8
    assert data.test.labels.tolist() == [0, 1] * 4
    bright = data.test.pixels.float().mean((1, 2, 3)) > 75
    assert bright.long().tolist() == data.test.labels.tolist()
    assert len(read_path(tmp_path / "train-00000-of-00001.parquet")["train"].labels) == 16


def test_a_corrupt_image_is_named_skipped_and_counted(encoded_rows, image_folder, tmp_path):
    rows = [*encoded_rows, {"bytes": b"no image", "label": 1}]
    _write(tmp_path / "train.parquet", rows)
    source = read_path(tmp_path / "train.parquet")["train"]
    decoded = decode(source, 16)
    assert decoded.corrupt == ["train.parquet row 24"]
    assert decoded.rows.tolist() == list(range(24))

    broken = tmp_path / "broken"
    shutil.copytree(image_folder, broken)
    whole = (broken / "bee" / "3.png").read_bytes()
    (broken / "bee" / "3.png").write_bytes(whole[: len(whole) // 2])
    data = load_data(str(broken))
    parts = [data.facts[split] for split in ("train", "validation", "test")]
    assert [name for part in parts for name in part["corrupt_names"]] == ["broken/bee/3.png"]
    assert sum(part["images"] for part in parts) == 29
    assert all(
        part["images"] == len(getattr(data, split).labels)
        for part, split in zip(parts, ("train", "validation", "test"), strict=True)
    )


def test_modes_are_converted_and_counted(image_folder, tmp_path):
    folder = tmp_path / "modes"
    shutil.copytree(image_folder, folder)
    Image.new("L", (20, 20), 100).save(folder / "ant" / "a.png")
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(folder / "ant" / "b.png")
    for name, value in {"c": 32896, "d": 200}.items():
        Image.fromarray(np.full((20, 20), value, np.uint16)).save(folder / "ant" / f"{name}.png")
    for name, value in {"e": 0.6, "f": 102, "g": 65535, "h": np.nan}.items():
        Image.fromarray(np.full((20, 20), value, np.float32)).save(folder / "ant" / f"{name}.tiff")
    source = read_path(folder)["train"]
    rows = [row for row in range(len(source.labels)) if Path(source.names(row)).stem in "abcdefgh"]
    decoded = decode(source, 8, rows)
    found = decoded.pixels.flatten(1).float().mean(1).tolist()
    assert found == [100, 255, 128, 1, 153, 102, 255], "grey, white below, 16 bits twice, then fractions"
    assert sum(decoded.converted.values()) == 7
    assert decoded.corrupt == ["modes/ant/h.tiff (NaN or infinite values)"]


def _png_header(path, width, height):
    """A PNG file of that size by its header, without any pixels."""
    chunk = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    head = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    path.write_bytes(head + bytes(4) + b"IDAT" + zlib.crc32(b"IDAT").to_bytes(4, "big"))


def test_what_is_too_large_or_no_regular_file_is_left_alone_with_the_reason(image_folder, tmp_path):
    folder = tmp_path / "odd"
    shutil.copytree(image_folder, folder)
    _png_header(folder / "ant" / "large.png", 12_000, 12_000)
    _png_header(folder / "ant" / "larger.png", 60_000, 60_000)
    (folder / "ant" / "endless.png").symlink_to("/dev/zero")
    os.mkfifo(folder / "ant" / "pipe.png")
    (folder / "ant" / "folder.png").mkdir()
    sides = []
    source = read_path(folder)["train"]
    reader = threading.Thread(target=lambda: sides.append(sources.typical_side(source)), daemon=True)
    reader.start()
    reader.join(60)
    assert sides == [20], "a pipe would never end"
    decoded = decode(source, 8)
    assert decoded.corrupt == [
        "odd/ant/endless.png (no regular file)",
        "odd/ant/large.png (144.0 megapixels, more than max_megapixels=64)",
        "odd/ant/larger.png (more than max_megapixels=64)",
        "odd/ant/pipe.png (no regular file)",
    ]
    assert len(decoded.pixels) == 30


def test_the_limit_on_pixels_is_an_option_in_memory_and_in_a_stream(image_folder, tmp_path):
    folder = tmp_path / "odd"
    shutil.copytree(image_folder, folder)
    Image.new("RGB", (300, 300)).save(folder / "ant" / "0.png")
    reason = "odd/ant/0.png (0.1 megapixels, more than max_megapixels=0.08)"
    for memory in (8.0, 1e-9):
        data = load_data(str(folder), memory_gib=memory, max_megapixels=0.08)
        for images in (data.train, data.validation, data.test):
            images.take(torch.arange(len(images.pixels)))
        parts = [data.facts[split]["corrupt_names"] for split in ("train", "validation", "test")]
        streams = [images.pixels for images in (data.train, data.validation, data.test)]
        found = parts if memory > 1 else [sorted(stream.corrupt) for stream in streams]
        assert sorted(found) == [[], [], [reason]]
        assert not load_data(str(folder), max_megapixels=0.1).facts["train"]["corrupt_skipped"]
    for wrong in (0.0, -1.0, 179.0, float("nan")):
        with pytest.raises(ValueError, match=r"max_megapixels must lie in 0 \.\. 178"):
            load_data(str(folder), max_megapixels=wrong)
    with pytest.raises(ValueError, match=r"image_size must lie in 0 \.\. 8000 \(max_megapixels=64\), got 100000"):
        load_data(str(folder), image_size=100_000)


def test_a_stream_gives_the_pixels_that_memory_would(image_folder, tmp_path):
    held, streamed = load_data(str(image_folder)), load_data(str(image_folder), memory_gib=1e-9)
    rows = torch.tensor([5, 0, 17])
    assert streamed.facts["streamed"]
    assert not held.facts["streamed"]
    for one, two in zip(held.train.take(rows), streamed.train.take(rows), strict=True):
        assert torch.equal(one, two)


def test_a_stream_replaces_a_corrupt_image_by_the_next_with_its_label(image_folder, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(image_folder, folder)
    for path in (folder / "ant").glob("*.png"):
        path.write_bytes(b"no image")
    data = load_data(str(folder), memory_gib=1e-9)
    _, labels = data.train.take(torch.tensor([0, 6, 20]))
    assert labels.tolist() == [1, 1, 2]
    assert len(data.train.pixels.corrupt) == 7


def test_a_stream_without_any_image_ends(image_folder, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(image_folder, folder)
    for path in folder.rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(ValueError, match="no image of split train can be decoded, for example broken/ant/"):
        load_data(str(folder))
    data = load_data(str(folder), memory_gib=1e-9)
    with pytest.raises(ValueError, match="100 images in a row cannot be decoded, near broken/"):
        data.train.take(torch.tensor([0, 6]))


def test_a_stream_of_which_the_last_try_succeeds_gives_it(image_folder, tmp_path, monkeypatch):
    folder = tmp_path / "broken"
    shutil.copytree(image_folder, folder)
    for path in (folder / "ant").glob("*.png"):
        path.write_bytes(b"no image")
    data = load_data(str(folder), memory_gib=1e-9)
    for tries, enough in ((7, False), (8, True)):  # seven of class ant are in train
        monkeypatch.setattr(data_module, "_TRIES", tries)
        if enough:
            assert data.train.take(torch.tensor([0]))[1].tolist() == [1]
        else:
            with pytest.raises(ValueError, match="7 images in a row cannot be decoded, near broken/ant/"):
                data.train.take(torch.tensor([0]))


@pytest.mark.parametrize("images", [1, 2])
def test_too_few_images_to_hold_some_out_are_said(tmp_path, images):
    for name in ("ant", "bee"):
        (tmp_path / "few" / name).mkdir(parents=True)
        for index in range(images):
            Image.new("RGB", (8, 8)).save(tmp_path / "few" / name / f"{index}.png")
    with pytest.raises(ValueError, match=r"few has too few images to hold out \w+ from them: a class needs 3 images"):
        load_data(str(tmp_path / "few"))
    for split in ("train", "val", "test"):
        shutil.copytree(tmp_path / "few", tmp_path / "own" / split)
    assert len(load_data(str(tmp_path / "own")).train.pixels) == 2 * images


def test_a_class_of_which_nothing_can_be_decoded_is_named(image_folder, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(image_folder, folder)
    for path in (folder / "bee").glob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(ValueError, match="broken: no training image can be decoded of class bee"):
        load_data(str(folder))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("bus", "train"), r"set holds folders named as splits \(train\) beside others \(bus\); name all of them"),
        (("train", "test", "holdout"), r"splits \(test, train\) beside others \(holdout\)"),
        (("val", "test"), r"splits \(test, val\) but none for train"),
        (("train", "training"), "set holds train and training, two names of one split; keep one of them"),
        (("train", "val", "dev"), "set holds dev and val, two names of one split"),
    ],
)
def test_folders_are_all_splits_or_none(image_folder, tmp_path, names, message):
    for name in names:
        shutil.copytree(image_folder, tmp_path / "set" / name)
    with pytest.raises(ValueError, match=message):
        load_data(str(tmp_path / "set"))


def test_folders_whose_names_begin_like_splits_are_classes(image_folder, tmp_path):
    for name, like in (("train_station", "ant"), ("test-tube", "bee"), ("dev_board", "cat")):
        shutil.copytree(image_folder / like, tmp_path / "set" / name)
    assert load_data(str(tmp_path / "set")).classes == ("dev_board", "test-tube", "train_station")
    for split in ("Train", "TEST"):
        shutil.copytree(image_folder, tmp_path / "upper" / split)
    assert len(load_data(str(tmp_path / "upper")).test.pixels) == 30


def test_images_beside_the_folders_are_not_lost_in_silence(image_folder, encoded_rows, tmp_path):
    shutil.copytree(image_folder, tmp_path / "set")
    Image.new("RGB", (8, 8)).save(tmp_path / "set" / "a.png")
    with pytest.raises(ValueError, match=r"set holds 1 image\(s\) outside its class folders, for example a\.png"):
        load_data(str(tmp_path / "set"))
    shutil.copytree(image_folder, tmp_path / "splits" / "train")
    shutil.copytree(image_folder, tmp_path / "splits" / "test")
    Image.new("RGB", (8, 8)).save(tmp_path / "splits" / "a.png")
    with pytest.raises(ValueError, match="outside the folders of its splits"):
        load_data(str(tmp_path / "splits"))
    (tmp_path / "set" / "a.png").unlink()
    _write(tmp_path / "set" / "dog.parquet", encoded_rows)
    with pytest.raises(ValueError, match="set holds parquet files and images in ant; keep one kind"):
        load_data(str(tmp_path / "set"))


@pytest.mark.parametrize("data", ["", "  "])
def test_no_data_is_not_the_folder_one_stands_in(image_folder, monkeypatch, data):
    monkeypatch.chdir(image_folder)
    with pytest.raises(ValueError, match="data is empty; give digits, mnist1d, cifar10"):
        load_data(data)


def test_paths_that_cannot_be_looked_up_are_one_line(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in ("x" * 300, str(tmp_path / ("x" * 300)), "~nobody-of-that-name/images", str(tmp_path / "loop")):
        with pytest.raises(ValueError, match=r"cannot be looked up|no such file or folder"):
            load_data(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is neither a file nor a folder"):
        load_data(str(tmp_path / "pipe"))
    os.mkfifo(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet or a file beside it is no regular file"):
        load_data(str(tmp_path))


def test_names_are_shown_as_text(image_folder, tmp_path):
    folder = tmp_path / "set"
    for name in ("\x1b[31mred", "b\udc80d"):
        shutil.copytree(image_folder / "ant", folder / name)
    (folder / "\x1b[31mred" / "line\nbreak.png").write_bytes(b"no image")
    data = load_data(str(folder))
    assert data.classes == ("\\x1b[31mred", "b\\udc80d")
    assert [name for split in ("train", "validation", "test") for name in data.facts[split]["corrupt_names"]] == [
        "set/\\x1b[31mred/line\\nbreak.png"
    ]


def _empty_class(folder, rows):
    shutil.copytree(rows, folder / "set")
    (folder / "set" / "dog").mkdir()
    return folder / "set"


def test_what_is_wrong_with_a_folder_is_said(image_folder, tmp_path):
    with pytest.raises(ValueError, match=r"class folder .*/set/dog holds no images"):
        load_data(str(_empty_class(tmp_path, image_folder)))
    loose = tmp_path / "loose"
    loose.mkdir()
    Image.new("RGB", (8, 8)).save(loose / "a.png")
    with pytest.raises(ValueError, match="images without classes; make one folder per class"):
        load_data(str(loose))
    with pytest.raises(ValueError, match=r"no such file or folder: .*/nowhere;"):
        load_data(str(tmp_path / "nowhere"))
    one = tmp_path / "one"
    shutil.copytree(image_folder / "ant", one / "ant")
    with pytest.raises(ValueError, match="one class, 'ant'"):
        load_data(str(one))


@pytest.mark.parametrize("form", ["flat", "struct"])
def test_a_large_parquet_file_is_mapped_and_copied_once(encoded_rows, tmp_path, monkeypatch, form):
    for index, rows in enumerate((encoded_rows[:15], encoded_rows[15:])):
        _write(tmp_path / f"train-{index}.parquet", rows, form)
    expected = decode(read_path(tmp_path)["train"], 16)
    monkeypatch.setattr(sources, "LARGEST_IN_MEMORY", 0)
    monkeypatch.setattr(sources, "_ROWS_AT_ONCE", 4)
    monkeypatch.setenv("SIGREG_LAB_DATA", str(tmp_path / "home"))
    for _ in range(2):
        source = read_path(tmp_path)["train"]
        assert source.labels.tolist() == [row["label"] for row in encoded_rows]
        assert torch.equal(decode(source, 16).pixels, expected.pixels)
    (copy,) = (tmp_path / "home" / "arrow").iterdir()
    before = copy.stat().st_mtime_ns
    _write(tmp_path / "train-0.parquet", encoded_rows[:3], form)
    assert len(read_path(tmp_path)["train"].labels) == 12
    assert copy.stat().st_mtime_ns == before
    assert len(list((tmp_path / "home" / "arrow").iterdir())) == 2
    good = decode(read_path(tmp_path)["train"], 16).pixels
    for copy in (tmp_path / "home" / "arrow").iterdir():
        copy.write_bytes(copy.read_bytes()[:100])
    assert torch.equal(decode(read_path(tmp_path)["train"], 16).pixels, good), "a damaged copy is made again"
    with monkeypatch.context() as full:
        full.setenv("SIGREG_LAB_DATA", str(tmp_path / "other"))
        full.setattr(sources.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
        with pytest.raises(ValueError, match=r"its copy of 0\.0 GiB could not be written \(No space left on device\)"):
            read_path(tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setenv("SIGREG_LAB_DATA", str(tmp_path / "file"))
    with pytest.raises(ValueError, match=r"train-0\.parquet is large .* in \$SIGREG_LAB_DATA"):
        read_path(tmp_path)


def test_what_is_wrong_with_a_parquet_file_is_said(encoded_rows, tmp_path):
    _write(tmp_path / "a.parquet", encoded_rows, labels=False)
    with pytest.raises(ValueError, match="has no column label"):
        load_data(str(tmp_path / "a.parquet"))
    _write(tmp_path / "b.parquet", [*encoded_rows, {"bytes": encoded_rows[0]["bytes"], "label": None}])
    with pytest.raises(ValueError, match="1 rows have no label, the first is row 24"):
        load_data(str(tmp_path / "b.parquet"))
    pq.write_table(pa.table({"picture": ["x"], "label": [0]}), tmp_path / "c.parquet")
    with pytest.raises(ValueError, match=r"no column image\.bytes"):
        load_data(str(tmp_path / "c.parquet"))
    (tmp_path / "d.parquet").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"d\.parquet is no readable parquet file"):
        load_data(str(tmp_path / "d.parquet"))


def _split(path, labels, encoded, names=None, plain=None, kind=None):
    """A parquet file of these labels, with names of classes in its schema as Hugging Face writes them, or plain."""
    images = [encoded[i % len(encoded)]["bytes"] for i in range(len(labels))]
    table = pa.table({"image.bytes": pa.array(images, pa.binary()), "label": pa.array(labels, kind)})
    metadata = {}
    if names:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        metadata["huggingface"] = json.dumps({"info": {"features": features}})
    if plain:
        metadata["class_names"] = plain
    pq.write_table(table.replace_schema_metadata(metadata or None), path)


def _labels(folder):
    read = read_path(folder)
    return {split: [source.classes[label] for label in source.labels] for split, source in read.items()}


def test_all_parquet_splits_share_one_map_of_labels(encoded_rows, tmp_path):
    _split(tmp_path / "train.parquet", [0, 1, 2] * 4, encoded_rows)
    _split(tmp_path / "validation.parquet", [2, 0], encoded_rows)
    _split(tmp_path / "test.parquet", [1, 2, 1], encoded_rows)
    read = read_path(tmp_path)
    assert {split: source.labels.tolist() for split, source in read.items()} == {
        "train": [0, 1, 2] * 4, "validation": [2, 0], "test": [1, 2, 1],
    }  # fmt: skip
    assert load_data(str(tmp_path)).classes == ("0", "1", "2")


def test_a_perfect_probe_is_perfect_on_a_split_that_lacks_a_class(encoded_rows, tmp_path):
    _split(tmp_path / "train.parquet", [4, 10, 7, 10], encoded_rows)
    _split(tmp_path / "test.parquet", [10, 7], encoded_rows)
    train, test = (read_path(tmp_path)[split] for split in ("train", "test"))
    assert train.classes == ["4", "7", "10"], "numbers in their order"
    assert (test.labels == train.labels[[1, 2]]).all()


@pytest.mark.parametrize("form", ["hub", "plain"])
def test_the_files_own_names_of_classes_are_used(encoded_rows, tmp_path, form):
    own = ["dog", "ant", "cat", "never"]
    named = {"names": own} if form == "hub" else {"plain": ",".join(own)}
    _split(tmp_path / "train.parquet", [2, 0, 1, 1], encoded_rows, **named)
    _split(tmp_path / "test.parquet", [2, 1], encoded_rows, **named)
    read = read_path(tmp_path)
    assert read["train"].classes == ["dog", "ant", "cat"]
    assert read["train"].labels.tolist() == [2, 0, 1, 1]
    assert _labels(tmp_path)["test"] == ["cat", "ant"]


def test_splits_and_shards_in_another_order_of_classes_mean_the_same_classes(encoded_rows, tmp_path):
    _split(tmp_path / "train-00000-of-00002.parquet", [0, 1], encoded_rows, names=["ant", "bee"])
    _split(tmp_path / "train-00001-of-00002.parquet", [0, 1], encoded_rows, names=["bee", "ant"])
    _split(tmp_path / "validation.parquet", [1, 0], encoded_rows)  # as the names of the others say
    _split(tmp_path / "test.parquet", ["bee", "ant", "bee"], encoded_rows)
    assert _labels(tmp_path) == {
        "train": ["ant", "bee", "bee", "ant"], "validation": ["bee", "ant"], "test": ["bee", "ant", "bee"],
    }  # fmt: skip


@pytest.mark.parametrize("kind", [None, pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_texts_in_every_form_are_classes(encoded_rows, tmp_path, kind):
    _split(tmp_path / "train.parquet", ["bee", "ant", "bee"], encoded_rows, kind=kind)
    read = read_path(tmp_path)["train"]
    assert (read.classes, read.labels.tolist()) == (["ant", "bee"], [1, 0, 1])


def test_whole_numbers_in_every_form_are_classes(encoded_rows, tmp_path):
    for kind in (pa.int8(), pa.uint64(), pa.float32(), pa.float64()):
        _split(tmp_path / "train.parquet", [3, 1, 3], encoded_rows, kind=kind)
        read = read_path(tmp_path)["train"]
        assert (read.classes, read.labels.tolist()) == (["1", "3"], [1, 0, 1])
    _split(tmp_path / "train.parquet", [True, False], encoded_rows)
    assert read_path(tmp_path)["train"].classes == ["0", "1"]


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([0, 1], [-1, -1, -1], r"test\.parquet: column label holds -1 in 3 of 3 rows: hidden labels"),
        ([-1, 1], [1], r"train\.parquet: column label holds -1 in 1 of 2 rows: hidden labels"),
        ([0, 1], [1, 2], r"test\.parquet: column label holds 2, which train does not know \(it has 0, 1\)"),
        (["a", "b"], ["a", "c"], r"test\.parquet: column label holds c, which train does not know \(it has a, b\)"),
        ([0.5, 1.0], [1.0], r"train\.parquet: column label holds fractions, which are no classes"),
        ([0.0, 1.0], [float("nan")], r"test\.parquet: column label: 1 rows have no label, the first is row 0"),
        ([[0], [1]], [[1]], r"train\.parquet: column label holds list<.*>, which are no classes"),
        ([b"a", b"b"], [b"a"], r"train\.parquet: column label holds binary, which are no classes"),
    ],
)
def test_labels_that_are_no_class_of_train_are_refused_by_column(encoded_rows, tmp_path, train, test, message):
    _split(tmp_path / "train.parquet", train, encoded_rows)
    _split(tmp_path / "test.parquet", test, encoded_rows)
    with pytest.raises(ValueError, match=message):
        read_path(tmp_path)


def test_labels_beyond_the_names_of_the_file_are_refused(encoded_rows, tmp_path):
    for labels in ([0, 1, 2], ["ant", "bee", "2"]):
        _split(tmp_path / "train.parquet", labels, encoded_rows, names=["ant", "bee"])
        with pytest.raises(ValueError, match=r"column label holds 2 in 1 of 3 rows, which is none of the 2 classes"):
            read_path(tmp_path)


def test_files_named_as_splits_are_all_splits_or_none(encoded_rows, tmp_path):
    _split(tmp_path / "train-00000-of-00001-0123456789abcdef.parquet", [0, 1], encoded_rows)
    _split(tmp_path / "test_0.parquet", [0, 1], encoded_rows)
    assert list(read_path(tmp_path)) == ["train", "test"]
    _split(tmp_path / "train-diesel.parquet", [0, 1], encoded_rows)
    with pytest.raises(ValueError, match=r"holds files named as splits .* beside others \(train-diesel\.parquet\)"):
        read_path(tmp_path)
    for path in tmp_path.glob("t*_*.parquet"):
        path.unlink()
    (tmp_path / "train-00000-of-00001-0123456789abcdef.parquet").rename(tmp_path / "bus.parquet")
    assert len(read_path(tmp_path)["train"].labels) == 4, "none is named as a split"


def test_two_columns_of_one_name_and_images_that_are_no_bytes_are_refused(encoded_rows, tmp_path):
    images = [row["bytes"] for row in encoded_rows[:2]]
    table = pa.Table.from_arrays([pa.array(images), pa.array([0, 1]), pa.array([1, 0])], ["image", "label", "label"])
    pq.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(ValueError, match=r"train\.parquet has 2 columns label; keep one"):
        read_path(tmp_path)
    for images in ([["a"], ["b"]], ["a", "b"], [{"path": "a"}, {"path": "b"}]):
        pq.write_table(pa.table({"image": images, "label": [0, 1]}), tmp_path / "train.parquet")
        with pytest.raises(ValueError, match=r"no column image\.bytes of encoded images: image holds"):
            read_path(tmp_path)


def test_a_split_without_rows_is_named(encoded_rows, tmp_path):
    _split(tmp_path / "train.parquet", [0, 1] * 4, encoded_rows)
    _split(tmp_path / "test.parquet", [], encoded_rows, kind=pa.int64())
    with pytest.raises(ValueError, match="split test holds no images"):
        load_data(str(tmp_path))
    with pytest.raises(ValueError, match="split train holds no images"):
        load_data(str(tmp_path / "test.parquet"))


def test_the_same_classes_in_another_order_are_relabeled(image_folder):
    data = load_data(str(image_folder))
    other = data.relabeled(["cat", "ant", "bee"])
    assert other.classes == ("cat", "ant", "bee")
    for split in ("train", "validation", "test"):
        one, two = getattr(data, split), getattr(other, split)
        assert [data.classes[i] for i in one.labels] == [other.classes[i] for i in two.labels]
    assert data.identity() != other.identity()
    assert data.identity() == load_data(str(image_folder), memory_gib=1e-9).identity()


def test_a_named_set_is_read_from_parquet_files_in_its_folder(encoded_rows, tmp_path, monkeypatch):
    monkeypatch.setenv("SIGREG_LAB_DATA", str(tmp_path))
    (tmp_path / "cifar10").mkdir()
    for split in ("train", "test"):
        _write(tmp_path / "cifar10" / f"{split}.parquet", encoded_rows)
    monkeypatch.setitem(sys.modules, "torchvision", None)  # not asked
    data = load_data("cifar10", image_size=16)
    assert data.name == "cifar10"
    assert len(data.test.labels) == len(encoded_rows)


def test_torchvision_sets_come_by_name_and_a_missing_network_is_one_line(monkeypatch, tmp_path):
    from torchvision import datasets

    monkeypatch.setenv("SIGREG_LAB_DATA", str(tmp_path))

    def offline(**arguments):
        raise OSError("<urlopen error [Errno -3] Temporary failure in name resolution>")

    monkeypatch.setattr(datasets, "DTD", offline)
    with pytest.raises(
        ValueError, match=r"data dtd is not in \$SIGREG_LAB_DATA and could not be downloaded .*name resol"
    ):
        load_data("dtd")

    class Fake:
        def __init__(self, root, train, download):
            self.targets, self.classes = [0, 1] * (10 if train else 4), ["no", "yes"]

        def __getitem__(self, row):
            return Image.new("RGB", (32, 32), (200 * self.targets[row],) * 3), self.targets[row]

    monkeypatch.setattr(datasets, "CIFAR10", Fake)
    data = load_data("cifar10")
    assert [len(part.pixels) for part in (data.train, data.validation, data.test)] == [18, 2, 8]
    assert data.test.pixels.flatten(1).amax(1).tolist() == [0, 200] * 4
