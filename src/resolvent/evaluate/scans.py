"""The scans of a study: which subjects and slices, sampled how; each is made once, and all methods see the same."""

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
"""Of simulated scans, where none is asked for."""


@dataclass(frozen=True)
class Acquisition:
    """How a scan is sampled.

    Attributes:
        acceleration: see `resolvent.data.make_mask`.
        mask: its kind.
        snr: signal to noise in dB, see `resolvent.simulate`. None: 30 for a simulated scan, and nothing added to a
            measured one.
        coils: of a simulated scan.
        size: rows and columns of a simulated scan; those of the image where None.
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
        A: its physics.
        noise: its level; None where the file does not say: it is then estimated.
        reference: what the image should be.
        readout: see `Scan`.
    """

    y: Tensor
    A: SENSE
    noise: float | None
    reference: Tensor
    readout: int | None = None

    @property
    def level(self) -> float:
        """The noise level, estimated where it is not known."""
        return float(estimate_noise(self.y, self.A.ndim)) if self.noise is None else self.noise


@dataclass(frozen=True, eq=False)
class Spec:
    """What a scan is made of: enough to make it again.

    Attributes:
        subject: images or a measured scan.
        number: of the slice among those of the subject that are not empty; 0 for a volume or a series.
        acquisition: how it is sampled.
        seed: fixes coils, phase, noise and mask. It follows from the seed of the study and the names of file, subject
            and slice, so it is the same at every acquisition, and in a study of fewer subjects.
        sha256: of the file.
        layout: what the scan is.
        tone: exponent of the magnitudes of a simulated scan: another contrast.
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
        """What a row says of the scan: two that differ in anything have another."""
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
        """Simulate the scan, or leave samples out of a measured one."""
        scan = self._simulated() if self.subject.scan is None else self._undersampled(self.subject.scan)
        unit = scan.normalised()
        assert unit.reference is not None
        A = SENSE(scan.maps, unit.mask, ndim=unit.ndim)
        return Case(unit.kspace, A, unit.noise, unit.reference, unit.readout)

    @property
    def possible(self) -> bool:
        """Whether there is such a scan: a mask of few lines may be none, or leave none to make maps of."""
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
        """The maps are estimated from what is kept, with its noise; the reference is the full scan as measured."""
        full, how = scan.entry(self.number), self.acquisition
        if how.snr is None:
            return undersample(full, how.acceleration, how.mask, self.seed)
        unit = full.normalised()
        magnitude = torch.linalg.vector_norm(ifft(unit.kspace, full.ndim), dim=1)  # of all coil images together
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
        subjects: of each file, the first so many; all where None.
        slices: of each subject, so many, evenly spaced; all where None.
        seed: of the study.

    Raises:
        DataError: two files of one name.
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
        """The scans at one acquisition, a subject after the other.

        Raises:
            FormatError, CorruptFileError, DataError, ShapeError: see `resolvent.data.subjects.read_subjects`.
        """
        return [
            self._spec(subject, number, acquisition, digest)
            for subject, digest in self._all
            for number in _spread(_length(subject), self.slices)
        ]

    def few(self, acquisition: Acquisition, count: int) -> list[Spec]:
        """The middle slices of the first subjects, as many of one file as of another, `count` together."""
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
        """The subjects, with the hashes of their files."""
        ndim = 2 if self.layout == "slices" else 3
        return [
            (subject, digest and digest[:16])
            for path in self.paths
            for digest in [sha256(path)]
            for subject in read_subjects(path, ndim=ndim)[: self.subjects]
        ]


def resized(images: Tensor, size: int | None) -> Tensor:
    """Planes made square by zeros around them, then interpolated (antialiased) to `size`; largest magnitude 1."""
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


def _length(subject: Subject) -> int:
    return len(subject.images) if subject.scan is None else len(subject.scan.kspace)  # pyright: ignore[reportArgumentType]


def _spread(length: int, count: int | None) -> list[int]:
    """`count` of the numbers below `length`, in the middle of equal parts."""
    if count is None or count >= length:
        return list(range(length))
    return [int((i + 0.5) * length / count) for i in range(count)]
