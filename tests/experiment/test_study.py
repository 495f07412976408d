"""What a study declares: settings, cells, seeds."""

import dataclasses
import importlib
import json
import shutil

import numpy as np
import pytest

from sigreg_lab.experiment.cells import canonical
from sigreg_lab.experiment.fingerprint import cell_fingerprint
from sigreg_lab.experiment.study import (
    PRESETS,
    StudyError,
    list_studies,
    load_study,
    parse_like,
    presets,
    studies_folder,
)


def test_overrides_take_the_type_of_the_preset(workplace):
    study = load_study("toy")
    config = study.configure("smoke", ["shift=2,3.5", "draws=9", "log=false"])
    assert config["shift"] == [2.0, 3.5]
    assert config["draws"] == 9
    assert config["log"] is False
    assert [cell["shift"] for cell in study.cells(config)] == [2.0] * 3 + [3.5] * 3


@pytest.mark.parametrize(
    ("preset", "override", "message"),
    [
        ("huge", [], "unknown preset 'huge'; use one of smoke, quick, standard, paper"),
        ("smoke", ["colour=1"], "not a setting of study toy; write --set key=value with one of shift, seed"),
        ("smoke", ["draws"], "write --set key=value"),
        ("smoke", ["draws=many"], "expected a value of type int, got 'many'"),
        ("smoke", ["log=perhaps"], "expected true or false"),
        ("smoke", ["shift=0,1,0.0"], "--set shift=0,1,0.0: a value is given twice; give each value of shift once"),
        ("smoke", ["seed=1,1"], "a value is given twice"),
        ("smoke", ["seed=-1"], "--set seed=-1: must be at least 0"),
        ("smoke", ["shift=0,-1"], "must be at least 0"),
        ("smoke", ["scale=0"], "--set scale=0: must be greater than 0"),
        ("smoke", ["scale=nan"], "expected a finite number, got 'nan'"),
        ("smoke", ["shift=1,-inf"], "expected a finite number, got '-inf'"),
        ("smoke", ["scale=1e999"], "expected a finite number, got '1e999'"),
        ("smoke", ["shift="], "expected a value, or several with commas between them"),
        ("smoke", ["shift= , "], "expected a value, or several"),
    ],
)
def test_bad_settings_are_named_with_the_remedy(workplace, preset, override, message):
    with pytest.raises(StudyError, match=message):
        load_study("toy").configure(preset, override)


def test_a_folder_without_a_study_is_named(workplace):
    (workplace / "studies" / "helpers").mkdir()
    assert list_studies() == ["toy"]
    (workplace / "studies" / "helpers" / "study.py").write_text("x = 1\n")
    with pytest.raises(StudyError, match=r"helpers/study.py declares no STUDY"):
        load_study("helpers")
    with pytest.raises(StudyError, match=r"nowhere has no study.py"):
        load_study("./nowhere")


def test_a_study_of_ones_own_is_loaded_by_its_path_and_another_of_its_name_does_not_stand_in(workplace):
    shutil.copytree("studies/toy", "mine/toy")
    script = workplace / "mine" / "toy" / "study.py"
    script.write_text(script.read_text().replace('title="A toy"', 'title="Mine"'))
    assert [load_study(name).title for name in ("toy", "./mine/toy", "toy")] == ["A toy", "Mine", "A toy"]


