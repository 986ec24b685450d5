"""``resolvent simulate``: the scan that a known image would have given."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from resolvent._version import __version__
from resolvent.cli.inputs import read_image
from resolvent.cli.naming import outputs
from resolvent.cli.options import KINDS, at_least_one, known_kind
from resolvent.cli.output import Debug, Json, emit, entries, progress, reporting

if TYPE_CHECKING:
    from resolvent.data import Volume


def simulate(
    volume: Annotated[str, typer.Argument(metavar="VOLUME", help="An image: .nii .nii.gz .npy .h5")],
    output: Annotated[str, typer.Option("-o", "--output", metavar="SCAN", help="The scan: .h5, or .cfl (no maps).")],
    coils: Annotated[int, typer.Option(min=1, help="Number of birdcage coils.")] = 8,
    acceleration: Annotated[
        float, typer.Option(metavar="R", callback=at_least_one, help="Acceleration; 1 is full sampling.")
    ] = 6,
    mask_kind: Annotated[
        str, typer.Option("--mask-kind", metavar="KIND", callback=known_kind, help=f"{KINDS}.")
    ] = "gaussian2d",
    snr_db: Annotated[float, typer.Option(help="Signal over noise in the full image, dB.")] = 30,
    seed: Annotated[int, typer.Option(min=0, help="Seed for coils, phase, noise and mask.")] = 0,
    slice_: Annotated[
        int | None, typer.Option("--slice", min=0, help="Only this slice, counted from 0; all by default.")
    ] = None,
    ndim: Annotated[int, typer.Option(min=2, max=3, help="2: independent slices. 3: one volume.")] = 2,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Simulate a scan of an image.

    Adds coils, smooth phase (unless the image has its own), noise and undersampling. The scan holds k-space, mask, coil
    maps, the noise level and the true image as reference.
    """
    with reporting(as_json=as_json, debug=debug):
        if slice_ is not None and ndim == 3:
            raise typer.BadParameter("--slice takes one slice, which has 2 axes. Leave out --ndim 3.")
        from resolvent import data
        from resolvent._errors import FormatError
        from resolvent.data.io import check_writable, write

        outputs([volume], output)  # refuses to replace the image
        check_writable(output)
        if not output.lower().endswith((".h5", ".cfl")):
            raise FormatError(f"{output} is an image format, but this command writes a scan. Choose .h5 or .cfl.")
        with progress() as say:
            say(f"reading {volume}")
            image = selected(read_image(volume), slice_, ndim)
            say("simulating")
            has_phase = bool((image.image.imag != 0).any())
            scan = data.simulate(
                image,
                n_coils=coils,
                acceleration=acceleration,
                mask_kind=mask_kind,
                snr_db=snr_db,
                seed=seed,
                phase=not has_phase,
            ).validated()
            made = {
                "coils": coils,
                "acceleration": acceleration,
                "mask_kind": mask_kind,
                "snr_db": snr_db,
                "seed": seed,
                "noise": scan.noise,
            }
            write(scan, output, record={"simulated": made})
        shape = list(scan.kspace.shape)
        if as_json:
            emit({"version": __version__, "input": volume, "output": output, "shape": shape, **made})
        else:
            sizes = " x ".join(map(str, shape))
            typer.echo(f"{output}: k-space {sizes} ({entries(scan)}, coil, ...), noise {scan.noise:.3g}")


def selected(volume: Volume, number: int | None, ndim: int) -> Volume:
    """One slice with its place in the patient, or all of them: as a stack, or as one 3-D volume.

    Raises:
        ShapeError: there is no such slice, or the image cannot be seen as 3-D.
    """
    from resolvent._errors import ShapeError

    image = volume.image
    if ndim == 3 and volume.ndim == 2:
        if image.ndim != 3 or len(image) < 2:
            raise ShapeError(
                f"{volume.source} has the axes {tuple(image.shape)} (slice, ..., y, x), which are no 3-D volume. "
                "Leave out --ndim 3."
            )
        return replace(volume, image=image[None], ndim=3)
    if ndim == 2 and volume.ndim == 3:
        volume = replace(volume, image=image[0], ndim=2)
        if image.ndim != 4 or len(image) > 1:
            raise ShapeError(
                f"{volume.source} has the axes {tuple(image.shape)} (batch, ..., z, y, x), which are no stack of "
                "slices. Pass --ndim 3."
            )
    if number is None:
        return volume
    if number >= (count := len(volume.image)):
        raise ShapeError(
            f"{volume.source} has {count} slice{'s' * (count > 1)}, so there is no slice {number}. "
            f"Pass less than {count}."
        )
    geometry = volume.geometry and volume.geometry.slice(number)
    return replace(volume, image=volume.image[number : number + 1], geometry=geometry)
