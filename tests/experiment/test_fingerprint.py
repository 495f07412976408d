"""The fingerprint follows code that matters, and nothing else."""

from sigreg_lab.experiment.fingerprint import _imported, fingerprint

BASE = '"""Doc."""\nfrom sigreg_lab.univariate import EppsPulley\n\nX = 1  # one\n'


def _code(tmp_path, text):
    path = tmp_path / "s.py"
    path.write_text(text)
    return fingerprint(path)["code"]


def test_comments_and_docstrings_do_not_count(tmp_path):
    same = '"""Another."""\nfrom sigreg_lab.univariate import EppsPulley\n\n\nX = 1\n'
    assert _code(tmp_path, BASE) == _code(tmp_path, same)


def test_a_changed_number_counts(tmp_path):
    assert _code(tmp_path, BASE) != _code(tmp_path, BASE.replace("X = 1", "X = 2"))


def test_what_the_library_code_imports_counts_too(tmp_path):
    path = tmp_path / "s.py"
    path.write_text(BASE)
    direct = _imported(path)
    assert "sigreg_lab.univariate" in direct
    beyond = {name for file in direct.values() for name in _imported(file)}
    assert "sigreg_lab.univariate.epps_pulley" in beyond


def test_figures_do_not_count(tmp_path):
    with_figures = "from sigreg_lab.figures import theme\nfrom sigreg_lab.experiment.run import draw\n"
    path = tmp_path / "s.py"
    path.write_text(with_figures)
    assert not _imported(path)
