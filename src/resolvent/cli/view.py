"""``resolvent view``: make the page of an existing image."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resolvent._version import __version__
from resolvent.cli.inputs import read_image
from resolvent.cli.naming import stem
from resolvent.cli.output import Debug, Json, complain, emit, progress, reporting

if TYPE_CHECKING:
    from resolvent.data import Volume

LARGEST = 2**26
"""Bytes of a record; a longer one is not read."""


def view(
    image: Annotated[str, typer.Argument(metavar="OUT", help="An image (.nii.gz .nii .h5 .npy), or an existing page.")],
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="HTML", help="The page; by default NAME.html beside the image."),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Make a page for the browser from an image and the record beside it.

    Prints the path of the page. For a page that also shows error maps, k-space and the other methods, ask for it when
    reconstructing: `resolvent recon SCAN --report PAGE.html`.
    """
    with reporting(as_json=as_json, debug=debug):
        page = output or str(Path(image).with_name(stem(image) + ".html"))
        if image.lower().endswith(".html"):
            if output is not None:
                raise typer.BadParameter(f"{image} is already a page, and no other is made from it. Leave out -o.")
            page = image
            if not Path(page).is_file():
                from resolvent._errors import FormatError

                raise FormatError(f"{page} does not exist. Make it with `resolvent recon SCAN --report {page}`.")
        else:
            with progress() as say:
                say(f"reading {image}")
                _make(image, page)
        if as_json:
            emit({"version": __version__, "input": image, "report": page})
        else:
            typer.echo(page)
        if show:
            import webbrowser

            webbrowser.open(Path(page).resolve().as_uri())


def _make(image: str, page: str) -> None:
    from resolvent.report import write_page

    volume = _as_volume(read_image(image))
    record = record_of(image)
    if record is None:
        complain(f"warning: {stem(image)}.json is the record of another image than {image}, and was left out.")
    write_page(
        page,
        {"image": volume.image},
        record or {},
        title=Path(image).name,
        ndim=volume.ndim,
        geometry=volume.geometry,
    )


def _as_volume(stack: Volume) -> Volume:
    """Slices of known position as one volume: image files do not distinguish stacks of slices from volumes."""
    if stack.ndim == 3 or stack.geometry is None or len(stack.image) == 1:
        return stack
    return replace(stack, image=stack.image.movedim(0, -3)[None], ndim=3)


def record_of(image: str) -> dict[str, Any] | None:
    """The record beside an image; empty if there is none that can be read, None if it is that of another image."""
    from resolvent.data.io.output import sha256

    path = Path(image).with_name(stem(image) + ".json")
    try:
        if path.stat().st_size > LARGEST:
            return {}
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return found if found.get("output_sha256") == sha256(image) else None
