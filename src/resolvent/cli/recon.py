"""``resolvent recon``: reconstruct one scan or many."""

from __future__ import annotations

import inspect
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from resolvent._version import __version__
from resolvent.cli.naming import FIELD, STREAM, figures, is_folder, make_folders, outputs, remove_empty, reports
from resolvent.cli.output import FAULT, REFUSED, Debug, Json, complain, emit, explain, progress, reporting
from resolvent.cli.streams import spooled, stream_image

if TYPE_CHECKING:
    from resolvent.cli.reconstruct import Outcome
    from resolvent.data import Scan
    from resolvent.mol import MOL


def known_kind(kind: str | None) -> str | None:
    """A mask kind, or a usage error that lists them."""
    if kind is not None:
        from resolvent._errors import nearest
        from resolvent.data import MASK_KINDS

        if kind not in MASK_KINDS:
            meant = nearest(kind, MASK_KINDS)
            question = f" Did you mean {meant}?" if meant else ""
            raise typer.BadParameter(f"{kind!r} is not one of {', '.join(MASK_KINDS)}.{question}")
    return kind


def positive(value: float | None) -> float | None:
    """A positive, finite number, or a usage error."""
    if value is not None and not 0 < value < float("inf"):
        raise typer.BadParameter(f"{value} is not a positive number.")
    return value


KINDS = "uniform1d, random1d, gaussian1d, gaussian2d, poisson2d or radial"
Kind = Annotated[str | None, typer.Option("--mask-kind", metavar="KIND", callback=known_kind, help=f"{KINDS}.")]


