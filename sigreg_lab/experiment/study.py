"""What a study declares: a question, a grid of cells, what it estimates, what it may conclude, what it draws.

    studies/NAME/measure.py       measure(cell, settings, seed): the rows of one cell
    studies/NAME/study.py         STUDY: everything else, but for
    studies/NAME/estimates.py     estimate(rows, settings), where it takes more than a few lines
    studies/NAME/findings.md.j2   the text, written for a reader (see ``experiment.tell``)

A cell's rows depend on ``measure.py`` and what it imports, and on nothing else in the folder.
"""

import dataclasses
import importlib
import itertools
import math
import re
import sys
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sigreg_lab.experiment.cells import Cell, Config, Row, cell_seed
from sigreg_lab.experiment.claims import Claim
from sigreg_lab.experiment.estimates import Estimates

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

PRESETS = ("smoke", "quick", "standard", "paper")
SCRIPT = "study.py"
#: What the studies' modules are called, wherever they lie; a package "studies" of the user's own is another.
MODULES = "sigreg_lab.studies"


class StudyError(Exception):
    """Something the person at the keyboard can mend; its text is one line with the remedy."""


#: What readers come with, in the order of the report; a study of one's own comes under "other".
TOPICS = {
    "choosing": "Which regulariser, which lambda, which run",
    "batches": "What a batch must be",
    "slices": "How many slices, and of which kind",
    "numerics": "Grid, gradients, precision and other libraries",
    "tests": "Testing samples",
    "theory": "What the paper proves and prints",
    "other": "Other studies",
}


class Picture(NamedTuple):
    """A figure: what it shows, in a sentence, and how it is drawn from the estimates."""

    caption: str
    draw: "Callable[[Estimates], Figure]"


def presets(
    names: str, *, smoke: tuple[Any, ...], quick: tuple[Any, ...], standard: tuple[Any, ...], paper: tuple[Any, ...],
    **shared: Any,
) -> dict[str, Config]:  # fmt: skip
    """Settings by preset: those of ``names``, a value each, and those that all presets share.

    Raises:
        ValueError: more or fewer values than names.
    """
    rows = zip(PRESETS, (smoke, quick, standard, paper), strict=True)
    return {preset: dict(zip(names.split(), values, strict=True)) | shared for preset, values in rows}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """A study: declared in ``studies/<name>/study.py`` as the module's ``STUDY``.

    Attributes:
        name: the folder's name.
        title: a few words, for tables and the report's heading.
        question: what is asked.
        expectation: what was expected before the study first ran.
        topic: under which heading the report has it, a key of ``TOPICS``.
        seed: the study's seed; a cell's seed is derived from it and from the cell.
        axes: the settings that span the grid. Each holds a list; a cell is one combination.
        presets: settings per preset, the same keys in each: ``smoke`` (seconds, what tests run), ``quick`` (what the
            quick start runs), ``standard`` (minutes on two cores), ``paper`` (the published size). They declare what
            ``--set`` takes: a value of the same type; a number above 0, or not below 0, where all of them are; a text
            that one of them has.
        choices: texts that a setting takes beside those of the presets: a collection, None for any, or a function. Of
            any other text that gives a digest of the code which the text names, "" if that is the library's own, and
            raises ``ValueError`` for one that it does not know.
        measure: ``measure(cell, settings, seed)`` of ``measure.py`` returns the rows of one cell; ``settings`` are
            those that are no axes. It is called in a worker process with one thread, and must draw all its randomness
            from ``seed``.
        estimate: rows of all cells and the settings to estimates, with exact values where they are known (see
            ``experiment.estimates``). The engine checks these before it writes anything.
        claims: what may be concluded; the first is the headline.
        pictures: figures, by file name without ending.
        keep: ``keep(cell, settings)``, which combinations of the axes are cells; all if not given.
        paired: axes that do not enter a cell's seed, so that cells which differ in them alone share their random
            numbers.
        partial: whether results may be told of the cells that there are, where others are not measured yet; for grids
            that take days. The report says how many are missing.
        packages: distributions that it measures beside the library's own; a cell is stale where one has another
            version, or is there where it was not.
        needs: what preset ``standard`` needs beyond two cores, a noun phrase for the report; empty: nothing.
        folder: where it lies; set by ``load_study``.
    """

    name: str
    title: str
    question: str
    expectation: str
    seed: int
    axes: tuple[str, ...]
    presets: Mapping[str, Mapping[str, Any]]
    measure: Callable[[Cell, Config, np.random.SeedSequence], list[Row]]
    estimate: "Callable[[pd.DataFrame, Config], Sequence[Row]]"
    claims: tuple[Claim, ...]
    pictures: Mapping[str, Picture]
    keep: Callable[[Cell, Config], bool] = lambda cell, settings: True
    paired: tuple[str, ...] = ()
    choices: Mapping[str, Collection[str] | Callable[[str], str] | None] = dataclasses.field(default_factory=dict)
    partial: bool = False
    packages: tuple[str, ...] = ()
    needs: str = ""
    topic: str = "other"
    folder: Path = Path()

    def __post_init__(self) -> None:
        if tuple(self.presets) != PRESETS:
            raise ValueError(f"study {self.name}: presets must be {', '.join(PRESETS)}, got {', '.join(self.presets)}")
        for preset, settings in self.presets.items():
            if set(settings) != set(self.presets["standard"]):
                raise ValueError(f"study {self.name}: preset {preset} has other keys than standard")
        missing = [axis for axis in self.axes if axis not in self.presets["standard"]]
        if missing:
            raise ValueError(f"study {self.name}: axes without settings: {', '.join(missing)}")
        if self.topic not in TOPICS:
            raise ValueError(f"study {self.name}: unknown topic {self.topic!r}; use one of {', '.join(TOPICS)}")
        if not self.claims:
            raise ValueError(f"study {self.name}: no claims; the first is the headline")

    def configure(self, preset: str, overrides: Sequence[str] = ()) -> Config:
        """The settings of a preset, with ``key=value`` overrides; axes take comma-separated lists.

        Raises:
            StudyError: an unknown preset or key, a value of another type than the preset's, a number that is not
                finite or has a sign that no preset has, a text that is no choice, or a value of an axis twice.
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
        """Refuse a value that is outside of what the presets and ``choices`` declare."""
        values = _as_list(value)
        if key in self.axes and len({*values}) < len(values):
            raise StudyError(f"{where}: a value is given twice; give each value of {key} once")
        declared = self._declared(key)
        if isinstance(declared[0], str):
            more = self.choices.get(key, ())
            if callable(more):
                try:
                    self._sources(key, values)
                except ValueError as error:
                    raise StudyError(f"{where}: {error}") from error
                return
            known = list(dict.fromkeys([*declared, *(more or ())]))
            unknown = [item for item in values if item not in known]
            if unknown and more is not None:
                raise StudyError(f"{where}: unknown {key} {unknown[0]!r}; use {', '.join(known)}")
            return
        if isinstance(declared[0], bool):
            return
        if min(declared) > 0 >= min(values):
            raise StudyError(f"{where}: must be {'at least 1' if isinstance(values[0], int) else 'greater than 0'}")
        if min(declared) == 0 > min(values):
            raise StudyError(f"{where}: must be at least 0")

    def _declared(self, key: str) -> list[Any]:
        return [item for settings in self.presets.values() for item in _as_list(settings[key])]

    def _sources(self, key: str, values: Sequence[Any]) -> dict[str, str]:
        choose, declared = self.choices.get(key), self._declared(key)
        if not callable(choose):
            return {}
        return {text: choose(text) for text in values if text not in declared}

    def sources(self, config: Config) -> dict[str, str]:
        """Digests of code that is not the library's own, by the values of the axes that name it (see ``choices``)."""
        found = {text: source for axis in self.axes for text, source in self._sources(axis, config[axis]).items()}
        return {text: source for text, source in found.items() if source}

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
        """The cell's own seed."""
        return cell_seed(self.seed, cell, self.paired)


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def parse_like(example: Any, text: str, where: str) -> Any:
    """``text`` as a value of the same type as ``example``; a list takes comma-separated items, at least one.

    A comma before ``key=`` goes on with the options of an item: a:x=1,y=2,b has two.

    Raises:
        StudyError: the text is no such value, or a number that is not finite; ``where`` says what was being set.
    """
    if isinstance(example, list | tuple):
        items = [item.strip() for item in re.split(r",(?![^,:]*=)", text) if item.strip()]
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