def test_a_folder_called_studies_is_neither_imported_nor_in_the_way(tmp_path, monkeypatch):
    """Wherever one stands, the studies are those of the package; the modules of one's own "studies" stay one's own."""
    for file in ("studies/__init__.py", "studies/power/__init__.py", "studies/power/study.py", "studies/mine/study.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("raise ImportError('not to be imported')\n")
    here = list_studies()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert list_studies() == here
    study = load_study("power")
    assert study.folder == studies_folder() / "power"
    assert not study.folder.is_relative_to(tmp_path)
    with pytest.raises(StudyError, match=r"unknown study 'mine'; use one of .*, or the path of a folder"):
        load_study("mine")
    with pytest.raises(ImportError, match="not to be imported"):
        importlib.import_module("studies.power")  # theirs, not what stands for ours


def test_a_text_that_no_preset_and_no_choice_has_is_refused(workplace):
    study = load_study("toy")
    assert study.configure("smoke", ["word=blue"])["word"] == "blue"
    with pytest.raises(StudyError, match=r"--set word=green: unknown word 'green'; use red, blue"):
        study.configure("smoke", ["word=green"])
    free = dataclasses.replace(study, choices={"word": None})
    assert free.configure("smoke", ["word=a/path"])["word"] == "a/path"


def test_a_choice_that_is_a_function_knows_what_code_a_text_of_an_axis_names(workplace):
    def digest(text):
        if text == "lost":
            raise ValueError("lost is not there")
        return "" if text == "known" else f"digest of {text}"

    study = load_study("toy")
    presets = {name: {**settings, "word": ["red"]} for name, settings in study.presets.items()}
    own = dataclasses.replace(study, presets=presets, axes=(*study.axes, "word"), choices={"word": digest})
    config = own.configure("smoke", ["word=red,known,a:x=1,y=2,b:c"])
    assert config["word"] == ["red", "known", "a:x=1,y=2", "b:c"]
    assert own.sources(config) == {"a:x=1,y=2": "digest of a:x=1,y=2", "b:c": "digest of b:c"}
    of_cell = [cell_fingerprint({"code": "c"}, own.sources(config), cell) for cell in own.cells(config)[:4]]
    assert [json.loads(found.pop("own", "{}")) for found in of_cell] == [
        *({}, {}, {"a:x=1,y=2": "digest of a:x=1,y=2"}, {"b:c": "digest of b:c"})
    ]
    assert of_cell == [{"code": "c"}] * 4
    with pytest.raises(StudyError, match="--set word=red,lost: lost is not there"):
        own.configure("smoke", ["word=red,lost"])


@pytest.mark.parametrize("name", ["calibration", "loss_and_accuracy"])
def test_a_text_axis_of_a_study_takes_known_names_alone(name):
    study = load_study(name)
    axis = next(axis for axis in study.axes if isinstance(study.presets["smoke"][axis][0], str))
    with pytest.raises(StudyError, match=f"unknown {axis} 'foo'; (use|known:) "):
        study.configure("smoke", [f"{axis}=foo"])


@pytest.mark.parametrize("text", ["import nothing_of_that_name", "STUDY = Study(", "raise KeyError('x')"])
def test_a_script_that_cannot_be_loaded_is_named_each_time(workplace, text):
    (workplace / "studies" / "mine").mkdir()
    (workplace / "studies" / "mine" / "study.py").write_text(text)
    for _ in range(2):
        with pytest.raises(StudyError, match=r"cannot load the study .*mine/study.py: "):
            load_study("mine")


def test_unknown_study_lists_the_known_ones(workplace):
    assert list_studies() == ["toy"]
    with pytest.raises(StudyError, match="unknown study 'tov'; use one of toy"):
        load_study("tov")


def test_a_cells_seed_depends_on_the_cell_alone(workplace):
    study = load_study("toy")
    few = study.cells(study.configure("smoke", ["seed=1"]))
    many = study.cells(study.configure("smoke", ["seed=0,1,2,3"]))
    state = {canonical(cell): tuple(study.cell_seed(cell).generate_state(4)) for cell in many}
    assert all(state[canonical(cell)] == tuple(study.cell_seed(cell).generate_state(4)) for cell in few)
    assert len(set(state.values())) == 4, "seeds differ between seeds, and are paired over shifts"


def test_seeds_of_different_studies_differ(workplace):
    study = load_study("toy")
    cell = study.cells(study.configure("smoke"))[0]
    other = dataclasses.replace(study, seed=8)
    assert not np.array_equal(study.cell_seed(cell).generate_state(4), other.cell_seed(cell).generate_state(4))


def test_presets_of_a_table_name_each_value_and_share_the_rest():
    table = presets("n dim", smoke=(1, [2]), quick=(3, [4]), standard=(5, [6]), paper=(7, [8]), seed=9)
    assert tuple(table) == PRESETS
    assert table["smoke"] == {"n": 1, "dim": [2], "seed": 9}
    assert table["paper"] == {"n": 7, "dim": [8], "seed": 9}
    with pytest.raises(ValueError, match="shorter"):
        presets("n dim", smoke=(1,), quick=(3, 4), standard=(5, 6), paper=(7, 8))


def test_presets_must_have_the_same_keys(workplace):
    study = load_study("toy")
    with pytest.raises(ValueError, match="other keys than standard"):
        dataclasses.replace(study, presets={**study.presets, "smoke": {"shift": [1.0]}})


def test_parse_like_keeps_text_and_numbers_apart():
    assert parse_like("a", "1", "") == "1"
    assert parse_like(1.5, "1", "") == 1.0
