"""Standard input as a file, and an image as an MRD stream on standard output."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from resolvent.cli.naming import STREAM

if TYPE_CHECKING:
    from resolvent.cli.reconstruct import Outcome


@contextmanager
def spooled(path: str) -> Iterator[str]:
    """`path`; for ``-`` a temporary file that holds all of standard input, since formats are told from the content."""
    if path != STREAM:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="resolvent-") as folder:
        place = Path(folder) / "standard-input"
        with place.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield str(place)


def stream_image(outcome: Outcome, path: str) -> None:
    """The image of an outcome on standard output, in the units of its file, with the record that a file would have."""
    from resolvent._version import __version__
    from resolvent.data.io.mrd_stream import write_mrd_stream
    from resolvent.data.io.output import to_json

    scan = outcome.scan
    record = {**outcome.recon.record(), **outcome.notes, "input": Path(path).name, "version": __version__}
    write_mrd_stream(sys.stdout.buffer, outcome.recon.image * scan.scale, scan.ndim, scan.geometry, to_json(record))
    sys.stdout.buffer.flush()
