"""Errors, whose messages are one sentence with the fact and one with the remedy; and the warning of readers."""

import difflib
from collections.abc import Iterable


class ResolventError(Exception):
    """Base of all errors that a caller can cause: the data or the model is at fault."""


class ShapeError(ResolventError, ValueError):
    """Two arrays do not fit together; the message names the axis."""


class DataError(ResolventError, ValueError):
    """The numbers are unusable: not finite, all zero, or contradicting each other."""


class FormatError(ResolventError, ValueError):
    """The file has no known format, or lacks a part that its format requires."""


class CorruptFileError(FormatError):
    """The file is truncated or damaged."""


class MemoryLimitError(ResolventError, MemoryError):
    """The work does not fit into the allowed memory; the message names both numbers."""


class ModelError(ResolventError, ValueError):
    """The model is unknown, damaged, or does not fit the scan."""


class ScanWarning(UserWarning):
    """Something the user should know about a scan that was still read.

    Attributes:
        text: one sentence, without the path and the full stop.
    """

    def __init__(self, path: str, text: str) -> None:
        super().__init__(f"{path}: {text}.")
        self.text = text


def nearest(word: str, among: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The name that a mistyped word probably means, or None; for the remedy in a message.

    `cutoff` is the smallest accepted similarity, which is 1 for equal words.

    >>> nearest("brian.h5", ["brain.h5", "scan.h5"])
    'brain.h5'
    """
    return next(iter(difflib.get_close_matches(word, list(among), n=1, cutoff=cutoff)), None)


__all__ = [
    "CorruptFileError",
    "DataError",
    "FormatError",
    "MemoryLimitError",
    "ModelError",
    "ResolventError",
    "ScanWarning",
    "ShapeError",
]
