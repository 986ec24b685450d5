import subprocess

from resolvent import __version__
from resolvent.evaluate.provenance import commit, machine, provenance


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_a_commit_is_named_and_marked_where_files_have_changed(tmp_path):
    git(tmp_path, "init")
    (tmp_path / "a.py").write_text("1")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-m", "one")
    clean = commit(tmp_path)
    assert clean and len(clean) == 12
    (tmp_path / "a.py").write_text("2")
    assert commit(tmp_path) == clean + "+"


def test_a_package_inside_a_repository_that_does_not_hold_it_has_no_commit(tmp_path):
    git(tmp_path, "init")
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "a.py").write_text("1")
    assert commit(tmp_path / "venv") is None
    assert commit(tmp_path / "absent") is None


def test_every_result_says_version_and_machine():
    assert provenance()["version"] == __version__
    assert {"torch", "threads", "python"} <= machine().keys()
