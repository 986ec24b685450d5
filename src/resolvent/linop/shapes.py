"""Whether an array fits an operator: its lead and last axes, and its number of samples."""

from __future__ import annotations

from torch import Tensor

from resolvent._errors import ShapeError


def fits(shape: tuple[int, ...], lead: tuple[int, ...], last: tuple[int, ...]) -> bool:
    """Whether `shape` is (lead, last); lead axes of length 1 in the operator serve any length.

    >>> fits((7, 4, 4), (1,), (4, 4)), fits((7, 4, 4), (5,), (4, 4))
    (True, False)
    """
    lead_fits = all(theirs == ours or ours == 1 for theirs, ours in zip(shape, lead, strict=False))
    return len(shape) == len(lead) + len(last) and lead_fits and tuple(shape[len(lead) :]) == last


def check_batch(batch: int, array: Tensor, name: str) -> None:
    """Refuse an array of another number of samples than an operator of `batch`, unless that is 1.

    Raises:
        ShapeError: the numbers differ.
    """
    if batch not in (1, array.shape[0]):
        raise ShapeError(
            f"{name} has {array.shape[0]} samples (axis 0) but the operator has {batch}. "
            "Pass as many of one as of the other, or an operator of one sample to share it."
        )
