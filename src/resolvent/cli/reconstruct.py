"""Reconstruction of one scan: undersample if asked, find maps, solve slice by slice, compare with the reference."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resolvent._errors import MemoryLimitError, ModelError
from resolvent.cli.output import entries, pace
from resolvent.data import Scan, metrics, undersample
from resolvent.data.planes import AXES, in_planes, readout, volumes_of
from resolvent.linop import LinearOperator
from resolvent.mol import MOL, Certificate, Reconstruction
from resolvent.mol.baselines import sense
from resolvent.mol.fit import joined as fits_joined
from resolvent.mol.memory import UNKNOWN, gib, plan, resident
from resolvent.monotone import CertifiedSeries, footprint
from resolvent.solve import Solution


@dataclass(frozen=True)
class Retrospective:
    """How a fully sampled scan is undersampled: the arguments of `resolvent.undersample`."""

    acceleration: float
    kind: str = "gaussian2d"
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """A reconstructed scan.

    Attributes:
        scan: what was reconstructed: after undersampling, with the reference of the scores.
        recon: all slices, in the units of ``scan.kspace``.
        images: ``zero_filled``, ``sense`` and ``model``, if a comparison was asked for; else ``model`` alone.
        scores: PSNR, SSIM and NMSE of each image, if there is a reference.
        reference: in words, what the images were compared with; empty if with nothing.
        seconds: from k-space to the certified image; maps included, comparisons not.
        solved: what was solved, entry by entry: `scan` or its planes, with the maps that were used, and no reference.
        remarks: what a user should know about how it was done: planes, tiles.
        cautions: what a user should know about the scan.
    """

    scan: Scan
    recon: Reconstruction
    images: dict[str, Tensor]
    scores: dict[str, dict[str, float]]
    reference: str
    seconds: float
    solved: Scan
    remarks: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()

    @property
    def summary(self) -> dict[str, Any]:
        """The entry of this scan in the JSON object of a command; input and output are for the caller to add."""
        record = self.recon.record()
        shown = ("proved", "tier", "m", "distance", "data_gain", "data_gain_kind")
        return {
            "model": record["model"].get("name", ""),
            **{name: record[name] for name in ("status", "converged", "steps", "evaluations", "applications")},
            "seconds": round(self.seconds, 3),
            "certificate": {name: record["certificate"][name] for name in shown},
            "fit": record["fit"],
            **({"metrics": _finite(self.scores)} if self.scores else {}),
        }

    @property
    def notes(self) -> dict[str, Any]:
        """What the sidecar says beyond the reconstruction's own record."""
        scan = self.scan
        compared = {"metrics": _finite(self.scores), "reference": self.reference} if self.scores else {}
        return {
            "scale": (self.recon.scale * scan.scale).tolist(),
            "seconds": round(self.seconds, 3),
            "acceleration": round(scan.acceleration, 3),
            "maps": "in the file" if scan.coil_maps is not None else "estimated (ESPIRiT)",
            "curve": curve(self.recon.solution),
            **{name: list(said) for name, said in (("remarks", self.remarks), ("cautions", self.cautions)) if said},
            **compared,
        }


