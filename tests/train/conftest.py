"""Subjects of a few pixels, and settings of a run of a few steps."""

from __future__ import annotations

import locale
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from resolvent.train.config import Config, parsed

SETTINGS = {
    "name": "tiny",
    "model": {
        "kind": "MOL",
        "score": {"kind": "CertifiedStack", "channels": 6, "layers": 1, "trunk_layers": 1},
        "lam": 30,
        "normalise": True,
    },
    "data": {
        "train": ["train.h5"],
        "validation": ["val.h5"],
        "scans": {"matrix": [20, 24], "coils": [3], "masks": {"gaussian2d": 1, "uniform1d": 1}, "acceleration": [2, 3]},
    },
    "optimiser": {"steps": 6, "warmup": 2},
    "validation": {"every": 3, "scans": 2},
    "threads": 1,
}


def blobs(subjects: int, seed: int) -> dict[str, np.ndarray]:
    """Smooth bright shapes, three slices a subject."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:26j, -1:1:22j]
    stacks = {}
    for i in range(subjects):
        slices = []
        for _ in range(3):
            a, b, s, t = rng.uniform([0.5, 0.5, -0.2, -0.2], [0.9, 0.9, 0.2, 0.2])
            r = ((y - s) / a) ** 2 + ((x - t) / b) ** 2
            slices.append(400 * (r < 1) + 300 * (r < 0.4) + 200 * (np.abs(x - t) < 0.1) * (r < 1))
        stacks[f"s{i}"] = np.stack(slices).astype(np.uint16)
    return stacks


@pytest.fixture
def ascii_locale() -> Iterator[None]:
    """A locale whose files are not in UTF-8."""
    before = locale.setlocale(locale.LC_CTYPE)
    locale.setlocale(locale.LC_CTYPE, "C")
    yield
    locale.setlocale(locale.LC_CTYPE, before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With ``train.h5`` and ``val.h5``."""
    for name, seed in (("train", 0), ("val", 1)):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            for subject, stack in blobs(2, seed).items():
                file.create_group(f"{name}{subject}")["magnitude"] = stack
    return tmp_path


@pytest.fixture
def config(folder: Path) -> Config:
    """The settings with the folder of the subjects."""
    return parsed({**SETTINGS, "data": {**SETTINGS["data"], "folder": str(folder)}}, "the settings")
