"""What is said of scans that are measured in part of k-space only, or unlike all that the model saw."""

import json
import warnings

import pytest
import torch

import resolvent as rv
from resolvent._errors import DataError, ScanWarning
from resolvent.cli.cautions import block, cautions
from resolvent.data import io

CARD = {"training": {"data": {"scans": {"acceleration": [2.0, 8.0], "coils": [4, 8, 16]}}}}


def scan(mask, coils=8):
    return rv.Scan(kspace=torch.ones(1, coils, *mask.shape[1:]) * mask.unsqueeze(1) + 0j, mask=mask)


def box(rows, columns, shape=(1, 12, 16)):
    mask = torch.zeros(*shape)
    mask[..., rows, columns] = 1
    return mask


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (box(slice(3, 9), slice(4, 12)), "centred block of 6 x 8 in 12 x 16"),
        (box(slice(0, 12), slice(3, 12)), "centred block of 12 x 9 in 12 x 16"),
        (box(slice(0, 12), slice(6, 16)), "complete in 12 x 10 of 12 x 16, to one side (partial Fourier)"),
        (box(slice(0, 8), slice(0, 16)), "complete in 8 x 16 of 12 x 16, to one side"),
        (torch.ones(1, 12, 16), ""),
        (box(slice(None), slice(None, None, 2)), ""),
        (torch.cat([box(slice(0, 8), slice(0, 16))] * 2), "complete in 8 x 16 of 12 x 16, to one side"),
    ],
)
def test_a_block_of_kspace_is_told_from_undersampling(mask, said):
    assert said in block(scan(mask)) if said else block(scan(mask)) == ""


def test_a_slice_that_was_measured_in_part_is_named():
    whole, part = torch.ones(1, 12, 16), box(slice(0, 8), slice(0, 16))
    assert block(scan(torch.cat([whole, part, whole, part]))) == (
        "slice 2 of 4: k-space is complete in 8 x 16 of 12 x 16, to one side (partial Fourier): no phase constraint "
        "fills the rest; the same in 1 more"
    )
    frames = rv.Scan(kspace=torch.ones(1, 8, 2, 12, 16) + 0j, mask=torch.stack([whole, part], 1))
    assert block(frames).startswith("frame 2 of 2: k-space is complete in 8 x 16")


def test_the_slice_with_the_fewest_samples_says_how_far_a_scan_is_from_the_training():
    masks = torch.cat([box(slice(None), slice(None, None, n), (1, 32, 32)) for n in (1, 2, 16)])
    masks[0] = 0  # of a slice that is not there nothing follows
    assert cautions(scan(masks), CARD) == ("R = 16, far from the 2 to 8 that the model was trained on",)


@pytest.mark.parametrize(
    ("columns", "coils", "said"),
    [
        (2, 8, []),
        (1, 8, []),  # fully sampled is easier, not far
        (8, 32, []),
        (16, 8, ["R = 16, far from the 2 to 8 that the model was trained on"]),
        (2, 1, ["1 coil, far from the 4 to 16 that the model was trained on"]),
        (2, 48, ["48 coils, far from the 4 to 16 that the model was trained on"]),
    ],
)
def test_a_scan_far_from_the_training_is_said_to_be(columns, coils, said):
    given = scan(box(slice(None), slice(None, None, columns), (1, 32, 32)), coils)
    assert list(cautions(given, CARD)) == said
    for card in ({}, {"training": None}, {"training": {"data": {"scans": {"coils": "many", "acceleration": []}}}}):
        assert cautions(given, card) == ()


@pytest.mark.parametrize("oversampling", [1, 4])
def test_spokes_far_from_the_training_are_told_by_their_number(oversampling):
    places = rv.data.radial(4, (32, 32), oversampling=oversampling)[None]
    along = rv.data.Trajectory(places, (32, 32))
    given = scan(torch.ones(places.shape[:-1])).replace(trajectory=along)
    assert cautions(given, CARD) == ("R = 12.6, far from the 2 to 8 that the model was trained on",)


def test_cautions_are_said_on_stderr_and_kept_in_the_record(resolvent, store, full, model, tmp_path):
    mask = full.mask.clone()
    mask[..., :18] = 0
    half = full.replace(kspace=full.kspace * mask.unsqueeze(1), mask=mask, reference=None)
    run = resolvent("recon", store(half), "-o", tmp_path / "out.npy", "--model", model)
    assert run.code == 0 and "scan.h5: k-space is complete in 48 x 30 of 48 x 48, to one side" in run.err
    assert "partial Fourier" in json.loads((tmp_path / "out.json").read_text())["cautions"][0]


def test_cautions_are_on_the_page(resolvent, store, full, model, tmp_path):
    mask = full.mask.clone()
    mask[..., :18] = 0
    given = full.replace(kspace=full.kspace * mask.unsqueeze(1), mask=mask, reference=None)
    resolvent("recon", store(given), "--model", model, "-o", tmp_path / "out.npy", "--report", tmp_path / "out.html")
    resolvent("view", tmp_path / "out.npy", "-o", tmp_path / "again.html")
    for page in ("out.html", "again.html"):
        text = (tmp_path / page).read_text()
        assert "About the scan</strong>" in text and "(partial Fourier): no phase constraint" in text


def test_what_a_reader_warns_of_is_said_once_and_kept_in_the_record(
    resolvent, store, full, model, tmp_path, monkeypatch
):
    read = io.read

    def warned(path, *rest):
        warnings.warn(ScanWarning(path, "it is echo-planar"), stacklevel=1)
        warnings.warn("something else", UserWarning, stacklevel=1)
        return read(path, *rest)

    monkeypatch.setattr(io, "read", warned)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        run = resolvent("recon", store(full), "-o", tmp_path / "out.npy", "--model", model)
    assert run.code == 0 and run.err.count("scan.h5: it is echo-planar.") == 1
    assert run.err.count("resolvent: warning: something else\n") == 1
    assert json.loads((tmp_path / "out.json").read_text())["cautions"] == ["it is echo-planar"]


@pytest.mark.parametrize("reader", [True, False], ids=["by the reader", "later"])
def test_what_a_reader_warns_of_is_said_of_a_scan_that_is_refused(resolvent, store, full, model, monkeypatch, reader):
    """It may be why: lines that were cut in half have no centre for coil maps."""
    read, error = io.read, DataError("the centre is too small. Pass coil maps.")

    def warned(path, *rest):
        warnings.warn(ScanWarning(path, "half of each line is cut off"), stacklevel=1)
        if reader:
            raise error
        return read(path, *rest)

    def refused(scan):
        raise error

    file = store(full.replace(coil_maps=None))
    monkeypatch.setattr(io, "read", warned)
    monkeypatch.setattr(rv.Scan, "maps", property(refused))
    run = resolvent("recon", file, "--model", model)
    assert run.code == 1 and run.err.count("scan.h5: half of each line is cut off.\n") == 1
    assert run.err.index("half of each line") < run.err.index("error: the centre is too small")
