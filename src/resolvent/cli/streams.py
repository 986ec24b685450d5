"""Standard input as a file, and an image as an MRD stream on standard output."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from resolvent.cli.naming import STREAM

if TYPE_CHECKING:
    from resolvent.cli.reconstruct import Outcome

SPOOLED = "standard input"
"""What messages call standard input, and the name of its temporary file."""


@contextmanager
def spooled(path: str) -> Iterator[str]:
    """`path`; for ``-`` a temporary file that holds all of standard input, since formats are told from the content.

    It may hold k-space of a patient, so it is removed even if the process is terminated. Messages name `SPOOLED`.

    Raises:
        FormatError: standard input is closed.
    """
    if path != STREAM:
        yield path
        return
    from resolvent._errors import FormatError, ResolventError, ScanWarning

    if sys.stdin is None:
        raise FormatError(f"{SPOOLED} is closed. Pipe a scan into it, or name a file.")
    said = []
    with _leaving(), tempfile.TemporaryDirectory(prefix="resolvent-") as folder:
        place = Path(folder) / SPOOLED
        with place.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        try:
            with warnings.catch_warnings(record=True) as said:
                yield str(place)
        except ResolventError as error:
            raise type(error)(str(error).replace(str(place), SPOOLED)) from error
        finally:
            for one in said:
                text = one.message.text if isinstance(one.message, ScanWarning) else ""
                message = ScanWarning(SPOOLED, text) if text else one.message
                warnings.warn_explicit(message, one.category, one.filename, one.lineno)


@contextmanager
def _leaving() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the process as an exit of Python does, so that temporary files are removed."""
    here = threading.current_thread() is threading.main_thread()  # others may not handle signals
    names = [name for name in ("SIGTERM", "SIGHUP") if here and hasattr(signal, name)]
    taken = [n for n in (getattr(signal, name) for name in names) if signal.getsignal(n) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def check_output() -> None:
    """Refuse, before any work, a stream that cannot be written.

    Raises:
        OutputError: standard output is closed.
        FormatError: mrd-python is not installed.
    """
    from resolvent.data.io.output import OutputError
    from resolvent.data.io.packages import package

    package("mrd")
    if sys.stdout is None:
        raise OutputError("standard output is closed. Name a file with -o.")


def stream_image(outcome: Outcome, path: str) -> None:
    """The image of an outcome on standard output, in the units of its file, with the record that a file would have."""
    from resolvent._version import __version__
    from resolvent.data.io.mrd_stream import write_mrd_stream
    from resolvent.data.io.output import to_json

    scan = outcome.scan
    record = {**outcome.recon.record(), **outcome.notes, "input": Path(path).name, "version": __version__}
    image, where = outcome.recon.image * scan.scale, (scan.ndim, scan.geometry)
    write_mrd_stream(sys.stdout.buffer, image, *where, to_json(record), scan.counters)
    sys.stdout.buffer.flush()
