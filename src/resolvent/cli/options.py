"""Options that several commands share: kinds of masks, coil maps, sizes in bytes, positive numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from typing import Annotated

import typer

from resolvent._errors import nearest


def one_of(word: str, names: Collection[str]) -> str:
    """One of these names, or a usage error that lists them."""
    if word not in names:
        meant = nearest(word, names)
        question = f" Did you mean {meant}?" if meant else ""
        raise typer.BadParameter(f"{word!r} is not one of {', '.join(names)}.{question}")
    return word


def known_kind(kind: str | None) -> str | None:
    """A mask kind, or a usage error that lists them."""
    if kind is None:  # then nothing heavy is imported
        return None
    from resolvent.data import MASK_KINDS

    return one_of(kind, MASK_KINDS)


def byte_count(text: str) -> int:
    """A number of bytes from ``4GiB``, ``500 MB`` or ``2e9 B``, or a usage error."""
    units = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?(?:e\d+)?)\s*([a-z]*)\s*", text.lower())
    size = float(match[1]) * units.get(match[2], 0) if match else 0.0
    if not 0 < size < math.inf:
        raise typer.BadParameter(f"{text!r} is not a size. Write a number and a unit, such as 4GiB or 500MB.")
    return round(size)


def positive(value: float | None) -> float | None:
    """A positive, finite number, or a usage error."""
    if value is not None and not 0 < value < float("inf"):
        raise typer.BadParameter(f"{value} is not a positive number.")
    return value


def at_least_one(value: float | None) -> float | None:
    """A finite number that is at least 1, or a usage error."""
    if value is not None and not 1 <= value < float("inf"):
        raise typer.BadParameter(
            f"{value:g} is no acceleration: R, the samples of the full grid over those kept, is at least 1."
        )
    return value


def present(device: str) -> str:
    """A device of PyTorch that this machine has, or a usage error."""
    if device == "cpu":  # then nothing heavy is imported
        return device
    import torch

    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:  # PyTorch raises one or another
        raise typer.BadParameter(
            f"PyTorch finds no device {device!r} here. Write cpu; or cuda, if there is a GPU and a PyTorch for it."
        ) from error
    return device


KINDS = "uniform1d, random1d, gaussian1d, gaussian2d, poisson2d or radial"
Kind = Annotated[str | None, typer.Option("--mask-kind", metavar="KIND", callback=known_kind, help=f"{KINDS}.")]
Device = Annotated[str, typer.Option(metavar="NAME", callback=present, help="Where to compute: cpu, cuda or cuda:1.")]
Maps = Annotated[
    str | None, typer.Option(metavar="FILE", help="Coil maps (.cfl .npy .h5) instead of those of the scan.")
]
Dataset = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The array of a .mat file, or group of an ISMRMRD file, if it has several."),
]
