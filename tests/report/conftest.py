"""Pages of three kinds, made by the program from tiny scans, and a browser to look at them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import PROGRAM, Browser

import resolvent as rv
from resolvent.cli.demo import SCAN
from resolvent.cli.reconstruct import Outcome, reconstruct
from resolvent.cli.results import save_report
from resolvent.data import simulate
from resolvent.mol.weights import build, load_mol


@dataclass(frozen=True)
class Made:
    """A page with what it was made of."""

    path: Path
    outcome: Outcome

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")


def made(folder: Path, name: str, scan: rv.Scan, ndim: int = 2, **options: int) -> Made:
    """Reconstruct with an untrained network, and write the page."""
    torch.manual_seed(0)
    score = {"kind": "ConditionedStack", "ndim": ndim, "m": 0.1, "channels": 4, "layers": 2, "width": 4, "passes": 1}
    model = build({"score": score, "normalise": True})
    assert isinstance(model, rv.MOL)
    rv.write(scan, folder / f"{name}.h5")
    outcome = reconstruct(scan, model, compare=True, **options)
    asked = {"tol": 1e-3, "command": f"resolvent recon {name}.h5"}
    save_report(outcome, str(folder / f"{name}.h5"), str(folder / f"{name}.html"), asked)
    return Made(folder / f"{name}.html", outcome)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="session")
def plane(folder: Path) -> Made:
    """The demo scan with the packaged model, as `resolvent recon` makes it."""
    scan = rv.read(SCAN)
    assert isinstance(scan, rv.Scan)
    outcome = reconstruct(scan, load_mol("brain-2d"), compare=True)
    save_report(outcome, str(SCAN), str(folder / "plane.html"), {"tol": 1e-3, "command": "resolvent recon demo.h5"})
    return Made(folder / "plane.html", outcome)


@pytest.fixture(scope="session")
def volume(folder: Path) -> Made:
    """3-D, 12 x 20 x 16."""
    z, y, x = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in (12, 20, 16)], indexing="ij")
    image = ((z / 0.9) ** 2 + (y / 0.8) ** 2 + (x / 0.7) ** 2 < 1) * (1 + 0.3 * torch.cos(6 * y) + 0.2 * z) + 0j
    known = rv.Volume(image[None], rv.Geometry(np.diag([2.0, 2.0, 3.0, 1.0])), "volume", 3)
    return made(folder, "volume", simulate(known, n_coils=3, acceleration=2, seed=1), ndim=3)


@pytest.fixture(scope="session")
def cine(folder: Path) -> Made:
    """2-D+time, 6 frames of 32 x 28, stopped before it converged."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 28), indexing="ij")
    sizes = [0.3 + 0.1 * np.cos(np.pi * t / 3) for t in range(6)]
    frames = torch.stack([0.5 * (y**2 + x**2 < 0.7).float() + (y**2 + x**2 < size**2).float() for size in sizes])
    return made(folder, "cine", simulate(frames[None] + 0j, n_coils=3, acceleration=3, seed=1), max_steps=2)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if PROGRAM is None:
        pytest.skip("Chromium is not installed")
    chromium = Browser(tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()
