"""What a figure is drawn from: stored results, whose files are held against the digests of their manifests."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sigreg_lab.experiment.estimates import Estimates
from sigreg_lab.experiment.results import (
    ESTIMATES,
    MANIFEST,
    ROWS,
    check_digests,
    read_estimates,
    read_manifest,
    read_object,
    read_rows,
)
from sigreg_lab.experiment.study import StudyError

if TYPE_CHECKING:
    import pandas as pd

#: Results that no study made, and the command that makes them.
BENCHMARKS = {"kernels": "python -m benchmarks.table"}


class Sources:
    """The results of one figure; it remembers which files it has read.

    Args:
        results: the folder of all results.
        seed: of what the figure draws itself.
    """

    def __init__(self, results: Path, seed: int = 0) -> None:
        self.results, self.seed = results, seed
        self.read: dict[str, dict[str, str]] = {}
        self._manifests: dict[str, dict[str, Any]] = {}

    def estimates(self, name: str) -> Estimates:
        """The estimates of a study.

        Raises:
            StudyError: they are missing, or not the file of their manifest.
        """
        return read_estimates(self._checked(name, ESTIMATES))

    def rows(self, name: str) -> "pd.DataFrame":
        """The rows of a study or a benchmark; errors as of ``estimates``."""
        return read_rows(self._checked(name, ROWS))

    def config(self, name: str) -> dict[str, Any]:
        """The settings of a study's run."""
        config: dict[str, Any] = self._manifest(name)["config"]
        return config

    def origin(self, name: str) -> str:
        """Who made the results, at what scale, by which code; for a caption."""
        manifest = self._manifest(name)
        commits = ", ".join(dict.fromkeys(f"`{session['git']['commit'][:7]}`" for session in manifest["sessions"]))
        if name in BENCHMARKS:
            machine = manifest["sessions"][-1].get("hardware", {})
            where = f"{machine.get('cpu', 'CPU not stated')}, {machine.get('cores', '?')} cores"
            return f"benchmark `{BENCHMARKS[name]}`, {where}, commit {commits}"
        return f"study `{name}`, preset {manifest['preset']}, {manifest['cells']} cells, commit {commits}"

    def _checked(self, name: str, file: str) -> Path:
        folder, files = self.results / name, self._manifest(name)["files"]
        check_digests(folder, {file: files.get(file)})
        self.read.setdefault(name, {})[file] = files[file]
        return folder

    def _manifest(self, name: str) -> dict[str, Any]:
        if name not in self._manifests:
            path = self.results / name / MANIFEST
            remedy = BENCHMARKS.get(name) or f"sigreg-lab study run {name}"
            if not path.is_file():
                raise StudyError(f"no results in {path.parent}; name their folder with --results, or run: {remedy}")
            manifest = read_object(path) if name in BENCHMARKS else read_manifest(path.parent)
            if not isinstance(manifest.get("files"), dict) or not manifest.get("sessions"):
                raise StudyError(f"{path} is damaged (no files or sessions); run again: {remedy}")
            self._manifests[name] = manifest
        return self._manifests[name]
