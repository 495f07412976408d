"""Nothing in the committed results is without the manifest of the run that made it."""

import hashlib
import json
from pathlib import Path

import pytest

RESULTS = Path(__file__).parents[1] / "results"
FOLDERS = sorted({p.parent for p in RESULTS.rglob("*.*") if p.suffix in (".csv", ".png") and "runs" not in p.parts})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_result_has_its_manifest_and_is_the_file_the_manifest_means(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    files = {path.name for path in folder.iterdir() if path.is_file() and path.name != "manifest.json"}
    assert files == set(manifest["files"])
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    for session in manifest["sessions"]:
        assert session["git"]["commit"]
        assert session["git"]["dirty"] is False