def recon(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE", help="Scans of any format that can be read; - is standard input.")
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="An image (.nii.gz .nii .dcm .h5 .mrd .cfl .png .npy); or a folder, for NAME.nii.gz of each input; or "
            "a pattern such as out/{name}.png; or - for an MRD stream on standard output. A JSON record lies beside "
            "each image. Without -o no image is written.",
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(metavar="NAME|DIR", help="A packaged model, the folder of one, or owner/name on Hugging Face."),
    ] = "brain-2d",
    maps: Annotated[
        str | None, typer.Option(metavar="FILE", help="Coil maps (.cfl .npy .h5) instead of those of the scan.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="NAME", help="The array of a .mat file that is k-space, if it has several.")
    ] = None,
    trajectory: Annotated[
        str | None, typer.Option(metavar="FILE", help="The trajectory (.cfl) of k-space in a .cfl file, as BART's.")
    ] = None,
    acceleration: Annotated[
        float | None,
        typer.Option(metavar="R", help="Leave samples out of a fully sampled scan, and compare with all of it."),
    ] = None,
    mask_kind: Kind = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the mask; 0 by default.")] = None,
    tol: Annotated[
        float, typer.Option(callback=positive, help="Distance to the exact solution, relative to the image.")
    ] = 1e-3,
    max_steps: Annotated[int, typer.Option(min=1, help="Limit of network evaluations.")] = 100,
    require_certificate: Annotated[
        bool,
        typer.Option("--require-certificate", help="Write no image whose distance is not proved; exit code 3 then."),
    ] = False,
    figure: Annotated[
        str | None,
        typer.Option(metavar="PNG", help="A picture of the comparison; with {name} in it for several inputs."),
    ] = None,
    report: Annotated[
        str | None,
        typer.Option(metavar="HTML", help="A page to look at, offline; with {name} in it for several inputs."),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Reconstruct scans, each with a certificate.

    With a reference (in the file, or made by --acceleration) PSNR, SSIM and NMSE of the zero-filled image, of SENSE
    and of the model are printed. Several files: a bad one is reported and the others go on. An image that did not
    converge is written, and flagged in its record and on stderr.
    """
    command = command_line(locals())
    with reporting(as_json=as_json, debug=debug):
        names, pictures, pages = outputs(files, output), figures(files, figure), reports(files, report)
        if output == STREAM and as_json:
            raise typer.BadParameter("-o - and --json both write to standard output. Leave one of them out.")
        clash = {str(Path(n).resolve()) for n in names if n} & {str(Path(p).resolve()) for p in pictures if p}
        if clash:
            raise typer.BadParameter("-o and --figure name the same file. Choose another name for one of them.")
        if acceleration is None and (mask_kind is not None or seed is not None):
            raise typer.BadParameter("--mask-kind and --seed describe what --acceleration leaves out. Add it.")

        from resolvent.cli.reconstruct import Retrospective
        from resolvent.data.io.output import check_place, check_writable
        from resolvent.mol.weights import load_mol

        asked = {"tol": tol, "max_steps": max_steps, "command": command}
        retrospective = None
        if acceleration is not None:
            retrospective = Retrospective(acceleration, mask_kind or "gaussian2d", seed or 0)
        network = load_mol(model)
        made = []
        if output is not None and (FIELD in output or is_folder(output)):
            made = make_folders(names)
        if figure is not None and FIELD in figure:
            made = make_folders(pictures) + made
        if report is not None and FIELD in report:
            made = make_folders(pages) + made
        results: list[dict[str, Any]] = []
        codes = {0}
        try:
            for name in (*names, *pictures):
                if name is not None and name != STREAM:
                    check_writable(name)
            for name in pages:
                if name is not None:
                    check_place(name)
            for path, name, picture, page in zip(files, names, pictures, pages, strict=True):
                try:
                    if require_certificate and network.tier == "estimated":
                        code, result = (
                            REFUSED,
                            _refusal(path, f"{model} is a model whose monotonicity is only estimated"),
                        )
                    else:
                        options = {"tol": tol, "max_steps": max_steps, "retrospective": retrospective}
                        inputs = {"maps": maps, "dataset": dataset, "trajectory": trajectory}
                        outcome = _reconstructed(path, inputs, network, options, compare=bool(picture or page))
                        made_how = asked if retrospective is None else {**asked, "retrospective": vars(retrospective)}
                        places = Places(name, picture, page)
                        code, result = _delivered(
                            outcome,
                            path,
                            places,
                            made_how,
                            demanded=require_certificate,
                            quiet=as_json or name == STREAM,
                        )
                except Exception as error:
                    complain(f"error: {explain(error)}", error, debug=debug)
                    code, result = FAULT, {"input": path, "error": explain(error)}
                codes.add(code)
                results.append(result)
        finally:
            remove_empty(made)
        if as_json:
            emit({"version": __version__, "results": results})
        raise typer.Exit(FAULT if FAULT in codes else max(codes))


class Places(NamedTuple):
    """Where the results of one input go; None for what is not wanted."""

    image: str | None
    figure: str | None
    report: str | None


def read_scan(path: str, maps: str | None = None, dataset: str | None = None, trajectory: str | None = None) -> Scan:
    """A scan with the maps of the file `maps`, if there is one, found to fit it; ``-`` is standard input.

    Maps also say the matrix of a scan whose trajectory lies in a file of its own.

    Raises:
        FormatError: the file holds an image, not k-space.
        ShapeError, DataError: the maps do not fit the scan or are unusable.
    """
    from resolvent._errors import FormatError
    from resolvent.data import Scan
    from resolvent.data.io import read, read_maps

    with spooled(path) as place:
        scan = read(place, dataset, trajectory)
    if not isinstance(scan, Scan):
        raise FormatError(f"{path} holds an image, not k-space. Make a scan of it with `resolvent simulate`.")
    if maps is None:
        return scan
    coil_maps = read_maps(maps, scan.ndim)
    if trajectory is not None and scan.trajectory is not None:
        scan = scan.replace(trajectory=replace(scan.trajectory, matrix=tuple(coil_maps.shape[-scan.ndim :])))
    return scan.replace(coil_maps=coil_maps).validated()


def _reconstructed(
    path: str, inputs: dict[str, str | None], model: MOL, options: dict[str, Any], *, compare: bool
) -> Outcome:
    from resolvent.cli.reconstruct import reconstruct

    with progress() as say:
        say(f"reading {path}")
        scan = read_scan(path, **inputs)
        return reconstruct(scan, model, compare=compare, say=lambda text: say(f"{Path(path).name}: {text}"), **options)


def _delivered(
    outcome: Outcome, path: str, places: Places, asked: dict[str, Any], *, demanded: bool, quiet: bool
) -> tuple[int, dict[str, Any]]:
    """Write, print and warn; the exit code and the JSON entry."""
    from resolvent.cli.present import show

    if demanded and not outcome.recon.certificate.proved:
        code, result = REFUSED, _refusal(path, outcome.recon.certificate.text)
        return code, {"input": path, "output": None, **outcome.summary, "error": result["error"]}
    if places.image == STREAM:
        stream_image(outcome, path)
    elif places.image is not None:
        save_image(outcome, path, places.image, asked)
    if places.figure is not None:
        draw(outcome, places.figure, Path(path).name)
    if places.report is not None:
        save_report(outcome, path, places.report, asked)
    if not quiet:
        show(outcome, Path(path).name, [place for place in places if place])
    extra = {name: place for name, place in (("figure", places.figure), ("report", places.report)) if place}
    result = {"input": path, "output": places.image, **outcome.summary, **extra}
    if not outcome.recon.solution.converged:
        complain(f"warning: {path}: {outcome.recon.solution.status}.")
        return REFUSED, result
    return 0, result


def _refusal(path: str, reason: str) -> dict[str, Any]:
    error = f"{path}: the certificate that was demanded is refused ({reason}); nothing was written."
    complain(f"error: {error}")
    return {"input": path, "output": None, "error": error}


def save_image(outcome: Outcome, path: str, name: str, asked: dict[str, Any] | None = None) -> None:
    """Write image and record; of the input the record keeps the name and the hash, not the folder."""
    from resolvent.data.io import write

    write(outcome.recon, name, like=outcome.scan, record={"input": Path(path).name, **outcome.notes, **(asked or {})})


def save_report(outcome: Outcome, path: str, name: str, asked: dict[str, Any]) -> None:
    """Write the page of an outcome; of the input it names the file and its hash, not the folder."""
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
        affine=None if scan.geometry is None else scan.geometry.affine,
        scale=scan.scale,
    )


def command_line(given: dict[str, Any]) -> str:
    """The call of `recon` as it can be typed again: what differs from the defaults, of files the names only."""
    words = ["resolvent", "recon", *(Path(file).name for file in given["files"])]
    for name, parameter in inspect.signature(recon).parameters.items():
        value = given[name]
        if name != "files" and value != parameter.default:
            words.append("--" + name.removeprefix("as_").replace("_", "-"))
            words += [] if value is True else [Path(value).name if isinstance(value, str) else f"{value:g}"]
    return shlex.join(words)


def draw(outcome: Outcome, picture: str, title: str) -> None:
    """The figure of an outcome."""
    from resolvent.cli.present import closing, headline
    from resolvent.figures import comparison

    comparison(
        picture,
        outcome.images,
        reference=outcome.scan.reference,
        scores=outcome.scores,
        residuals=outcome.recon.solution.residuals,
        title=f"{title} · {headline(outcome)}",
        caption=closing(outcome),
    )
