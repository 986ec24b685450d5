"""Which file each result goes to: ``-o`` for one input or several."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import typer

IMAGE = ".nii.gz"
"""Format of images in a folder, where no pattern says otherwise."""
FIELD = "{name}"
"""Stands for the name of an input, without folder and suffix."""
STREAM = "-"
"""Standard input as an input, standard output as an output."""


def stem(path: str) -> str:
    """Name of an input without folder and suffix: ``a/brain.nii.gz`` -> ``brain``."""
    name = Path(path.rstrip("/")).name
    for suffix in (".nii.gz", Path(name).suffix):
        if suffix and name.lower().endswith(suffix.lower()) and name != suffix:
            return name[: -len(suffix)]
    return name


def is_folder(out: str) -> bool:
    """Whether ``-o`` names a folder: one that exists, that ends in a slash, or that has no suffix."""
    return out != STREAM and (os.path.isdir(out) or out.endswith(("/", os.sep)) or not Path(out).suffix)


def outputs(inputs: list[str], out: str | None, others: Sequence[str | None] = ()) -> list[str | None]:
    """The output of each input: a file, ``NAME.nii.gz`` in a folder, a pattern with ``{name}`` filled in, or ``-``.

    Args:
        inputs: the scans.
        out: the value of ``-o``.
        others: other files that are read: maps and trajectory.

    Raises:
        typer.BadParameter: several inputs for one file, or an output that would replace an input.
    """
    if out is None:
        return [None] * len(inputs)
    if out == STREAM:
        if len(inputs) > 1:
            raise typer.BadParameter("-o - writes one stream, but there are several inputs. Give one input.")
        return [STREAM]
    if FIELD in out:
        names = [out.replace(FIELD, stem(path)) for path in inputs]
    elif is_folder(out):
        names = [os.path.join(out, stem(path) + IMAGE) for path in inputs]
    else:
        names = [out] * len(inputs)
    _distinct(names, "-o", inputs)
    taken = {_place(path) for path in (*inputs, *others) if path is not None}
    for name in names:
        if _place(name) in taken:
            raise typer.BadParameter(f"{name} is an input and would be replaced. Choose another name for -o.")
    return list(names)


def figures(inputs: list[str], figure: str | None) -> list[str | None]:
    """The figure of each input: a ``.png``, with ``{name}`` if there are several.

    Raises:
        typer.BadParameter: not a .png, or several inputs for one file.
    """
    return _pages(inputs, figure, "--figure", ".png", "Figures are PNG files.")


def reports(inputs: list[str], report: str | None) -> list[str | None]:
    """The report of each input: an ``.html``, with ``{name}`` if there are several.

    Raises:
        typer.BadParameter: not an .html, or several inputs for one file.
    """
    return _pages(inputs, report, "--report", ".html", "Reports are HTML files.")


def _pages(inputs: list[str], given: str | None, option: str, suffix: str, kind: str) -> list[str | None]:
    if given is None:
        return [None] * len(inputs)
    if not given.lower().endswith(suffix):
        raise typer.BadParameter(f"{given} does not end in {suffix}. {kind}")
    names = [given.replace(FIELD, stem(path)) for path in inputs]
    _distinct(names, option, inputs)
    return list(names)


def make_folders(names: list[str | None]) -> list[Path]:
    """Make the missing folders of outputs; return those made, innermost first, so that they can be removed again.

    Raises:
        OutputError: a folder cannot be made.
    """
    from resolvent.data.io import OutputError

    made: list[Path] = []
    for name in names:
        folder = Path(name or ".").parent
        missing = [f for f in (folder, *folder.parents) if not f.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"folder {folder} cannot be made ({error.strerror}). Choose another one.") from error
        made = missing + made
    return made


def remove_empty(folders: list[Path]) -> None:
    """Remove the folders into which nothing was written."""
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _distinct(names: list[str], option: str, inputs: list[str]) -> None:
    places = [_place(name) for name in names]
    for index, place in enumerate(places):
        if (first := places.index(place)) < index:
            raise typer.BadParameter(
                f"{inputs[first]} and {inputs[index]} would both become {names[index]}. "
                f"Give {option} a folder for inputs of different names, or a pattern such as out/{FIELD}.png."
            )


def _place(path: str) -> str:
    """The same text for the same file; .cfl and .hdr are one."""
    place = os.path.realpath(path)
    return place[:-4] if place.lower().endswith((".cfl", ".hdr")) else place
