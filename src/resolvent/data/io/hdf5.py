"""Untrusted HDF5 files: nothing outside the file is opened, nothing large is read before its size is checked."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from h5py import h5d, h5l, h5o  # pyright: ignore[reportAttributeAccessIssue]

from resolvent._errors import CorruptFileError, FormatError
from resolvent.data.io.limits import check_unpacked, decoding
from resolvent.data.validation import check_complex

PROBE = Path(__file__).with_name("probe.py")
TRIAL_SECONDS = 8
"""CPU seconds that the trial reading of a small file may take; it usually takes a quarter of a second."""
PATIENCE = 30
"""How many times as long the trial may take by the clock, on a machine that is busy with other work."""
OBJECTS = 100_000
"""Most links in one file; none of the formats comes near this."""


@contextmanager
def open_hdf5(path: str) -> Iterator[h5py.File]:
    """Open for reading, after a check that no part of the data lies in another file.

    Raises:
        FormatError: external links, external raw storage or virtual datasets.
        CorruptFileError: damaged, or anything else that goes wrong while it is open.
    """
    _try_apart(path)
    with decoding(path), h5py.File(path, "r", locking="best-effort") as file:
        _refuse_foreign(file, path)
        yield file


def load(dataset: object, path: str) -> np.ndarray:
    """The whole dataset, after a check of its declared size and that of its chunks."""
    if not isinstance(dataset, h5py.Dataset):
        raise FormatError(f"{path} has a group where a dataset belongs. Check the export.")
    for shape in (dataset.shape, dataset.chunks or ()):
        check_unpacked(math.prod(shape or ()) * dataset.dtype.itemsize, path, f"dataset {dataset.name}")
    return np.asarray(dataset[()])


def load_complex(dataset: object, path: str) -> np.ndarray:
    """The dataset as complex64 (complex128 stays); pairs of fields, real numbers and integers are converted."""
    values = load(dataset, path)
    fields = values.dtype.names
    if fields is not None and len(fields) == 2:
        values = values[fields[0]] + 1j * values[fields[1]]
    if values.dtype.kind not in "cfiu":
        name = getattr(dataset, "name", "")
        raise FormatError(f"dataset {name} in {path} holds {values.dtype}, not numbers. Check the export.")
    wanted = np.complex128 if values.dtype in (np.dtype("complex128"), np.dtype("float64")) else np.complex64
    return np.ascontiguousarray(values, dtype=wanted)


def load_kspace(dataset: h5py.Dataset, path: str) -> np.ndarray:
    """`load_complex`, for data stored as complex numbers or as pairs of fields.

    Raises:
        DataError: k-space of real numbers.
    """
    if dataset.dtype.kind in "fiu":
        check_complex(dataset.dtype, Path(path).name, Path(dataset.name or "").name)
    return load_complex(dataset, path)


def text(value: object) -> str:
    """A string of the file, whether it was stored as bytes, text or an array of one of them."""
    if isinstance(value, np.ndarray):
        value = value.reshape(-1)[0] if value.size else ""
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def _try_apart(path: str) -> None:
    """Let another process read the file first, so that a crash or hang of the HDF5 library happens there.

    Raises:
        CorruptFileError: the trial crashed, ran out of memory or did not end.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        return
    seconds = math.ceil(TRIAL_SECONDS + os.path.getsize(path) / 20e6)
    settings = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}
    trial = subprocess.Popen(
        [sys.executable, str(PROBE), path],
        env={**os.environ, **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    endless = f"{path} is damaged (reading it does not end). Copy or export it again."
    try:
        trial.wait(PATIENCE * seconds if _limited(trial.pid, seconds) else seconds)
    except subprocess.TimeoutExpired as error:
        raise CorruptFileError(endless) from error
    finally:
        trial.kill()
        trial.wait()
    if trial.returncode == -getattr(signal, "SIGXCPU", 0):
        raise CorruptFileError(endless)
    if trial.returncode != 0:
        raise CorruptFileError(f"{path} is damaged (reading it crashes the HDF5 library). Copy or export it again.")


def _limited(process: int, seconds: int) -> bool:
    """Limit the CPU time of a process, and return whether that was possible (on Linux)."""
    if sys.platform != "linux":
        return False
    import resource

    try:
        resource.prlimit(process, resource.RLIMIT_CPU, (seconds, seconds + 1))
    except OSError:  # it has ended, or the limit is not permitted
        return False
    return True


def _refuse_foreign(file: h5py.File, path: str) -> None:
    """Refuse data in other files: check the links (none is followed) and every dataset's storage (none is read)."""
    links: list[tuple[bytes, int]] = []

    def note(name: bytes, info: object) -> bool | None:
        links.append((name, info.type))  # pyright: ignore[reportAttributeAccessIssue]
        return True if len(links) > OBJECTS else None

    file.id.links.visit(note, info=True)
    if len(links) > OBJECTS:
        raise FormatError(f"{path} holds more than {OBJECTS} objects. Keep one scan in a file.")
    for name, kind in links:
        if kind not in (h5l.TYPE_HARD, h5l.TYPE_SOFT):
            raise FormatError(f"{_shown(name)} in {path} is a link to another file. Copy the data into the file.")
    for name, kind in links:
        if kind != h5l.TYPE_HARD or h5o.get_info(file.id, name).type != h5o.TYPE_DATASET:
            continue
        layout = h5d.open(file.id, name).get_create_plist()
        if layout.get_layout() == h5d.VIRTUAL:
            raise FormatError(f"{_shown(name)} in {path} is a virtual dataset. Copy the data into the file.")
        if layout.get_external_count():
            raise FormatError(f"{_shown(name)} in {path} keeps its data in another file. Copy the data into the file.")


def _shown(name: bytes) -> str:
    return "dataset " + name.decode("utf-8", errors="replace")


def required(file: object, name: str, path: str) -> h5py.Dataset:
    """The dataset of that name, or an error that names what the file lacks."""
    found = file.get(name) if isinstance(file, h5py.Group) else None
    if not isinstance(found, h5py.Dataset):
        raise CorruptFileError(f"{path} has no dataset {name}. Export it again.")
    return found
