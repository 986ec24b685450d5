"""The page "With other libraries" with deepinv, which the build of the documentation lacks. CI: see .ci/neighbours."""

import re
import runpy
from importlib.util import find_spec
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "7_from_elsewhere.py"


@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.skipif(find_spec("deepinv") is None, reason="deepinv is not installed here; CI has it")
def test_the_page_runs_and_the_images_are_the_same(tmp_path, monkeypatch, capsys):
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(PAGE))
    said = capsys.readouterr().out
    differences = [float(number) for number in re.findall(r"the same image, to (\S+)", said)]
    assert len(differences) == 2  # SigPy, deepinv
    assert max(differences) < 1e-4
    assert "not installed" not in said
