"""``resolvent convert``: convert a checkpoint of the published method to a model of this program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from resolvent._version import __version__
from resolvent.cli.models import check_folder, written
from resolvent.cli.options import positive
from resolvent.cli.output import Debug, Json, emit, reporting


def convert(
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="A torch file, such as model.pth.tar.")],
    output: Annotated[str, typer.Option("-o", "--output", metavar="DIR", help="Folder for the model; also its name.")],
    alpha: Annotated[
        float, typer.Option(callback=positive, help="Step size used in training; the file does not record it.")
    ] = 0.01,
    m: Annotated[float, typer.Option(help="Monotonicity aimed at in training; always counts as estimated.")] = 0.1,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Convert a published MOL checkpoint.

    No code in the checkpoint is executed. Writes safetensors and a JSON card.
    """
    with reporting(as_json=as_json, debug=debug):
        from resolvent.data.io.output import sha256
        from resolvent.mol import checkpoint as reader

        check_folder(output)
        model = reader.convert(checkpoint, alpha=alpha, m=m)
        card = {"converted_from": Path(checkpoint).name, "source_sha256": sha256(checkpoint), "alpha": alpha}
        model = written(model, output, card)
        found = {
            "lam": float(model.lam.detach()),
            "ridge": model.ridge,
            "alpha": alpha,
            "m": model.m.value,
            "kind": model.m.kind,
            "tier": model.tier,
            "score": {"kind": type(model.score).__name__, **model.score.config},
            "parameters": sum(p.numel() for p in model.parameters()),
            "sha256": model.identity["sha256"],
        }
        if as_json:
            emit({"version": __version__, "input": checkpoint, "output": output, **found})
            return
        sizes = ", ".join(f"{name} {value:g}" for name, value in model.score.config.items())
        typer.echo(f"{checkpoint}: {found['score']['kind']} ({sizes}), {found['parameters']:,} parameters")
        typer.echo(f"  lam {found['lam']:.6g}, ridge {model.ridge:g} (hidden in its solver at alpha = {alpha:g})")
        typer.echo(f"  m = {model.m}: its training does not prove that its equation has one solution")
        typer.echo(f"  written: {output}")
