"""``resolvent evaluate``: tables and figures as in the paper, from a data set."""

from __future__ import annotations

import math
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resolvent._version import __version__
from resolvent.cli.options import KINDS, known_kind, one_of, positive
from resolvent.cli.output import REFUSED, Debug, Json, complain, emit, progress, reporting

if TYPE_CHECKING:
    from resolvent.evaluate import Store, Study

LAYOUTS = ("slices", "volumes", "series")
OFTEN = 10.0
"""Seconds between lines of progress where stderr is not a terminal."""


def _known(kinds: list[str] | None) -> list[str] | None:
    for kind in kinds or ():
        known_kind(kind)
    return kinds


def _positives(values: list[float] | None) -> list[float] | None:
    for value in values or ():
        positive(value)
    return values


def _finite(values: list[float] | None) -> list[float] | None:
    for value in values or ():
        if not math.isfinite(value):
            raise typer.BadParameter(f"{value} is not a finite number.")
    return values


def _layout(name: str) -> str:
    return one_of(name, LAYOUTS)


def evaluate(
    data: Annotated[
        list[str], typer.Option(metavar="FILE", help="Images or fully sampled scans to test on; repeat for more.")
    ],
    output: Annotated[
        str,
        typer.Option("-o", "--output", metavar="DIR", help="Folder for the results; a stopped run continues there."),
    ],
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL]...", help="Packaged models, or folders of models.", show_default=False),
    ] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Compare with the zero-filled image, SENSE, TV and wavelets.")
    ] = False,
    tune: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Tune the weights of the baselines on --probes of these subjects; else they follow a rule.",
        ),
    ] = None,
    acceleration: Annotated[
        list[float] | None,
        typer.Option(metavar="R", callback=_positives, help="Acceleration; 4 and 6 by default; repeat for several."),
    ] = None,
    mask_kind: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", callback=_known, help=f"{KINDS}; gaussian2d by default; repeat for several."),
    ] = None,
    snr_db: Annotated[
        list[float] | None,
        typer.Option(
            metavar="DB",
            callback=_finite,
            help="30 for simulated scans, no noise added to measured ones, by default; repeat for several.",
        ),
    ] = None,
    coils: Annotated[int, typer.Option(min=1, help="Coils of simulated scans.")] = 8,
    size: Annotated[
        int | None, typer.Option(min=16, metavar="N", help="Resize images to N x N pixels; unchanged by default.")
    ] = None,
    layout: Annotated[
        str,
        typer.Option(
            "--as", metavar="WHAT", callback=_layout, help="How to treat a scan: as slices, volumes or series."
        ),
    ] = "slices",
    subjects: Annotated[
        int | None, typer.Option(min=1, help="How many subjects of each file, from the first; all by default.")
    ] = None,
    slices: Annotated[int, typer.Option(min=1, help="Slices per subject, evenly spaced.")] = 4,
    convergence: Annotated[
        bool, typer.Option("--convergence", help="Record how the solves of models converge.")
    ] = False,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Test noise, worst case, sampling, structures, shifts, empty data.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Only this test of --robustness, such as gaussian or worst; repeat for more."
        ),
    ] = None,
    cost: Annotated[bool, typer.Option("--cost", help="Measure time and memory of a training step.")] = False,
    probes: Annotated[
        int, typer.Option(min=1, help="Number of scans for --tune, convergence and robustness: middle slices.")
    ] = 4,
    epsilon: Annotated[
        list[float] | None,
        typer.Option(
            metavar="E", callback=_positives, help="Norm of perturbation over data; 0.0025 to 0.08 by default."
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the search for the worst case.")] = 200,
    starts: Annotated[int, typer.Option(min=1, help="Starts of that search.")] = 6,
    quick: Annotated[
        bool, typer.Option("--quick", help="One probe and a short search, to check that it runs.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed for coils, phase, noise and masks.")] = 0,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare reconstructions on a data set: tables and figures.

    Scans are simulated from images; measured scans are undersampled. All methods see the same scans. DIR receives CSV,
    JSON, Markdown and figures of every experiment. Each result is saved at once: a second call with the same DIR
    computes only what is missing.
    """
    with reporting(as_json=as_json, debug=debug):
        from dataclasses import replace

        from resolvent.evaluate import BASELINES, Acquisition, Files, Search, Store, Study, load_models

        if not models and not baselines:
            raise typer.BadParameter("There is nothing to evaluate. Name a MODEL, or add --baselines.")
        if (only or epsilon) and not robustness:
            raise typer.BadParameter("--only and --epsilon apply to --robustness. Add --robustness.")
        if tune and not baselines:
            raise typer.BadParameter("--tune chooses the weights of the baselines. Add --baselines.")
        began = time.monotonic()
        accelerations, kinds = acceleration or [4.0, 6.0], mask_kind or ["gaussian2d"]
        acquisitions = (
            Acquisition(R, kind, db, coils, size) for kind in kinds for db in snr_db or [None] for R in accelerations
        )
        files = Files(tuple(data), layout, subjects, slices, seed)  # pyright: ignore[reportArgumentType]
        study = Study(
            files,
            list(dict.fromkeys(acquisitions)),
            models=load_models(models or []),
            baselines=BASELINES if baselines else (),
            tune=replace(files, paths=tuple(tune)) if tune else None,
            convergence=convergence,
            robustness=robustness,
            cost=cost,
            probes=probes,
            search=Search(steps=steps, starts=starts),
        )
        study = study.quick() if quick else study
        study = replace(study, levels=tuple(epsilon)) if epsilon else study
        study = replace(study, perturbations=tuple(only)) if only else study
        folder = _folder(output)
        with _pacing() as say:
            store = Store(folder / "rows.jsonl")
            found = study.run(store, say)
            say("tables and figures")
            written = _written(folder, found, study, store)
        if as_json:
            rest = {name: rows for name, rows in found.items() if name not in ("accuracy", "scans", "steps")}
            emit({"version": __version__, "output": output, "rows": found["accuracy"], **rest})
        else:
            _show(found["accuracy"], written, time.monotonic() - began)
        unsolved = [row["method"] for row in found["scans"] if row.get("converged") is False]
        broken = [row["method"] for row in found["scans"] if not row["finite"]]
        if unsolved:
            complain(f"warning: {len(unsolved)} solves did not converge ({_once(unsolved)}); see scans.csv.")
        if broken:
            complain(
                f"warning: {len(broken)} images are not finite ({_once(broken)}) and count as black; see scans.csv."
            )
        if unsolved or broken:
            raise typer.Exit(REFUSED)


def _once(names: list[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _folder(out: str) -> Path:
    """The folder of results, created if it does not exist."""
    from resolvent.cli.naming import make_folders
    from resolvent.data.io.output import check_place

    name = str(Path(out) / "example.png")
    make_folders([name])
    check_place(name)
    return Path(out)


def _written(folder: Path, found: dict[str, list[dict[str, Any]]], study: Study, store: Store) -> list[Path]:
    """Tables, figures and the example."""
    from resolvent.data import metrics
    from resolvent.evaluate import plots, tables
    from resolvent.evaluate.provenance import machine, provenance
    from resolvent.figures import comparison

    how = {"command": shlex.join(["resolvent", *sys.argv[1:]]), "machine": machine(), **provenance()}
    paths = tables.write(folder, found, how) + plots.write(folder, found)
    case, images = study.example(store)
    acquisition = study.acquisitions[0]
    comparison(
        folder / "example.png",
        images,
        reference=case.reference,
        scores={name: metrics(case.reference, image) for name, image in images.items()},
        title=f"{acquisition.mask} · R = {acquisition.acceleration:g} · {case.A.n_coils} coils",
    )
    return [*paths, folder / "example.png"]


def _show(rows: list[dict[str, Any]], written: list[Path], seconds: float) -> None:
    """Print the summary, a block for each set of scans."""
    from itertools import groupby

    from resolvent.evaluate.tables import sampling_text, two_digits

    for heading, group in groupby(rows, key=sampling_text):
        typer.echo(f"\n{heading}\n  {'':20}{'PSNR':>9}{'SSIM':>9}{'p':>9}{'seconds':>10}")
        for row in group:
            p = "best" if row["best"] else "" if row["p"] is None else f"{row['p']:.2g}"
            typer.echo(
                f"  {row['method']:20}{row['psnr']:6.2f} dB{row['ssim']:9.4f}{p:>9}{two_digits(row['seconds']):>10}"
            )
    names = ", ".join(sorted({path.name for path in written}))
    typer.echo(f"\n  {seconds:.0f} s; written to {written[0].parent}: {names}")


@contextmanager
def _pacing() -> Iterator[Callable[[str], None]]:
    """Progress on a terminal as one changing line, elsewhere a line every ten seconds."""
    if sys.stderr.isatty():
        with progress() as say:
            yield say
        return
    last = time.monotonic()

    def now_and_then(text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= OFTEN:
            last = time.monotonic()
            typer.echo(f"resolvent: {text}", err=True)

    yield now_and_then
