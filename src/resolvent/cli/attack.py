"""``resolvent attack``: the perturbation of the data that changes the image most, as far as a search finds it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resolvent._version import __version__
from resolvent.cli.inputs import read_scan
from resolvent.cli.naming import figures, make_folders, remove_empty
from resolvent.cli.options import Dataset, Device, Kind, Maps, at_least_one, one_of, positive
from resolvent.cli.output import Debug, Json, emit, progress, reporting

if TYPE_CHECKING:
    from resolvent.data import Scan
    from resolvent.mol.worst_case import Attack

LINEAR = "sense"
"""What names, in place of a model, the linear reconstruction, whose worst case is known."""
METHODS = {"pgd": ("pgd",), "adam": ("adam",), "both": ("pgd", "adam")}


def _method(name: str) -> str:
    return one_of(name, METHODS)


def attack(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help=f"A packaged model, a model folder, or the word {LINEAR!r}.")
    ],
    scan: Annotated[str, typer.Argument(metavar="SCAN", help="A scan in any supported format.")],
    epsilon: Annotated[
        float, typer.Option(callback=positive, help="Norm of the perturbation, relative to that of the data.")
    ] = 0.01,
    steps: Annotated[int, typer.Option(min=1, help="Gradient steps per start and method.")] = 30,
    starts: Annotated[int, typer.Option(min=1, help="Starts per method.")] = 2,
    method: Annotated[
        str, typer.Option(metavar="NAME", callback=_method, help="pgd (projected gradient ascent), adam, or both.")
    ] = "pgd",
    held: Annotated[
        bool, typer.Option("--held", help="Attack once more with the conditioning held, as the bound assumes.")
    ] = False,
    window: Annotated[
        int | None,
        typer.Option(min=1, metavar="SIDE", help="Attack only a square of the image, at another place for each start."),
    ] = None,
    index: Annotated[int, typer.Option("--slice", min=0, help="The slice to attack; 0 is the first.")] = 0,
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="PNG", help="A picture of the attack.")
    ] = None,
    maps: Maps = None,
    dataset: Dataset = None,
    acceleration: Annotated[
        float | None,
        typer.Option(metavar="R", callback=at_least_one, help="Undersample a fully sampled scan first."),
    ] = None,
    mask_kind: Kind = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed for the random starts and the mask.")] = 0,
    device: Device = "cpu",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Search for the perturbation of the samples that changes the image most; compare with white noise of its norm.

    The result is a lower bound of the worst case, never a guarantee; more steps and starts find more. The bound
    printed with it is that of the certificate, with how it is known. The gain is the change of the image divided by
    that of the data.
    """
    with reporting(as_json=as_json, debug=debug):
        (picture,) = figures([scan], output)
        if acceleration is None and mask_kind is not None:
            raise typer.BadParameter("--mask-kind describes what --acceleration leaves out. Add --acceleration.")
        if held and model == LINEAR:
            raise typer.BadParameter("the linear reconstruction has no conditioning to hold. Leave out --held.")

        from resolvent.data import undersample
        from resolvent.data.io.output import check_place

        made = []
        try:
            if picture is not None:
                made = make_folders([picture])
                check_place(picture)
            with progress() as say:
                say(f"reading {scan}")
                one = read_scan(scan, maps, dataset).entry(index)
                if acceleration is not None:
                    one = undersample(one, acceleration, mask_kind or "gaussian2d", seed)
                options = {
                    "steps": steps,
                    "starts": starts,
                    "methods": METHODS[method],
                    "window": window,
                    "draws": 4,
                    "seed": seed,
                    "together": 1,
                    "say": say,
                }
                name, found, again, seconds = _search(model, one, epsilon, options, held=held, device=device)
            entry = _entry(found, again) | {
                "input": scan,
                "model": name,
                "slice": index,
                "method": method,
                "steps": steps,
                "starts": starts,
                "seed": seed,
                "seconds": round(seconds, 3),
                "figure": picture,
            }
            if picture is not None:
                _draw(found, one, picture, f"{name} · {Path(scan).name}", _table(entry)[-1])
        finally:
            remove_empty(made)
        if as_json:
            emit({"version": __version__, **entry})
        else:
            typer.echo(
                f"{Path(scan).name}, slice {index}: {name} · {method}, {starts} x {steps} steps, {seconds:.0f} s\n"
            )
            for line in _table(entry):
                typer.echo(f"  {line}".rstrip())
            typer.echo("  What a search finds is a lower bound of the worst case, never a guarantee.")
            typer.echo(f"  written: {picture}\n" if picture else "")


