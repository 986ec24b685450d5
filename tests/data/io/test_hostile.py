"""Files that lie, point elsewhere, end early or have flipped bits: a named error or a valid result, at once."""

import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from io_files import KINDS, Example, crandn, write_fastmri

from resolvent import _errors
from resolvent.data.io import hdf5, limits, read
from resolvent.data.io.hdf5 import PROBE

TRY_APART = hdf5._try_apart  # the real one: a fixture replaces it for the tests
KSPACE = crandn(1, 2, 8, 10).numpy()


def foreign(tmp_path: Path) -> str:
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["kspace"] = KSPACE
    return str(tmp_path / "foreign.h5")


def test_external_link_is_refused_wherever_it_stands(tmp_path: Path):
    for name in ("kspace", "group/kspace"):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file[name] = h5py.ExternalLink(foreign(tmp_path), "kspace")
            if name != "kspace":
                file["kspace"] = h5py.SoftLink("/" + name)
        with pytest.raises(_errors.FormatError, match=rf"dataset {name} in .*a.h5 is a link to another file"):
            read(tmp_path / "a.h5")


def test_virtual_dataset_is_refused(tmp_path: Path):
    layout = h5py.VirtualLayout(KSPACE.shape, "c8")
    layout[:] = h5py.VirtualSource(foreign(tmp_path), "kspace", KSPACE.shape)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_virtual_dataset("kspace", layout)
    with pytest.raises(_errors.FormatError, match=r"dataset kspace in .*a.h5 is a virtual dataset"):
        read(tmp_path / "a.h5")


def test_external_storage_is_refused(tmp_path: Path):
    KSPACE.tofile(tmp_path / "raw.bin")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("kspace", KSPACE.shape, "c8", external=[(str(tmp_path / "raw.bin"), 0, h5py.h5f.UNLIMITED)])
    with pytest.raises(_errors.FormatError, match=r"dataset kspace in .*a.h5 keeps its data in another file"):
        read(tmp_path / "a.h5")


@pytest.mark.parametrize("foreign_part", ["mask", "coil_maps"])
def test_parts_beside_kspace_are_looked_at_too(tmp_path: Path, foreign_part: str):
    path = write_fastmri(tmp_path / "a.h5", KSPACE)
    with h5py.File(path, "r+") as file:
        file[foreign_part] = h5py.ExternalLink(foreign(tmp_path), "kspace")
    with pytest.raises(_errors.FormatError, match=rf"{foreign_part} in .* is a link to another file"):
        read(path)


