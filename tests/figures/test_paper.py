"""The paper's figures, drawn from the committed results."""

import hashlib
import importlib
import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from typer.testing import CliRunner

from benchmarks.cases import TABLE_6
from sigreg_lab.cli import app
from sigreg_lab.experiment.study import StudyError, list_studies, load_study
from sigreg_lab.figures.paper.parts import COLUMN, WIDE, Table
from sigreg_lab.figures.paper.published import published
from sigreg_lab.figures.paper.registry import ITEMS
from sigreg_lab.figures.paper.sources import BENCHMARKS
from sigreg_lab.figures.paper.write import caption, chosen, draw, page, write_figures
from sigreg_lab.figures.theme import themed
from sigreg_lab.pretrain.config import configure
from sigreg_lab.pretrain.loop import resolved
from sigreg_lab.regularizers.resolve import resolve_regularizer

REPOSITORY = Path(__file__).parents[2]
RESULTS = REPOSITORY / "results"
BY_KEY = {item.key: item for item in ITEMS}
#: What section 3 of the paper's digest lists.
LISTED = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15, 16, 17, 18, 19, 20]


@pytest.fixture(scope="module")
def drawn():
    found = {}

    def of(key):
        if key not in found:
            found[key] = draw(BY_KEY[key], RESULTS)
        return found[key]

    return of


def _estimates(name):
    load_study(name)  # a package from then on
    return importlib.import_module(f"sigreg_lab.studies.{name}.estimates")


def _lines(figure):
    """Abscissas and ordinates of every line drawn, by its label."""
    return {
        str(line.get_label()): np.column_stack([np.asarray(v, dtype=float) for v in line.get_data()])
        for axis in figure.axes
        for line in axis.get_lines()
    }


@pytest.fixture
def copied(tmp_path):
    """A study's results in a folder of their own, and what changes its estimates, manifest and all."""

    def copy(name, change=None):
        folder = tmp_path / name
        shutil.copytree(RESULTS / name, folder)
        if change:
            table = pd.read_csv(folder / "estimates.csv", keep_default_na=False, na_values=["nan", ""])
            change(table).to_csv(folder / "estimates.csv", index=False)
            manifest = json.loads((folder / "manifest.json").read_text())
            manifest["files"]["estimates.csv"] = hashlib.sha256((folder / "estimates.csv").read_bytes()).hexdigest()
            (folder / "manifest.json").write_text(json.dumps(manifest))
        return tmp_path

    return copy


def test_every_figure_and_table_of_the_list_has_a_key():
    figures = [f"fig-{number:02}" for number in LISTED]
    tables = [f"table-{name}" for name in ("1a", "1b", "1c", "1d", "1e", "4", "5", "6", "7")]
    assert list(BY_KEY) == [*figures, "patch-features", *tables]


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.key)
def test_a_key_draws_and_its_caption_has_scale_and_commit(item, drawn):
    drawing, sources = drawn(item.key)
    text = caption(item, drawing, sources)
    assert set(sources.read) == set(item.studies)
    for name in item.studies:
        manifest = json.loads((RESULTS / name / "manifest.json").read_text())
        assert manifest["sessions"][0]["git"]["commit"][:7] in text
        assert f"preset {manifest['preset']}" in text if name not in BENCHMARKS else "cores" in text
    if drawing is None:
        assert f"Ours: not run. This command makes it: `{item.run}`." in text
    elif item.run:
        assert f"Ours: not run. This command makes one of our numbers: `{item.run}`." in text
    else:
        assert "commit" in text
    if item.seed is not None:
        assert f"Drawn with seed {item.seed}." in text
    if drawing is None:
        assert item.key == "patch-features"
    elif isinstance(drawing.content, Table):
        assert item.key.startswith("table-")
        assert {len(row) for row in drawing.content.rows} == {len(drawing.content.header)}
    else:
        assert drawing.content.get_size_inches()[0] in (COLUMN, WIDE)
        drawn_on = [axis for axis in drawing.content.axes if axis.get_visible()]
        assert all(axis.has_data() for axis in drawn_on)


@pytest.mark.parametrize("item", [item for item in ITEMS if item.run], ids=lambda item: item.key)
def test_the_command_for_what_was_not_run_is_one_that_runs(item):
    words = shlex.split(item.run, comments=True)
    assert words[:2] == ["sigreg-lab", "pretrain"]
    assert {*words[2::2]} <= {"--recipe", "--regularizer", "--data", "--set"}
    value = dict(zip(words[2::2], words[3::2], strict=True))
    settings = [b for a, b in zip(words[2::2], words[3::2], strict=True) if a == "--set"]
    regularizer = value.get("--regularizer", "sigreg-ep")
    resolve_regularizer(regularizer)
    resolved(configure(value.get("--data"), regularizer, 0, settings, value["--recipe"]), num_images=5_000)