def parse_duration(text: str, where: str) -> float:
    """Seconds of a time such as 90s, 30m or 2h.

    Raises:
        StudyError: it is none; ``where`` says what was being set.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if match is None or not float(match[1]):
        raise StudyError(f"{where} must be a time such as 90s, 30m or 2h, got {text!r}")
    return float(match[1]) * {"s": 1.0, "m": 60.0, "h": 3600.0}[match[2]]


def studies_folder() -> Path:
    """The folder of the studies: within an installed package, beside it in a clone. The current folder has no say."""
    package = Path(__file__).parents[1]
    installed = package / "studies"
    return installed if installed.is_dir() else package.parent / "studies"


def list_studies() -> list[str]:
    """Names of the studies, in alphabetical order."""
    return sorted(path.parent.name for path in studies_folder().glob(f"*/{SCRIPT}"))


def load_study(name: str) -> Study:
    """The study of that name, or in that folder: a path, with a slash in it.

    Raises:
        StudyError: there is no such study; the message lists those there are.
    """
    if "/" in name:
        return load_study_folder(Path(name))
    if name not in list_studies():
        raise StudyError(f"unknown study {name!r}; use one of {', '.join(list_studies())}, or the path of a folder")
    return load_study_folder(studies_folder() / name)


def load_study_folder(folder: Path) -> Study:
    """The ``STUDY`` of a folder; its modules are loaded once per process.

    Raises:
        StudyError: the folder has no study, or one that cannot be loaded or has another name.
    """
    folder = folder.resolve()
    script = folder / SCRIPT
    if not script.is_file():
        raise StudyError(f"{folder} has no {SCRIPT}")
    package = f"{MODULES}.{folder.name}"
    loaded = sys.modules.get(package)
    if loaded is None or list(loaded.__path__) != [str(folder)]:
        forget(folder.name)
        module = types.ModuleType(package)
        module.__path__ = [str(folder)]
        sys.modules[package] = module
    try:
        study: Study | None = getattr(importlib.import_module(f"{package}.study"), "STUDY", None)
    except Exception as error:
        forget(folder.name)
        raise StudyError(f"cannot load the study {script}: {type(error).__name__}: {error}") from error
    if study is None:
        raise StudyError(f"{script} declares no STUDY")
    if study.name != folder.name:
        raise StudyError(f"the study in {folder.name} calls itself {study.name!r}; name both alike")
    return dataclasses.replace(study, folder=folder)


def forget(name: str) -> None:
    """Drop a study's modules, so that it is read from its files again."""
    for module in [key for key in sys.modules if f"{key}.".startswith(f"{MODULES}.{name}.")]:
        del sys.modules[module]
    importlib.invalidate_caches()
