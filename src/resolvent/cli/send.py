"""``resolvent send``: DICOM images to an archive."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from resolvent._version import __version__
from resolvent.cli.output import FAULT, Debug, Json, complain, emit, explain, reporting


def send(
    files: Annotated[list[str], typer.Argument(metavar="FILE|DIR", help="DICOM files, or folders of them.")],
    to: Annotated[str, typer.Option(metavar="URL", help="dicom://HOST:PORT/TITLE or http(s)://HOST/dicom-web.")],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Send DICOM images to an archive by C-STORE or STOW-RS.

    An image that is sent again is not duplicated: its identifier stays the same. One that cannot be sent is reported,
    and the others are still sent.
    """
    with reporting(as_json=as_json, debug=debug):
        from resolvent.data.io.send import dicom_files
        from resolvent.data.io.send import send as deliver

        results: list[dict[str, Any]] = []
        for path in dicom_files(files):
            try:
                results.append({"input": path, "sop_instance_uid": deliver(path, to)})
            except Exception as error:
                complain(f"error: {explain(error)}", error, debug=debug)
                results.append({"input": path, "error": explain(error)})
        failed = sum("error" in result for result in results)
        if as_json:
            emit({"version": __version__, "to": to, "results": results})
        else:
            typer.echo(f"{len(results) - failed} of {len(results)} images sent to {to}")
        raise typer.Exit(FAULT if failed else 0)
