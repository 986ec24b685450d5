"""``resolvent certify``: what is known about a model, how it is known, and what a scan adds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from resolvent._version import __version__
from resolvent.cli.inputs import read_scan
from resolvent.cli.options import Dataset, Device, Maps
from resolvent.cli.output import REFUSED, Debug, Json, complain, emit, progress, reporting


def certify(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A packaged model, a model folder, or owner/name on Hugging Face.")
    ],
    scan: Annotated[
        str | None, typer.Argument(metavar="[SCAN]", help="Also examine the solution of this scan.", show_default=False)
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Lanczos steps at the solution: more give sharper values.")] = 40,
    maps: Maps = None,
    dataset: Dataset = None,
    device: Device = "cpu",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Report what is proved about a model, and how; or what was estimated.

    The constants of a strict model are recomputed from its weights. For an approximate one, a search can show that its
    constant is exceeded, never that it holds. With a scan: the monotonicity at the solution (the smallest eigenvalue of
    the symmetric part of the Jacobian, of F and of the whole equation) and the certificate of the reconstruction.
    """
    with reporting(as_json=as_json, debug=debug):
        from resolvent.cli.evidence import at_scan, constants
        from resolvent.mol.weights import load_mol

        if scan is None and (maps, dataset, device) != (None, None, "cpu"):
            raise typer.BadParameter("--maps, --dataset and --device apply to a scan. Add SCAN, or leave them out.")
        network = load_mol(model)
        outcome = None
        with progress() as say:
            given = None if scan is None else read_scan(scan, maps, dataset)
            say("deriving the constants")
            found = {"model": network.identity["name"], "sha256": network.identity["sha256"], **constants(network)}
            if scan is not None and given is not None:
                local, outcome = at_scan(network.to(device), given, steps=steps, say=say)
                summary = outcome.summary
                ended = {name: summary[name] for name in ("status", "converged", "steps")}
                certificate = {**summary["certificate"], "text": outcome.recon.certificate.text}
                found |= {"input": scan, "solve": ended, "local": local, "certificate": certificate}
                found["fit"] = summary["fit"]
        if as_json:
            emit({"version": __version__, **found})
        else:
            _print(found)
        if outcome is not None and outcome.recon.fit.doubt:
            complain(f"warning: {scan}: {outcome.recon.fit.doubt}.")
        if outcome is not None and not outcome.recon.solution.converged:
            complain(f"warning: {scan}: {outcome.recon.solution.status}.")
            raise typer.Exit(REFUSED)


def _print(found: dict[str, Any]) -> None:
    kind = found["kind"]
    typer.echo(f"{found['model']}: {found['meaning']}\n")
    typer.echo(f"  m          {found['m']:.4g} ({kind})   <F(x)-F(y), x-y> >= m |x-y|^2")
    typer.echo(
        f"  lipschitz  {found['lipschitz']:.4g} ({kind})   |F(x)-F(y)| <= c + r = {found['lipschitz']:.4g} |x-y|"
    )
    typer.echo(f"  c, r       {found['c']:.4g}, {found['r']:.4g}   |F - c I|_Lip <= r")
    moves = found["conditioning"]
    known = "not bounded: nothing limits how it changes with the data" if moves is None else f"{moves:.4g} ({kind})"
    typer.echo(f"  K          {known}   |F_b1(x)-F_b2(x)| <= K |b1-b2|, at the lam of a scan without noise")
    typer.echo(f"  method     {found['method']}")
    if found["derivation"]:
        _print_derivation(found["derivation"])
    else:
        typer.echo("")
        _print_estimates(found["estimates"])
    if "local" in found:
        _print_local(found)


def _print_derivation(derivation: dict[str, Any]) -> None:
    typer.echo(f"\n  {'layer':16}{'kernel':>18}{'norm of weight <=':>20}{'of kernel used <=':>20}")
    for row in derivation["layers"]:
        shape = " x ".join(map(str, row["shape"]))
        typer.echo(f"  {row['layer']:16}{shape:>18}{row['weight']:>20.5g}{row['kernel']:>20.6f}")
    typer.echo(f"  {derivation['text']}")


def _print_estimates(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        value = "not finite" if row["lipschitz"] is None else f"{row['lipschitz']:.4g}"
        verdict = "EXCEEDS" if row["exceeded"] else "does not exceed"
        typer.echo(f"  |H|_Lip at {row['at']}: >= {value} (estimated), which {verdict} r = {row['limit']:.4g}")


def _print_local(found: dict[str, Any]) -> None:
    solve, local = found["solve"], found["local"]
    ended = f"converged in {solve['steps']} steps" if solve["converged"] else solve["status"]
    typer.echo(f"\n  {Path(found['input']).name}: {ended}\n  {found['certificate']['text']}\n  at the solution:")
    names = {"J_F": "F, the score", "J_G": "G, the equation"}
    for name, what in names.items():
        row = local[name]
        if row["smallest"] is None or row["residual"] is None:
            typer.echo(f"  smallest slope of {what}: not finite")
            continue
        accuracy = f"from above; an eigenvalue lies within {row['residual']:.2g}; {row['steps']} Lanczos steps"
        typer.echo(f"  smallest slope of {what}: {row['smallest']:.4g} (estimated {accuracy})")
    if "conditioning" in local:
        row = local["conditioning"]
        typer.echo(
            f"  the conditioning changes by {row['gain']:.3g} |b1-b2| or more ({row['gaussian']:.3g} for white noise; "
            f"estimated at {row['epsilon']:.0%}, slice {row['slice']}): with it the data gain would be <= "
            f"{row['data_gain']:.3g} (estimated)"
        )
    _print_estimates(local.get("estimates", []))
