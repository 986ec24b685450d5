"""The error family: every message is one sentence of fact and one of remedy. And the warning of readers."""

import difflib
from collections.abc import Iterable


class ResolventError(Exception):
    """Base of all errors that a caller can cause: the data or the model is at fault."""


class ShapeError(ResolventError, ValueError):
    """Two arrays do not fit together; the message names the axis."""


class DataError(ResolventError, ValueError):
    """The numbers are unusable: not finite, all zero, or contradicting each other."""


class FormatError(ResolventError, ValueError):
    """The file is of no known format, or lacks a part that its format requires."""


class CorruptFileError(FormatError):
    """The file is truncated or damaged."""


class MemoryLimitError(ResolventError, MemoryError):
    """The work does not fit into the memory that it was allowed; the message names both numbers."""


class ModelError(ResolventError, ValueError):
    """The model is unknown, damaged, or does not fit the scan."""


class ScanWarning(UserWarning):
    """What a user should know of a scan that was read nevertheless.

    Attributes:
        text: one sentence, without the path and the full stop.
    """

    def __init__(self, path: str, text: str) -> None:
        super().__init__(f"{path}: {text}.")
        self.text = text


def nearest(word: str, among: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The name that a mistyped word probably stands for, or None; for the remedy of a message.

    `cutoff` is the least similarity, which is 1 for the same word.

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
