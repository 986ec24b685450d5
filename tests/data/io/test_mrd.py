"""ISMRMRD: what the scanner did to the lines is undone, and every line lands where the header says."""

import itertools
import shutil
import subprocess
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from io_files import Acquisitions, crandn, header

from resolvent import _errors
from resolvent.data.io import limits, mrd, read
from resolvent.data.io.lines import agreement
from resolvent.data.io.oversampling import crop_readout
from resolvent.data.scan import Scan
from resolvent.linop.fourier import fft, ifft

REVERSE, CALIBRATION, CALIBRATION_AND_IMAGING, NOISE = 22, 20, 21, 19


def read_scan(path: str) -> Scan:
    found = read(path)
    assert isinstance(found, Scan)
    return found


def cropped(kspace: np.ndarray) -> torch.Tensor:
    return crop_readout(torch.from_numpy(kspace), kspace.shape[-1] // 2)


@pytest.fixture
def plane() -> np.ndarray:
    """One slice, readout twice oversampled: (coil, row, sample)."""
    return crandn(2, 8, 32).numpy()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scan.h5"


def test_oversampling_is_cropped_in_the_image(path: Path):
    image = crandn(2, 8, 16)
    wide = torch.nn.functional.pad(image, (8, 8))  # nothing lies in the outer columns
    found = read_scan(Acquisitions(path, header()).frame(fft(wide).numpy()).close())
    assert found.kspace.shape == (1, 2, 8, 16)
    torch.testing.assert_close(ifft(found.kspace)[0], image, rtol=0, atol=1e-5)


def test_crop_in_parts_is_the_crop_of_the_whole():
    plane = crandn(3, 301, 32)  # more lines than are transformed at once, and no multiple of them
    assert torch.equal(crop_readout(plane, 16), fft(ifft(plane, 1)[..., 8:24], 1))
    turned = plane.movedim(-1, -2)
    assert torch.equal(crop_readout(turned, 16, axis=-2), crop_readout(plane, 16).movedim(-1, -2))


def test_four_hundred_lines_of_eight_coils_are_read_in_a_second(path: Path):
    plane = crandn(8, 400, 256).numpy()
    file = Acquisitions(path, header(rows=400, columns=128)).frame(plane).close()
    began = time.process_time()
    found = read(file)
    assert time.process_time() - began < 1, "seconds of one core"
    assert isinstance(found, Scan)
    assert torch.equal(found.kspace[0], cropped(plane))


def test_crop_keeps_the_noise_of_a_sample():
    noise = crandn(64, 64, 32)
    assert crop_readout(noise, 16).abs().square().mean() == pytest.approx(1, rel=0.02)


def test_reversed_lines_are_turned(path: Path, plane: np.ndarray):
    file = Acquisitions(path, header())
    for row in range(8):
        back = row % 2 == 1
        file.add(plane[:, row, ::-1] if back else plane[:, row], row, flags=(REVERSE,) if back else ())
    torch.testing.assert_close(read_scan(file.close()).kspace[0], cropped(plane))


def test_center_sample_places_an_asymmetric_echo(path: Path, plane: np.ndarray):
    file = Acquisitions(path, header()).frame(plane[:, :, 10:], centre=16 - 10)
    expected = plane.copy()
    expected[..., :10] = 0
    with pytest.warns(_errors.ScanWarning, match="oversampling is kept: the image has 32 columns, of which .* 16"):
        found = read_scan(file.close())
    assert found.kspace.shape[-1] == 32  # columns that were not measured forbid the crop in the image
    torch.testing.assert_close(found.kspace[0], torch.from_numpy(expected))
    assert torch.equal(found.mask[0, 0], (torch.arange(32) >= 10).float())


@pytest.mark.parametrize("settings", [{"centre": 15}, {"centre": 17}, {"discard": (1, 0)}, {"discard": (0, 1)}])
def test_a_sample_less_makes_no_echo_asymmetric(path: Path, settings: dict):
    """Centres are counted in more than one way, and converters drop a sample; the oversampling goes all the same."""
    plane = crandn(2, 8, 32).numpy()
    found = read_scan(Acquisitions(path, header()).frame(plane, **settings).close())
    shift = 16 - settings.get("centre", 16)
    placed = np.roll(plane, shift, axis=-1)
    first, last = settings.get("discard", (max(shift, 0), max(-shift, 0)))
    placed[..., :first], placed[..., 32 - last :] = 0, 0
    torch.testing.assert_close(found.kspace[0], cropped(placed))
    assert found.acceleration == 1


@pytest.mark.filterwarnings("ignore:.*oversampling is kept")
def test_reversed_asymmetric_echo_is_turned_about_its_centre(path: Path, plane: np.ndarray):
    short = plane[:, :, 10:]  # k = 0 is sample 6 of 22, and sample 15 once reversed
    file = Acquisitions(path, header()).frame(short[:, :, ::-1], centre=21 - 6, flags=(REVERSE,))
    torch.testing.assert_close(read_scan(file.close()).kspace[0, ..., 10:], torch.from_numpy(short.copy()))


@pytest.mark.filterwarnings("ignore:.*oversampling is kept")
def test_discarded_samples_are_not_measured(path: Path, plane: np.ndarray):
    found = read_scan(Acquisitions(path, header()).frame(plane, discard=(3, 2)).close())
    assert torch.equal(found.mask[0, 0].nonzero().flatten(), torch.arange(3, 30))
    torch.testing.assert_close(found.kspace[0, ..., 3:30], torch.from_numpy(plane[..., 3:30].copy()))


@pytest.mark.parametrize(("columns", "centre", "cut"), [(16, None, "16 of 32"), (32, 0, "16 of 32"), (32, 15, "")])
def test_lines_that_the_matrix_cuts_are_warned_of(path: Path, plane: np.ndarray, columns: int, centre: int, cut: str):
    """A matrix without the oversampling of the lines, and a converter that leaves center_sample unset."""
    file = Acquisitions(path, header(columns=columns, oversampling=1)).frame(plane[:, :4], centre=centre)
    file.frame(plane[:, :4], centre=centre, flags=(CALIBRATION,)).close()
    if cut:
        said = rf"{cut} samples of a line .* \(x = {columns}, center_sample {16 if centre is None else 0}\)"
        with pytest.warns(_errors.ScanWarning, match=said) as heard:
            read(path)
        assert len(heard) == 1, "of image and calibration lines once"
    else:
        read(path)


def test_lines_of_zeros_are_not_measured(path: Path, plane: np.ndarray):
    filled = plane * (np.arange(8) < 6)[:, None]
    found = read_scan(Acquisitions(path, header()).frame(filled).close())
    torch.testing.assert_close(found.kspace[0], cropped(filled))
    assert torch.equal(found.mask[0, :, 0], (torch.arange(8) < 6).float())


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.filterwarnings("ignore:.*oversampling is kept")
def test_zeros_that_fill_up_an_echo_are_not_measured(path: Path, plane: np.ndarray, turned: bool):
    filled = plane * (np.arange(32) >= 10)
    lines = filled[..., ::-1] if turned else filled
    found = read_scan(Acquisitions(path, header()).frame(lines, flags=(REVERSE,) if turned else ()).close())
    torch.testing.assert_close(found.kspace[0], torch.from_numpy(filled))
    assert torch.equal(found.mask[0, 0], (torch.arange(32) >= 10).float())


def test_a_zero_of_chance_is_measured(path: Path, plane: np.ndarray):
    plane[:, 2, 0] = 0
    found = read_scan(Acquisitions(path, header()).frame(plane).close())
    torch.testing.assert_close(found.kspace[0], cropped(plane))
    assert found.acceleration == 1


def test_partial_fourier_lines_land_by_the_centre_of_the_limits(path: Path, plane: np.ndarray):
    file = Acquisitions(path, header(centre=2))  # lines 2..7 were measured and are counted from 0
    for step in range(6):
        file.add(plane[:, step + 2], step)
    found = read_scan(file.close())
    torch.testing.assert_close(found.kspace[0, :, 2:], cropped(plane)[:, 2:])
    assert torch.equal(found.mask[0, :, 0], torch.tensor([0.0, 0, 1, 1, 1, 1, 1, 1]))


@pytest.mark.parametrize(("again", "said"), [(8, True), (1, False)])
def test_places_measured_twice_with_the_same_counters_are_warned_of(
    path: Path, plane: np.ndarray, again: int, said: bool
):
    """As two measurements in one file have them; a line that comes with every shot is no second measurement."""
    file = Acquisitions(path, header()).frame(plane)
    for row in range(again):
        file.add(plane[:, row], row)
    if said:
        with pytest.warns(_errors.ScanWarning, match=r"most of its lines occur several times.* split the file"):
            found = read_scan(file.close())
    else:
        found = read_scan(file.close())
    torch.testing.assert_close(found.kspace[0], cropped(plane))


def test_averages_are_averaged(path: Path, plane: np.ndarray):
    file = Acquisitions(path, header())
    for average in range(3):
        file.frame(plane * (1 + average), average=average)
    torch.testing.assert_close(read_scan(file.close()).kspace[0], cropped(2 * plane))


@pytest.fixture
def centred(plane: np.ndarray) -> np.ndarray:
    """Of its lines the middle one is strong, as in a scan."""
    return plane * np.array([0.01, 0.02, 0.1, 0.5, 4, 0.5, 0.1, 0.02])[:, None]


@pytest.mark.parametrize(
    ("turns", "said"),
    [([0, np.pi / 2], "50%"), ([0, np.pi / 4], ""), ([0, 2 * np.pi / 3, 4 * np.pi / 3], "0%")],
)
def test_averages_of_other_phases_are_warned_of(path: Path, centred: np.ndarray, turns: list, said: str):
    file = Acquisitions(path, header())
    for average, turn in enumerate(turns):
        file.frame(centred * np.exp(1j * turn), average=average)
    if said:
        with pytest.warns(_errors.ScanWarning, match=f"averages do not agree: their mean keeps {said} of the energy"):
            read_scan(file.close())
    else:
        read_scan(file.close())


@pytest.mark.parametrize("noise", [0.01, 1.0])
def test_averages_that_differ_by_their_noise_agree(path: Path, centred: np.ndarray, noise: float):
    """Also where there is as much noise as signal in the strongest line."""
    file = Acquisitions(path, header())
    for average in range(8):
        file.frame(centred + noise * crandn(2, 8, 32, seed=average).numpy(), average=average)
    read_scan(file.close())


def test_only_the_strongest_lines_tell_whether_averages_agree():
    assert agreement([(100.0, 100.0), *[(1.0, 0.1)] * 9]) == 1
    assert agreement([(100.0, 50.0), *[(1.0, 1.0)] * 9]) == 0.5
    assert agreement([(0.0, 0.0)]) == agreement([]) == 1, "lines of zeros, or none"


def test_averaging_lowers_the_noise(path: Path, plane: np.ndarray):
    file = Acquisitions(path, header()).add(crandn(2, 4096, seed=5).numpy(), flags=(NOISE,))
    for average in range(4):
        file.frame(plane, average=average)
    assert read_scan(file.close()).noise == pytest.approx(0.5)


def test_slices_become_batch_in_the_order_of_their_position(path: Path):
    planes = crandn(4, 2, 8, 32).numpy()
    file = Acquisitions(path, header())
    for counter, place in enumerate((0, 2, 1, 3)):  # interleaved
        file.frame(planes[place], slice=counter, position=(0, 0, 4.0 * place))
    found = read_scan(file.close())
    torch.testing.assert_close(found.kspace, cropped(planes))
    assert found.geometry is not None and found.geometry.oriented
    assert found.geometry.affine[2, 2] == pytest.approx(4.0)


def test_counters_in_use_become_lead_axes(path: Path):
    planes = crandn(2, 3, 2, 8, 32).numpy()  # contrast, repetition
    file = Acquisitions(path, header())
    for contrast in range(2):
        for repetition in range(3):
            file.frame(planes[contrast, repetition], contrast=contrast, repetition=repetition, set=7)
    found = read_scan(file.close())
    assert found.kspace.shape == (1, 2, 2, 3, 8, 16)
    torch.testing.assert_close(found.kspace[0].moveaxis(0, 2), cropped(planes))
    assert found.mask.shape == (1, 1, 1, 8, 16)
    assert found.counters == ("contrast", "repetition")


@pytest.mark.parametrize("second", ["set", "slice"])
def test_counters_that_count_together_are_one_axis(path: Path, second: str):
    """Each with an axis of its own would make frames, or slices of frames, in which nothing was measured."""
    planes = crandn(3, 2, 8, 32).numpy()
    file = Acquisitions(path, header())
    for number, repetition in enumerate((0, 1, 5)):
        place = {"position": (0, 0, 5.0 * number)} if second == "slice" else {}
        file.frame(planes[number], repetition=repetition, **{second: repetition}, **place)
    found = read_scan(file.close())
    kspace = found.kspace if second == "slice" else found.kspace[0].movedim(1, 0)
    torch.testing.assert_close(kspace, cropped(planes))
    assert found.counters == (() if second == "slice" else ("repetition",)) and found.acceleration == 1


def test_phases_with_their_own_lines_have_their_own_masks(path: Path):
    planes = crandn(2, 2, 8, 32).numpy()
    file = Acquisitions(path, header())
    for phase in range(2):
        file.frame(planes[phase], rows=range(phase, 8, 2), phase=phase)
    mask = read_scan(file.close()).mask
    assert mask.shape == (1, 2, 8, 16)
    assert torch.equal(mask[0, :, :, 0], torch.tensor([[1.0, 0] * 4, [0.0, 1] * 4]))


def test_second_encoding_step_makes_a_volume(path: Path):
    volume = crandn(2, 4, 8, 32).numpy()
    file = Acquisitions(path, header(planes=4))
    for z in range(4):
        for y in range(8):
            file.add(volume[:, z, y], y, z)
    found = read_scan(file.close())
    assert found.ndim == 3
    torch.testing.assert_close(found.kspace[0], cropped(volume))


def test_other_readouts_are_skipped(path: Path, plane: np.ndarray):
    file = Acquisitions(path, header())
    for flag in (23, 24, 26, 27, 28):
        file.add(100 * plane[:, 0], 3, flags=(flag,))
    with pytest.warns(
        _errors.ScanWarning, match=r"its phase-correction readouts .1. are left out: ghosts are not corrected"
    ):
        found = read_scan(file.frame(plane).close())
    torch.testing.assert_close(found.kspace[0], cropped(plane))


def test_echo_planar_readouts_are_read_with_a_warning(path: Path, plane: np.ndarray):
    file = Acquisitions(path, header(trajectory="epi")).frame(plane).close()
    with pytest.warns(_errors.ScanWarning, match=r"scan.h5: it is echo-planar: ghosts are not corrected, and samples"):
        found = read_scan(file)
    torch.testing.assert_close(found.kspace[0], cropped(plane))


@pytest.mark.parametrize("kind", ["Long", "Double"])
@pytest.mark.parametrize("name", ["rampUpTime", "rampDownTime", "flatTopTime"])
@pytest.mark.parametrize("time", [0, 120])
def test_sampling_on_the_ramps_is_refused(path: Path, plane: np.ndarray, kind: str, name: str, time: int):
    one = f"<userParameter{kind}><name>{name}</name><value>{time}</value></userParameter{kind}>"
    described = (
        f"<trajectoryDescription><identifier>ConventionalEPI</identifier>{one}</trajectoryDescription></encoding>"
    )
    xml = header(trajectory="epi").replace("</encoding>", described)
    file = Acquisitions(path, xml).frame(plane).close()
    if time and name.startswith("ramp"):
        with pytest.raises(_errors.FormatError, match="sampled on the gradient ramps, which are not handled"):
            read(file)
    else:
        with pytest.warns(_errors.ScanWarning, match="it is echo-planar"):
            read(file)


def test_calibration_lines_stay_out_of_the_image_but_serve_the_maps(path: Path, plane: np.ndarray):
    file = Acquisitions(path, header())
    for row in range(8):
        flags = {3: (CALIBRATION,), 5: (CALIBRATION,), 4: (CALIBRATION_AND_IMAGING,)}.get(row, ())
        if flags or row % 2 == 0:
            file.add(plane[:, row], row, flags=flags)
    found = read_scan(file.close())
    assert torch.equal(found.mask[0, :, 0], torch.tensor([1.0, 0] * 4))
    assert found.calibration is not None
    assert torch.equal(found.calibration.mask[0, :, 0].nonzero().flatten(), torch.tensor([3, 4, 5]))
    torch.testing.assert_close(found.calibration.kspace[0, :, 3:6], cropped(plane)[:, 3:6])


@pytest.mark.filterwarnings("ignore:.*oversampling is kept")
def test_whole_calibration_lines_serve_asymmetric_echoes(path: Path, plane: np.ndarray):
    file = Acquisitions(path, header()).frame(plane[:, :, 10:], centre=16 - 10)
    found = read_scan(file.frame(3 * plane, range(2, 6), flags=(CALIBRATION,)).close())
    assert found.calibration is not None
    expected = 3 * plane
    expected[:, [0, 1, 6, 7]] = 0
    torch.testing.assert_close(found.calibration.kspace[0], torch.from_numpy(expected))


def test_calibration_lines_of_all_frames_serve_the_maps(path: Path, plane: np.ndarray):
    """Two frames of opposite signs hold lines 2 to 5 by turns, and both line 4, which tells the sign."""
    file = Acquisitions(path, header())
    for frame in range(2):
        file.frame(plane, range(frame, 8, 2), repetition=frame)
    for row, frame in ((2, 0), (3, 1), (4, 0), (4, 1), (5, 1)):
        file.add((-1) ** frame * plane[:, row], row, flags=(CALIBRATION,), repetition=frame)
    found = read_scan(file.close())
    assert found.kspace.shape[2] == 2 and found.calibration is not None
    assert torch.equal(found.calibration.mask[0, :, 0].nonzero().flatten(), torch.arange(2, 6))
    turn = torch.sgn((found.calibration.kspace[0, :, 2:6].conj() * cropped(plane)[:, 2:6]).sum())
    torch.testing.assert_close(turn * found.calibration.kspace[0, :, 2:6], cropped(plane)[:, 2:6])


@pytest.mark.parametrize(
    ("columns", "slices", "said"),
    [
        (slice(8, 24), (0, 1), "make k-space of 8 x 32 where the image lines make 8 x 16"),
        (slice(32), (0,), "do not cover"),
    ],
)
def test_calibration_lines_that_do_not_fit_are_warned_of(
    path: Path, plane: np.ndarray, columns: slice, slices: tuple, said: str
):
    file = Acquisitions(path, header())
    for number in range(2):
        file.frame(plane, slice=number, position=(0, 0, 5.0 * number))
    for number in slices:
        file.frame(plane[..., columns], range(2, 6), slice=number, flags=(CALIBRATION,))
    with pytest.warns(_errors.ScanWarning, match=f"its calibration lines {said}.* left out: coil maps are estimated"):
        assert read_scan(file.close()).calibration is None


def test_noise_scan_whitens_the_coils(path: Path):
    mixing = torch.tensor([[2.0, 0, 0], [1.5, 1, 0], [0.2j, -0.5, 3]], dtype=torch.complex64)
    noise = mixing @ crandn(3, 8192)
    lines = torch.einsum("ij,jrs->irs", mixing, crandn(3, 64, 128, seed=1))
    file = Acquisitions(path, header(columns=64, rows=64)).add(noise.numpy(), flags=(NOISE,))
    found = read_scan(file.frame(lines.numpy()).close())
    samples = found.kspace[0].flatten(1)
    covariance = samples @ samples.conj().T / samples.shape[1]
    assert found.noise == 1
    assert torch.allclose(covariance, torch.eye(3, dtype=torch.complex64), atol=0.08)  # 5 / sqrt(4096)


def test_dwell_time_and_receiver_bandwidth_enter_the_noise(path: Path, plane: np.ndarray):
    noise = crandn(2, 4096, seed=5).numpy()
    file = Acquisitions(path, header(bandwidth=0.8)).add(noise, flags=(NOISE,), dwell=10.0)
    found = read_scan(file.frame(plane, dwell=5.0).close())
    ratio = found.kspace[0].abs().square().sum() / cropped(plane).abs().square().sum()
    assert ratio == pytest.approx(0.8 * 5.0 / 10.0, rel=0.05)


def test_coils_that_repeat_others_are_scaled_alone(path: Path):
    planes, noise = crandn(3, 8, 32).numpy(), crandn(3, 4096).numpy()
    noise[2] = 2j * noise[0] * (1 + 1e-7 * noise[1].real)  # singular, but for rounding
    found = read_scan(Acquisitions(path, header()).add(noise, flags=(NOISE,)).frame(planes).close())
    scaled = cropped(planes / np.sqrt((np.abs(noise) ** 2).mean(1))[:, None, None])
    torch.testing.assert_close(found.kspace[0], scaled, rtol=1e-4, atol=1e-4)


def test_few_noise_samples_scale_each_coil_alone(path: Path, plane: np.ndarray):
    noise = np.array([[2.0, 2.0], [4.0, 4.0]])
    found = read_scan(Acquisitions(path, header()).add(noise, flags=(NOISE,)).frame(plane).close())
    expected = cropped(plane / np.array([2.0, 4.0], dtype=np.float32)[:, None, None])
    torch.testing.assert_close(found.kspace[0], expected)


def test_known_voxel_lands_on_known_world_point(path: Path, plane: np.ndarray):
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    position = np.array([10.0, -20.0, 30.0])
    file = Acquisitions(path, header()).frame(plane, position=position, directions=turn)
    geometry = read_scan(file.close()).geometry
    assert geometry is not None
    # LPS: column 11 is 3 pixels of 2 mm along the readout from the centre, row 2 two pixels of 3 mm against the phase
    lps = position + 3 * 2.0 * turn[0] - 2 * 3.0 * turn[1]
    world = geometry.affine @ [8 + 3, 4 - 2, 0, 1]
    np.testing.assert_allclose(world[:3], lps * [-1, -1, 1], atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(geometry.affine[:3, :3], axis=0), [2, 3, 5], atol=1e-5)


def test_centre_of_a_volume_lies_at_the_position(path: Path):
    file = Acquisitions(path, header(planes=4))
    for z in range(4):
        file.frame(crandn(2, 8, 32, seed=z).numpy(), plane=z, position=(1, 2, 3))
    geometry = read_scan(file.close()).geometry
    assert geometry is not None
    np.testing.assert_allclose((geometry.affine @ [8, 4, 2, 1])[:3], [-1, -2, 3], atol=1e-4)


ORTHOGONAL = [np.roll(np.eye(3), shift, axis=0) for shift in range(3)]


@pytest.mark.parametrize(
    ("places", "directions", "said"),
    [
        ([(0, 0, 0)] * 3, ORTHOGONAL, "slices in different directions"),
        ([(0, 0, 0), (0, 0, 5), (0, 0, 10)], ORTHOGONAL, "slices in different directions"),
        ([(0, 0, 0)] * 3, [np.eye(3)] * 3, "several slices in one plane"),
        ([(0, 0, 0), (5, 0, 0), (10, 0, 0)], [np.eye(3)] * 3, "several slices in one plane"),
        ([(0, 0, 0), (0, 0, 5), (0, 0, 12)], [np.eye(3)] * 3, "slices at uneven distances"),
    ],
)
def test_slices_that_are_no_stack_keep_the_voxel_size_alone(path: Path, places: list, directions: list, said: str):
    file = Acquisitions(path, header())
    for counter, (place, turn) in enumerate(zip(places, directions, strict=True)):
        file.frame(crandn(2, 8, 32).numpy(), slice=counter, position=place, directions=turn)
    with pytest.warns(
        UserWarning, match=rf"scan.h5: it has {said}.*only the voxel size is kept; export each as a file"
    ):
        geometry = read_scan(file.close()).geometry
    assert geometry is not None and not geometry.oriented
    np.testing.assert_allclose(np.linalg.norm(geometry.affine[:3, :3], axis=0), [2, 3, 5], atol=1e-5)


@pytest.mark.parametrize("counter", ["contrast", "phase", "repetition", "set"])
@pytest.mark.parametrize(
    ("place", "turn", "said"),
    [
        ((0, 0, 0), ORTHOGONAL[1], "frames in different directions"),
        ((0, 0, 30), np.eye(3), "frames at different positions"),
        ((3, 0, 0), np.eye(3), "frames at different positions"),  # pixels of 2 mm
        ((1, 0, 0.1), np.eye(3) + 1e-3, ""),
    ],
)
def test_frames_elsewhere_keep_the_voxel_size_alone(
    path: Path, counter: str, place: tuple, turn: np.ndarray, said: str
):
    """As a localiser that is counted by repetition has them; what a table drifts is none."""
    file = Acquisitions(path, header())
    for number in range(2):
        at = {"slice": number, "position": (200, -100, 5.0 * number)}
        file.frame(crandn(2, 8, 32).numpy(), **at)
        at["position"] = np.add(at["position"], place)
        file.frame(crandn(2, 8, 32).numpy(), **at, directions=turn, **{counter: 1})
    file.close()
    if said:
        with pytest.warns(_errors.ScanWarning, match=f"it has {said}.*only the voxel size is kept"):
            geometry = read_scan(str(path)).geometry
        assert geometry is not None and not geometry.oriented
    else:
        geometry = read_scan(str(path)).geometry
        assert geometry is not None and geometry.oriented
    np.testing.assert_allclose(np.linalg.norm(geometry.affine[:3, :3], axis=0), [2, 3, 5], rtol=1e-2)


@pytest.mark.parametrize(
    ("place", "turn", "said"),
    [
        ((0, 0, 60), np.eye(3), "volumes at different positions"),
        ((0, 0, 0), ORTHOGONAL[1], "volumes in different directions"),
    ],
)
def test_slabs_apart_keep_the_voxel_size_alone(path: Path, place: tuple, turn: np.ndarray, said: str):
    file = Acquisitions(path, header(planes=4))
    for z in range(4):
        file.frame(crandn(2, 8, 32).numpy(), plane=z, slice=0)
        file.frame(crandn(2, 8, 32).numpy(), plane=z, slice=1, position=place, directions=turn)
    with pytest.warns(UserWarning, match=rf"has {said}.*only the voxel size is kept"):
        found = read_scan(file.close())
    assert found.kspace.shape == (2, 2, 4, 8, 16)
    assert found.geometry is not None and not found.geometry.oriented
    np.testing.assert_allclose(np.linalg.norm(found.geometry.affine[:3, :3], axis=0), [2, 3, 5], atol=1e-5)


def test_slab_measured_twice_is_placed(path: Path):
    file = Acquisitions(path, header(planes=4))
    for z, counter in itertools.product(range(4), range(2)):
        file.frame(crandn(2, 8, 32).numpy(), plane=z, slice=counter, position=(1, 2, 3))
    geometry = read_scan(file.close()).geometry
    assert geometry is not None and geometry.oriented
    np.testing.assert_allclose((geometry.affine @ [8, 4, 2, 1])[:3], [-1, -2, 3], atol=1e-4)


@pytest.mark.parametrize("settings", [{"directions": np.zeros((3, 3))}, {"position": (np.nan, 0, 0)}])
def test_file_without_directions_or_position_has_the_voxel_size_alone(path: Path, plane: np.ndarray, settings: dict):
    geometry = read_scan(Acquisitions(path, header()).frame(plane, **settings).close()).geometry
    assert geometry is not None and not geometry.oriented
    np.testing.assert_allclose(np.linalg.norm(geometry.affine[:3, :3], axis=0), [2, 3, 5], atol=1e-5)


def test_file_without_a_field_of_view_has_no_geometry(path: Path, plane: np.ndarray):
    xml = header().replace("<fieldOfView_mm><x>64.0", "<fieldOfView_mm><x>0")
    assert xml != header()
    assert read_scan(Acquisitions(path, xml).frame(plane).close()).geometry is None


def test_one_of_several_groups_is_read_and_the_others_are_named(path: Path, plane: np.ndarray):
    file = Acquisitions(path, header()).frame(plane).close()
    with h5py.File(file, "r+") as opened:
        opened.copy("dataset", "second")
        opened.move("dataset", "zeroth")
    with pytest.warns(_errors.ScanWarning, match=r"2 measurements .second, zeroth. of which second is read; name ano"):
        read(file)
    found = read(file, dataset="zeroth")
    assert isinstance(found, Scan)
    torch.testing.assert_close(found.kspace[0], cropped(plane))
    with pytest.raises(
        _errors.FormatError, match=r"has no group third of acquisitions; it holds: second, zeroth\. Name"
    ):
        read(file, dataset="third")


def test_first_of_several_encodings_is_read_and_the_others_are_reported(path: Path, plane: np.ndarray):
    file = Acquisitions(path, header(encodings=2)).frame(plane).frame(5 * plane, space=1)
    with pytest.warns(UserWarning, match="2 encodings; only the first is read"):
        found = read(file.close())
    assert isinstance(found, Scan)
    torch.testing.assert_close(found.kspace[0], cropped(plane))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[slice]:
    """What was read of the table, 50 acquisitions at once."""
    seen, real = [], h5py.Dataset.__getitem__

    def noted(self: h5py.Dataset, key: object, **way: object) -> object:
        seen.extend([key] if isinstance(key, slice) else [])
        return real(self, key, **way)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(mrd, "ROWS", 50)
    monkeypatch.setattr(h5py.Dataset, "__getitem__", noted)
    return seen


def test_table_is_read_once_in_blocks(path: Path, reads: list[slice]):
    plane = crandn(2, 128, 32).numpy()
    file = Acquisitions(path, header(rows=128)).frame(plane).close()
    assert torch.equal(read_scan(file).kspace[0], cropped(plane))
    assert reads == [slice(0, 50), slice(50, 100), slice(100, 150)]


def test_lines_beyond_the_limit_are_refused_before_the_rest_is_read(
    path: Path, reads: list[slice], monkeypatch: pytest.MonkeyPatch
):
    file = Acquisitions(path, header(rows=128)).frame(crandn(2, 128, 32).numpy()).close()
    monkeypatch.setattr(limits, "LARGEST", 50_000)  # bytes: the headers have 47,616, a hundred lines 51,200
    with pytest.raises(_errors.FormatError, match=r"dataset /dataset/data in .* would unpack to"):
        read(file)
    assert reads == [slice(0, 50), slice(50, 100)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trajectory": "spiral"}, r"is not Cartesian \(spiral\), but its acquisitions do not give places"),
        ({"centre": 30}, "kspace_encode_step_1 0 in .* lies outside the encoded matrix of 8"),
        ({"columns": 60000, "rows": 65535}, "would unpack to"),
        ({"columns": 40000, "rows": 8}, "65535"),
        ({"rows": 0}, "encodedSpace matrix"),
    ],
)
def test_header_that_cannot_be_is_refused(path: Path, plane: np.ndarray, settings: dict, message: str):
    if settings.get("columns") == 60000:
        settings = {**settings, "oversampling": 1}
    file = Acquisitions(path, header(**settings)).frame(plane).close()
    with pytest.raises(_errors.FormatError, match=message):
        read(file)


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "declares entities"),
        ("<ismrmrdHeader", "not valid XML"),
        ("<ismrmrdHeader/>", "no encoding section"),
        ("<a><encoding/></a>", "no encodedSpace"),
        (header().replace("<x>32</x>", "<x>nan</x>"), "lacks a number for x"),
        (header().replace("<z>5.0</z>", "<z>-5.0</z>"), "gives the encodedSpace field of view .*-5.0. mm"),
    ],
)
def test_hostile_header_is_refused(path: Path, plane: np.ndarray, xml: str, message: str):
    file = Acquisitions(path, xml).frame(plane).close()
    with pytest.raises(_errors.FormatError, match=message):
        read(file)


