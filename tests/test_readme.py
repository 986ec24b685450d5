"""The examples of README and documentation run as they stand, offline, in a folder of their own."""

import itertools
import re
import shlex
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from resolvent.cli import app
from resolvent.data import birdcage_maps, simulate
from resolvent.data.io import write

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [body for kind, body in FENCE.findall(page.read_text(encoding="utf-8")) if kind == language]


def commands(page: Path) -> list[str]:
    """The lines of the console blocks that call this project's program."""
    lines = [line for body in blocks(page, "console") for line in body.splitlines()]
    return [line.removeprefix("$ ").split(" #")[0].strip() for line in lines if line.startswith("$ resolvent ")]


WITH_PYTHON = [page for page in PAGES if blocks(page, "python")]
WITH_COMMANDS = [page for page in PAGES if commands(page)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder that holds the files which the examples name."""
    import nibabel
    import numpy as np

    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 48), indexing="ij")
    image = ((rows / 0.8) ** 2 + (columns / 0.7) ** 2 < 1).float() * (1 + 0.3 * torch.cos(6 * rows))
    monkeypatch.chdir(tmp_path)
    maps = birdcage_maps(6, (64, 48)).unsqueeze(0)
    Path("demo").mkdir()
    for name in ("brain.h5", "demo/scan.h5"):
        write(simulate(image, maps=maps, acceleration=3, seed=1), name)
    write(simulate(image, maps=maps, acceleration=1, seed=2), "full.h5")
    write(simulate(image, maps=maps, acceleration=2, seed=3), "scan.h5")
    for name, subject in (("volume", image), ("other", image.flip(0).square())):
        nibabel.save(nibabel.Nifti1Image(np.tile(subject.numpy()[..., None], 2), np.eye(4)), f"{name}.nii.gz")
    (settings,) = re.findall(
        r"^```yaml\n(.*?)^```$", (ROOT / "docs" / "train.md").read_text(), re.MULTILINE | re.DOTALL
    )
    Path("mine.yaml").write_text(settings)
    torch.save({"state_dict": published_checkpoint()}, "model.pth.tar")
    return tmp_path


def published_checkpoint() -> dict[str, torch.Tensor]:
    """Random weights in the layout of the published code, small enough for the network to contract."""
    widths = [2, 64, 64, 64, 64, 2]
    weights = {"f.lam": torch.tensor(100.0)}
    random = torch.Generator().manual_seed(0)
    for layer, (before, after) in enumerate(itertools.pairwise(widths)):
        kernel = torch.randn(after, before, 3, 3, generator=random)
        weights[f"f.dw.net.{layer}.conv.weight"] = kernel / (9 * (before * after) ** 0.5)
        weights[f"f.dw.net.{layer}.conv.bias"] = 0.01 * torch.randn(after, generator=random)
    return weights


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.name)
def test_python_examples_run(page, folder):
    namespace = {"__name__": "example"}
    for body in blocks(page, "python"):
        exec(compile(body, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.name)
def test_console_examples_run(page, folder):
    for command in commands(page):
        done = CliRunner().invoke(app, shlex.split(command)[1:])
        assert done.exit_code == 0, f"{command}\n{done.stderr}\n{done.exception!r}"


def test_every_page_with_examples_is_found():
    assert {"README.md", "quickstart.md", "how-to.md"} <= {page.name for page in WITH_PYTHON}
    assert {"README.md", "quickstart.md", "how-to.md"} <= {page.name for page in WITH_COMMANDS}
