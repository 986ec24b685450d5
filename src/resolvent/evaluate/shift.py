"""Distribution shifts: scans that differ from the usual ones, in one respect at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import fmean

import torch

from resolvent.data import birdcage_maps
from resolvent.evaluate.accuracy import measure
from resolvent.evaluate.methods import Method
from resolvent.evaluate.scans import SNR_DB, Case, Spec
from resolvent.evaluate.store import Row, common, plain
from resolvent.linop import SENSE


@dataclass(frozen=True)
class Shift:
    """One difference: in the simulation of a scan, or in its data and maps.

    Attributes:
        name: name in tables.
        spec: changes the simulation; returns None for a measured scan, whose coils and noise are given.
        case: changes the data or the maps of the scan.
    """

    name: str
    spec: Callable[[Spec], Spec | None] = lambda spec: spec
    case: Callable[[Case], Case] = lambda case: case


def sampled(**changes: float) -> Callable[[Spec], Spec | None]:
    """A simulated scan with another number of coils or pixels; ``snr`` is added to the usual value."""

    def other(spec: Spec) -> Spec | None:
        if spec.subject.scan is not None:
            return None
        now = dict(changes)
        if "snr" in now:
            now["snr"] += SNR_DB if spec.acquisition.snr is None else spec.acquisition.snr
        return replace(spec, acquisition=replace(spec.acquisition, **now))

    return other


def toned(exponent: float) -> Callable[[Spec], Spec | None]:
    """A simulated scan of another contrast: the magnitudes are raised to a power."""

    def other(spec: Spec) -> Spec | None:
        return None if spec.subject.images is None else replace(spec, tone=exponent)

    return other


def wrong_maps(error: float) -> Callable[[Case], Case]:
    """Maps wrong by `error`: ``s' ~ s + e t`` with another ring of coils t; ``sum_c |s'_c|^2 = 1`` where s is not 0."""

    def other(case: Case) -> Case:
        maps = case.A.maps
        foreign = birdcage_maps(case.A.n_coils, case.A.spatial, seed=1).to(maps)
        foreign = foreign.reshape(1, len(foreign), *(1,) * (maps.ndim - 2 - len(case.A.spatial)), *case.A.spatial)
        inside = maps.abs().amax(1, keepdim=True) > 0
        near = inside * (maps + error * foreign)
        near = near / near.abs().square().sum(1, keepdim=True).sqrt().clamp_min(1e-6)
        return replace(case, A=SENSE(near, case.A.mask, ndim=case.A.ndim))

    return other


def moved(pixels: float) -> Callable[[Case], Case]:
    """The object is displaced along the readout for the last third of the lines: a phase ramp in k-space.

    Readouts run along the columns unless the scan says otherwise.
    """

    def other(case: Case) -> Case:
        along, across = (-1, -2) if case.readout == -1 else (-2, -1)
        samples, lines = case.y.shape[along], case.y.shape[across]
        ramp = torch.exp(-2j * torch.pi * pixels * (torch.arange(samples) - samples // 2) / samples)
        late = torch.arange(lines) >= 2 * lines // 3
        factor = torch.where(late[None, :], ramp[:, None], torch.ones(()))
        return replace(case, y=case.y * (factor if along == -2 else factor.T).to(case.y))

    return other


SHIFTS = (
    Shift("none"),
    Shift("4 coils", spec=sampled(coils=4)),
    Shift("32 coils", spec=sampled(coils=32)),
    Shift("6 dB more noise", spec=sampled(snr=-6)),
    Shift("6 dB less noise", spec=sampled(snr=6)),
    Shift("64 pixels", spec=sampled(size=64)),
    Shift("192 pixels", spec=sampled(size=192)),
    Shift("contrast: square root", spec=toned(0.5)),
    Shift("contrast: square", spec=toned(2.0)),
    Shift("maps off by 5 %", case=wrong_maps(0.05)),
    Shift("maps off by 10 %", case=wrong_maps(0.1)),
    Shift("maps off by 20 %", case=wrong_maps(0.2)),
    Shift("moved by 1 pixel", case=moved(1.0)),
    Shift("moved by 3 pixels", case=moved(3.0)),
)
"""All shifts of a study."""


def shifted(method: Method, case: Case, *, shift: Shift) -> list[Row]:
    """Scores of a scan whose data or maps were changed."""
    return measure(method, shift.case(case))


def summarise(rows: list[Row]) -> list[Row]:
    """Means over the scans of each method and shift, and the change of PSNR relative to the same scans without it."""
    found = []
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        still = {_scan(row): row["psnr"] for row in own if row["shift"] == "none"}
        for shift in dict.fromkeys(row["shift"] for row in own):
            of = [row for row in own if row["shift"] == shift]  # measured scans have only some shifts
            row: Row = {"method": method, "shift": shift}
            row |= {score: fmean(r[score] for r in of) for score in ("psnr", "ssim")}
            row |= {"change": fmean(r["psnr"] - still[_scan(r)] for r in of), "scans": len(of)}
            found.append(plain({**row, **common(of)}))
    return found


def _scan(row: Row) -> tuple[object, ...]:
    """Which scan it is, regardless of the shift."""
    return tuple(row.get(name) for name in ("data", "subject", "slice"))