def test_terabytes_are_refused_from_metadata(tmp_path: Path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("kspace", (2**20, 8, 1024, 128), "c8", chunks=(1, 8, 64, 128))  # 8 TiB, nothing stored
    with pytest.raises(_errors.FormatError, match=r"dataset /kspace in .* would unpack to 8192 GiB"):
        read(tmp_path / "a.h5")


def test_compression_bomb_is_refused_from_metadata(tmp_path: Path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset(
            "kspace", data=np.zeros((4, 8, 512, 256), "c8"), compression="gzip", chunks=(1, 8, 512, 256)
        )
    with pytest.raises(_errors.FormatError, match="would unpack to 32 MiB, more than 250 times the size of the file"):
        read(tmp_path / "a.h5")


def test_giant_chunk_of_a_small_dataset_is_refused(tmp_path: Path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        shape, chunk = (1, 2, 8, 8), (1, 64, 512, 512)
        made = file.create_dataset("kspace", shape, "c8", maxshape=(None,) * 4, chunks=chunk, compression="gzip")
        made[:] = 1
    with pytest.raises(_errors.FormatError, match=r"dataset /kspace in .* would unpack to 128 MiB"):
        read(tmp_path / "a.h5")


def test_honest_compression_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "SMALL", 0)
    kspace = np.zeros((2, 4, 64, 64), "c8")
    kspace[..., ::8] = crandn(2, 4, 64, 8).numpy()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("kspace", data=kspace, compression="gzip")
    assert read(tmp_path / "a.h5").kspace.shape == (2, 4, 64, 64)


def test_too_many_objects_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hdf5, "OBJECTS", 3)
    path = write_fastmri(tmp_path / "a.h5", KSPACE, a=1, b=2, c=3)
    with pytest.raises(_errors.FormatError, match="holds more than 3 objects"):
        read(path)


def test_group_in_place_of_a_dataset_is_refused(tmp_path: Path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("kspace")
    with pytest.raises(_errors.CorruptFileError, match="has no dataset kspace"):
        read(tmp_path / "a.h5")


def outcome(path: str) -> str:
    """``valid``, or the error's name; anything outside the family, or slow, fails the test."""
    start = time.perf_counter()
    try:
        read(path)
        found = "valid"
    except _errors.ResolventError as error:
        found = type(error).__name__
    assert time.perf_counter() - start < 10
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_file_is_corrupt(example: Example, kind: str):
    path = Path(example(kind))
    whole = path.read_bytes()
    for length in np.linspace(0, len(whole) - 1, 50).astype(int):
        path.write_bytes(whole[:length])
        with pytest.raises(_errors.FormatError, match=path.name):
            read(path)


def survivors(paths: list[Path]) -> list[Path]:
    """Files that the trial reading gets through: it is started again behind each that crashes it."""
    alive, start = [], 0
    while start < len(paths):
        trial = subprocess.run(
            [sys.executable, str(PROBE), *map(str, paths[start:])], capture_output=True, text=True, timeout=60
        )
        done = len(trial.stdout.split())
        alive += paths[start : start + done]
        assert trial.returncode == 0 or done < len(paths) - start
        start += done + 1
    return alive


def mutants(path: Path, count: int = 200) -> list[Path]:
    """Copies with one flipped bit each, half of them near the beginning, where most of the metadata is."""
    whole = path.read_bytes()
    rng = np.random.default_rng(7)
    made = []
    for n in range(count):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole) if n % 2 else min(len(whole), 2048))] ^= 1 << rng.integers(8)
        made.append(path.with_name(f"{n}-{path.name}"))
        made[-1].write_bytes(damaged)
    return made


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:.*only the first is read")
@pytest.mark.filterwarnings("ignore:.*have no common geometry")
def test_flipped_bits_end_in_a_named_error_or_a_valid_result(example: Example, kind: str):
    path = Path(example(kind))
    if kind == "cfl":
        header = path.with_suffix(".hdr")
        damaged = mutants(header)
        for file in damaged:
            file.with_suffix(".cfl").write_bytes(path.read_bytes())
    else:
        damaged = mutants(path)
    if path.read_bytes()[:8] == b"\x89HDF\r\n\x1a\n":
        damaged = survivors(damaged)  # for all at once, since a process for each takes a minute
    seen = {outcome(str(file)) for file in damaged}
    assert "valid" in seen and len(seen) > 1


def test_crash_of_the_library_is_a_named_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_fastmri(tmp_path / "a.h5", KSPACE)
    for script, message in (
        ("import os; os.abort()", "crashes the HDF5 library"),
        ("while True: pass", "does not end"),
    ):
        (tmp_path / "probe.py").write_text(script)
        monkeypatch.setattr(hdf5, "PROBE", tmp_path / "probe.py")
        monkeypatch.setattr(hdf5, "TRIAL_SECONDS", 0.5)
        with pytest.raises(_errors.CorruptFileError, match=f"a.h5 is damaged .reading it {message}"):
            TRY_APART(path)


@pytest.mark.parametrize("kind", ["native", "fastmri", "modl", "mrd"])
def test_valid_files_pass_the_trial(example: Example, kind: str):
    TRY_APART(example(kind))


def test_reading_begins_with_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tried = []
    monkeypatch.setattr(hdf5, "_try_apart", tried.append)
    path = write_fastmri(tmp_path / "a.h5", KSPACE)
    read(path)
    assert tried == [path]
