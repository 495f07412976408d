"""The commit in a manifest: the repository's, or what is stated where there is none."""

from sigreg_lab.experiment import provenance


def test_a_stated_commit_counts_only_where_there_is_no_repository(tmp_path, monkeypatch):
    git_state = provenance.git_state.__wrapped__  # not the answer kept for this process
    monkeypatch.setattr(provenance, "REPOSITORY", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.delenv("SIGREG_LAB_COMMIT", raising=False)
    assert git_state() == {"commit": None, "dirty": None}
    monkeypatch.setenv("SIGREG_LAB_COMMIT", "4b820dc")
    assert git_state() == {"commit": "4b820dc", "dirty": False, "stated": True}
    provenance.subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    commit = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "first"]
    provenance.subprocess.run(commit, cwd=tmp_path, check=True)
    assert git_state()["commit"] != "4b820dc"
    inside = tmp_path / ".venv" / "site-packages"
    inside.mkdir(parents=True)
    monkeypatch.setattr(provenance, "REPOSITORY", inside)
    monkeypatch.delenv("SIGREG_LAB_COMMIT")
    assert git_state() == {"commit": None, "dirty": None}, "the commit of another repository says nothing of this code"
