"""Folders, parquet files and torchvision's sets: what is read, what is converted, what is refused."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

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
    Image.fromarray(np.full((20, 20), 32896, np.uint16)).save(folder / "ant" / "c.png")
    source = read_path(folder)["train"]
    rows = [row for row in range(33) if source.names(row)[-5] in "abc"]
    decoded = decode(source, 8, rows)
    assert decoded.pixels.flatten(1).float().mean(1).tolist() == [100, 255, 128], "grey, white below, 16 bits to 8"
    assert sum(decoded.converted.values()) == 3


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


def _empty_class(folder, rows):
    shutil.copytree(rows, folder / "set")
    (folder / "set" / "dog").mkdir()
    return folder / "set"


def test_what_is_wrong_with_a_folder_is_said(image_folder, tmp_path):
    with pytest.raises(ValueError, match="class folder set/dog holds no images"):
        load_data(str(_empty_class(tmp_path, image_folder)))
    loose = tmp_path / "loose"
    loose.mkdir()
    Image.new("RGB", (8, 8)).save(loose / "a.png")
    with pytest.raises(ValueError, match="images without classes; make one folder per class"):
        load_data(str(loose))
    with pytest.raises(ValueError, match="no such file or folder: nowhere"):
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
