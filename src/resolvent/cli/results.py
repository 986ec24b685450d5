"""What becomes of an outcome: its image, figure and page, what is printed, and the exit code."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple

from resolvent.cli.naming import STREAM
from resolvent.cli.output import REFUSED, complain
from resolvent.cli.streams import stream_image

if TYPE_CHECKING:
    from resolvent.cli.reconstruct import Outcome


class Places(NamedTuple):
    """Where the results of one input go; None for what is not wanted."""

    image: str | None
    figure: str | None
    report: str | None


def deliver(
    outcome: Outcome, path: str, places: Places, asked: dict[str, Any], *, demanded: bool, quiet: bool
) -> tuple[int, dict[str, Any]]:
    """Write, print and warn; the exit code and the JSON entry."""
    from resolvent.cli.present import show

    recon, doubt = outcome.recon, outcome.recon.fit.doubt
    missing = "" if recon.solution.converged else str(recon.solution.status)
    missing = missing or doubt or ("" if recon.certificate.proved else recon.certificate.text)
    if demanded and missing:
        return REFUSED, {"input": path, "output": None, **outcome.summary, "error": refusal(path, missing)["error"]}
    images = [] if places.image is None else [places.image]
    if places.image == STREAM:
        stream_image(outcome, path)
    elif places.image is not None:
        images = save_image(outcome, path, places.image, asked)
    if places.figure is not None:
        draw(outcome, places.figure, Path(path).name)
    if places.report is not None:
        save_report(outcome, path, places.report, asked)
    if not quiet:
        span = images if len(images) < 3 else [f"{images[0]} to {images[-1]}"]
        show(outcome, Path(path).name, [*span, *(place for place in places[1:] if place)])
    extra = {name: place for name, place in (("figure", places.figure), ("report", places.report)) if place}
    result = {"input": path, "output": images if len(images) > 1 else places.image, **outcome.summary, **extra}
    for caution in outcome.cautions:
        complain(f"warning: {path}: {caution}.")
    if doubt:
        complain(f"warning: {path}: {doubt}.")
    if not recon.solution.converged:
        complain(f"warning: {path}: {recon.solution.status}.")
        return REFUSED, result
    return 0, result


def refusal(path: str, reason: str) -> dict[str, Any]:
    """The JSON entry of an input whose image is refused for lack of a proof; also reported on stderr."""
    error = f"{path}: the certificate that was demanded is refused ({reason}); nothing was written."
    complain(f"error: {error}")
    return {"input": path, "output": None, "error": error}


def save_image(outcome: Outcome, path: str, name: str, asked: dict[str, Any] | None = None) -> list[str]:
    """Write image and record, and return the names of the files; the record names the input without its folder."""
    from resolvent.data.io import write

    record = {"input": Path(path).name, **outcome.notes, **(asked or {})}
    return write(outcome.recon, name, like=outcome.scan, record=record)


def save_report(outcome: Outcome, path: str, name: str, asked: dict[str, Any]) -> None:
    """Write the page of an outcome; it names the file of the input and its hash, not the folder."""
    from resolvent.data.io.output import sha256
    from resolvent.report import write_page

    scan = outcome.scan
    made = {"input": Path(path).name, "input_sha256": sha256(path), **outcome.notes, **asked}
    write_page(
        name,
        outcome.images,
        {**outcome.recon.record(), **made},
        title=Path(path).name,
        ndim=scan.ndim,
        reference=scan.reference,
        kspace=scan.kspace,
        mask=scan.mask,
        geometry=scan.geometry,
        scale=scan.scale,
    )


def draw(outcome: Outcome, picture: str, title: str) -> None:
    """The figure of an outcome."""
    import torch

    from resolvent.cli.present import headline
    from resolvent.data.places import aspect_of
    from resolvent.figures import comparison

    solution = outcome.recon.solution
    ended = torch.arange(len(solution.residuals))[:, None] >= solution.sample_steps
    comparison(
        picture,
        outcome.images,
        reference=outcome.scan.reference,
        scores=outcome.scores,
        residuals=solution.residuals.masked_fill(ended, torch.nan),
        aspect=aspect_of(outcome.scan.geometry),
        title=f"{title} · {headline(outcome)}",
        caption=caption(outcome),
    )


def caption(outcome: Outcome) -> str:
    """The text below a figure: doubts before anything that reassures."""
    from resolvent.cli.present import ending

    recon = outcome.recon
    doubts = [f"DOUBTFUL: {doubt}." for doubt in recon.fit.doubts.values()]
    cautions = [f"Beware: {text}." for text in outcome.cautions]
    lines = [*doubts, *cautions, ending(outcome), recon.certificate.text, recon.fit.text]
    return "\n".join(fill(line, 110) for line in lines)
