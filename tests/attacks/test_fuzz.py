"""What people type and hand in, and what they should not: 500 inputs, no traceback, exit code 0 or 2."""

import contextlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sigreg_lab.experiment.study import forget
from tests.attacks import files
from tests.attacks.command import call, check_manners

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("default")]

NUMBERS = (
    "0",
    "1",
    "2",
    "7",
    "-1",
    "-3",
    "0.5",
    "1e-9",
    "1e999",
    "nan",
    "inf",
    "-inf",
    "",
    " ",
    "x",
    "1,2",
    "1,1",
    ",",
)
HUGE = ("1000000000000", "99999999999999999999", "1" * 5000)
WORDS = ("true", "null", "[/]", "\x1b[31m", "é", "../x", "\udcff", "$\\alpha_$")
VALUES = st.sampled_from((*NUMBERS, *HUGE, *WORDS))


def fuzz(examples: int):
    """Inputs that are the same on every machine; the first that fails is shown as it is."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=[*HealthCheck],
    )


def rarely(data: st.DataObject, times: int) -> bool:
    """True once in so many ``times``."""
    return data.draw(st.sampled_from((True,) + (False,) * (times - 1)))


@pytest.fixture(scope="module", autouse=True)
def workplace(tmp_path_factory):
    """A folder of its own for everything that is read and written, and a cache."""
    place, before = tmp_path_factory.mktemp("fuzz"), Path.cwd()
    toy = place / "studies" / "toy"
    shutil.copytree(Path(__file__).parents[1] / "experiment" / "toy", toy, ignore=shutil.ignore_patterns("__*"))
    measure = (toy / "measure.py").read_text()
    pause = 'time.sleep(settings["pause"])'
    assert pause in measure
    (toy / "measure.py").write_text(measure.replace(pause, "pass"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGREG_LAB_CACHE", str(place / "cache"))
        patch.setattr("sigreg_lab.experiment.study.studies_folder", lambda: place / "studies")
        os.chdir(place)
        yield place
        os.chdir(before)
    forget("toy")


@fuzz(280)
@given(files.samples(), st.data())
def test_check(sample, data):
    suffix, content = sample
    file = Path(f"emb{suffix}")
    file.write_bytes(content)
    arguments = []
    for option, values in (
        ("--slices", ("8", *NUMBERS, *HUGE)),
        ("--max-rows", ("12", *NUMBERS, *HUGE)),
        ("--seed", ("3", *NUMBERS, *HUGE)),
        ("--key", ("x", "a", "0", *WORDS, "")),
        ("--drop", ("a", "label", *WORDS, "")),
        ("--out", ("page.html", "studies", "emb.npy/page.html", "no/where.html", "a" * 300)),
        ("--json", ("-", "found.json", "studies", "")),
    ):
        if rarely(data, 14):
            arguments += [option, data.draw(st.sampled_from(values))]
    if "--slices" not in arguments:
        arguments += ["--slices", "8"]
    try:
        check_manners(call("check", str(file), *arguments))
    finally:
        if file.is_file():
            file.unlink()


@pytest.fixture
def here(monkeypatch):
    """Cells are computed in this process, which takes a hundredth of the time."""

    @contextlib.contextmanager
    def executor(workers):
        with ThreadPoolExecutor(1) as pool:
            yield pool

    monkeypatch.setattr("sigreg_lab.experiment.run.local_executor", executor)


SETTINGS = ("shift", "seed", "draws", "pause", "fail_at", "scale", "log", "colour", "", "seed ", "shift=")


@pytest.mark.usefixtures("here")
def test_the_study_that_is_attacked_is_there(tmp_path):
    """Else each of the attacks below would end at its name."""
    seen = call("study", "run", "toy", "--preset", "smoke", "--out", str(tmp_path))
    assert seen.code == 0, seen.err
    assert len((tmp_path / "smoke" / "toy" / "rows.csv").read_text().splitlines()) == 7


@fuzz(130)
@given(st.data())
def test_study(here, data):
    command = data.draw(st.sampled_from(("run", "run", "run", "run", "tell", "publish", "report", "list", "walk")))
    names = data.draw(st.lists(st.sampled_from(("toy", "all", "tov", *WORDS)), max_size=2)) if rarely(data, 5) else []
    arguments = ["study", command]
    match command:
        case "report":
            arguments += [word for name in names for word in ("--study", name)]
        case "list":
            pass
        case _:
            arguments += [*(names or ["toy"]), "--preset", "smoke"]
    if rarely(data, 8):
        arguments += ["--preset", data.draw(st.sampled_from(("quick", "huge", "..", "")))]
    if command == "run":
        for _ in range(data.draw(st.sampled_from((0, 0, 1, 1, 2)))):
            arguments += ["--set", f"{data.draw(st.sampled_from(SETTINGS))}={data.draw(VALUES)}"]
        if rarely(data, 6):
            arguments += ["--workers", data.draw(st.sampled_from(NUMBERS))]
    if rarely(data, 8):
        places = ("runs", "studies/toy/study.py", "a" * 300, "/proc/x", "\udcff")
        arguments += ["--out", data.draw(st.sampled_from(places))]
    if rarely(data, 10):
        shutil.rmtree("results/runs", ignore_errors=True)
    if rarely(data, 4):  # a disk, or a hand, that changes what lies there
        number, damage = data.draw(st.integers(0, 99)), data.draw(files.damages())
        results = sorted(path for path in Path("results/runs").rglob("*") if path.is_file())
        for victim in results[number % len(results) :][:1] if results else ():
            victim.write_bytes(damage(victim.read_bytes()))
    check_manners(call(*arguments))


TINY = ("batch_size=16", "num_slices=8", "projector=16,8", "steps=2")
OPTIONS = (
    *("lam", "num_slices", "directions", "form", "prediction", "dimensions", "backbone", "embedding_dim", "projector"),
    *("predictor", "swa", "register_tokens", "patch_size", "drop_path", "steps", "epochs", "batch_size", "accumulate"),
    *("num_views", "lr", "weight_decay", "warmup", "precision", "device", "compile", "augment", "image_size"),
    *("memory_gib", "log_every", "diagnose_every", "online_probe", "checkpoint_minutes", "views.noise", "colour"),
    *("crops.global_views", "crops.local_views", "crops.global_scale", "crops.local_size", "crops.blur"),
)


def image_folder(data) -> str:
    """A small image folder, whole or not."""
    root = Path("images")
    shutil.rmtree(root, ignore_errors=True)
    kinds = {
        "good": lambda: files.png(8, data.draw(st.integers(0, 255))),
        "grey": lambda: files.png(8, mode="L"),
        "alpha": lambda: files.png(8, mode="RGBA"),
        "one pixel": lambda: files.png(1),
        "damaged": lambda: data.draw(files.damages())(files.png(8)),
        "huge": files.huge_png,
        "empty": lambda: b"",
        "text": lambda: b"no image",
    }
    names = st.lists(st.sampled_from(("a", "b", "train", "train/a", "test/a", "bus")), max_size=4)
    for name in data.draw(names) if rarely(data, 2) else ("a", "b"):
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        count = data.draw(st.sampled_from((0, 1, 2, 6)))
        for number in range(count):
            kind = data.draw(st.sampled_from(("good", "good", "good", *kinds)))
            (folder / f"{number}.png").write_bytes(kinds[kind]())
        match data.draw(st.sampled_from(("pipe", "endless", *("",) * 10))):
            case "pipe":
                (folder / "pipe.png").unlink(missing_ok=True)
                os.mkfifo(folder / "pipe.png")
            case "endless":
                (folder / "endless.png").unlink(missing_ok=True)
                (folder / "endless.png").symlink_to("/dev/zero")
    root.mkdir(exist_ok=True)
    return str(root)


@fuzz(90)
@given(st.data())
def test_pretrain(data):
    arguments = ["pretrain", "--out", "trained", "--max-minutes", "0.005"]
    kind = data.draw(st.sampled_from(("digits", "digits", "folder", "none", "odd")))
    if kind == "folder":
        arguments += ["--data", image_folder(data)]
        tiny = (*TINY, "backbone=test_vit", "epochs=0", "image_size=32")
    else:
        tiny = TINY
        if kind == "odd":
            arguments += ["--data", data.draw(st.sampled_from(("", ".", "studies/toy/study.py", "/dev/null", *WORDS)))]
    for setting in tiny:
        arguments += ["--set", setting]
    for _ in range(data.draw(st.sampled_from((0, 1, 1, 2)))):
        arguments += ["--set", f"{data.draw(st.sampled_from(OPTIONS))}={data.draw(VALUES)}"]
    for option, values in (
        ("--seed", (*NUMBERS, *HUGE)),
        ("--regularizer", ("sigreg-ad", "none", "vicreg", *WORDS)),
        ("--recipe", ("digits", "images", "huge", "")),
        ("--max-minutes", ("0.001", "nan", "-1", "inf", "x")),
    ):
        if rarely(data, 10):
            arguments += [option, data.draw(st.sampled_from(values))]
    if rarely(data, 6):
        arguments += ["--resume"]
        damage = data.draw(files.damages())
        for checkpoint in Path("trained").rglob("checkpoint.pt"):
            checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    check_manners(call(*arguments))
