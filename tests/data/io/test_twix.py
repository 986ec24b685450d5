"""Siemens twix: oversampling, noise scans, several measurements and partial Fourier, and a real file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from io_files import Measurement, crandn, write_twix

from resolvent import _errors
from resolvent.data.io import read
from resolvent.data.io.oversampling import crop_readout
from resolvent.data.scan import Scan
from resolvent.linop.fourier import ifft

TURN = (0.5**0.5, 0, 0, 0.5**0.5)
"""A quarter turn about the long axis: phase encoding towards the back, readout towards the right."""


def read_scan(path: str) -> Scan:
    found = read(path)
    assert isinstance(found, Scan)
    return found


def cropped(kspace: np.ndarray) -> torch.Tensor:
    return crop_readout(torch.from_numpy(kspace), kspace.shape[-1] // 2)


@pytest.fixture
def plane() -> np.ndarray:
    return crandn(2, 8, 32).numpy()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "meas.dat"


def test_oversampling_is_removed_by_the_factor_of_the_protocol(path: Path, plane: np.ndarray):
    found = read_scan(write_twix(path, Measurement().frame(plane)))
    torch.testing.assert_close(found.kspace[0], cropped(plane))
    assert found.readout == -1
    whole = read_scan(write_twix(path, Measurement(factor=1.0).frame(plane))).kspace[0]
    torch.testing.assert_close(whole, torch.from_numpy(plane))


def test_last_measurement_with_image_lines_is_read(path: Path, plane: np.ndarray):
    other, noise = Measurement().frame(3 * plane), Measurement().add(crandn(5, 64).numpy(), flags=("noise",))
    found = read_scan(write_twix(path, other, Measurement().frame(plane), noise))
    torch.testing.assert_close(found.kspace[0], cropped(plane))
    assert found.noise is None  # the noise scan is that of another coil


def test_noise_scan_of_another_measurement_whitens(path: Path, plane: np.ndarray):
    noise = np.array([2.0, 4.0])[:, None] * crandn(2, 8192, seed=5).numpy()
    found = read_scan(
        write_twix(path, Measurement(dwell=10000).add(noise, flags=("noise",)), Measurement().frame(plane))
    )
    expected = cropped(plane / np.array([2.0, 4.0], "f4")[:, None, None]) * (0.793 * 5 / 10) ** 0.5
    assert found.noise == 1
    torch.testing.assert_close(found.kspace[0].abs(), expected.abs(), rtol=0.05, atol=0.05)  # 4 / sqrt(8192)


def test_lines_land_by_the_centre_of_their_headers(path: Path, plane: np.ndarray):
    one = Measurement()
    for step in range(6):  # lines 2..7 of 8, counted from 0: partial Fourier
        one.add(plane[:, step + 2], step, centre=(2, 0))
    found = read_scan(write_twix(path, one))
    torch.testing.assert_close(found.kspace[0, :, 2:], cropped(plane)[:, 2:])
    assert torch.equal(found.mask[0, :, 0], torch.tensor([0.0, 0, 1, 1, 1, 1, 1, 1]))


def test_centre_that_was_not_filled_in_is_the_middle(path: Path, plane: np.ndarray):
    torch.testing.assert_close(
        read_scan(write_twix(path, Measurement().frame(plane, centre=(0, 0)))).kspace[0], cropped(plane)
    )


def test_reflected_lines_are_turned_and_phase_correction_is_left_out(path: Path, plane: np.ndarray):
    one = Measurement().add(9 * plane[:, 3], 3, flags=("phasecor",))
    for row in range(8):
        back = row % 2 == 1
        one.add(plane[:, row, ::-1] if back else plane[:, row], row, flags=("reflect",) if back else ())
    with pytest.warns(
        _errors.ScanWarning, match=r"its phase-correction readouts .1. are left out: ghosts are not corrected"
    ):
        found = read_scan(write_twix(path, one))
    torch.testing.assert_close(found.kspace[0], cropped(plane))


def test_reference_lines_serve_the_maps_only(path: Path, plane: np.ndarray):
    one = Measurement()
    for row in range(8):
        if row % 2 == 0 or row in (3, 5):
            one.add(plane[:, row], row, flags=() if row % 2 == 0 else ("patref",))
    found = read_scan(write_twix(path, one))
    assert torch.equal(found.mask[0, :, 0], torch.tensor([1.0, 0] * 4))
    assert found.calibration is not None
    assert torch.equal(found.calibration.mask[0, :, 0].nonzero().flatten(), torch.tensor([3, 5]))


def test_partitions_make_a_volume_and_slices_a_batch(path: Path):
    volume = crandn(2, 4, 8, 32).numpy()
    one, two = Measurement(), Measurement()
    for z in range(4):
        one.frame(volume[:, z], plane=z, centre=(4, 2))
        two.frame(volume[:, z], Sli=z, position=(0, 0, 4.0 * z))
    found = read_scan(write_twix(path, one))
    assert found.ndim == 3
    torch.testing.assert_close(found.kspace[0], cropped(volume))
    torch.testing.assert_close(read_scan(write_twix(path, two)).kspace, cropped(volume.swapaxes(0, 1)))


def test_known_voxel_lands_on_known_world_point(path: Path, plane: np.ndarray):
    found = read_scan(write_twix(path, Measurement().frame(plane, position=(10, 20, 30), quaternion=TURN)))
    assert found.geometry is not None
    # pixels of 2 x 3 mm; LPS: 3 columns towards the right (-L), 2 rows back from the centre towards the front (-P)
    world = found.geometry.affine @ [8 + 3, 4 - 2, 0, 1]
    np.testing.assert_allclose(world[:3], [-(10 - 3 * 2), -(20 - 2 * 3), 30], atol=1e-4)


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ({"regrid": 2}, "sampled on the gradient ramps"),
        ({"trajectory": 2}, r"is not Cartesian \(radial\), but its acquisitions do not give"),
    ],
)
def test_what_is_not_handled_is_named(path: Path, plane: np.ndarray, protocol: dict, message: str):
    with pytest.raises(_errors.FormatError, match=message):
        read(write_twix(path, Measurement(**protocol).frame(plane)))


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ({"read": -32.0}, r"encodedSpace field of view \(-64.0, 24.0, 5.0\) mm, not within 0 \(unknown\)"),
        ({"phase": -24.0}, r"encodedSpace field of view \(64.0, -24.0, 5.0\) mm, not within 0 \(unknown\)"),
        ({"factor": 1e9}, r"reconSpace matrix \(0, 8, 1\), not within 1"),
    ],
)
def test_protocol_that_cannot_be_is_refused(path: Path, plane: np.ndarray, protocol: dict, message: str):
    file = write_twix(path, Measurement(**protocol).frame(plane))
    with pytest.raises(_errors.FormatError, match=message):
        read(file)


@pytest.mark.parametrize("name", ["read", "phase"])
def test_field_of_view_of_0_is_unknown(path: Path, plane: np.ndarray, name: str):
    found = read_scan(write_twix(path, Measurement(**{name: 0.0}).frame(plane)))
    assert found.geometry is None and found.kspace.shape == (1, 2, 8, 16)


def test_noise_alone_is_no_scan(path: Path):
    with pytest.raises(_errors.FormatError, match="no image lines"):
        read(write_twix(path, Measurement().add(crandn(2, 64).numpy(), flags=("noise",))))


def test_measurement_without_an_end_is_corrupt(path: Path, plane: np.ndarray):
    write_twix(path, Measurement().frame(plane))
    path.write_bytes(path.read_bytes()[:-192])
    with pytest.raises(_errors.CorruptFileError, match="ends inside measurement 1 of 1"):
        read(path)


def test_block_of_no_length_does_not_go_on_for_ever(path: Path, plane: np.ndarray):
    whole = bytearray(Path(write_twix(path, Measurement().frame(plane))).read_bytes())
    first = whole.index(Measurement().frame(plane).blocks[0])
    whole[first : first + 4], whole[first + 40] = bytes(4), 1 << 5  # a synchronisation block of 0 bytes
    path.write_bytes(whole)
    with pytest.raises(_errors.CorruptFileError):
        read(path)


def test_nothing_is_printed(path: Path, plane: np.ndarray, capfd: pytest.CaptureFixture[str]):
    read(write_twix(path, Measurement().frame(plane)))
    assert capfd.readouterr() == ("", "")


def test_real_bottle_is_round_and_its_bubble_on_top(shared_data: Path):
    found = read_scan(str(shared_data / "phantom_16ch_siemens.dat"))
    assert found.kspace.shape == (1, 16, 128, 128)
    assert found.acceleration == 1 and found.geometry is not None
    shape = ifft(found.kspace).abs().square().sum(1).sqrt()[0]
    inside = shape > 0.25 * shape.quantile(0.9)
    rows, columns = inside.any(1).nonzero().flatten(), inside.any(0).nonzero().flatten()
    width, height = int(columns[-1] - columns[0]), int(rows[-1] - rows[0])
    assert 95 < width < 115
    assert 0.85 < height / width < 1  # a circle without the cap that the air takes
    front = found.geometry.affine @ [64, int(rows[0]), 0, 1]
    back = found.geometry.affine @ [64, int(rows[-1]), 0, 1]
    assert front[1] > back[1]  # air rises: towards the front of whoever lies on the back
    assert inside[rows[0] + 1].sum() > 1.3 * inside[rows[-1] - 1].sum()  # and there the bottle is cut off flat
