"""What a study declares: a question, a grid of cells, what to measure in one cell, what was expected."""

import dataclasses
import hashlib
import importlib.util
import itertools
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Value = str | int | float | bool
Cell = dict[str, Value]
Row = dict[str, Any]
Config = dict[str, Any]

PRESETS = ("smoke", "quick", "standard", "paper")


class StudyError(Exception):
    """Something the person at the keyboard can mend; its text is one line with the remedy."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """A study: declared in ``studies/<name>.py`` as the module's ``STUDY``.

    Attributes:
        name: the script's name.
        title: a few words, for tables and the report's heading.
        question: what is asked.
        expectation: what was expected before the study first ran.
        seed: the study's seed; a cell's seed is derived from it and from the cell.
        axes: the settings that span the grid. Each holds a list; a cell is one combination.
        presets: settings per preset, the same keys in each: ``smoke`` (seconds, what tests run), ``quick`` (what the
            quick start runs), ``standard`` (minutes on two cores), ``paper`` (the published size). They declare what
            ``--set`` takes: a value of the same type, and a number above 0, or not below 0, where all of them are.
        measure: ``measure(cell, settings, seed)`` returns the rows of one cell; ``settings`` are those that are no
            axes. It is called in a worker process with one thread, and must draw all its randomness from ``seed``.
        summarize: rows of all cells and the settings to one table of estimates with intervals.
        verify: the summary to a list of complaints: where measured values contradict exactly known ones.
        figures: the summary to figures, by file name without ending.
        report: the summary to a few lines of Markdown, the surprise first.
        keep: ``keep(cell, settings)``, which combinations of the axes are cells; all if not given.
        paired: axes that do not enter a cell's seed, so that cells which differ in them alone share their random
            numbers.
        needs: what preset ``standard`` needs beyond two cores, a noun phrase for the report; empty: nothing.
    """

    name: str
    title: str
    question: str
    expectation: str
    seed: int
    axes: tuple[str, ...]
    presets: Mapping[str, Mapping[str, Any]]
    measure: Callable[[Cell, Config, np.random.SeedSequence], list[Row]]
    summarize: "Callable[[pd.DataFrame, Config], pd.DataFrame]"
    verify: "Callable[[pd.DataFrame], list[str]]"
    figures: "Callable[[pd.DataFrame], dict[str, Figure]]"
    report: "Callable[[pd.DataFrame], str]"
    keep: Callable[[Cell, Config], bool] = lambda cell, settings: True
    paired: tuple[str, ...] = ()
    needs: str = ""

    def __post_init__(self) -> None:
        if tuple(self.presets) != PRESETS:
            raise ValueError(f"study {self.name}: presets must be {', '.join(PRESETS)}, got {', '.join(self.presets)}")
        for preset, settings in self.presets.items():
            if set(settings) != set(self.presets["standard"]):
                raise ValueError(f"study {self.name}: preset {preset} has other keys than standard")
        missing = [axis for axis in self.axes if axis not in self.presets["standard"]]
        if missing:
            raise ValueError(f"study {self.name}: axes without settings: {', '.join(missing)}")

    def configure(self, preset: str, overrides: Sequence[str] = ()) -> Config:
        """The settings of a preset, with ``key=value`` overrides; axes take comma-separated lists.

        Raises:
            StudyError: an unknown preset or key, a value of another type than the preset's, a number that is not
                finite or has a sign that no preset has, or a value of an axis twice.
        """
        if preset not in self.presets:
            raise StudyError(f"unknown preset {preset!r}; use one of {', '.join(PRESETS)}")
        config = dict(self.presets[preset])
        for override in overrides:
            key, given, text = override.partition("=")
            if not given or key not in config:
                raise StudyError(
                    f"--set {override}: not a setting of study {self.name}; write --set key=value with one of "
                    f"{', '.join(config)}"
                )
            config[key] = parse_like(config[key], text, f"--set {override}")
            self._check(key, config[key], f"--set {override}")
        return config

    def _check(self, key: str, value: Any, where: str) -> None:
        """Refuse a value that is outside of what the presets declare."""
        values = _as_list(value)
        if key in self.axes and len({*values}) < len(values):
            raise StudyError(f"{where}: a value is given twice; give each value of {key} once")
        declared = [item for settings in self.presets.values() for item in _as_list(settings[key])]
        if any(isinstance(item, str | bool) for item in (*declared, *values)):
            return
        if min(declared) > 0 >= min(values):
            raise StudyError(f"{where}: must be {'at least 1' if isinstance(values[0], int) else 'greater than 0'}")
        if min(declared) == 0 > min(values):
            raise StudyError(f"{where}: must be at least 0")

    def cells(self, config: Config) -> list[Cell]:
        """The combinations of the axes that are kept, in the order of the axes."""
        product = itertools.product(*(config[axis] for axis in self.axes))
        cells = [dict(zip(self.axes, values, strict=True)) for values in product]
        settings = self.settings(config)
        return [cell for cell in cells if self.keep(cell, settings)]

    def settings(self, config: Config) -> Config:
        """The settings that are no axes: what the cells have in common."""
        return {key: value for key, value in config.items() if key not in self.axes}

    def cell_seed(self, cell: Cell) -> np.random.SeedSequence:
        """The cell's own seed: it depends on the study's seed and the cell, not on the grid around it."""
        key = canonical({axis: value for axis, value in cell.items() if axis not in self.paired})
        words = np.frombuffer(hashlib.sha256(key.encode()).digest(), dtype=np.uint32)
        return np.random.SeedSequence([self.seed, *(int(word) for word in words)])


def canonical(value: Any) -> str:
    """One text for equal values: JSON with sorted keys and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def parse_like(example: Any, text: str, where: str) -> Any:
    """``text`` as a value of the same type as ``example``; a list takes comma-separated items, at least one.

    Raises:
        StudyError: the text is no such value, or a number that is not finite; ``where`` says what was being set.
    """
    if isinstance(example, list | tuple):
        items = [item.strip() for item in text.split(",") if item.strip()]
        if not items:
            raise StudyError(f"{where}: expected a value, or several with commas between them, got {text!r}")
        return [parse_like(example[0], item, where) for item in items]
    if isinstance(example, bool):
        if text.lower() not in ("true", "false"):
            raise StudyError(f"{where}: expected true or false, got {text!r}")
        return text.lower() == "true"
    try:
        value = type(example)(text)
    except ValueError:
        raise StudyError(f"{where}: expected a value of type {type(example).__name__}, got {text!r}") from None
    if isinstance(value, float) and not math.isfinite(value):
        raise StudyError(f"{where}: expected a finite number, got {text!r}")
    return value


