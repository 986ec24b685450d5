"""A tiny scan, a tiny untrained model, and the program run in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import resolvent as rv
from resolvent.cli import app
from resolvent.data import birdcage_maps, simulate
from resolvent.data.io import hdf5
from resolvent.monotone import ConditionedStack, PlainCNN

SIZE = 48


@dataclass
class Run:
    """How a call of the program ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line of an error on stderr."""
        lines = [line for line in self.err.splitlines() if line]
        assert len(lines) == 1, self.err
        assert lines[0].startswith("resolvent: error: "), self.err
        return lines[0].removeprefix("resolvent: error: ")


@pytest.fixture(autouse=True)
def no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read at once, without the trial in another process, which takes a quarter of a second; it has its own tests."""
    monkeypatch.setattr(hdf5, "_try_apart", lambda path: None)


@pytest.fixture
def resolvent() -> Callable[..., Run]:
    """The program: ``resolvent("recon", path, "--json")``."""

    def run(*arguments: object) -> Run:
        done = CliRunner().invoke(app, [str(a) for a in arguments])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Run(done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A strict model, untrained."""
    torch.manual_seed(0)
    score = ConditionedStack(m=0.1, channels=8, layers=2, width=8, passes=1)
    network = rv.MOL(score, lam=100.0, normalise=True)
    return rv.save(network, tmp_path_factory.mktemp("models") / "tiny", {"data": "none"})


@pytest.fixture(scope="session")
def estimated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of which nothing is proved."""
    torch.manual_seed(0)
    score = PlainCNN(m=0.1, channels=4, depth=2)
    with torch.no_grad():
        for weight in score.weights:
            weight.mul_(0.1)
    return rv.save(rv.MOL(score, lam=100.0), tmp_path_factory.mktemp("models") / "loose")


@pytest.fixture(scope="session")
def image() -> torch.Tensor:
    """An ellipse with stripes."""
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, SIZE), torch.linspace(-1, 1, SIZE), indexing="ij")
    return ((rows / 0.8) ** 2 + (columns / 0.7) ** 2 < 1).float() * (1 + 0.3 * torch.cos(6 * rows))


@pytest.fixture(scope="session")
def full(image: torch.Tensor) -> rv.Scan:
    """Fully sampled, four coils, maps and reference known."""
    return simulate(image, maps=birdcage_maps(4, (SIZE, SIZE))[None], acceleration=1, snr_db=30, seed=1)


@pytest.fixture(scope="session")
def scan(image: torch.Tensor) -> rv.Scan:
    """R = 3, four coils, maps and reference known."""
    return simulate(image, maps=birdcage_maps(4, (SIZE, SIZE))[None], acceleration=3, snr_db=30, seed=1)


@pytest.fixture
def store(tmp_path: Path) -> Callable[..., Path]:
    """Write a scan without its record; the path."""

    def write(scan: rv.Scan, name: str = "scan.h5") -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        rv.write(scan, path)
        path.with_suffix(".json").unlink()
        return path

    return write
