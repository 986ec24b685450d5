"""Images sent to a real archive arrive to the last pixel, once."""

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from io_files import crandn

from resolvent import _errors
from resolvent.data.io import send as sending
from resolvent.data.io import write
from resolvent.data.io.send import SendError, dicom_files, send
from resolvent.data.places import Geometry
from resolvent.data.volume import Volume

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed (extra dicom)")
pytest.importorskip("pynetdicom", reason="pynetdicom is not installed (extra dicom)")
PROGRAM = shutil.which("Orthanc") or ("/usr/sbin/Orthanc" if Path("/usr/sbin/Orthanc").exists() else None)
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """An Orthanc of our own on the loopback; its ports for DICOM and for HTTP."""
    if PROGRAM is None or not PLUGIN.exists():
        pytest.skip("Orthanc is not installed (Debian packages orthanc and orthanc-dicomweb)")
    folder, ports = tmp_path_factory.mktemp("archive"), (free_port(), free_port())
    settings = {
        "DicomPort": ports[0],
        "HttpPort": ports[1],
        "DicomAet": "ORTHANC",
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "Plugins": [str(PLUGIN)],
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([PROGRAM, str(folder / "settings.json")], stdout=log, stderr=log)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{ports[1]}/system"):
                break
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.1)
        yield ports
    finally:
        process.terminate()
        process.wait(20)


def stored(port: int, uid: str) -> list[bytes]:
    """The files that the archive has of one instance."""
    query = json.dumps({"Level": "Instance", "Query": {"SOPInstanceUID": uid}}).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/tools/find", data=query) as answer:
        names = json.load(answer)
    files = []
    for name in names:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/instances/{name}/file") as answer:
            files.append(answer.read())
    return files


@pytest.mark.parametrize("way", ["C-STORE", "STOW-RS"])
def test_archive_holds_every_pixel_once(archive: tuple[int, int], tmp_path: Path, affine: np.ndarray, way: str):
    write(Volume(image=crandn(2, 8, 10, seed=len(way)), geometry=Geometry(affine)), tmp_path / "out.dcm")
    port, web = archive
    to = f"dicom://127.0.0.1:{port}/ORTHANC" if way == "C-STORE" else f"http://127.0.0.1:{web}/dicom-web"
    paths = dicom_files([str(tmp_path)])
    assert len(paths) == 2
    for path in (*paths, paths[0]):  # the first one twice
        uid = send(path, to)
    for path in paths:
        ours = pydicom.dcmread(path)
        (raw,) = stored(web, ours.SOPInstanceUID)
        (tmp_path / "back").write_bytes(raw)
        theirs = pydicom.dcmread(tmp_path / "back")
        np.testing.assert_array_equal(theirs.pixel_array, ours.pixel_array)
        assert theirs.ImagePositionPatient == ours.ImagePositionPatient
        assert theirs.RescaleSlope == ours.RescaleSlope
    assert uid == pydicom.dcmread(paths[0]).SOPInstanceUID


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sending, "PAUSE", 0.0)
    write(Volume(image=crandn(1, 8, 10)), tmp_path / "out.dcm")
    return str(tmp_path / "out.dcm")


def test_second_attempt_sends_the_same_identifier(path: str, monkeypatch: pytest.MonkeyPatch):
    sent = []

    def fails_once(path: str, dataset: pydicom.Dataset, to: str) -> None:
        sent.append(dataset.SOPInstanceUID)
        if len(sent) == 1:
            raise ConnectionResetError("reset")

    monkeypatch.setattr(sending, "_store", fails_once)
    assert send(path, "dicom://127.0.0.1:1/A") == sent[0] == sent[1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pynetdicom leaves its socket open
@pytest.mark.parametrize("scheme", ["dicom", "http"])
def test_archive_that_is_not_there_is_named(path: str, scheme: str):
    with pytest.raises(SendError, match=rf"was not sent to {scheme}://127.0.0.1:\d+/A in 3 attempts"):
        send(path, f"{scheme}://127.0.0.1:{free_port()}/A")


def test_refusal_is_not_repeated(path: str, archive: tuple[int, int]):
    with pytest.raises(SendError, match=r"was refused by .* \(HTTP 404\)"):
        send(path, f"http://127.0.0.1:{archive[1]}/nothing-here")


@pytest.mark.parametrize("to", ["ftp://h/a", "h:104", "dicom:///A", "dicom://h:99999/A", "http://h:0", "dicom://[h/A"])
def test_wrong_address_is_named(path: str, to: str):
    with pytest.raises(_errors.FormatError, match="is no address of an archive"):
        send(path, to)


def test_what_is_no_dicom_is_named(tmp_path: Path):
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(_errors.FormatError, match=r"a.txt is no DICOM file"):
        dicom_files([str(tmp_path / "a.txt")])
    with pytest.raises(_errors.FormatError, match="holds no DICOM file"):
        dicom_files([str(tmp_path)])
