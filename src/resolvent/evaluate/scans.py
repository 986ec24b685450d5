"""The scans of a study: which subjects and slices, and how they are sampled. All methods use the same scans."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from resolvent._errors import DataError
from resolvent.data import Scan, add_noise, simulate, undersample
from resolvent.data.io.output import sha256
from resolvent.data.simulate import noise_at
from resolvent.data.subjects import Subject, in_turn, read_subjects
from resolvent.linop import SENSE, estimate_noise, ifft

Layout = Literal["slices", "volumes", "series"]
"""What a scan is: a slice, a 3-D volume, or a series of slices over time."""
SNR_DB = 30.0
"""Signal to noise of simulated scans, in dB, by default."""


@dataclass(frozen=True)
class Acquisition:
    """How a scan is sampled.

    Attributes:
        acceleration: see `resolvent.data.make_mask`.
        mask: kind of the mask.
        snr: signal to noise in dB, see `resolvent.simulate`. None: 30 for a simulated scan, and no added noise for a
            measured one.
        coils: number of coils of a simulated scan.
        size: rows and columns of a simulated scan; None for those of the image.
    """

    acceleration: float
    mask: str = "gaussian2d"
    snr: float | None = None
    coils: int = 8
    size: int | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """One scan, in units in which its largest coil image is 1.

    Attributes:
        y: ``(1, coil, *lead, *spatial)``.
        A: the physics.
        noise: the noise level; None if the file does not state it: it is then estimated.
        reference: the reference image.
        readout: see `Scan`.
    """

    y: Tensor
    A: SENSE
    noise: float | None
    reference: Tensor
    readout: int | None = None

    @property
    def level(self) -> float:
        """The noise level, estimated if it is not known."""
        return float(estimate_noise(self.y, self.A.ndim)) if self.noise is None else self.noise


@dataclass(frozen=True, eq=False)
class Spec:
    """The specification of a scan: enough to make it again.

    Attributes:
        subject: images or a measured scan.
        number: number of the slice among the non-empty slices of the subject; 0 for a volume or a series.
        acquisition: how it is sampled.
        seed: fixes coils, phase, noise and mask. It follows from the seed of the study and the names of file, subject
            and slice, so it is the same at every acquisition, and in a study of fewer subjects.
        sha256: hash of the file.
        layout: what the scan is.
        tone: exponent applied to the magnitudes of a simulated scan, to change the contrast.
    """

    subject: Subject
    number: int
    acquisition: Acquisition
    seed: int
    sha256: str | None
    layout: Layout = "slices"
    tone: float = 1.0

    @property
    def about(self) -> dict[str, Any]:
        """Columns that describe the scan; different scans have different columns."""
        scan = self.subject.scan
        acquisition = vars(self.acquisition) | {"coils": self.acquisition.coils if scan is None else scan.n_coils}
        if scan is None:
            acquisition["snr"] = SNR_DB if self.acquisition.snr is None else self.acquisition.snr
        else:
            acquisition["size"] = None
        return {
            "data": Path(self.subject.source).name,
            "data_sha256": self.sha256,
            "subject": self.subject.name,
            "layout": self.layout,
            "slice": self.number,
            "tone": self.tone,
            **acquisition,
            "scan_seed": self.seed,
        }

    def make(self) -> Case:
        """Simulate the scan, or undersample a measured one."""
        scan = self._simulated() if self.subject.scan is None else self._undersampled(self.subject.scan)
        unit = scan.normalised()
        assert unit.reference is not None
        A = SENSE(scan.maps, unit.mask, ndim=unit.ndim)
        return Case(unit.kspace, A, unit.noise, unit.reference, unit.readout)

    @property
    def possible(self) -> bool:
        """Whether the scan can be made: with few lines there may be no such mask, or too few to estimate maps from."""
        try:
            self.make()
        except DataError:
            return False
        return True

    def _simulated(self) -> Scan:
        how, images = self.acquisition, self.subject.images
        assert images is not None
        x = images[self.number : self.number + 1]
        x = x * x.abs().clamp_min(1e-6) ** (self.tone - 1)
        return simulate(
            resized(x, how.size),
            n_coils=how.coils,
            acceleration=how.acceleration,
            mask_kind=how.mask,
            snr_db=SNR_DB if how.snr is None else how.snr,
            seed=self.seed,
            phase=not self.subject.phase,
            ndim=3 if self.layout == "volumes" else 2,
        )

    def _undersampled(self, scan: Scan) -> Scan:
        """The undersampled scan; its maps come from the kept, noisy samples, its reference from the full scan."""
        full, how = scan.entry(self.number), self.acquisition
        if how.snr is None:
            return undersample(full, how.acceleration, how.mask, self.seed)
        unit = full.normalised()
        magnitude = torch.linalg.vector_norm(ifft(unit.kspace, full.ndim), dim=1)  # root sum of squares over the coils
        sigma = unit.scale / full.scale * noise_at(how.snr, magnitude)
        noise = None if full.noise is None else math.hypot(full.noise, sigma)
        noisy = full.replace(kspace=add_noise(full.kspace, sigma, self.seed), noise=noise)
        kept = undersample(noisy, how.acceleration, how.mask, self.seed)
        clean = SENSE(kept.maps, torch.ones_like(kept.mask), ndim=full.ndim).adjoint(full.kspace)
        return kept.replace(reference=clean)


@dataclass(frozen=True)
class Files:
    """The subjects of data files.

    Attributes:
        paths: the files.
        layout: what a scan is.
        subjects: number of subjects of each file, from the first; None for all.
        slices: number of slices of each subject, evenly spaced; None for all.
        seed: seed of the study.

    Raises:
        DataError: two files have the same name.
    """

    paths: Sequence[str]
    layout: Layout = "slices"
    subjects: int | None = None
    slices: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        names = [Path(path).name for path in self.paths]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise DataError(
                f"Two files are called {twice}, but tables and seeds identify files by name. "
                "Name each file once, and rename one of two that differ."
            )

    def specs(self, acquisition: Acquisition) -> list[Spec]:
        """The scans at one acquisition, one subject after the other.

        Raises:
            FormatError, CorruptFileError, DataError, ShapeError: see `resolvent.data.subjects.read_subjects`.
        """
        return [
            self._spec(subject, number, acquisition, digest)
            for subject, digest in self._all
            for number in _spread(_length(subject), self.slices)
        ]

    def few(self, acquisition: Acquisition, count: int) -> list[Spec]:
        """The middle slices of `count` subjects, taken from the files in turn."""
        digests = {subject.source: digest for subject, digest in self._all}
        return [
            self._spec(subject, _length(subject) // 2, acquisition, digests[subject.source])
            for subject in in_turn([subject for subject, _ in self._all])[:count]
        ]

    def _spec(self, subject: Subject, number: int, acquisition: Acquisition, digest: str | None) -> Spec:
        name = f"{self.seed}/{Path(subject.source).name}/{subject.name}/{number}"
        return Spec(subject, number, acquisition, zlib.crc32(name.encode()) % 2**31, digest, self.layout)

    @cached_property
    def _all(self) -> list[tuple[Subject, str | None]]:
        """All subjects, with the hashes of their files."""
        ndim = 2 if self.layout == "slices" else 3
        return [
            (_checked(subject, self.layout), digest and digest[:16])
            for path in self.paths
            for digest in [sha256(path)]
            for subject in read_subjects(path, ndim=ndim)[: self.subjects]
        ]


def resized(images: Tensor, size: int | None) -> Tensor:
    """Planes padded to squares with zeros, interpolated (antialiased) to `size`, scaled to a largest magnitude of 1."""
    if size is None:
        return images
    rows, columns = images.shape[-2:]
    side = max(rows, columns)
    top, left = (side - rows) // 2, (side - columns) // 2
    square = pad(images, (left, side - columns - left, top, side - rows - top))

    def planes(t: Tensor) -> Tensor:
        flat = t.reshape(-1, 1, side, side)
        small = interpolate(flat, (size, size), mode="bilinear", antialias=True, align_corners=False)
        return small.reshape(*t.shape[:-2], size, size)

    small = torch.complex(planes(square.real), planes(square.imag)) if square.is_complex() else planes(square)
    return small / small.abs().max()


def _checked(subject: Subject, layout: Layout) -> Subject:
    """The subject; a measured scan cannot be taken for volumes or series that it is not."""
    scan = subject.scan
    if scan is not None and (
        (layout == "volumes" and scan.ndim == 2) or (layout == "series" and scan.kspace.ndim == 2 + scan.ndim)
    ):
        raise DataError(
            f"{subject.source} holds measured slices (k-space has the axes {tuple(scan.kspace.shape)}), not {layout}. "
            "Leave out --as, or give a scan of that kind."
        )
    return subject


def _length(subject: Subject) -> int:
    return len(subject.images) if subject.scan is None else len(subject.scan.kspace)  # pyright: ignore[reportArgumentType]


def _spread(length: int, count: int | None) -> list[int]:
    """`count` numbers below `length`, each in the middle of one of `count` equal parts."""
    if count is None or count >= length:
        return list(range(length))
    return [int((i + 0.5) * length / count) for i in range(count)]
