"""Simulated laws by what they are made of: one rule for what makes a law anew, one place where they are kept."""

import functools
import importlib
import sys

import numpy as np
import pytest
import torch

from sigreg_lab import multivariate, univariate
from sigreg_lab.cache import cache_folder
from sigreg_lab.nulls import forget_laws, simulated, simulated_law
from sigreg_lab.nulls.simulated import fingerprint

FORMULA = """
import torch

class Power(torch.nn.Module):
    def __init__(self, power):
        super().__init__()
        self.power = power

class Wider(Power):
    pass
"""


@pytest.fixture
def written(tmp_path, monkeypatch):
    """From the text of a module to that module, always under one name, each text from a folder of its own."""

    def write(text):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        (folder / "formula_of_a_law.py").write_text(text)
        with monkeypatch.context() as patch:
            patch.syspath_prepend(folder)
            patch.delitem(sys.modules, "formula_of_a_law", raising=False)
            module = importlib.import_module("formula_of_a_law")
        monkeypatch.setitem(sys.modules, "formula_of_a_law", module)
        return module

    return write


def exponential(rng, count):
    return rng.exponential(size=count)


def law(*made_of, name="n=4", **changes):
    return simulated_law(exponential, name, *made_of, **{"replicates": 200, "seed": 0, "chunk": 200, **changes})


def test_the_same_text_has_the_same_fingerprint_wherever_it_lies_and_another_text_another(written):
    found = [fingerprint(written(text).Wider(2.0)).digest for text in (FORMULA, FORMULA, FORMULA + "# changed")]
    assert found[0] == found[1] != found[2]


def test_functions_and_classes_beside_a_class_enter_if_its_file_uses_them(tmp_path, monkeypatch):
    found = []
    for index, helper in enumerate(("x + 1", "x + 2")):
        folder = tmp_path / str(index)
        folder.mkdir()
        (folder / "rule_beside.py").write_text(f"def rule(x):\n    return {helper}\n")
        (folder / "formula_beside.py").write_text("from rule_beside import rule\n\nclass Formula:\n    pass\n")
        (folder / "unused_beside.py").write_text(f"def rule(x):\n    return {index}\n")
        for name in ("rule_beside", "formula_beside"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        with monkeypatch.context() as patch:
            patch.syspath_prepend(folder)
            found.append(fingerprint(importlib.import_module("formula_beside").Formula).digest)
    assert found[0] != found[1]


def test_bases_functions_modules_and_files_enter_by_their_files(written, tmp_path):
    module = written(FORMULA)
    whole = fingerprint(module).digest
    assert fingerprint(module.Wider).digest == fingerprint(module.Power).digest == whole != fingerprint().digest
    heir = type("Heir", (module.Power,), {"__module__": __name__})
    assert fingerprint(heir).digest == fingerprint(exponential, module).digest != fingerprint(exponential).digest
    assert fingerprint(exponential) == fingerprint(law), "two functions of this file"
    for name in ("f", "g"):
        (tmp_path / f"{name}.c").write_text(f"int {name};")
    assert fingerprint(tmp_path / "f.c") != fingerprint(tmp_path / "g.c")
    assert fingerprint(module, tmp_path / "f.c") == fingerprint(tmp_path / "f.c", module)


def test_attributes_parameters_and_buffers_tell_instances_apart():
    class Weighted(torch.nn.Module):
        def __init__(self, weight, kept, power=1.0, inner=None):
            super().__init__()
            self.power, self.inner = power, inner
            self.register_buffer("weight", torch.tensor(weight), persistent=kept)
            self.scale = torch.nn.Parameter(torch.ones(2))

    def digest(*arguments, **options):
        return fingerprint(Weighted(*arguments, **options)).digest

    assert digest([1.0], True) == digest([1.0], True)
    different = {
        digest([1.0], True),
        digest([1.0 + 1e-7], True),
        digest([1.0], True, power=2.0),
        digest([1.0], True, inner=Weighted([3.0], False)),
        digest([1.0], True, inner=Weighted([4.0], False)),
    }
    assert len(different) == 5
    assert digest([1.0], False) != digest([2.0], False), "a buffer that no checkpoint holds counts too"


def test_a_law_is_simulated_once_and_anew_for_another_formula_name_seed_or_number(written):
    forget_laws()
    first = law(written(FORMULA))
    assert law(written(FORMULA)) is first
    others = [
        law(written(FORMULA + "# changed")),
        law(written(FORMULA), name="n=5"),
        law(written(FORMULA), seed=1),
        law(written(FORMULA), replicates=201),
    ]
    assert all(other is not first for other in others)
    assert len(list((cache_folder() / "nulls").glob("*.npy"))) == 5
    forget_laws()
    again = simulated_law(_never, "n=4", written(FORMULA), replicates=200, seed=0, chunk=200)
    np.testing.assert_array_equal(first.values, again.values)
    with pytest.raises(AssertionError, match="simulated again"):
        simulated_law(_never, "n=4", written(FORMULA + "#"), replicates=200, seed=0, chunk=200)


def _never(rng, count):
    raise AssertionError("the cached law was simulated again")


def test_a_formula_that_no_file_holds_lasts_for_the_process_and_is_not_read_by_another_of_its_name():
    classes = []
    for _ in range(2):
        names = {"Module": torch.nn.Module, "__name__": "__main__"}
        exec(compile("class Typed(Module): pass", "<stdin>", "exec"), names)
        names["Typed"].__module__ = "no_such_module"
        classes.append(names["Typed"])
    one, two = (law(cls()) for cls in classes)
    assert law(classes[0]()) is one is not two
    assert not (cache_folder() / "nulls").exists()


def test_every_simulated_law_of_the_library_goes_by_this_rule(monkeypatch):
    """A changed file under a statistic gives its law another name in the cache."""
    asked = []

    def keep(simulate, name, *made_of, **rest):
        asked.append((name, made_of))

    for place in ("univariate.base", "multivariate.base", "multivariate.sliced", "check.laws"):
        monkeypatch.setattr(f"sigreg_lab.{place}.simulated_law", keep)
    from sigreg_lab.check.laws import NullLaws

    univariate.AndersonDarling().null_law(20)
    multivariate.BHEP().null_law(20, 2)
    multivariate.SlicingUnivariateTest(univariate.EppsPulley(), 4).null_law(20, 2, replicates=500)
    NullLaws(20, 2, torch.eye(2), "directions").law("bhep")
    own = ("univariate/anderson_darling.py", "multivariate/bhep.py", "univariate/epps_pulley.py", "check/laws.py")
    for (name, made_of), file in zip(asked, own, strict=True):
        assert "n=20" in name
        before = fingerprint(*made_of)
        assert before.typed_in == ()
        digest = simulated._digest
        with monkeypatch.context() as patch:
            patch.setattr(simulated, "_digest", functools.partial(_with_another_digest, digest, file))
            assert fingerprint(*made_of).digest != before.digest, name


def _with_another_digest(digest, changed, path):
    return b"changed" if path.as_posix().endswith(changed) else digest(path)
