"""Writing DICOM: a series of derived MR images without a patient, one file per slice and frame (extra ``dicom``)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from resolvent._version import __version__
from resolvent.data.io.orientation import place_of
from resolvent.data.io.packages import package
from resolvent.data.places import Geometry

WHITE = 65535


def dicom_names(path: str, count: int) -> list[str]:
    """``out.dcm`` for one image; ``out-001.dcm``, ``out-002.dcm``, ... for several."""
    digits = max(3, len(str(count)))
    return [path] if count == 1 else [f"{path[:-4]}-{n + 1:0{digits}}.dcm" for n in range(count)]


def planes(image: Tensor, ndim: int) -> np.ndarray:
    """Magnitudes (slice, frame, y, x): slices are the batch of a stack, or the z axis of a single volume."""
    values = image.detach().abs().cpu().numpy().astype(np.float64)
    if ndim == 3:
        values = np.moveaxis(values[0], -3, 0)
    return values.reshape(len(values), -1, *values.shape[-2:])


def write_dicom(
    paths: list[str],
    image: Tensor,
    ndim: int,
    geometry: Geometry | None,
    source: str,
    counters: tuple[str, ...] = (),
) -> None:
    """Write one file per plane: ``|x| = slope * pixel``, one slope for the series, pixels of 16 bits.

    ImageType is DERIVED. The patient's name and number are present but empty, as the standard demands, and so is
    everything else that is not known. Identifiers are made from the pixels, their scale and place, and the hash of the
    input, so the same image has the same identifiers. Position and orientation are those of the affine, LPS. If they
    are not known, the images are axial around the origin (without a geometry, with voxels of 1 mm), and the description
    says what is unknown.

    Args:
        paths: of `dicom_names`, in the order of `planes`.
        image: (batch, *lead, *spatial).
        ndim: number of spatial axes.
        geometry: place in the patient.
        source: hash of the input, or empty.
        counters: what the lead axes count, as in `Scan`: contrasts are echoes, everything else is time.

    Raises:
        FormatError: pydicom is not installed.
    """
    pydicom = package("pydicom")
    values = planes(image, ndim)
    top = float(values.max())
    slope = top / WHITE if top > 0 else 1.0
    slope = float(pydicom.valuerep.DSfloat(slope, auto_format=True) or 1.0)  # what the file can say, in 16 characters
    pixels = np.clip(np.round(values / slope), 0, WHITE).astype("<u2")
    slices, frames, rows, columns = pixels.shape
    echoes = image.shape[1] if counters[:1] == ("contrast",) and len(counters) == image.ndim - 1 - ndim else 1
    known = None if geometry is None else (geometry.affine.tolist(), geometry.oriented)
    made = json.dumps((source, slope, pixels.shape, echoes, known))
    series = hashlib.sha256(pixels.tobytes() + made.encode()).hexdigest()
    for number, path in enumerate(paths):
        along, frame = divmod(number, frames)
        place = place_of(geometry, (columns, rows, slices), first_slice=along)
        one = _dataset(pydicom, series, number)
        one.ImagePositionPatient = [_decimal(pydicom, x) for x in place.corner]
        one.ImageOrientationPatient = [_decimal(pydicom, x) for x in place.directions[:2].ravel()]
        one.PixelSpacing = [_decimal(pydicom, place.spacing[1]), _decimal(pydicom, place.spacing[0])]
        one.SliceThickness = one.SpacingBetweenSlices = _decimal(pydicom, place.spacing[2])
        echo, time = divmod(frame, frames // echoes)  # contrasts come first
        if echoes > 1:
            one.EchoNumbers = echo + 1
        if frames > echoes:
            one.TemporalPositionIdentifier, one.NumberOfTemporalPositions = time + 1, frames // echoes
        if geometry is None:
            one.DerivationDescription += "; position, orientation and voxel size are unknown"
        elif not geometry.oriented:
            one.DerivationDescription += "; position and orientation are unknown"
        one.Rows, one.Columns, one.PixelData = rows, columns, pixels[along, frame].tobytes()
        one.RescaleSlope, one.RescaleIntercept, one.RescaleType = _decimal(pydicom, slope), 0, "US"
        one.VOILUTFunction = "LINEAR_EXACT"
        one.WindowCenter, one.WindowWidth = _decimal(pydicom, top / 2), _decimal(pydicom, max(top, 1e-30))
        one.save_as(path, enforce_file_format=True)


def _dataset(pydicom: Any, series: str, number: int) -> Any:
    """Everything that does not depend on the place: identifiers, modules of an MR image, pixel format."""

    def uid(*parts: str) -> Any:
        return pydicom.uid.generate_uid(entropy_srcs=["resolvent", *parts, series])

    one = pydicom.Dataset()
    one.file_meta = pydicom.dataset.FileMetaDataset()
    one.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = pydicom.uid.MRImageStorage
    one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = uid("image", str(number))
    one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = uid("study"), uid("series"), uid("frame")
    for name in (
        *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
        *("AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator", "ScanOptions", "EchoTime"),
        *("RepetitionTime", "EchoTrainLength", "MRAcquisitionType", "PatientPosition", "Laterality"),
    ):
        setattr(one, name, None)
    one.Modality, one.Manufacturer, one.SoftwareVersions = "MR", "resolvent", __version__
    one.ImageType = ["DERIVED", "PRIMARY", "OTHER"]
    one.SeriesDescription = "resolvent (research use only)"
    one.DerivationDescription = f"Reconstructed by resolvent {__version__}; magnitude; research use only"
    one.SeriesNumber, one.InstanceNumber = 1, number + 1
    one.ScanningSequence, one.SequenceVariant = "RM", "NONE"
    one.SamplesPerPixel, one.PhotometricInterpretation, one.PixelRepresentation = 1, "MONOCHROME2", 0
    one.BitsAllocated, one.BitsStored, one.HighBit = 16, 16, 15
    return one


def _decimal(pydicom: Any, value: float) -> Any:
    """A decimal string of at most 16 characters."""
    return pydicom.valuerep.DSfloat(float(value), auto_format=True)


def is_dicom(path: str | Path) -> bool:
    """Whether a file has the preamble and the mark of DICOM."""
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"