def reconstruct(
    scan: Scan,
    model: MOL,
    *,
    tol: float = 1e-3,
    max_steps: int = 100,
    retrospective: Retrospective | None = None,
    compare: bool = False,
    max_memory: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Reconstruct a scan; also zero-filled and SENSE images, and scores, if there is a reference or if `compare`.

    Each slice (for a 3-D or dynamic scan, each volume or series) is solved alone and in its own units: its image does
    not depend on its neighbours in the file, to the last bit, and the memory is that of one slice.

    For a 2-D model, a 3-D scan with a fully sampled axis is split into planes, which is exact (see `in_planes`); of
    several volumes in a file, all are split or none. Only in this does an image depend on its neighbours.

    The reference is the full reconstruction with the same maps where samples were left out here, else the image that
    the file calls its reference. Scores are those of `resolvent.data.metrics` over the whole volume.

    Args:
        scan: as read.
        model: the model, on the device that computes; the result is in CPU memory.
        tol: see `MOL.solve`.
        max_steps: see `MOL.solve`.
        retrospective: undersample first; the scan must be fully sampled.
        compare: make the comparison images even without a reference.
        max_memory: bytes that this process may hold. What it holds when the first solve begins and the images of all
            slices are subtracted; the rest is the limit of each solve. The estimation of coil maps is not planned for.
        say: told what is being done.

    Raises:
        ModelError: the model is one for volumes or series, and the scan holds slices.
        MemoryLimitError: a solve does not fit into `max_memory`, or the scan has a trajectory.
    """
    if max_memory is not None and scan.trajectory is not None:
        raise MemoryLimitError(UNKNOWN.format("those along a trajectory"))  # before maps are estimated
    if model.score.ndim > scan.kspace.ndim - 2:
        raise ModelError(
            f"{model.identity.get('name', 'the model')} is a model for volumes or series, but "
            f"{Path(scan.source).name or 'the scan'} holds slices. Use one for slices, such as --model brain-2d."
        )
    began = time.monotonic()
    given = scan.coil_maps is not None
    reference = "the reference in the file" if scan.reference is not None else ""
    if not given:
        say("estimating coil maps")
    if retrospective is not None:
        scan = undersample(scan, retrospective.acceleration, retrospective.kind, retrospective.seed)
        reference = "the full reconstruction, with the same maps"
    maps, sets = scan.maps, scan.sets
    whole, axis = scan, _across(scan, model)
    remarks: list[str] = []
    if axis is not None:
        scan = in_planes(scan, axis)
        maps = scan.maps
        remarks.append(f"{len(maps)} planes across {AXES[axis]}, which is fully sampled, each a 2-D problem of its own")
    frames = math.prod(scan.kspace.shape[2 : -scan.ndim])
    if frames > 1 and model.score.ndim == 2:
        hint = "; --model cine sees a series as one" if whole.ndim == 2 else ""  # of volumes no model does
        remarks.append(f"{frames} frames, of which the network sees each by itself{hint}")
    elif frames > 1 and model.score.ndim > scan.ndim and not isinstance(model.score, CertifiedSeries):
        remarks.append("the network treats frames as a third axis of space; --model cine is for series")
    spent = time.monotonic() - began

    solved = scan.replace(coil_maps=maps, reference=None, calibration=None)
    compare = compare or scan.reference is not None
    parts: list[Reconstruction] = []
    others: dict[str, list[Tensor]] = {"zero_filled": [], "sense": []}
    room: int | None = None
    count, first, device = scan.kspace.shape[0], time.monotonic(), model.log_lam.device
    for number in range(count):
        going = pace(number, count, time.monotonic() - first, entries(solved))
        say("reconstructing" + f" · {going}" * (count > 1))
        began = time.monotonic()
        one = solved.entry(number).normalised()
        y, A = one.kspace.to(device), one.operator().to(device)
        if max_memory is not None and number == 0:
            kept = (2 + 2 * compare) * count * sets * y.nbytes // y.shape[1]
            room, tiles = _room(model, y, A, max_memory, kept)
            remarks += tiles
        part = model.solve(y, A, tol=tol, max_steps=max_steps, noise=one.noise, max_memory=room).to("cpu")
        unit = one.scale / scan.scale
        fit = replace(part.fit, size=part.fit.size * unit)
        parts.append(replace(part, image=part.image * unit, scale=part.scale * unit, fit=fit))
        spent += time.monotonic() - began
        if compare:
            others["zero_filled"].append(A.zero_filled(y).cpu() * unit)
            others["sense"].append(sense(y, A, noise=one.noise).cpu() * unit)

    recon = joined(parts)
    recon = replace(recon, certificate=_units_held(recon.certificate))
    images = {name: torch.cat(found) for name, found in others.items() if found} | {"model": recon.image}
    images = {name: _combined(image, sets) for name, image in images.items()}
    if axis is not None:
        scan, depth = whole, count // len(whole.kspace)
        images = {name: volumes_of(image, axis, depth) for name, image in images.items()}
        fits = [fits_joined([part.fit for part in parts[n : n + depth]]).pooled() for n in range(0, count, depth)]
        recon = replace(recon, image=images["model"], fit=fits_joined(fits))
    scores: dict[str, dict[str, float]] = {}
    if scan.reference is not None:
        say("comparing with the reference")
        scores = {name: metrics(scan.reference, image) for name, image in images.items()}
    if not given:
        scan = scan.replace(coil_maps=None)
    return Outcome(scan, recon, images, scores, reference if scores else "", spent, solved, tuple(remarks))


def _across(scan: Scan, model: MOL) -> int | None:
    """The fully sampled axis across which a 3-D scan is split into planes for a 2-D model; None if it is not split."""
    axis = readout(scan) if model.score.ndim == 2 and scan.sets == 1 else None
    if axis is not None and not bool((scan.maps.movedim(axis - 3, 1) != 0).flatten(2).any(2).all()):
        return None  # planes that no coil sees are no scans
    return axis


def _room(model: MOL, y: Tensor, A: LinearOperator, limit: int, later: int) -> tuple[int, list[str]]:
    """What the solve of a slice may hold so that the process stays below `limit`, and whether the network needs tiles.

    Asked once, before the first slice: what a solve loads and plans stays in memory and counts for the others, too.

    Args:
        model: the model.
        y: k-space of a slice.
        A: its operator.
        limit: bytes that the process may hold.
        later: bytes of the results that will be held beside the solves.
    """
    footprint(model.score)  # loads what stays in memory, before that is measured
    held = resident() + later
    planned = plan(model, y, A, limit, held)
    if planned.tile is None:
        return planned.peak, []
    tile = " x ".join(map(str, planned.tile[1:]))
    return planned.peak, [f"the network works in tiles of {tile}, to hold {gib(held + planned.peak)}"]


def joined(parts: list[Reconstruction]) -> Reconstruction:
    """The reconstructions of several slices as one, with the worst bounds of any slice."""
    if len(parts) == 1:
        return parts[0]
    solutions, certificates = [part.solution for part in parts], [part.certificate for part in parts]
    longest = max(len(s.residuals) for s in solutions)

    def padded(rows: list[Tensor]) -> Tensor:
        return torch.cat([torch.cat([r, r[-1:].expand(longest - len(r), -1)]) for r in rows], 1)

    solution = Solution(
        x=torch.cat([s.x for s in solutions]),
        sample_status=tuple(status for s in solutions for status in s.sample_status),
        sample_steps=torch.cat([s.sample_steps for s in solutions]),
        evaluations=sum(s.evaluations for s in solutions),
        residuals=padded([s.residuals for s in solutions]),
        applications=sum(s.applications for s in solutions),
        seconds=padded([s.seconds for s in solutions]),
    )
    certificate: Certificate = replace(
        certificates[0],
        distance=max(c.distance for c in certificates),
        distances=torch.cat([c.distances for c in certificates]),
        data_gain=max(c.data_gain for c in certificates),
        proved=all(c.proved for c in certificates),
    )
    return replace(
        parts[0],
        image=torch.cat([part.image for part in parts]),
        solution=solution,
        certificate=certificate,
        fit=fits_joined([part.fit for part in parts]),
        scale=torch.cat([part.scale for part in parts]),
        lam=torch.cat([part.lam for part in parts]),
        noise=torch.cat([part.noise for part in parts]),
    )


def _units_held(certificate: Certificate) -> Certificate:
    """Here units, and possibly maps, come from the data, for any model: no gain holds for all changes of the data."""
    proved = certificate.data_gain_kind == "proved"
    return replace(certificate, data_gain_kind="conditioning held") if proved else certificate


def curve(solution: Solution) -> dict[str, list[list[float]]]:
    """Residuals and seconds of each slice, four digits, up to the step at which the slice ended."""
    ends = [int(n) for n in solution.sample_steps]
    rows = {"residuals": solution.residuals, "seconds": solution.seconds}
    return {
        name: [[float(f"{v:.4g}") for v in line[:end].tolist()] for line, end in zip(values.T, ends, strict=True)]
        for name, values in rows.items()
    }


def _combined(image: Tensor, sets: int) -> Tensor:
    """One image of several map sets: the root of the sum of squares over axis 1."""
    return image if sets == 1 else image.abs().square().sum(1).sqrt()


def _finite(scores: dict[str, dict[str, float]]) -> dict[str, dict[str, float | None]]:
    return {name: {key: v if math.isfinite(v) else None for key, v in of.items()} for name, of in scores.items()}