def _search(
    model: str, scan: Scan, epsilon: float, options: dict[str, Any], *, held: bool, device: str
) -> tuple[str, Attack, Attack | None, float]:
    """Name of the attacked model, the attack, the one with the conditioning held, and the seconds both took."""
    from resolvent.mol.targets import attack_model, attack_sense
    from resolvent.mol.weights import load_mol

    network = None if model == LINEAR else load_mol(model).to(device)
    options["say"]("coil maps")
    unit = scan.normalised()
    y, A = unit.kspace.to(device), scan.operator().to(device)
    began = time.monotonic()
    again = None
    if network is None:
        name, found = LINEAR, attack_sense(y, A, epsilon, noise=unit.noise, **options)
    else:
        name = str(network.identity.get("name", model))
        found = attack_model(network, y, A, epsilon, noise=unit.noise, **options)
        if held:
            again = attack_model(network, y, A, epsilon, noise=unit.noise, hold_conditioning=True, **options)
    return name, found, again, time.monotonic() - began


def _entry(found: Attack, again: Attack | None) -> dict[str, Any]:
    """What was measured, for the one sample that was attacked: JSON types only."""
    from resolvent.solve import norm

    place = None if found.window is None else [int(v) for v in found.window[0]]
    return {
        "epsilon": found.epsilon,
        "gain_worst": float(found.gain_worst),
        "gain_gaussian": float(found.gain_gaussian),
        "gain_gaussian_max": float(found.gain_gaussian_max),
        "gain_bound": found.gain_bound,
        "gain_bound_kind": found.gain_bound_kind,
        "proved": found.gain_bound_kind == "proved",
        "held": None if again is None else float(again.gain_worst),
        "error": float(found.error) if found.error.isfinite() else None,
        "change": float(norm(found.change) / norm(found.clean)),
        "largest_error": float(found.largest_error),
        "window": None if place is None else {"side": found.side, "row": place[0], "column": place[1]},
        "reconstructions": found.reconstructions + (0 if again is None else again.reconstructions),
        "gradients": found.gradients + (0 if again is None else again.gradients),
    }


def _table(entry: dict[str, Any]) -> list[str]:
    """The gains, one a line; the last line says what they did to the image."""
    place = entry["window"]
    side = "" if place is None else f" in the {place['side']} x {place['side']} window"
    error = "not known: a solve did not converge" if entry["error"] is None else f"+-{100 * entry['error']:.1g} %"
    lines = [
        f"{'gain':>35}{side}",
        f"white noise, mean      {entry['gain_gaussian']:12.4g}   (largest {entry['gain_gaussian_max']:.4g})",
        f"worst that was found   {entry['gain_worst']:12.4g}   ({error})",
        f"bound                  {entry['gain_bound']:12.4g}   ({entry['gain_bound_kind']})",
    ]
    if entry["held"] is not None:
        lines.insert(3, f"  conditioning held    {entry['held']:12.4g}")
    where = "" if place is None else f" at row {place['row']}, column {place['column']}"
    summary = (
        f"{100 * entry['epsilon']:.3g} % of the data change the image by {100 * entry['change']:.3g} %; the largest "
        f"error{side}{where} is {100 * entry['largest_error']:.3g} % of the largest value"
    )
    return [*lines, "", summary]


def _draw(found: Attack, scan: Scan, picture: str, title: str, summary: str) -> None:
    from resolvent.data.places import aspect_of
    from resolvent.figures import attacked

    unit = scan.normalised()
    corner = None if found.window is None else found.window[0].tolist()
    attacked(
        picture,
        found.clean,
        found.image,
        found.perturbation,
        reference=unit.reference,
        window=None if corner is None else (corner[0], corner[1], found.side or 0),
        aspect=aspect_of(scan.geometry),
        title=f"{title} · gain {float(found.gain_worst):.3g} (white noise {float(found.gain_gaussian):.3g})",
        caption=f"{summary}\nbound {found.gain_bound:.3g} ({found.gain_bound_kind}); what is found is a lower bound "
        "of the worst case, never a guarantee",
    )
