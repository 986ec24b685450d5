"""Output of the commands: results on stdout, everything else on stderr, and exit codes."""

from __future__ import annotations

import errno
import json
import math
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resolvent._errors import ResolventError
from resolvent._version import __version__

if TYPE_CHECKING:
    from resolvent.data import Scan

FAULT = 1
"""Exit code: the data or the model is at fault."""
REFUSED = 3
"""Exit code: not converged, a demanded certificate was refused, or an adaptation brought no improvement."""
INTERRUPTED = 130
"""Exit code: stopped from the keyboard."""

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, and nothing else there.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def explain(error: BaseException) -> str:
    """One line for an error: our own messages as they are, anything else with its type."""
    text = " ".join(str(error).split())
    if isinstance(error, ResolventError):
        return text
    if isinstance(error, MemoryError) or "not enough memory" in text:
        return "the memory is exhausted. Give fewer slices at a time, or use a machine with more memory."
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "no space is left where the output goes. Free some space, or write elsewhere."
    return f"internal error: {type(error).__name__}: {text}. Please report it, with the output of --debug."


def complain(text: str, error: BaseException | None = None, *, debug: bool = False) -> None:
    """One line on stderr; with `debug` the traceback of `error` before it."""
    if debug and error is not None:
        traceback.print_exception(error, file=sys.stderr)
    typer.echo(f"resolvent: {text}", err=True)


@contextmanager
def reporting(*, as_json: bool, debug: bool) -> Iterator[None]:
    """Turn an error of a command into one line on stderr (with ``--json`` also an object) and an exit code.

    A warning is also one line on stderr.

    Raises:
        typer.Exit: with code 1 for any error, 130 for an interrupt from the keyboard.
        BrokenPipeError: nobody reads the output any more, as with ``| head``: typer ends silently.
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: complain(f"warning: {message}")
            yield
    except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
        raise
    except KeyboardInterrupt:
        complain("interrupted")
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:
        complain(f"error: {explain(error)}", error, debug=debug)
        if as_json:
            with suppress(OSError):  # where not even that can be written
                emit({"version": __version__, "error": explain(error)})
        raise typer.Exit(FAULT) from None


def emit(content: dict[str, Any]) -> None:
    """The one JSON object of a command. Numbers that are not finite must have become None."""
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    typer.echo(text.encode(errors="replace").decode())  # names need not be UTF-8


def entries(scan: Scan, count: int = 1) -> str:
    """What one or several entries of the batch are called."""
    if math.prod(scan.kspace.shape[2 : -scan.ndim]) > 1:
        return "series"
    return ("volume" if scan.ndim == 3 else "slice") + "s" * (count > 1)


def pace(done: int, count: int, seconds: float, name: str = "slice") -> str:
    """Which of several is next, how fast they go, and how long the rest will take.

    >>> pace(4, 16, 8.0)
    'slice 5 of 16 · 0.5 a second · 0:24 left'
    """
    text = f"{name} {done + 1} of {count}"
    if done == 0 or seconds <= 0:
        return text
    left = round((count - done) * seconds / done)
    hours, minutes = left // 3600, left % 3600 // 60
    clock = f"{hours}:{minutes:02}:{left % 60:02}" if hours else f"{minutes}:{left % 60:02}"
    rate = done / seconds
    return f"{text} · {f'{rate:.2g} a second' if rate > 0.1 else f'{60 * rate:.2g} a minute'} · {clock} left"


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A function that says on stderr what is being done; silent unless stderr is a terminal."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console

    with Console(stderr=True).status("", spinner="dots") as status:
        yield status.update
