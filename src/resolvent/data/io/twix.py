"""Siemens twix (.dat): the lines of all measurements of a file, with the names of MRD (extra ``siemens``)."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import warnings
from typing import Any

import numpy as np

from resolvent._errors import CorruptFileError, FormatError
from resolvent.data.io import acquisitions
from resolvent.data.io.limits import decoding
from resolvent.data.io.mrd_header import MRDHeader, Space
from resolvent.data.io.packages import package
from resolvent.data.scan import Scan

FLAGS = {
    "NOISEADJSCAN": acquisitions.NOISE,
    "PATREFSCAN": acquisitions.CALIBRATION,
    "PATREFANDIMASCAN": acquisitions.CALIBRATION_AND_IMAGING,
    "REFLECT": acquisitions.REVERSED,
    "PHASCOR": acquisitions.PHASE_CORRECTION,
    "RTFEEDBACK": acquisitions.RT_FEEDBACK,
    "HPFEEDBACK": acquisitions.HP_FEEDBACK,
    "REFPHASESTABSCAN": acquisitions.REFERENCE,
    "PHASESTABSCAN": acquisitions.STABILISATION,
    "RETRO_DUMMYSCAN": acquisitions.DUMMY,
}
"""Evaluation flags and the MRD flags with the same meaning."""
COUNTERS = {
    "kspace_encode_step_1": "Lin",
    "kspace_encode_step_2": "Par",
    "average": "Ave",
    "slice": "Sli",
    "contrast": "Eco",
    "phase": "Phs",
    "repetition": "Rep",
    "set": "Set",
}
NOISE_BANDWIDTH = 0.793
"""Effective over nominal receiver bandwidth of a noise scan (siemens_to_ismrmrd writes this for every scanner)."""
ACQEND, SYNCDATA = 1 << 0, 1 << 5
MEASUREMENTS, HEADER = 64, 192
"""Largest number of measurements in a file; bytes of a line header."""


def read_twix(path: str) -> Scan:
    """The last measurement that holds image lines, whitened by the noise scan of whichever measurement has one.

    The matrix is the smallest around the centre of k-space that holds all lines; readout oversampling is removed by the
    factor in the protocol (``flReadoutOSFactor``; 1 if a sequence has none). Phase-encoding oversampling is kept. A
    centre at line 0, if there are other lines, counts as not given: the centre is then the middle.

    Raises:
        FormatError: twixtools is not installed, the trajectory is not Cartesian, readouts are sampled on the ramps, or
            the protocol gives an impossible matrix or field of view.
        CorruptFileError: a measurement that does not end where the file does, or a header without its numbers.

    Source: the mapping to MRD is that of siemens_to_ismrmrd; columns of the rotation matrix of a line's quaternion
    are the directions of phase encoding, readout and slice.
    """
    _check_blocks(path)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints warnings
        twixtools = package("twixtools")
    with decoding(path), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # about odd quaternions and headers; what is used is checked below
        found = twixtools.read_twix(path, parse_pmu=False, parse_geometry=False, keep_syncdata=False, verbose=False)
        heads = [_heads(part) for part in found]
        image = next((n for n in reversed(range(len(found))) if _imaging(heads[n]).any()), None)
        if image is None:
            raise FormatError(f"{path} holds no image lines. Check which measurement was exported.")
        header = _header(found[image], heads[image], path)
        coils = heads[image]["active_channels"][_imaging(heads[image])][0]
        wanted = [h["active_channels"] == coils for h in heads]
        chosen = {
            n: acquisitions.flagged(h, acquisitions.NOISE) & w
            for n, (h, w) in enumerate(zip(heads, wanted, strict=True))
        }
        chosen[image] |= ~acquisitions.flagged(heads[image], acquisitions.NOISE)
        lines = [
            np.ascontiguousarray(found[n]["mdb"][i].data).view(np.float32).ravel()
            for n, kept in chosen.items()
            for i in np.flatnonzero(kept)
        ]
    return acquisitions.scan_of(np.concatenate([heads[n][kept] for n, kept in chosen.items()]), lines, header, path)


def _check_blocks(path: str) -> None:
    """Go through the blocks of every measurement without reading samples: each must lie within the file.

    Raises:
        CorruptFileError: a block does not, or a measurement has no end.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(8 + 152 * MEASUREMENTS)
        count = struct.unpack_from("<I", head, 4)[0]
        for number in range(count):
            start, length = struct.unpack_from("<QQ", head, 16 + 152 * number) if len(head) >= 168 else (size, 0)
            file.seek(min(start, size))
            first = file.read(4)
            position = start + (struct.unpack("<I", first)[0] if len(first) == 4 else size)
            end = min(size, start + length if length else size)
            while True:
                file.seek(min(position, size))
                block = file.read(HEADER)
                if len(block) < HEADER or position >= end:
                    raise CorruptFileError(
                        f"{path} ends inside measurement {number + 1} of {count} (block at byte {position} of {size}). "
                        "Copy or export it again."
                    )
                flags = struct.unpack_from("<Q", block, 40)[0]
                if flags & ACQEND:
                    break
                samples, channels = struct.unpack_from("<HH", block, 48)
                length_of = HEADER + channels * (32 + 8 * samples)
                if flags & SYNCDATA:
                    length_of = struct.unpack_from("<I", block)[0] % 2**25
                if length_of < HEADER:
                    raise CorruptFileError(
                        f"{path} has a block of {length_of} bytes at byte {position}. Copy it again."
                    )
                position += length_of


