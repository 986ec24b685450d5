"""Sending DICOM files to an archive: C-STORE (``dicom://host:port/TITLE``) or STOW-RS (``http://host/dicom-web``)."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from resolvent._errors import FormatError, ResolventError
from resolvent.data.io.dicom import is_dicom
from resolvent.data.io.packages import package

TRIES, PAUSE, PATIENCE = 3, 0.5, 30.0
"""Attempts for a file, seconds before the second (twice as long before the third), seconds to wait for an answer."""
TITLE = "RESOLVENT"
"""Application entity title of this program in an association."""


class SendError(ResolventError, OSError):
    """The archive cannot be reached, or refuses an image."""


def dicom_files(places: list[str]) -> list[str]:
    """DICOM files: those given, and those in given folders (not in subfolders), sorted by name.

    Raises:
        FormatError: a file that is not DICOM, or no DICOM file at all.
    """
    found: list[str] = []
    for place in places:
        if Path(place).is_dir():
            found += [str(path) for path in sorted(Path(place).iterdir()) if path.is_file() and is_dicom(path)]
        elif Path(place).is_file() and is_dicom(place):
            found.append(place)
        else:
            raise FormatError(f"{place} is no DICOM file. Write one with `resolvent recon SCAN -o NAME.dcm`.")
    if not found:
        raise FormatError(
            f"{', '.join(places)} holds no DICOM file. Write some with `resolvent recon SCAN -o DIR/x.dcm`."
        )
    return found


def send(path: str, to: str) -> str:
    """Send one file unchanged and return its SOP instance UID; a second attempt sends the same UID, so no copy is made.

    Args:
        path: a DICOM file.
        to: ``dicom://host:port/TITLE`` (title of the archive, ANY-SCP by default), or the http(s) address of a
            DICOMweb service; ``/studies`` is added if it is missing.

    Raises:
        FormatError: pydicom or pynetdicom is not installed, or `to` is not such an address.
        SendError: refused, or not reached in three attempts.
    """
    pydicom, _ = package("pydicom"), package("pynetdicom")
    attempt = _store if _address(to).scheme == "dicom" else _post
    dataset = pydicom.dcmread(path)
    reason = ""
    for number in range(TRIES):
        time.sleep(PAUSE * number)
        try:
            attempt(path, dataset, to)
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            if isinstance(error, SendError):
                raise
        else:
            return str(dataset.SOPInstanceUID)
    raise SendError(f"{path} was not sent to {to} in {TRIES} attempts ({reason}). Check the address and the archive.")


def _address(to: str) -> SplitResult:
    """The parts of an address."""
    try:
        address = urlsplit(to)
        if address.scheme in ("dicom", "http", "https") and address.hostname and address.port != 0:
            return address
    except ValueError:  # a port above 65535 or no number, half a bracket
        pass
    raise FormatError(
        f"{to} is no address of an archive. Give dicom://host:port/TITLE or https://host/dicom-web, port 1 to 65535."
    )


def _store(path: str, dataset: Any, to: str) -> None:
    """C-STORE in an association of its own."""
    from pynetdicom import AE

    address = _address(to)
    entity = AE(ae_title=TITLE)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = PATIENCE
    entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    host, port = address.hostname or "", address.port or 104
    association = entity.associate(host, port, ae_title=address.path.strip("/") or "ANY-SCP")
    if not association.is_established:
        raise RuntimeError("no association")
    try:
        status = association.send_c_store(dataset)
    finally:
        association.release()
    code = status.get("Status")
    if code is None:
        raise RuntimeError("no answer")
    if code != 0 and code >> 12 != 0xB:  # Bxxx: stored, with a warning
        raise SendError(f"{path} was refused by {to} (status {code:#06x}). Ask the archive's administrator.")


def _post(path: str, dataset: Any, to: str) -> None:
    """STOW-RS: one part in a multipart/related request."""
    boundary = uuid.uuid4().hex
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    body = head + Path(path).read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
    place = to.rstrip("/") if to.rstrip("/").endswith("/studies") else to.rstrip("/") + "/studies"
    request = urllib.request.Request(
        place, data=body, headers={"Content-Type": kind, "Accept": "application/dicom+json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE):
            pass
    except urllib.error.HTTPError as error:
        with error:
            if error.code < 500:
                raise SendError(f"{path} was refused by {to} (HTTP {error.code}). Check the address.") from None
            raise RuntimeError(f"HTTP {error.code}") from None
