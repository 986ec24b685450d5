"""``resolvent info``: what is in a scan, an image or a model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resolvent._version import __version__
from resolvent.cli.options import Dataset
from resolvent.cli.output import Debug, Json, emit, entries, progress, reporting
from resolvent.cli.streams import spooled

if TYPE_CHECKING:
    from resolvent.data import Geometry, Scan, Volume


def info(
    what: Annotated[
        str,
        typer.Argument(
            metavar="FILE|MODEL", help="A scan or an image (- is standard input), or the name or folder of a model."
        ),
    ],
    dataset: Dataset = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Describe the contents of a file, or what is known about a model.

    A scan is checked as it is before a reconstruction; the constants of a model are computed from its weights.
    """
    with reporting(as_json=as_json, debug=debug):
        from resolvent.data import Scan
        from resolvent.data.io import read

        words: dict[str, str] = {}
        if is_model(what):
            found = about_model(what)
        else:
            with progress() as say:
                say(f"reading {what}")
                with spooled(what) as place:
                    content = read(place, dataset)
                    if isinstance(content, Scan):
                        found, words = about_scan(content, place), {"slices": entries(content, count=2)}
                    else:
                        found = about_volume(content, place)
                    found["input"] = what
        if as_json:
            emit({"version": __version__, **found})
        else:
            _print(found, words)


def is_model(what: str) -> bool:
    """Whether the argument names a model: a folder, a file in one, a packaged model or one on the Hub.

    If a file of that name exists, it decides; if not, a name with the suffix of scan files is not a model of the Hub.
    """
    from resolvent.data.io.detect import EXPECTED
    from resolvent.mol.weights import CARD, WEIGHTS, on_hub, packaged_models

    path = Path(what)
    if path.is_file():
        return path.name in (CARD, WEIGHTS)
    return path.is_dir() or what in packaged_models() or (on_hub(what) and path.suffix not in (*EXPECTED, ".cfl"))


def about_model(name: str) -> dict[str, Any]:
    """Architecture, hash and card of a model; for a MOL also its constants, recomputed from the weights."""
    from resolvent.mol.baselines import Baseline
    from resolvent.mol.weights import describe, load

    model = load(name)
    slopes = ("noise_slope", "unseen_slope") if model.normalise else ()
    lam = {"lam": float(model.lam.detach())} | {name: float(getattr(model, name).detach()) for name in slopes}
    if isinstance(model, Baseline):
        facts = {**lam, "network": describe(model)}
    else:
        constants = {name: vars(bound) for name, bound in (("m", model.m), ("c", model.c), ("r", model.r))}
        score = {"kind": type(model.score).__name__, **model.score.config}
        facts = {**constants, **lam, "ridge": model.ridge, "normalise": model.normalise, "score": score}
    return {
        "kind": "model",
        "name": model.identity["name"],
        "sha256": model.identity["sha256"],
        "tier": model.tier,
        **facts,
        "parameters": sum(p.numel() for p in model.parameters()),
        "card": model.card,
    }


def about_scan(scan: Scan, path: str) -> dict[str, Any]:
    """Axes, sampling, maps, noise and geometry of a scan."""
    from resolvent.data.io.reading import format_of

    maps = scan.coil_maps
    return {
        "kind": "scan",
        "input": path,
        "format": format_of(path),
        "ndim": scan.ndim,
        "slices": scan.kspace.shape[0],
        "coils": scan.n_coils,
        "lead": list(scan.kspace.shape[2 : -scan.ndim]),
        "matrix": list(scan.matrix),
        "sampling": sampling(scan),
        "maps": None if maps is None else list(maps.shape),
        "calibration": None if scan.calibration is None else list(scan.calibration.kspace.shape),
        "noise": scan.noise,
        "reference": scan.reference is not None,
        **_place(scan.geometry),
    }


def about_volume(volume: Volume, path: str) -> dict[str, Any]:
    """Axes and geometry of an image."""
    from resolvent.data.io.reading import format_of

    return {
        "kind": "image",
        "input": path,
        "format": format_of(path),
        "ndim": volume.ndim,
        "shape": list(volume.image.shape),
        **_place(volume.geometry),
    }


def sampling(scan: Scan) -> dict[str, Any]:
    """Acceleration and pattern of a scan.

    ``pattern`` is "full"; "lines along AXIS" where the mask does not change along that axis, the readout; "points"; or
    "trajectory of SAMPLES".
    """
    from resolvent.data.validation import constant

    mask, ndim = scan.mask, scan.ndim
    measured = mask != 0
    names = ("z", "y", "x")[-ndim:]
    complete = [n for axis, n in zip(range(-ndim, 0), names, strict=True) if constant(measured, axis)]
    pattern = "points" if not complete else f"lines along {' and '.join(complete)}"
    if bool(measured.all()):
        pattern = "full"
    if scan.trajectory is not None:
        pattern = f"trajectory of {' x '.join(map(str, mask.shape[-ndim:]))} samples"
        mask = scan.trajectory.places[..., 0]
    return {
        "acceleration": round(scan.acceleration, 4),
        "pattern": pattern,
        "same_for_all": all(size == 1 for size in mask.shape[:-ndim]),
    }


def _place(geometry: Geometry | None) -> dict[str, Any]:
    if geometry is None:
        return {"voxel_mm": None, "oriented": None, "affine": None}
    lengths = (geometry.affine[:3, :3] ** 2).sum(0) ** 0.5
    voxel = [round(float(n), 4) for n in lengths]
    return {"voxel_mm": voxel, "oriented": geometry.oriented, "affine": geometry.affine.tolist()}


def _print(found: dict[str, Any], words: dict[str, str]) -> None:
    """Print one line per fact, under its word in `words` if there is one."""
    title = found.get("input") or found.get("name")
    typer.echo(f"{os.path.basename(str(title))}: {found['kind']}")
    for name, value in found.items():
        if name in ("kind", "input", "name", "card"):
            continue
        if name == "affine" and isinstance(value, list):
            value = "; ".join(" ".join(f"{n:.4g}" for n in row) for row in value[:3])
        elif name == "sampling":
            one = "one mask for all" if value["same_for_all"] else "a mask for each slice or frame"
            value = f"R = {value['acceleration']:.3g}, pattern {value['pattern']}, {one}"
        elif name in ("m", "c", "r") and isinstance(value, dict):
            value = f"{value['value']:.4g} ({value['kind']})"
        elif isinstance(value, dict):
            value = ", ".join(f"{key} {item}" for key, item in value.items()) or None
        elif isinstance(value, list):
            value = " x ".join(map(str, value)) or None
        elif isinstance(value, float):
            value = f"{value:.6g}"
        typer.echo(f"  {words.get(name, name).replace('_', ' '):13}{_word(name, value)}")
    for line in _outline(found.get("card", {})):
        typer.echo(f"  {line}")


def _outline(value: Any, key: str = "card") -> list[str]:
    """Nested facts as indented lines; a mapping of plain values on one."""
    if isinstance(value, dict) and any(isinstance(item, dict | list) for item in value.values()):
        return [key, *("  " + line for name, item in value.items() for line in _outline(item, name))]
    if isinstance(value, list):
        return [key, *("  " + line for item in value for line in _outline(item, "-"))]
    text = ", ".join(f"{name} {item}" for name, item in value.items()) if isinstance(value, dict) else str(value)
    return [f"{key} {text}"] if text else []


def _word(name: str, value: Any) -> str:
    if value is None:
        return {"maps": "none (ESPIRiT will estimate them)", "noise": "unknown (will be estimated)"}.get(name, "none")
    if name == "oriented" and value is False:
        return "no (only the voxel size is known)"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
