"""Atomic output: files are written elsewhere, synced and renamed, with a JSON record of how they were made."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resolvent._errors import FormatError, ResolventError, ShapeError
from resolvent.data.io.limits import check_name
from resolvent.data.io.packages import package

WRITTEN = (".nii.gz", ".nii", ".h5", ".mrd", ".dcm", ".cfl", ".png", ".npy")
"""Suffixes that can be written."""

PACKAGED = {".dcm": "pydicom", ".mrd": "ismrmrd"}
"""Formats that need a package."""
FLAT = (".dcm", ".cfl")
"""Formats in which the third spatial axis is the slice axis."""


class OutputError(ResolventError, OSError):
    """The output cannot be written where it was asked for."""


def output_suffix(path: str) -> str:
    """The suffix that determines the format.

    Raises:
        FormatError: an unknown suffix; the message lists the known ones.
    """
    found = next(
        (suffix for suffix in WRITTEN if path.lower().endswith(suffix) and Path(path).name.lower() != suffix), None
    )
    if found is None:
        raise FormatError(f"{path} has no known suffix. Use one of {', '.join(WRITTEN)}.")
    return found


def sidecar_path(path: str) -> str:
    """The JSON file beside an output: ``out.nii.gz`` -> ``out.json``."""
    return path[: -len(output_suffix(path))] + ".json"


def check_writable(path: str | Path) -> None:
    """Check before a long computation that its result can be written: the suffix, and a trial file in the folder.

    What depends on the scan is left to `check_volumes`.

    Raises:
        FormatError: the suffix is unknown, or the package that its format needs is not installed.
        OutputError: the folder is missing or read-only, a folder has the name of the file, its record would replace a
            JSON file that is not a record, or a .cfl header would replace a file that is not a BART header.
    """
    sidecar, suffix = sidecar_path(str(path)), output_suffix(str(path))
    if suffix in PACKAGED:
        package(PACKAGED[suffix])
    check_place(path)
    if os.path.lexists(sidecar) and not _is_record(sidecar):
        raise OutputError(
            f"{sidecar} is no record of an image, but that of {path} would replace it. Choose another name."
        )
    header = str(path)[:-4] + ".hdr"
    if suffix == ".cfl" and os.path.lexists(header) and not _is_bart(header):
        raise OutputError(f"{header} is not a BART header, but that of {path} would replace it. Choose another name.")


def check_volumes(path: str | Path, ndim: int, count: int) -> None:
    """Refuse images of `count` entries with `ndim` spatial axes that the format cannot hold.

    Raises:
        ShapeError: several volumes, whose slices would lie on top of each other, in a format for one.
    """
    suffix = output_suffix(str(path))
    if ndim == 3 and count > 1 and suffix in FLAT:
        raise ShapeError(f"{count} volumes are no series of slices, and {suffix} holds one. Write all to .h5.")


def _is_record(path: str) -> bool:
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and {"version", "output"} <= found.keys()


def _is_bart(header: str) -> bool:
    try:
        with open(header, "rb") as file:
            return b"# Dimensions" in file.read(65536)
    except OSError:
        return False


def check_place(path: str | Path) -> None:
    """Like `check_writable`, for a file of any suffix and without a record.

    Raises:
        OutputError: the folder is missing or read-only, or a folder has the name of the file.
        FormatError: a name that is not UTF-8.
    """
    path = str(path)
    check_name(path)
    folder = Path(path).parent
    if not folder.is_dir():
        raise OutputError(f"folder {folder} for {path} does not exist. Create it first.")
    if os.path.isdir(path):
        raise OutputError(f"{path} is a folder. Choose another name.")
    with _named(path), tempfile.TemporaryFile(dir=folder):
        pass


@contextmanager
def whole(path: str, names: list[str]) -> Iterator[list[str]]:
    """Names of temporary files to write; on exit they are synced and renamed to `names`, on an error removed.

    Each keeps its suffix, and all are in the folder of `path`.
    """
    folder = os.path.dirname(os.path.abspath(path))
    with _named(path), tempfile.TemporaryDirectory(dir=folder, prefix=".resolvent-") as temporary:
        drafts = [os.path.join(temporary, os.path.basename(name)) for name in names]
        yield drafts
        for draft in drafts:
            _sync(draft)
        for draft, name in zip(drafts, names, strict=True):
            os.replace(draft, name)
        _sync(folder)


@contextmanager
def _named(path: str) -> Iterator[None]:
    try:
        yield
    except ResolventError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{path} cannot be written ({reason}). Free space or choose another folder.") from error


def _sync(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def to_json(record: dict) -> str:
    """Standard JSON: numbers that are not finite become null, tensors and arrays lists, other types text."""
    return json.dumps(_plain(record), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or type(value) in (bool, int, str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        return _plain(value.tolist())  # pyright: ignore[reportAttributeAccessIssue]
    return str(value)


def sha256(path: str | os.PathLike[str]) -> str | None:
    """Hash of an input file; for a BART array, named by its header or without suffix, that of the .cfl file.

    None if the file no longer exists.
    """
    path = os.fspath(path)
    if path.lower().endswith(".hdr") or not os.path.exists(path):
        from resolvent.data.io.cfl import stem

        path = stem(path) + ".cfl"
    try:
        with open(path, "rb") as file:
            digest = hashlib.sha256()
            while block := file.read(2**20):
                digest.update(block)
            return digest.hexdigest()
    except OSError:
        return None
