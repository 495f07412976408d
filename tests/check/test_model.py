"""Embeddings of images by a model: what is embedded is what the model gives, and what cannot be is one line."""

import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.models._hub import save_for_hf

from sigreg_lab.check.model import read_embeddings
from sigreg_lab.pretrain import PretrainConfig, load_data, pretrain
from tests.check.test_command import _call

pytestmark = pytest.mark.usefixtures("undrawn")
SIDE = 160  # of timm's smallest models, made for tests


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A pretraining run of two steps, and its folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        folder = tmp_path_factory.mktemp("run")
        return pretrain(PretrainConfig(steps=2, batch_size=32, num_slices=16), folder=folder), folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Twelve images in two folders, one damaged, one hidden, one turned by its camera; and the pixels of the twelve."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    pixels = rng.integers(0, 256, (12, SIDE, SIDE, 3)).astype(np.uint8)
    (root / "b").mkdir()
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(root / ("b" if i > 5 else "") / f"{i:02}.png")
    turned = Image.Exif()
    turned[0x0112] = 3  # upside down
    Image.fromarray(pixels[3, ::-1, ::-1]).save(root / "03.png", exif=turned)
    (root / "b" / "damaged.png").write_bytes((root / "b" / "06.png").read_bytes()[:2000])
    (root / ".hidden").mkdir()
    Image.fromarray(pixels[0]).save(root / ".hidden" / "0.png")
    return root, torch.from_numpy(pixels).permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A small model of timm's with its weights in a folder, and that folder as timm names it."""
    torch.manual_seed(0)
    model = timm.create_model("test_vit", num_classes=10)
    folder = tmp_path_factory.mktemp("network")
    save_for_hf(model, folder, safe_serialization=True)
    return model.eval(), f"local-dir:{folder}"


def test_of_a_checkpoint_projections_and_embeddings_are_those_of_its_encoder(run):
    result, folder = run
    test = load_data("digits").test
    for key, expected in zip(("embedding", None), result.embed(test.pixels), strict=True):
        sample = read_embeddings(str(folder / "checkpoint.pt"), key=key)
        assert sample.x.dtype == torch.float64
        assert torch.allclose(sample.x, expected.double(), atol=1e-6)
        assert f"{key or 'projection'}s after 2 steps" in sample.notes[0]
    assert "checkpoint.pt on digits" in sample.source
    assert torch.equal(read_embeddings(str(folder)).x, sample.x)
    few = read_embeddings(str(folder), max_rows=20, seed=1)
    assert few.total_rows == len(test.pixels)
    assert len(few.x) == 20
    assert all((row == sample.x).all(1).any() for row in few.x)


def test_of_a_model_of_timms_all_images_of_a_folder_are_embedded(network, photos):
    model, name = network
    folder, pixels = photos
    sample = read_embeddings(name, str(folder))
    with torch.no_grad():
        expected = model.forward_head(model.forward_features(pixels.float() / 127.5 - 1), pre_logits=True)
    assert sample.x.shape == (12, model.num_features)
    assert torch.allclose(sample.x, expected.double(), atol=1e-5)
    assert any("1 of 13 images could not be read and were left out: b/damaged.png" in note for note in sample.notes)
    assert len(read_embeddings(name, str(folder), max_rows=9).x) in (8, 9)  # the damaged one may be among the nine


def test_a_checkpoint_is_told_from_a_file_of_tensors_and_checked(monkeypatch, capsys, run, tmp_path):
    _, folder = run
    code, out, err = _call(
        monkeypatch, capsys, folder / "checkpoint.pt", "--slices", "8", "--json", tmp_path / "a.json"
    )
    assert code == 0
    assert "Embedding images with" in err
    assert (folder / "checkpoint.pt.check.html").is_file()
    assert "projections after 2 steps" in " ".join(out.split())
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["num_features"] == PretrainConfig().projector[-1]
    torch.save({"z": torch.randn(40, 3, generator=torch.Generator().manual_seed(0))}, tmp_path / "e.pt")
    code, out, _ = _call(monkeypatch, capsys, tmp_path / "e.pt", "--slices", "4")
    assert (code, "40 rows x 3 features" in out) == (0, True)


def test_a_model_and_a_folder_make_a_page_where_the_command_runs(monkeypatch, capsys, network, photos, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, out, _ = _call(monkeypatch, capsys, "--model", network[1], "--data", photos[0], "--slices", "4")
    assert code == 0
    (page,) = tmp_path.iterdir()
    assert page.name.startswith("local-dir_")
    assert f"Page: {page.name}" in "".join(out.split("\n")) or page.name in out
    assert "12 rows" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name a file of embeddings, or a model with --model"),
        (("e.npy", "--model", "test_vit"), "one of them"),
        (("e.npy", "--data", "photos"), "name it with --model"),
        (("--model", "test_vit"), "--data FOLDER"),
        (("--model", "test_vi", "--data", "."), "no model of timm's, such as test_vit"),
        (("--model", "test_vit", "--data", "empty"), "empty holds no images"),
        (("--model", "test_vit", "--data", "nowhere"), "nowhere"),
        (("--model", "test_vit", "--data", ".", "--key", "embedding"), "--key goes with a checkpoint"),
        (("--model", "test_vit", "--data", ".", "--drop", "a"), "go with a file of embeddings"),
        (("--model", "local-dir:nowhere", "--data", "photos"), "the weights of timm's local-dir:nowhere cannot be had"),
        (("--model", "RUN", "--key", "z"), "--key must be one of projection, embedding"),
        (("--model", "RUN", "--max-rows", "3"), "max_rows must be at least 8"),
        (("--model", "RUN", "--data", "photos"), "trained on images of shape (1, 8, 8), photos0 has (3, 8, 8); name"),
        (("--model", "RUN", "--data", "photos", "--max-gb", "1e-9"), "images take"),
        (("--model", "missing.pt"), "missing.pt"),
        (("--model", "RUN", "--out", "nowhere/p.html"), "choose another place with --out"),
    ],
)
def test_what_cannot_be_embedded_is_one_line(monkeypatch, capsys, run, photos, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    np.save("e.npy", np.zeros((10, 2)))
    (tmp_path / "empty").mkdir()
    (tmp_path / "photos").symlink_to(photos[0])
    arguments = [str(run[1]) if a == "RUN" else a for a in arguments]
    code, out, err = _call(monkeypatch, capsys, *arguments)
    assert code == 2
    assert message in err
    assert err.splitlines()[-1].startswith("sigreg-lab: ")
    assert "Traceback" not in err
    assert not out