def test_studies_and_benchmarks_that_figures_name_exist():
    named = {name for item in ITEMS for name in item.studies}
    assert named - {*BENCHMARKS} <= {*list_studies()}


@pytest.mark.parametrize(
    ("item", "where", "value"),
    [
        ("table-1a", {"t_max": 3, "num_slices": 2048, "points": 5}, 75.02),
        ("table-1b", {"views": 10, "global_views": 4}, 75.08),
        ("table-1c", {"batch_size": 512}, 74.72),
        ("table-1d", {"projector_dim": 64, "num_slices": 4096, "embedding_dim": 2048}, 75.65),
        ("table-1e", {"num_slices": 4096, "register_tokens": 8}, 75.84),
        ("table-4", {"backbone": "vit_tiny_patch8", "predictor": "no", "swa": "yes", "projector_layers": 2}, 82.36),
        ("table-5", {"backbone": "swin_tiny", "data": "inet10"}, 92.87),
        ("table-6", {"num_samples": 32768, "num_slices": 512, "points": 16}, 26.373),
        ("table-7", {"views": 8, "lam": 0.5}, 77.72),
        ("transfer", {"model": "LeJEPA ViT-L", "shots": "10", "data": "flowers102"}, 92.53),
        ("spearman", {"alpha": 0.4}, 0.99),
    ],
)
def test_a_published_number_is_that_of_the_paper(item, where, value):
    """One of each item, typed from the paper again; in most the last or the largest."""
    table = published(item)
    row = table[np.logical_and.reduce([table[axis] == wanted for axis, wanted in where.items()])]
    assert row["value"].to_list() == [value]
    assert not table.duplicated([axis for axis in table if axis != "value"]).any()


def test_copies_in_benchmarks_and_studies_are_those_of_the_data_file():
    """Benchmarks are run on earlier commits, which have no data file; these studies tell with numbers of their own."""
    assert [*published("table-6").itertuples(index=False, name=None)] == TABLE_6
    table = published("table-1a")
    table = table[table["num_slices"] == 2048].set_index(["t_max", "points"])["value"]
    assert table.to_dict() == _estimates("quadrature").PUBLISHED
    found = published("spearman")["value"].to_list()
    assert [*_estimates("loss_and_accuracy").PAPER_C.values()] == found


def test_pictures_show_the_published_numbers_of_the_data_file(drawn):
    lines = _lines(drawn("fig-08")[0].content)
    for views, part in published("table-7").groupby("views"):
        np.testing.assert_array_equal(lines[f"{views} views"], part[["lam", "value"]])
    np.testing.assert_array_equal(_lines(drawn("fig-11")[0].content)["published"], published("spearman"))
    table = published("transfer")
    shown = _lines(drawn("fig-12")[0].content)
    for name, part in table[table["model"] == "LeJEPA ViT-L"].groupby("data"):
        np.testing.assert_array_equal(shown[name][:, 1], part["value"])
    dots = [line.get_xdata() for axis in drawn("fig-09")[0].content.axes for line in axis.get_lines()]
    np.testing.assert_array_equal(np.sort(np.concatenate(dots)), np.sort(published("table-5")["value"]))


@pytest.mark.parametrize("key", [item.key for item in ITEMS if item.key.startswith("table-")])
def test_a_table_holds_each_published_number_once(key, drawn):
    cells = [cell for row in drawn(key)[0].content.rows for cell in row]
    for value in published(key)["value"]:
        text = f"{value:.3f}" if key == "table-6" else f"{value:.2f}"
        assert cells.count(text) == (published(key)["value"] == value).sum()


def test_published_numbers_look_like_no_number_of_ours(drawn):
    """Hollow on dashes; ours are full on lines."""
    ours, theirs = drawn("fig-12")[0].content.axes
    assert {line.get_linestyle() for line in theirs.get_lines()} == {"--"}
    assert {to_hex(line.get_markerfacecolor()) for line in theirs.get_lines()} == {"#ffffff"}
    assert "--" not in {line.get_linestyle() for line in ours.get_lines()}
    assert any(text.get_text() == "published numbers" for text in theirs.texts)


def test_table_6_has_our_times_beside_the_published_ones(drawn):
    rows = pd.read_csv(RESULTS / "kernels" / "rows.csv")
    mine = rows[rows["what"].str.startswith("Table 6")]
    texts = [f"{value:.2f}" for value in mine["median_ms"]]
    assert [row[-1] for row in drawn("table-6")[0].content.rows] == texts


