"""The error family: every message is one sentence of fact and one of remedy."""


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


class ModelError(ResolventError, ValueError):
    """The model is unknown, damaged, or does not fit the scan."""


__all__ = [
    "CorruptFileError",
    "DataError",
    "FormatError",
    "ModelError",
    "ResolventError",
    "ShapeError",
]