def test_noise_scan_alone_is_no_scan(path: Path):
    file = Acquisitions(path, header()).add(crandn(2, 64).numpy(), flags=(NOISE,)).close()
    with pytest.raises(_errors.FormatError, match="no image lines"):
        read(file)


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (crandn(3, 64).numpy(), "noise scan has 3 channels but the image lines have 2"),
        (np.full((2, 64), np.nan), "noise scan is empty or holds NaN"),
        (np.array([[1.0] * 64, [0.0] * 64]), "noise scan is zero in channel 1"),
    ],
)
def test_unusable_noise_scan_is_refused(path: Path, plane: np.ndarray, noise: np.ndarray, message: str):
    file = Acquisitions(path, header()).add(noise, flags=(NOISE,)).frame(plane).close()
    with pytest.raises(_errors.DataError, match=message):
        read(file)


def test_lines_of_different_channels_are_refused(path: Path, plane: np.ndarray):
    file = Acquisitions(path, header()).frame(plane).add(crandn(3, 32).numpy(), 2).close()
    with pytest.raises(_errors.CorruptFileError, match=r"lines of \[2, 3\] channels"):
        read(file)


def test_lying_length_of_a_line_is_refused(path: Path, plane: np.ndarray):
    file = Acquisitions(path, header()).frame(plane).close()
    with h5py.File(file, "r+") as opened:
        table = opened["dataset/data"]
        rows = table[:]  # pyright: ignore
        rows["head"]["number_of_samples"][3] = 31
        table[:] = rows  # pyright: ignore
    with pytest.raises(_errors.CorruptFileError, match=r"acquisition 3 .* declares 62 complex samples but holds 64"):
        read(file)


