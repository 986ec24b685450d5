"""Trial reading of HDF5 files in a separate process: the C library can crash on damaged bytes, and Python with it.

Run as a script with paths as arguments. It prints the position of each file in the list once the file was read to its
end, or raised an ordinary error, which the real reading will raise and report again. It imports only h5py, and nothing
from the package.
"""

import math
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
THOROUGH = 256 * 2**20
"""Files up to this many bytes are read whole; of larger ones, the metadata, the chunk index and the first rows."""
BATCH = 8 * 2**20
"""About this many bytes are read at once."""


def main(paths: list[str]) -> None:
    """Try each file in turn."""
    if sys.path and os.path.abspath(sys.path[0]) == HERE:
        del sys.path[0]  # the modules in this folder are not top-level modules
    for number, path in enumerate(paths):
        try:
            _try(path)
        except MemoryError:
            raise
        except Exception as error:
            if "allocation failed" in str(error):
                raise
        print(number, flush=True)


def _try(path: str) -> None:
    import h5py
    from h5py import h5l  # pyright: ignore[reportAttributeAccessIssue]

    whole = os.path.getsize(path) <= THOROUGH
    with h5py.File(path, "r", locking="best-effort") as file:
        names: list[bytes] = []
        file.id.links.visit(lambda name, info: names.append(name) if info.type == h5l.TYPE_HARD else None, info=True)
        for name in [b"/", *names[:100_000]]:
            try:
                _try_object(file[name], whole)
            except MemoryError:
                raise
            except Exception as error:
                if "allocation failed" in str(error):
                    raise


def _try_object(found, whole: bool) -> None:  # an object of h5py, which is imported late
    try:
        for key in found.attrs:
            found.attrs[key]
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):
        pass
    if not hasattr(found, "dtype") or not hasattr(found, "shape"):
        return
    if found.is_virtual or found.external:
        return
    if found.chunks is not None:
        found.id.get_num_chunks()
    size = math.prod(found.shape) * found.dtype.itemsize
    largest = max(size, math.prod(found.chunks or ()) * found.dtype.itemsize)
    if found.shape == ():
        found[()]
        return
    if 0 in found.shape or largest > 250 * os.path.getsize(found.file.filename) + 2**24:
        return
    if found.dtype.hasobject:  # of variable length: it may hold all of the file
        size = max(size, os.path.getsize(found.file.filename))
    rows = max(1, BATCH * found.shape[0] // max(size, 1))
    for start in range(0, found.shape[0] if whole else min(rows, found.shape[0]), rows):
        found[start : start + rows]


if __name__ == "__main__":
    main(sys.argv[1:])
