"""``resolvent demo``: the packaged scan with the packaged model, offline."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from resolvent._version import __version__
from resolvent.cli.inputs import MODEL, read_scan
from resolvent.cli.naming import make_folders, remove_empty
from resolvent.cli.output import REFUSED, Debug, Json, complain, emit, progress, reporting

SCAN = Path(__file__).parents[1] / "scans" / "demo.h5"
"""An axial slice of a T1-weighted head, 8 simulated coils, R = 6."""


def demo(
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="DIR", help="Folder for the figure, the image and the scan.")
    ] = "demo",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Reconstruct the packaged scan, offline.

    Prints a table and the certificate, and writes a figure, the image, and a copy of the scan to continue with.
    """
    with reporting(as_json=as_json, debug=debug):
        from resolvent.cli.present import show
        from resolvent.cli.reconstruct import reconstruct
        from resolvent.cli.results import draw, save_image
        from resolvent.data.io import check_writable
        from resolvent.mol.weights import load_mol

        image, figure, scan = (str(Path(output) / name) for name in ("demo.nii.gz", "demo.png", "scan.h5"))
        model = load_mol(MODEL)
        made = make_folders([image])
        try:
            check_writable(image)
            with progress() as say:
                say("reading the scan")
                outcome = reconstruct(read_scan(str(SCAN)), model, say=say)
                save_image(outcome, str(SCAN), image)
                say("drawing")
                draw(outcome, figure, "Demo: simulated T1 head")
                shutil.copyfile(SCAN, scan)
        finally:
            remove_empty(made)
        if as_json:
            entry = {"input": str(SCAN), "output": image, **outcome.summary, "figure": figure}
            emit({"version": __version__, "results": [entry]})
        else:
            show(outcome, SCAN.name, [image, figure, scan])
        if not outcome.recon.solution.converged:
            complain(f"warning: {outcome.recon.solution.status}.")
            raise typer.Exit(REFUSED)