def generated(tmp_path: Path, options: str) -> str:
    """A file of the format's own generator."""
    if shutil.which("ismrmrd_generate_cartesian_shepp_logan") is None:
        pytest.skip("ismrmrd_generate_cartesian_shepp_logan is not installed (Debian package ismrmrd-tools)")
    file = str(tmp_path / "phantom.h5")
    command = ["ismrmrd_generate_cartesian_shepp_logan", *options.split(), "-o", file]
    subprocess.run(command, check=True, capture_output=True)
    return file


@pytest.mark.parametrize("options", ["-m 64 -c 4", "-m 60 -c 2 -k"])
def test_generated_phantom_is_read_as_coil_images(tmp_path: Path, options: str):
    file = generated(tmp_path, options + " -n 0.001")
    with h5py.File(file) as opened:
        phantom, maps = (opened[f"dataset/{name}"][:] for name in ("phantom", "csm"))  # pyright: ignore
    truth = (phantom["real"] + 1j * phantom["imag"]) * (maps["real"] + 1j * maps["imag"])
    error = (ifft(read_scan(file).kspace) - torch.from_numpy(truth)).norm() / np.linalg.norm(truth)
    assert error < 0.02


@pytest.mark.parametrize("options", ["-m 64 -c 4", "-m 60 -c 2 -k", "-m 32 -c 3 -O 3"])
def test_generated_phantom_agrees_with_the_reference_reconstruction(tmp_path: Path, options: str):
    if shutil.which("ismrmrd_recon_cartesian_2d") is None:
        pytest.skip("ismrmrd_recon_cartesian_2d is not installed (Debian package ismrmrd-tools)")
    file = generated(tmp_path, options + " -n 0.05")
    ours = ifft(read_scan(file).kspace)[0].abs().square().sum(dim=0).sqrt()
    subprocess.run(["ismrmrd_recon_cartesian_2d", file], check=True, capture_output=True)
    with h5py.File(file) as opened:
        theirs = torch.from_numpy(opened["dataset/cpp/data"][:]).squeeze()  # pyright: ignore
    factor = (ours * theirs).sum() / theirs.square().sum()
    assert (ours - factor * theirs).norm() / ours.norm() < 1e-5


def test_generated_noise_scan_whitens_generated_noise(tmp_path: Path):
    file = generated(tmp_path, "-m 64 -c 4 -r 2 -C -n 0.1")
    found = read_scan(file)
    difference = (found.kspace[:, :, 1] - found.kspace[:, :, 0]) / 2**0.5
    assert difference.abs().square().mean().sqrt() == pytest.approx(1.0, rel=0.1)


def test_interleaved_acceleration_gives_each_repetition_its_lines(tmp_path: Path):
    file = generated(tmp_path, "-m 64 -c 4 -r 1 -a 2 -w 16")
    found = read_scan(file)
    lines = found.mask[0, :, :, 0]
    assert torch.equal(lines[0].nonzero().flatten() % 2, torch.zeros(32, dtype=torch.long))
    assert torch.equal(lines[1].nonzero().flatten() % 2, torch.ones(32, dtype=torch.long))
    assert found.calibration is not None
    assert torch.equal(found.calibration.mask[0, :, 0].nonzero().flatten(), torch.arange(24, 40))
