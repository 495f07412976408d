"""Regularisers by name, file, module and entry point; what is wrong with one is said before any run."""

import copy
import dataclasses
import functools
import json
import os
import re
import subprocess
import sys
import textwrap
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch

import sigreg_lab
from sigreg_lab.experiment.cells import canonical
from sigreg_lab.experiment.study import StudyError
from sigreg_lab.pretrain import configure, pretrain
from sigreg_lab.pretrain import run as run_module
from sigreg_lab.pretrain.loop import make_loss, resolved
from sigreg_lab.pretrain.run import run, run_probes
from sigreg_lab.regularizers import REGISTRY, SIGReg, check_regularizer, make_regularizer, resolve_regularizer
from sigreg_lab.slicing import seeded_generator

SHAPE = (2, 16, 4)
GOOD = """
    import torch

    class Mine(torch.nn.Module):
        def __init__(self, weight: float = 2.0, power: int = 2, name=None):
            super().__init__()
            self.weight, self.power, self.name = weight, power, name

        def forward(self, z, generator):
            return self.weight * z.pow(self.power).mean()
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text, name="mine.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    return write


def _value(regularizer):
    z = torch.linspace(-2, 3, 2 * 16 * 4).reshape(SHAPE)
    return float(regularizer(z, seeded_generator(0)))


def test_a_name_is_the_registrys_with_its_options():
    chosen = resolve_regularizer("sigreg-ep:num_slices=8,t_max=5")
    assert chosen.options == {"num_slices": 8, "t_max": 5.0}
    assert chosen.name == "sigreg-ep:num_slices=8,t_max=5.0"
    assert chosen.digest == ""
    expected = make_regularizer("sigreg-ep", num_slices=8, t_max=5.0)
    assert _value(chosen.build(num_slices=100)) == _value(expected)
    assert chosen.build().num_slices == 8
    assert resolve_regularizer("sigreg-ep").build(num_slices=12).num_slices == 12
    assert resolve_regularizer("vicreg").build(num_slices=12, directions="iid") is not None
    assert resolve_regularizer("none").build(num_slices=12) is None


def test_the_identity_counts_what_it_is_built_with():
    plain, named = resolve_regularizer("sigreg-ep"), resolve_regularizer("sigreg-ep:num_slices=64")
    assert plain.identity(num_slices=64) == named.identity(num_slices=256)
    assert plain.identity(num_slices=256) != named.identity(num_slices=256)


def test_a_class_in_a_file_with_options(write):
    path = write(GOOD)
    for spec in ("mine.py:Mine", str(path) + ":Mine", "./mine.py:Mine"):
        chosen = resolve_regularizer(spec)
        assert chosen.name == "mine.py:Mine"
        assert chosen.spec == f"{path}:Mine"
        check_regularizer(chosen, SHAPE)
    z = torch.full(SHAPE, 3.0)
    assert float(resolve_regularizer("mine.py:Mine:weight=0.5,power=3").build()(z, None)) == 13.5
    assert resolve_regularizer("mine.py:Mine:name=7").build().name == 7
    assert resolve_regularizer("mine.py:Mine:name=none").build().name is None
    assert resolve_regularizer("mine.py:Mine:power=3").slug == "mine.py-Mine-power=3"
    assert resolve_regularizer("mine.py:Mine").build().capturable is False, "it did not say that a graph may hold it"


def test_a_class_in_a_module_of_this_folder_and_of_a_package(write, monkeypatch):
    write("", "somewhere/__init__.py")
    write(GOOD, "somewhere/losses.py")
    chosen = resolve_regularizer("somewhere.losses:Mine:weight=1")
    assert chosen.name == "somewhere.losses:Mine:weight=1.0"
    assert float(chosen.build()(torch.full(SHAPE, 3.0), None)) == 9
    assert resolve_regularizer("sigreg_lab.regularizers.visreg:VISReg").digest
    for name in [name for name in sys.modules if name.startswith("somewhere")]:
        monkeypatch.delitem(sys.modules, name)


def test_an_entry_point_and_one_that_takes_a_name(write, monkeypatch):
    write(GOOD, "announced.py")

    def points(*found):
        group = "sigreg_lab.regularizers"
        entries = [metadata.EntryPoint(name, value, group) for name, value in found]
        monkeypatch.setattr(metadata, "entry_points", lambda group: entries)

    points(("my-name", "announced:Mine"))
    chosen = resolve_regularizer("my-name:power=4")
    assert chosen.name == "my-name:power=4"
    assert chosen.digest
    with pytest.raises(
        ValueError,
        match=r"unknown regularizer 'sigreg'; did you mean .* known: sigreg-ep, .*, my-name; a class of your",
    ):
        resolve_regularizer("sigreg")
    points(("vicreg", "announced:Mine"))
    with pytest.raises(
        ValueError, match=r"'vicreg' is the name of two regularisers.*announced:Mine; write MODULE:CLASS"
    ):
        resolve_regularizer("vicreg")
    points(("a", "announced:Mine"), ("a", "other:Mine"))
    with pytest.raises(ValueError, match="'a' is the name of two regularisers"):
        resolve_regularizer("a")
    monkeypatch.delitem(sys.modules, "announced")


def test_a_changed_file_or_a_changed_module_beside_it_is_another_regulariser(write):
    write("FACTOR = 2", "helper.py")
    path = write("import helper\n" + textwrap.dedent(GOOD).replace("self.weight *", "helper.FACTOR *"))
    first = resolve_regularizer("mine.py:Mine")
    assert float(first.build()(torch.ones(SHAPE), None)) == 2
    assert resolve_regularizer("mine.py:Mine").digest == first.digest
    path.write_text(path.read_text().replace("helper.FACTOR *", "3 *"))
    second = resolve_regularizer("mine.py:Mine")
    assert second.digest != first.digest
    assert float(second.build()(torch.ones(SHAPE), None)) == 3, "the file is loaded as it is now"
    write("FACTOR = 4", "helper.py")
    assert resolve_regularizer("mine.py:Mine").digest != second.digest
    sys.modules.pop("helper")


def test_a_file_in_a_clone_of_this_library_is_the_same_regulariser_as_elsewhere(write):
    path = write("from sigreg_lab.slicing import directions\n" + textwrap.dedent(GOOD))
    elsewhere = resolve_regularizer("mine.py:Mine").digest
    (path.parent / "sigreg_lab").symlink_to(Path(sigreg_lab.__file__).parent, target_is_directory=True)
    assert resolve_regularizer("mine.py:Mine").digest == elsewhere


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("sigreg", r"unknown regularizer 'sigreg'; did you mean sigreg-ep\? known: sigreg-ep"),
        ("xyzzy", "unknown regularizer 'xyzzy'; known: sigreg-ep"),
        (
            "sigreg-ep:slices=3",
            r"option slices of regularizer 'sigreg-ep'; did you mean num_slices\? it takes num_slices",
        ),
        ("sigreg-ep:num_slices=many", "num_slices: expected a value of type int, got 'many'"),
        ("sigreg-ep:num_slices=3,num_slices=4", "each key once"),
        ("sigreg-ep:num_slices=3,t_max", "write options as NAME:key=value"),
        ("none:weight=3", "unknown option weight of regularizer 'none'; it takes none"),
        ("nowhere.py:Mine", r"no file nowhere\.py there"),
        ("mine.py", r"mine\.py: names no class; write mine\.py:CLASS"),
        ("mine.py:", "names no class"),
        ("mine.py:Yours", r"mine\.py holds no class Yours; it holds Mine"),
        ("mine.py:torch", "holds no class torch"),
        ("mine.py:Mine:colour=red", r"unknown option colour of mine\.py:Mine; it takes weight, power, name"),
        ("mine.py:Mine:wieght=1", r"unknown option wieght of mine\.py:Mine; did you mean weight\? it takes weight"),
        ("functions.py:lonely", r"needs the option\(s\) z; write .*takes \(z, generator\): def lonely\(z, generator\)"),
        ("functions.py:other", "holds no class other; it holds lonely"),
        ("mine.py:Mine:weight=heavy", "weight: expected a value of type float, got 'heavy'"),
        ("broken.py:Mine", r"broken\.py cannot be loaded: ZeroDivisionError"),
        ("syntax.py:Mine", r"syntax\.py cannot be loaded: SyntaxError"),
        ("quits.py:Mine", r"quits\.py cannot be loaded: SystemExit"),
        ("needy.py:Mine", r"needy\.py:Mine needs the option\(s\) width; write needy\.py:Mine:width=VALUE"),
        ("no.such.module:Mine", "module no.such.module cannot be imported: ModuleNotFoundError"),
        ("sys:Mine", "module sys has no file"),
        ("=", "write options as NAME:key=value"),
        ("", "unknown regularizer ''"),
        ("\0.py:Mine", "cannot be looked up|no file"),
    ],
)
def test_what_cannot_be_found_is_one_line(write, spec, message):
    write(GOOD)
    write("1 / 0", "broken.py")
    write("class Mine(:", "syntax.py")
    write("raise SystemExit(3)", "quits.py")
    write("class Mine:\n    def __init__(self, width): ...", "needy.py")
    write("def lonely(z): ...", "functions.py")
    with pytest.raises((ValueError, StudyError), match=message):
        resolve_regularizer(spec)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return z.mean(0)", r"its value must be a scalar tensor, got a tensor of shape \(16, 4\)"),
        ("return 3.0", "its value must be a scalar tensor, got float"),
        ("return z.sum() * float('nan')", "its value must be finite, got nan"),
        ("return z.detach().sum()", "its value has no gradient"),
        ("return torch.zeros((), requires_grad=True)", "its gradient is 0 everywhere"),
        ("return (z - z).sum()", "its gradient is 0 everywhere"),
        ("return (z * 0).sqrt().sum()", "its gradient must be finite"),
        ("raise RuntimeError('no')", r"it fails at mine\.py:4: RuntimeError: no"),
        ("return self.missing", r"it fails at mine\.py:4: AttributeError"),
        ("return torch.stack([z, z[0]]).sum()", r"it fails at mine\.py:4: RuntimeError: stack expects"),
        ("z.sum()", r"got NoneType; is `return` missing\?$"),
        ("return z.cfloat().sum()", "its value must be a real number, got torch.complex64"),
        ("z.data.mul_(2); return z.sum()", r"it changes z, .* z\.clone\(\)$"),
        ("y = z.sum(); y.register_hook(lambda g: 1 / 0); return y", r"its gradient fails at mine\.py:4: ZeroDivision"),
        ("raise SystemExit(3)", r"it fails at mine\.py:4: SystemExit: 3"),
        (
            "return (z * torch.randn_like(z)).sum()",
            r"its value is .* then .* draw from the generator that is handed in",
        ),
    ],
)
def test_a_value_that_cannot_be_trained_on_is_one_line(write, body, message):
    write(f"import torch\nclass Mine:\n    def __call__(self, z, generator):\n        {body}")
    with pytest.raises(ValueError, match=rf"mine\.py:Mine: on random embeddings of shape .*{message}"):
        check_regularizer(resolve_regularizer("mine.py:Mine"), SHAPE)


def test_an_error_in_a_file_beside_it_is_found_there(write):
    write("def helped(z):\n\n    raise KeyError('no')", "helper_beside.py")
    write("import helper_beside\ndef mine(z, generator):\n    return helper_beside.helped(z)")
    with pytest.raises(ValueError, match=r"it fails at helper_beside\.py:3: KeyError"):
        check_regularizer(resolve_regularizer("mine.py:mine"), SHAPE)
    sys.modules.pop("helper_beside")


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (
            "class Mine(torch.nn.Module):\n    def forward(self, z): ...",
            "Mine",
            r"takes z; write .* forward\(self, z, gen",
        ),
        (
            "class Mine:\n    def __call__(self): ...",
            "Mine",
            r"takes nothing; write it as __call__\(self, z, generator\)",
        ),
    ],
)
def test_a_wrong_signature_is_said_in_words(write, text, name, message):
    write(f"import torch\n{text}")
    with pytest.raises(ValueError, match=rf"^mine\.py:{name} {message}"):
        check_regularizer(resolve_regularizer(f"mine.py:{name}"), SHAPE)


def only_embeddings(z):
    return z.square().mean()


def test_a_function_of_embeddings_alone_is_told_what_it_lacks():
    with pytest.raises(ValueError, match=r"^only_embeddings takes z; write it as \(z, generator\)"):
        check_regularizer(resolve_regularizer(only_embeddings), SHAPE)


@pytest.mark.parametrize(
    "body",
    [
        "import numpy as np\n        return z.square().mean() * np.random.rand()",
        "return z.square().mean() * self.start",
    ],
)
def test_randomness_from_elsewhere_is_refused(write, body):
    text = "import torch\nclass Mine:\n    def __init__(self):\n        self.start = torch.rand(())\n"
    write(f"{text}    def __call__(self, z, generator):\n        {body}")
    with pytest.raises(ValueError, match="with a generator in the same state; draw from the generator"):
        check_regularizer(resolve_regularizer("mine.py:Mine"), SHAPE)


@pytest.mark.parametrize("name", [*REGISTRY])
def test_all_of_the_registry_pass_their_trial_those_with_a_state_too(name):
    check_regularizer(resolve_regularizer(name), (2, 16, 8))


def test_the_first_try_warns_of_nothing(write, recwarn):
    write("import warnings\ndef mine(z, generator):\n    warnings.warn('long')\n    return z.mean(0)")
    with pytest.raises(ValueError, match="scalar tensor"):
        check_regularizer(resolve_regularizer("mine.py:mine"), SHAPE)
    assert not [*recwarn]


def test_a_function_in_a_file_is_one_of_embeddings_and_generator_or_makes_one(write):
    write(
        """
        def plain(z, generator, weight=2.0, power=2):
            return weight * z.pow(power).mean()

        def maker(weight=3.0):
            return lambda z, generator: weight * z.square().mean()
        """
    )
    z = torch.full(SHAPE, 3.0)
    specs = ["mine.py:plain", "mine.py:plain:weight=1", "mine.py:maker", "mine.py:maker:weight=1"]
    found = [resolve_regularizer(spec) for spec in specs]
    assert [float(one.build(num_slices=7)(z, None)) for one in found] == [18.0, 9.0, 27.0, 9.0]
    assert [one.known for one in found] == [{"weight": 2.0, "power": 2}] * 2 + [{"weight": 3.0}] * 2
    assert found[1].name == "mine.py:plain:weight=1.0"
    assert resolve_regularizer(found[1].spec).identity() == found[1].identity(), "found again in another process"
    assert found[0].build().capturable is False
    for one in found:
        check_regularizer(one, SHAPE)


def test_a_class_that_cannot_be_made_or_called_is_one_line(write):
    write("class Mine:\n    def __init__(self, weight=1):\n        raise OSError('no')")
    with pytest.raises(ValueError, match=r"mine\.py:Mine cannot be made: OSError: no"):
        check_regularizer(resolve_regularizer("mine.py:Mine"), SHAPE)
    write("class Mine:\n    def __init__(self):\n        raise SystemExit(3)")
    with pytest.raises(ValueError, match=r"mine\.py:Mine cannot be made: SystemExit: 3"):
        check_regularizer(resolve_regularizer("mine.py:Mine"), SHAPE)
    write("class Mine: ...")
    with pytest.raises(ValueError, match=r"mine\.py:Mine cannot be called"):
        check_regularizer(resolve_regularizer("mine.py:Mine"), SHAPE)


class Handed(torch.nn.Module):
    def __init__(self, weight=2.0, scale=None, name=None):
        super().__init__()
        self.weight, self.name = weight, name
        self.register_buffer("scale", torch.ones(3) if scale is None else scale)
        self.calls = 0

    def forward(self, z, generator):
        self.calls += 1
        return self.weight * z.square().mean() * self.scale.mean()


def handed(z, generator):
    return z.square().mean()


class Needy(Handed):
    def __init__(self, width):
        super().__init__(width)


def test_a_class_an_object_and_a_function_are_taken_as_they_are():
    z = torch.full(SHAPE, 3.0)
    chosen = {"class": Handed, "object": Handed(0.5), "named": Handed(0.5, name="half"), "function": handed}
    found = {key: resolve_regularizer(given) for key, given in chosen.items()}
    assert {key: one.name for key, one in found.items()} == {
        **{"class": "Handed", "object": "Handed"},
        **{"named": "half", "function": "handed"},
    }
    assert {key: float(one.build(num_slices=7)(z, None)) for key, one in found.items()} == {
        **{"class": 18.0, "object": 4.5},
        **{"named": 4.5, "function": 9.0},
    }
    assert len({canonical(one.identity()) for one in found.values()}) == 4
    assert found["object"].identity()["options"] == {"weight": 0.5, "calls": 0}
    for one in found.values():
        check_regularizer(one, SHAPE)
    assert chosen["object"].calls == 0, "each run has a copy"
    assert found["object"].build().capturable is False


@pytest.mark.parametrize(
    "other", [Handed(0.7), Handed(0.5, torch.tensor([1.0, 1.0, 2.0])), Handed(0.5, torch.ones(3).double()), Handed]
)
def test_the_digest_of_an_object_tells_what_it_holds_and_nothing_else(other):
    digest = resolve_regularizer(Handed(0.5)).digest
    assert resolve_regularizer(Handed(0.5)).digest == digest
    assert resolve_regularizer(other).digest != digest


class Slotted:
    __slots__ = ("weight",)

    def __init__(self, weight):
        self.weight = weight

    def __call__(self, z, generator):
        return self.weight * z.square().mean()


def power(z, exponent=2):
    return z.pow(exponent)


def cube(z):
    return z.pow(3)


def made_with(weight):
    return lambda z, generator: weight * z.square().mean()


PAIRS = [
    (Slotted(1), Slotted(2)),
    (made_with(1), made_with(2)),
    *(
        (Handed(one), Handed(other))
        for one, other in (
            (np.float32(1), np.float32(2)),
            ({"a", "b"}, {"a", "c"}),
            (b"a", b"b"),
            (1j, 2j),
            (range(2), range(3)),
            (torch.float32, torch.float64),
            (functools.partial(power, exponent=2), functools.partial(power, exponent=3)),
            (power, cube),
            (re.compile("a"), re.compile("b")),
            (np.array([1, "a"], dtype=object), np.array([2, "a"], dtype=object)),
        )
    ),
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_the_digest_tells_whatever_an_object_or_a_function_holds(one, other):
    digest = resolve_regularizer(one).digest
    assert resolve_regularizer(copy.deepcopy(one)).digest == digest
    assert resolve_regularizer(other).digest != digest


def test_another_process_finds_the_same_identity(write):
    write("import torch\nclass Mine:\n    def __init__(self, f=torch.relu, g=torch.nn.functional.mse_loss): ...")
    texts = [canonical([resolve_regularizer(one).digest for one in (Handed(0.5), *(pair[0] for pair in PAIRS[::3]))])]
    texts.append(canonical(resolve_regularizer("mine.py:Mine").identity()))
    code = textwrap.dedent(
        """
        from tests.regularizers.test_resolve import *
        print(canonical([resolve_regularizer(one).digest for one in (Handed(0.5), *(pair[0] for pair in PAIRS[::3]))]))
        print(canonical(resolve_regularizer("mine.py:Mine").identity()))
        """
    )
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.stdout.splitlines() == texts


def test_one_of_a_session_without_a_file_is_told_by_its_code():
    def made(body):
        names = {"__name__": "session"}
        exec(f"class Mine:\n    def __call__(self, z, generator):\n        return {body}", names)
        return names["Mine"]

    first, again, other = (resolve_regularizer(made(body)) for body in ("z.mean()", "z.mean()", "z.sum()"))
    assert first.digest == again.digest != other.digest


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "a regularizer is a name, a class, an object of one or a function of .*, got int"),
        (None, "got NoneType"),
        (len, "got builtin_function_or_method"),
        (functools.partial(handed, generator=None), "got partial"),
        (Needy, "Needy needs width; make it, and hand in the object"),
    ],
)
def test_what_cannot_be_taken_is_one_line(given, message):
    with pytest.raises(ValueError, match=message):
        resolve_regularizer(given)


@pytest.mark.parametrize(
    "given", [Handed, *(pytest.param(one, marks=pytest.mark.long) for one in (Handed(0.5, name="half"), handed))]
)
def test_pretraining_takes_what_is_handed_in(given, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "FEW_SHOT_DRAWS", 1)  # for time
    config = configure(None, given, 0, ["steps=3", "batch_size=16", "projector=16,8"])
    folder, _ = run(config, tmp_path)
    name = resolve_regularizer(given).name
    assert folder.name == f"digits-{name}-0"
    saved = json.loads((folder / "config.json").read_text())
    assert saved["regularizer"] == name
    assert saved["regularizer_source"] == resolve_regularizer(given).digest
    run(config, tmp_path, resume=True)
    with pytest.raises(ValueError, match="is of another run: it has regularizer_source="):
        run(dataclasses.replace(config, regularizer=Handed(9.0, name=name)), tmp_path, resume=True)
    run_probes(folder, epochs=1, draws=1)


def test_a_value_that_is_no_finite_scalar_is_said_before_the_first_step(write):
    write("class Mine:\n    def __call__(self, z, generator):\n        return z.mean(0)")
    with pytest.raises(ValueError, match=r"mine\.py:Mine: on random embeddings .* must be a scalar tensor"):
        pretrain(configure(None, "mine.py:Mine", 0, ["steps=2", "batch_size=16"]))


def test_pretraining_takes_a_class_and_keeps_the_digest_of_its_code(write):
    path = write(GOOD)
    settings = ["steps=2", "batch_size=16", "projector=16,8"]
    config = configure(None, "mine.py:Mine:weight=1", 0, settings)
    result = pretrain(config)
    assert result.config.regularizer_source == resolve_regularizer("mine.py:Mine").digest
    assert all(row["regularizer"] > 0 for row in result.history)
    path.write_text(path.read_text() + "\n# changed\n")
    assert resolved(config, 100).regularizer_source != result.config.regularizer_source
    named = make_loss(configure(None, "sigreg-ep:num_slices=4", 0, settings)).regularizer
    assert isinstance(named, SIGReg)
    assert named.num_slices == 4
    with pytest.raises(ValueError, match=r"'mine\.py:Mine' draws no directions"):
        make_loss(configure(None, "mine.py:Mine", 0, [*settings, "directions=hd3"]))
