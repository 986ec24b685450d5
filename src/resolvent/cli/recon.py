"""``resolvent recon``: reconstruct one scan or many."""

from __future__ import annotations

import inspect
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resolvent._version import __version__
from resolvent.cli.cautions import cautions
from resolvent.cli.inputs import MODEL, hearing, read_scan
from resolvent.cli.naming import FIELD, STREAM, figures, is_folder, make_folders, outputs, remove_empty, reports
from resolvent.cli.options import Dataset, Device, Kind, Maps, at_least_one, byte_count, positive
from resolvent.cli.output import FAULT, REFUSED, Debug, Json, complain, emit, explain, progress, reporting
from resolvent.cli.results import Places, deliver, refusal
from resolvent.cli.streams import check_output

if TYPE_CHECKING:
    from resolvent.cli.reconstruct import Outcome
    from resolvent.mol import MOL


def recon(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE", help="Scans in any supported format; - is standard input.")
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="An image (.nii.gz .nii .dcm .h5 .mrd .cfl .png .npy); or a folder, for NAME.nii.gz of each input; or "
            "a pattern such as out/{name}.png; or - for an MRD stream on standard output. A JSON record is written "
            "beside each image. Without -o no image is written.",
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(metavar="NAME|DIR", help="A packaged model, a model folder, or owner/name on Hugging Face."),
    ] = MODEL,
    maps: Maps = None,
    dataset: Dataset = None,
    trajectory: Annotated[
        str | None, typer.Option(metavar="FILE", help="The trajectory (.cfl, as in BART) of k-space in a .cfl file.")
    ] = None,
    acceleration: Annotated[
        float | None,
        typer.Option(
            metavar="R",
            callback=at_least_one,
            help="Undersample a fully sampled scan, and compare with its full reconstruction.",
        ),
    ] = None,
    mask_kind: Kind = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed for the mask; 0 by default.")] = None,
    tol: Annotated[
        float, typer.Option(callback=positive, help="Distance to the exact solution, relative to the image.")
    ] = 1e-3,
    max_steps: Annotated[int, typer.Option(min=1, help="Largest number of network evaluations.")] = 100,
    max_memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Memory limit of the process, such as 4GiB: the network works in tiles where needed; a scan that does "
            "not fit is refused before the solve.",
        ),
    ] = None,
    device: Device = "cpu",
    require_certificate: Annotated[
        bool,
        typer.Option(
            "--require-certificate",
            help="Write no image whose distance is unproved or above --tol, or that does not explain the samples; "
            "then exit with code 3.",
        ),
    ] = False,
    figure: Annotated[
        str | None,
        typer.Option(metavar="PNG", help="A picture of the comparison; with {name} in it for several inputs."),
    ] = None,
    report: Annotated[
        str | None,
        typer.Option(metavar="HTML", help="A page for the browser, offline; with {name} in it for several inputs."),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Reconstruct scans, each with a certificate.

    With a reference (in the file, or made by --acceleration), prints PSNR, SSIM and NMSE of the zero-filled image, of
    SENSE and of the model. If one of several files fails, it is reported and the others continue. An image that did not
    converge, or does not explain the samples, is still written, but flagged in its record and on stderr.
    """
    command = command_line(locals())
    with reporting(as_json=as_json, debug=debug):
        names = outputs(files, output, (maps, trajectory))
        pictures, pages = figures(files, figure), reports(files, report)
        if output == STREAM and as_json:
            raise typer.BadParameter("-o - and --json both write to standard output. Leave one of them out.")
        clash = {str(Path(n).resolve()) for n in names if n} & {str(Path(p).resolve()) for p in pictures if p}
        if clash:
            raise typer.BadParameter("-o and --figure name the same file. Choose another name for one of them.")
        if acceleration is None and (mask_kind is not None or seed is not None):
            raise typer.BadParameter(
                "--mask-kind and --seed describe what --acceleration leaves out. Add --acceleration."
            )

        if max_memory is not None and device != "cpu":
            raise typer.BadParameter("--max-memory limits the memory of the CPU only. Leave out either it or --device.")
        limit = None if max_memory is None else byte_count(max_memory)

        from resolvent.cli.reconstruct import Retrospective
        from resolvent.data.io.output import check_place, check_writable
        from resolvent.mol.weights import load_mol

        network = load_mol(model).to(device)
        if limit is not None:
            from resolvent.mol.memory import return_memory

            return_memory()
        asked: dict[str, Any] = {"tol": tol, "max_steps": max_steps, "command": command}
        options: dict[str, Any] = {"tol": tol, "max_steps": max_steps, "max_memory": limit}
        if acceleration is not None:
            options["retrospective"] = Retrospective(acceleration, mask_kind or "gaussian2d", seed or 0)
            asked["retrospective"] = vars(options["retrospective"])
        inputs = {"maps": maps, "dataset": dataset, "trajectory": trajectory}

        def one(path: str, places: Places) -> tuple[int, dict[str, Any]]:
            if require_certificate and network.tier == "estimated":
                return REFUSED, refusal(path, f"{model} is a model whose monotonicity is only estimated")
            compare = bool(places.figure or places.report)
            outcome = _reconstructed(path, inputs, network, options, compare=compare, image=places.image)
            quiet = as_json or places.image == STREAM
            return deliver(outcome, path, places, asked, demanded=require_certificate, quiet=quiet)

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
            for name in names:
                if name == STREAM:
                    check_output()
                elif name is not None:
                    check_writable(name)
            for name in (*pictures, *pages):
                if name is not None:
                    check_place(name)
            for path, *places in zip(files, names, pictures, pages, strict=True):
                try:
                    code, result = one(path, Places(*places))
                except BrokenPipeError:
                    raise
                except Exception as error:
                    which = "" if len(files) == 1 or Path(path).name in explain(error) else f"{path}: "
                    complain(f"error: {which}{explain(error)}", error, debug=debug)
                    code, result = FAULT, {"input": path, "error": explain(error)}
                codes.add(code)
                results.append(result)
        except KeyboardInterrupt:
            if as_json:
                emit({"version": __version__, "results": results, "error": "interrupted"})
            raise
        finally:
            remove_empty(made)
        if as_json:
            emit({"version": __version__, "results": results})
        raise typer.Exit(FAULT if FAULT in codes else max(codes))


def _reconstructed(
    path: str, inputs: dict[str, str | None], model: MOL, options: dict[str, Any], *, compare: bool, image: str | None
) -> Outcome:
    from resolvent.cli.reconstruct import reconstruct
    from resolvent.data.io.output import check_volumes

    with progress() as say, hearing() as said:
        say(f"reading {path}")
        scan = read_scan(path, **inputs)
        if image is not None and image != STREAM:
            check_volumes(image, scan.ndim, len(scan.kspace))
        found = reconstruct(scan, model, compare=compare, say=lambda text: say(f"{Path(path).name}: {text}"), **options)
    told = (*(one.text for one in said), *cautions(found.scan, model.card), found.recon.fit.faint)
    return replace(found, cautions=tuple(text for text in told if text))


def command_line(given: dict[str, Any]) -> str:
    """The call of `recon` as it can be typed again: options other than the defaults, files without folders."""
    words = ["resolvent", "recon", *(Path(file).name for file in given["files"])]
    for name, parameter in inspect.signature(recon).parameters.items():
        value = given[name]
        if name != "files" and value != parameter.default:
            words.append("--" + name.removeprefix("as_").replace("_", "-"))
            words += [] if value is True else [_typed(name, value)]
    return shlex.join(words)


def _typed(option: str, value: str | float) -> str:
    """A number with all its digits, a path as its name; a model that is not a path here is one on the Hub."""
    if not isinstance(value, str):
        return str(value).removesuffix(".0")
    return value if option == "model" and not Path(value).exists() else Path(value).name