def _heads(part: dict[str, Any]) -> np.ndarray:
    """The line headers of one measurement."""
    from scipy.spatial.transform import Rotation

    blocks = [block.mdh for block in part["mdb"]]
    heads = np.zeros(len(blocks), dtype=acquisitions.HEAD)
    if not blocks:
        return heads
    flags = [sum(1 << (bit - 1) for name, bit in FLAGS.items() if one.is_flag_set(name)) for one in part["mdb"]]
    heads["flags"] = flags
    heads["number_of_samples"] = [one.SamplesInScan for one in blocks]
    heads["active_channels"] = [one.UsedChannels for one in blocks]
    heads["discard_pre"] = [one.CutOff.Pre for one in blocks]
    heads["discard_post"] = [one.CutOff.Post for one in blocks]
    heads["center_sample"] = [one.CenterCol or one.SamplesInScan // 2 for one in blocks]
    heads["sample_time_us"] = _number(part["hdr"].get("Meas", {}).get("alDwellTime")) / 1000
    for name, counter in COUNTERS.items():
        heads["idx"][name] = [getattr(one.Counter, counter) for one in blocks]
    places = [one.SliceData.SlicePos for one in blocks]
    heads["position"] = [(place.Sag, place.Cor, place.Tra) for place in places]
    turns = np.array([one.SliceData.Quaternion for one in blocks], dtype=float)
    known = np.isfinite(turns).all(axis=1) & (np.abs(turns).sum(axis=1) > 0)
    if known.any():
        matrix = Rotation.from_quat(turns[known][:, [1, 2, 3, 0]]).as_matrix()
        for column, name in enumerate(("phase_dir", "read_dir", "slice_dir")):
            heads[name][known] = matrix[:, :, column]
    return heads


def _imaging(heads: np.ndarray) -> np.ndarray:
    """Image lines."""
    return _lines(heads) & ~acquisitions.only_calibration(heads)


def _lines(heads: np.ndarray) -> np.ndarray:
    """Image and calibration lines."""
    return ~acquisitions.flagged(heads, acquisitions.NOISE, *acquisitions.NOT_IMAGING)


def _header(part: dict[str, Any], heads: np.ndarray, path: str) -> MRDHeader:
    """Matrix from the lines, fields of view and oversampling from the protocol."""
    meas, protocol = part["hdr"]["Meas"], part["hdr"]["MeasYaps"]
    sampling, first = protocol["sKSpace"], protocol["sSliceArray"]["asSlice"][0]
    if _number(meas.get("alRegridMode")) > 1:
        raise FormatError(f"{path} has readouts sampled on the gradient ramps, which are not handled. Regrid it first.")
    kept = _lines(heads)
    marked = [one.mdh for one, keep in zip(part["mdb"], kept, strict=True) if keep]
    steps = heads["idx"][kept]
    ny, y = _extent(steps["kspace_encode_step_1"], max(one.CenterLin for one in marked))
    nz, z = _extent(steps["kspace_encode_step_2"], max(one.CenterPar for one in marked))
    centre, samples = heads["center_sample"][kept], heads["number_of_samples"][kept]
    nx = 2 * int(np.maximum(centre, samples - centre).max())
    factor = max(1.0, _number(meas.get("flReadoutOSFactor")))
    read = _number(first.get("dReadoutFOV"))
    phase = _number(first.get("dPhaseFOV")) * (1 + _number(sampling.get("dPhaseOversamplingForDialog")))
    slab = _number(first.get("dThickness")) * (1 + _number(sampling.get("dSliceOversamplingForDialog")) * (nz > 1))
    trajectory = {0: "cartesian", 1: "cartesian", 2: "radial", 4: "spiral"}
    return MRDHeader(
        encoded=Space((nx, ny, nz), (read * factor, phase, slab)).checked("encodedSpace", path),
        recon=Space((round(nx / factor), ny, nz), (read, phase, slab)).checked("reconSpace", path),
        centre=(y, z),
        trajectory=trajectory.get(int(_number(sampling.get("ucTrajectory"))), "non-Cartesian"),
        encodings=1,
        noise_bandwidth=NOISE_BANDWIDTH,
    )


def _extent(steps: np.ndarray, centre: int) -> tuple[int, int | None]:
    """Size of the smallest grid around `centre` with all steps, and the centre; 0 among others counts as none."""
    top = int(steps.max()) + 1
    return (2 * max(centre, top - centre), centre) if centre else (top, None)


def _number(value: object) -> float:
    """A number of the protocol, or the first of a list; 0 if there is none."""
    if isinstance(value, list):
        value = value[0] if value else 0
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else 0.0
