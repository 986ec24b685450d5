"""Results for a person: a table of scores and the certificate, on stdout."""

from __future__ import annotations

import typer

from resolvent._titles import title_of
from resolvent.cli.output import entries
from resolvent.cli.reconstruct import Outcome


def headline(outcome: Outcome) -> str:
    """Matrix, coils and sampling of a scan in one line: ``176 x 144 · 8 coils · R = 6``."""
    scan = outcome.scan
    count, n_coils = scan.kspace.shape[:2]
    matrix = " x ".join(str(n) for n in (*scan.kspace.shape[2 : -scan.ndim], *scan.matrix))
    return " · ".join(
        [
            *([f"{count} {entries(scan, count)} of {matrix}"] if count > 1 else [matrix]),
            f"{n_coils} coil{'s' * (n_coils > 1)}",
            f"R = {scan.acceleration:.3g}",
            "maps given" if scan.coil_maps is not None else "maps estimated by ESPIRiT",
        ]
    )


def ending(outcome: Outcome) -> str:
    """How the solve ended."""
    solution = outcome.recon.solution
    return f"converged in {solution.steps} steps" if solution.converged else str(solution.status)


def show(outcome: Outcome, source: str, written: list[str]) -> None:
    """Print the scan, the scores as a table, the certificate, and where the image was written."""
    typer.echo(f"{source}: {headline(outcome)}")
    for remark in outcome.remarks:
        typer.echo(f"  {remark}")
    if outcome.scores:
        typer.echo(f"\n  {'':12}{'PSNR':>9}{'SSIM':>9}{'NMSE':>10}     against {outcome.reference}")
        for name, score in outcome.scores.items():
            numbers = f"{score['psnr']:6.2f} dB{score['ssim']:9.4f}{score['nmse']:10.5f}"
            typer.echo(f"  {title_of(name):12}{numbers}")
    solution = outcome.recon.solution
    work = f"{solution.evaluations} network evaluations, {solution.applications} of A^H A, {outcome.seconds:.1f} s"
    typer.echo(f"\n  {ending(outcome)} ({work})\n  {outcome.recon.certificate.text}\n  {outcome.recon.fit.text}")
    typer.echo(f"  written: {', '.join(written)}\n" if written else "  no image written: name one with -o\n")
