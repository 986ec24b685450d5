"""Tiny data sets, tiny untrained networks, and a study of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

import resolvent as rv
from resolvent.data import birdcage_maps, simulate
from resolvent.data.io import hdf5
from resolvent.evaluate.methods import Method, Regularised
from resolvent.evaluate.scans import Acquisition, Case, Files
from resolvent.mol.baselines import MoDL
from resolvent.monotone import ResidualStack


def head(rows: int, columns: int, number: int) -> np.ndarray:
    """An ellipse with stripes; every number another one."""
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    inside = (y / 0.8) ** 2 + (x / (0.6 + 0.03 * number)) ** 2 < 1
    return (inside * (1 + 0.3 * np.cos((4 + number) * y + number))).astype(np.float32)


def write_subjects(path: Path, names: list[str], slices: int = 2, shape: tuple[int, int] = (24, 20)) -> Path:
    """A file of groups with a stack of magnitudes each, as public collections have them."""
    with h5py.File(path, "w") as file:
        for first, name in enumerate(names):
            stack = np.stack([head(*shape, 3 * first + k) for k in range(slices)])
            file.create_group(name)["magnitude"] = (1000 * stack).astype(np.uint16)
    return path


@pytest.fixture(scope="session", autouse=True)
def no_trial() -> Iterator[None]:
    """Read at once, without the trial in another process, which takes a quarter of a second; it has its own tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hdf5, "_try_apart", lambda path: None)
        yield


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two subjects of two slices."""
    return write_subjects(tmp_path_factory.mktemp("data") / "val.h5", ["ada", "bob"])


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two other subjects."""
    return write_subjects(tmp_path_factory.mktemp("data") / "train.h5", ["cleo", "dan"], slices=3)


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fully sampled scan of one slice, with its maps."""
    image = torch.from_numpy(head(24, 20, 1))
    scan = simulate(image, maps=birdcage_maps(3, (24, 20))[None], acceleration=1, snr_db=40, seed=5)
    path = tmp_path_factory.mktemp("data") / "measured.h5"
    rv.write(scan, path)
    return path


@pytest.fixture(scope="session")
def strict() -> Method:
    """A model of which everything is proved for all data."""
    torch.manual_seed(0)
    model = rv.MOL(ResidualStack(m=0.2, channels=6, layers=2), lam=20.0).eval().requires_grad_(False)
    model.identity = {"name": "strict", "sha256": "0" * 64}
    return Method("strict", model, model=model)


@pytest.fixture(scope="session")
def unrolled() -> Method:
    """An unrolled network that is not at rest after its steps."""
    torch.manual_seed(0)
    model = MoDL(channels=4, depth=2, steps=3, lam=20.0).eval().requires_grad_(False)
    return Method("unrolled", model, model=model)


@pytest.fixture(scope="session")
def smooth() -> Regularised:
    """Stands for a regularised method: a local average, weighted."""

    def function(y: Tensor, A: rv.SENSE, *, weight: float, noise: float | None = None) -> Tensor:
        x = A.adjoint(y)
        return (x + weight * (x.roll(1, -1) + x.roll(-1, -1))) / (1 + 2 * weight)

    return Regularised("tv", function, 1.0)


@pytest.fixture(scope="session")
def acquisition() -> Acquisition:
    """R = 3, three coils."""
    return Acquisition(3.0, coils=3)


@pytest.fixture(scope="session")
def case(data: Path, acquisition: Acquisition) -> Case:
    """A scan of 24 x 20 pixels and three coils."""
    return Files((str(data),)).few(acquisition, 1)[0].make()


@pytest.fixture(scope="session")
def small_case(others: Path) -> Case:
    """A scan of 10 x 9 pixels and three coils."""
    spec = Files((str(others),)).few(Acquisition(3.0, coils=3), 1)[0]
    images = spec.subject.images
    assert images is not None
    return replace(spec, subject=replace(spec.subject, images=images[:, 7:17, 5:14])).make()


@pytest.fixture
def write() -> Callable[..., Path]:
    """Writes a file of subjects."""
    return write_subjects
