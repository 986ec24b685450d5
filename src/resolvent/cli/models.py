"""The folder of a model that a command writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resolvent.mol import MOL


def check_folder(output: str) -> None:
    """Check before a long computation that a model can be written there."""
    from resolvent.data.io import OutputError
    from resolvent.data.io.output import check_place
    from resolvent.mol.weights import CARD

    there = next(place for place in (Path(output), *Path(output).parents) if place.exists())
    if not there.is_dir():
        raise OutputError(f"{there} is a file. Choose another name for the folder of the model.")
    check_place(there / CARD)


def written(model: MOL, output: str, card: dict[str, Any]) -> MOL:
    """The model, written and read back."""
    from resolvent.data.io import OutputError
    from resolvent.mol.weights import load_mol, save

    try:
        save(model, output, card)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{output} cannot be written ({reason}). Free space or choose another folder.") from error
    return load_mol(output)
