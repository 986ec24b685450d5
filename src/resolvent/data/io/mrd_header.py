"""The XML header of ISMRMRD (and fastMRI) files: matrices, fields of view, encoding limits, noise bandwidth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from xml.etree import ElementTree

from resolvent._errors import FormatError

LONGEST = 16 * 2**20
"""Most bytes of XML."""
WIDEST = 65_535
"""Largest matrix size of the format (the counters are 16 bit)."""
RAMP_TIMES = ("rampUpTime", "rampDownTime")
"""Trajectory parameters that are above 0 if readouts are sampled on the gradient ramps."""


@dataclass(frozen=True)
class Space:
    """Matrix and field of view in mm (0: unknown), both (x = readout, y, z)."""

    matrix: tuple[int, int, int]
    fov: tuple[float, float, float]

    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm; 0 where the header gives no field of view."""
        x, y, z = (fov / n for fov, n in zip(self.fov, self.matrix, strict=True))
        return x, y, z

    def checked(self, name: str, path: str) -> Space:
        """This space, after a check that its sizes are possible.

        Raises:
            FormatError: they are not.
        """
        if min(self.matrix) < 1 or max(self.matrix) > WIDEST:
            raise FormatError(
                f"the header of {path} gives the {name} matrix {self.matrix}, not within 1 to {WIDEST}. "
                "Export it again."
            )
        if not all(0 <= fov < math.inf for fov in self.fov):
            raise FormatError(
                f"the header of {path} gives the {name} field of view {self.fov} mm, not within 0 (unknown) and "
                "infinity. Export it again."
            )
        return self


@dataclass(frozen=True)
class MRDHeader:
    """What a reconstruction needs from the header.

    Attributes:
        encoded, recon: the space of the first encoding as measured, and as the scanner would show it.
        centre: index of the k-space centre along encoding steps 1 and 2; None if the header does not give it.
        trajectory: as in the header, in lower case.
        encodings: number of encodings in the file; only the first is used.
        noise_bandwidth: effective over nominal receiver bandwidth of the noise scan.
        ramps: whether readouts go on while the gradient rises or falls.
    """

    encoded: Space
    recon: Space
    centre: tuple[int | None, int | None]
    trajectory: str
    encodings: int
    noise_bandwidth: float
    ramps: bool = False

    @property
    def readout(self) -> int:
        """Columns that are left once readout oversampling is removed."""
        return self.kept(0)

    def kept(self, axis: int) -> int:
        """Pixels of the encoded space along x, y or z that lie within the recon space.

        The larger of what its field of view and its matrix give: if only one of the two is smaller (interpolation, or
        a wrong header), nothing of the object is cut off.
        """
        wide, shown = self.encoded.fov[axis], self.recon.fov[axis]
        size, wanted = self.encoded.matrix[axis], self.recon.matrix[axis]
        seen = round(size * shown / wide) if wide > 0 and shown > 0 else wanted
        return min(size, max(seen, wanted))


def parse_header(xml: str, path: str) -> MRDHeader:
    """Read the header; entities and document types, which no valid header needs, are refused.

    Raises:
        FormatError: not XML, hostile XML, no encoding, or sizes out of range.
    """
    if len(xml) > LONGEST or "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise FormatError(f"the header of {path} declares entities or is longer than 16 MiB. Export it again.")
    try:
        root = ElementTree.fromstring(xml.encode().rstrip(b"\0 \n"))
    except ElementTree.ParseError as error:
        raise FormatError(f"the header of {path} is not valid XML ({error}). Export it again.") from error
    encodings = root.findall("{*}encoding")
    if not encodings:
        raise FormatError(f"the header of {path} has no encoding section. Export it again.")
    first = encodings[0]
    encoded, recon = (_space(first.find(f"{{*}}{name}"), name, path) for name in ("encodedSpace", "reconSpace"))
    limits = [first.find(f"{{*}}encodingLimits/{{*}}kspace_encoding_step_{step}/{{*}}center") for step in (1, 2)]
    centres = [None if limit is None else int(_number(limit, path)) for limit in limits]
    bandwidth = root.find("{*}acquisitionSystemInformation/{*}relativeReceiverNoiseBandwidth")
    return MRDHeader(
        encoded=encoded,
        recon=recon,
        centre=(centres[0], centres[1]),
        trajectory=(first.findtext("{*}trajectory") or "cartesian").strip().lower(),
        encodings=len(encodings),
        noise_bandwidth=1.0 if bandwidth is None else (_number(bandwidth, path) or 1.0),
        ramps=_ramps(first, path),
    )


def _ramps(encoding: ElementTree.Element, path: str) -> bool:
    parameters = [
        node
        for kind in ("Long", "Double")
        for node in encoding.findall(f"{{*}}trajectoryDescription/{{*}}userParameter{kind}")
    ]
    times = [n.find("{*}value") for n in parameters if (n.findtext("{*}name") or "").strip() in RAMP_TIMES]
    return any(_number(time, path) > 0 for time in times)


def _space(node: ElementTree.Element | None, name: str, path: str) -> Space:
    if node is None:
        raise FormatError(f"the header of {path} has no {name}. Export it again.")
    matrix = tuple(int(_number(node.find(f"{{*}}matrixSize/{{*}}{axis}"), path)) for axis in "xyz")
    fov = tuple(_number(node.find(f"{{*}}fieldOfView_mm/{{*}}{axis}"), path, missing=0.0) for axis in "xyz")
    return Space(matrix=matrix, fov=fov).checked(name, path)  # pyright: ignore[reportArgumentType]


def _number(node: ElementTree.Element | None, path: str, missing: float | None = None) -> float:
    if node is None and missing is not None:
        return missing
    try:
        value = float((node.text if node is not None else None) or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        what = "a matrix size" if node is None else node.tag.rsplit("}")[-1]
        raise FormatError(f"the header of {path} lacks a number for {what}. Export it again.")
    return value
