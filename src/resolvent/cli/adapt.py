"""``resolvent adapt``: a model trained further on the samples of one scan, without a reference."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resolvent._version import __version__
from resolvent.cli.inputs import MODEL, read_scan
from resolvent.cli.models import check_folder, written
from resolvent.cli.options import Dataset, Device, Maps, positive
from resolvent.cli.output import REFUSED, Debug, Json, complain, emit, progress, reporting

if TYPE_CHECKING:
    from resolvent.data import Scan


def adapt(
    scan: Annotated[str, typer.Argument(metavar="SCAN", help="A scan in any supported format.")],
    output: Annotated[str, typer.Option("-o", "--output", metavar="DIR", help="Folder for the model; also its name.")],
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="Model to start from: a packaged one or a folder.")
    ] = MODEL,
    steps: Annotated[int, typer.Option(min=1, help="Gradient steps, each on one slice.")] = 60,
    rate: Annotated[float, typer.Option(max=1, callback=positive, help="Learning rate, at most 1.")] = 1e-3,
    maps: Maps = None,
    dataset: Dataset = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed for the choice of held-out samples.")] = 0,
    device: Device = "cpu",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Adapt a model to one scan: hold samples out, and train the network to predict them from the rest.

    Needs no reference. The adapted model is as strictly monotone as the original: one solution, and the distance to
    it, are proved as before. The weights now depend on the data, so a data gain holds only with the weights held. Some
    samples are kept out of the adaptation: if they are predicted no better than before, nothing is written (exit code
    3). To reconstruct with the result: resolvent recon SCAN --model DIR.
    """
    with reporting(as_json=as_json, debug=debug):
        from resolvent.data.io.output import sha256
        from resolvent.mol.adapt import adapt as run
        from resolvent.mol.weights import load_mol

        if Path(model).is_dir() and Path(output).resolve() == Path(model).resolve():
            raise typer.BadParameter(
                f"{output} is the model to start from and would be replaced. Choose another folder."
            )
        check_folder(output)
        network = load_mol(model).to(device)
        with progress() as say:
            say(f"reading {scan}")
            y, A, noise = _measured(read_scan(scan, maps, dataset), say)
            done = run(network, y.to(device), A.to(device), noise, steps=steps, rate=rate, seed=seed, say=say)
        found = {"input": scan, "model": network.identity["name"], "steps": steps, "better": done.better}
        after = done.after if math.isfinite(done.after) else None
        found |= {"before": done.before, "after": after, "output": output if done.better else None}
        if done.better:
            card: dict[str, Any] = {"adapted_from": network.identity}
            card |= {"source_sha256": sha256(scan)} if Path(scan).is_file() else {}
            written(done.model.to("cpu"), output, card | {name: found[name] for name in ("steps", "before", "after")})
        if as_json:
            emit({"version": __version__, **found})
        else:
            typer.echo(
                f"{Path(scan).name}: {network.identity['name']}, {steps} steps · error on samples kept out "
                f"{done.before:.4g} before, {done.after:.4g} after"
            )
            typer.echo(f"  written: {output}\n" if done.better else "")
        if not done.better:
            if after is None:
                complain("warning: the adaptation diverged; nothing is written. Lower --rate.")
            else:
                complain("warning: the samples kept out are predicted no better than before; nothing is written.")
            raise typer.Exit(REFUSED)


def _measured(scan: Scan, say: Any) -> tuple[Any, Any, float | None]:
    """Measurements, physics and noise level, in units in which the largest coil image is 1."""
    from resolvent._errors import DataError

    if scan.trajectory is not None:
        raise DataError(
            f"{scan.source} is not Cartesian, but adaptation holds out samples of a grid. Use the model as it is."
        )
    say("coil maps")
    unit = scan.normalised()
    return unit.kspace, scan.operator(), unit.noise