def test_a_changed_estimate_changes_the_picture(copied, drawn):
    where = {"quantity": "infinite", "training": "adam", "directions": "fixed", "num_samples": 100, "num_slices": 256}

    def change(table):
        chosen_rows = np.logical_and.reduce([table[axis] == wanted for axis, wanted in where.items()])
        assert chosen_rows.sum() == 3
        table.loc[chosen_rows, "estimate"] += 0.5
        return table

    other = draw(BY_KEY["fig-07"], copied("sample_descent", change))[0].content
    one = drawn("fig-07")[0].content
    moved = 0
    for before, after in zip(one.axes, other.axes, strict=True):
        for line, new in zip(before.get_lines(), after.get_lines(), strict=True):
            moved += np.isclose(np.asarray(new.get_ydata()) - line.get_ydata(), 0.5).sum()
    assert moved == 3


def test_results_that_are_not_those_of_their_manifest_are_refused(copied):
    results = copied("sample_descent")
    path = results / "sample_descent" / "estimates.csv"
    path.write_text(path.read_text().replace("adam_cosine", "adam", 1))
    with pytest.raises(StudyError, match=r"estimates.csv is not the file of its manifest; run the study again"):
        draw(BY_KEY["fig-07"], results)


@pytest.mark.parametrize("text", ["{", '{"files": {}}'])
def test_a_damaged_manifest_is_named_with_the_remedy(copied, text):
    results = copied("sample_descent")
    (results / "sample_descent" / "manifest.json").write_text(text)
    with pytest.raises(StudyError, match=r"manifest.json is damaged .*; run its study again"):
        draw(BY_KEY["fig-07"], results)


@pytest.mark.parametrize(("key", "remedy"), [("fig-20", "sigreg-lab study run quadrature"), ("table-6", "python -m")])
def test_missing_results_are_named_with_the_remedy(tmp_path, key, remedy):
    with pytest.raises(StudyError, match=f"no results in .*; name their folder with --results, or run: {remedy}"):
        write_figures([key], tmp_path / "none", tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_results_without_what_a_figure_shows_are_named_with_the_remedy(copied):
    results = copied("sample_descent", lambda table: table[table["quantity"] != "points"].assign(quantity="infinite"))
    with pytest.raises(StudyError, match=r"fig-06: the results of sample_descent lack what it shows .* study run"):
        draw(BY_KEY["fig-06"], results)


def test_an_unknown_key_is_answered_with_the_known_ones():
    with pytest.raises(
        StudyError, match=r"--only fig-99: no figure of the paper by that key; known: fig-03, .*table-7"
    ):
        chosen(["fig-04", "fig-99"])


def test_files_captions_and_manifest_are_written_and_kept(tmp_path):
    first = write_figures(["fig-08", "table-1c"], RESULTS, tmp_path)
    names = {"fig-08.pdf", "fig-08.png", "table-1c.md", "table-1c.tex", "captions.md", "manifest.json"}
    assert {path.name for path in first} == names
    assert (tmp_path / "fig-08.pdf").read_bytes().startswith(b"%PDF")
    assert rb"\toprule" in (tmp_path / "table-1c.tex").read_bytes()
    picture = (tmp_path / "fig-08.png").read_bytes()
    write_figures(["table-6", "fig-08"], RESULTS, tmp_path)
    assert (tmp_path / "fig-08.png").read_bytes() == picture
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert list(manifest["figures"]) == ["fig-08", "table-1c", "table-6"]
    for record in manifest["figures"].values():
        for name, expected in record["files"].items():
            assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == expected
    assert manifest["figures"]["table-6"]["read"]["kernels"]
    captions = (tmp_path / "captions.md").read_text(encoding="utf-8")
    for record in manifest["figures"].values():
        assert record["caption"] in captions
    assert "![Accuracy over λ and the number of views](fig-08.png)" in captions


def test_the_command_draws_what_it_is_asked_for(tmp_path):
    arguments = ["figures", "paper", "--only", "table-1c", "--results", str(RESULTS), "--out", str(tmp_path)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    assert f"Figures: {tmp_path} (4 files; captions.md says what they show)" in done.output.replace("\n", "")
    assert (tmp_path / "table-1c.tex").is_file()
    assert CliRunner().invoke(app, ["figures", "index"]).output == page()


def test_a_file_changed_by_hand_drops_out_of_captions_and_manifest(tmp_path):
    write_figures(["table-1b", "table-1c"], RESULTS, tmp_path)
    (tmp_path / "table-1b.md").write_text("mine")
    write_figures(["table-1c"], RESULTS, tmp_path)
    assert list(json.loads((tmp_path / "manifest.json").read_text())["figures"]) == ["table-1c"]


def test_the_page_of_figures_is_todays():
    """Stale: run sigreg-lab figures index > docs/figures.md."""
    assert (REPOSITORY / "docs" / "figures.md").read_text(encoding="utf-8") == page()


def test_the_outermost_theme_decides():
    import matplotlib

    with themed(paper=True):
        size = matplotlib.rcParams["font.size"]
        with themed():
            assert matplotlib.rcParams["font.size"] == size
    with themed():
        assert matplotlib.rcParams["font.size"] > size