def studies_folder() -> Path:
    """The folder of the study scripts: ``studies`` here or in a folder above, else beside the installed package.

    Raises:
        StudyError: there is none.
    """
    here = Path.cwd()
    for root in (here, *here.parents, Path(__file__).parents[2]):
        if any((root / "studies").glob("*.py")):
            return root / "studies"
    raise StudyError("no folder 'studies' found; run this inside a clone of sigreg-lab")


def list_studies() -> list[str]:
    """Names of the studies, in alphabetical order."""
    return sorted(path.stem for path in studies_folder().glob("*.py") if not path.stem.startswith("_"))


def load_study(name: str) -> Study:
    """The study of that name.

    Raises:
        StudyError: there is no such study; the message lists those there are.
    """
    path = studies_folder() / f"{name}.py"
    if name not in list_studies():
        raise StudyError(f"unknown study {name!r}; use one of {', '.join(list_studies())}")
    return load_study_file(path)


def load_study_file(path: Path) -> Study:
    """The ``STUDY`` of a script; the module is loaded once per process.

    Raises:
        StudyError: the script cannot be loaded, declares no study, or one of another name.
    """
    module_name = f"studies.{path.stem}"
    module = sys.modules.get(module_name)
    if module is None or Path(str(module.__file__)) != path:
        spec = importlib.util.spec_from_file_location(module_name, path)
        if spec is None or spec.loader is None:
            raise StudyError(f"cannot load the study script {path.name}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[module_name]
            raise StudyError(f"cannot load the study script {path}: {type(error).__name__}: {error}") from error
    study: Study | None = getattr(module, "STUDY", None)
    if study is None:
        raise StudyError(f"{path.name} declares no STUDY; a file that is none gets a name that starts with '_'")
    if study.name != path.stem:
        raise StudyError(f"the study in {path.name} calls itself {study.name!r}; name both alike")
    return study
