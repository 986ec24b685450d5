"""`resolvent send` against an archive in this process that keeps what it is sent."""

from collections.abc import Iterator

import pytest
import torch

from resolvent.data import Volume
from resolvent.data.io import write

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed (extra dicom)")
pynetdicom = pytest.importorskip("pynetdicom", reason="pynetdicom is not installed (extra dicom)")


@pytest.fixture
def archive() -> Iterator[tuple[str, list]]:
    """Its address, and the data sets that it was sent."""
    kept: list = []

    def keep(event) -> int:
        kept.append(event.dataset)
        return 0x0000

    entity = pynetdicom.AE(ae_title="ARCHIVE")
    entity.supported_contexts = pynetdicom.AllStoragePresentationContexts
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(pynetdicom.evt.EVT_C_STORE, keep)])
    yield f"dicom://127.0.0.1:{server.server_address[1]}/ARCHIVE", kept
    server.shutdown()


def test_a_folder_is_sent_by_c_store(resolvent, archive, tmp_path):
    to, kept = archive
    image = torch.arange(2 * 8 * 10).reshape(2, 8, 10).float()
    (tmp_path / "series").mkdir()
    write(Volume(image=image), tmp_path / "series" / "a.dcm")
    done = resolvent("send", tmp_path / "series", "--to", to, "--json")
    assert done.code == 0, done.err
    results = done.json["results"]
    assert sorted(one["sop_instance_uid"] for one in results) == sorted(str(one.SOPInstanceUID) for one in kept)
    assert len(kept) == 2


def test_what_is_no_dicom_has_code_1(resolvent, archive, tmp_path):
    to, kept = archive
    (tmp_path / "a.dcm").write_bytes(b"no image")
    done = resolvent("send", tmp_path / "a.dcm", "--to", to)
    assert done.code == 1 and "a.dcm" in done.error and kept == []
