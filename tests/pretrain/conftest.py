"""Small image folders and parquet files, made on the spot; all runs are on the CPU, where they agree bit for bit."""

import io

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture(scope="session", autouse=True)
def _no_gpu():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        patch.setenv("CUDA_VISIBLE_DEVICES", "")  # for the processes that tests start
        yield


def _image(rng, label, size):
    noise = rng.integers(0, 100, (size, size + 3, 3))
    return Image.fromarray((noise + 50 * label).astype(np.uint8))


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory):
    """Three classes of ten images of 20 x 23 pixels, class by brightness."""
    root = tmp_path_factory.mktemp("unseen")
    rng = np.random.default_rng(0)
    for label, name in enumerate(("ant", "bee", "cat")):
        (root / name).mkdir()
        for index in range(10):
            _image(rng, label, 20).save(root / name / f"{index}.png")
    return root


@pytest.fixture(scope="session")
def encoded_rows():
    """Encoded images and labels, as a parquet file holds them: 24 of two classes."""
    rng = np.random.default_rng(1)
    rows = []
    for index in range(24):
        buffer = io.BytesIO()
        _image(rng, index % 2, 16).save(buffer, format="PNG")
        rows.append({"bytes": buffer.getvalue(), "label": index % 2})
    return rows
