"""MRD version 2: acquisitions become the scan that a file of them would be; images keep phase and place."""

import io
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from io_files import crandn, write_mrd_stream

from resolvent import _errors
from resolvent.data.io import read
from resolvent.data.io.mrd_stream import write_mrd_stream as write_images
from resolvent.data.io.oversampling import crop_readout
from resolvent.data.places import Geometry
from resolvent.data.scan import Scan
from resolvent.data.volume import Volume
from resolvent.linop.fourier import ifft

mrd = pytest.importorskip("mrd", reason="mrd-python is not installed (extra mrd)")


def read_scan(path: str | Path) -> Scan:
    found = read(path)
    assert isinstance(found, Scan)
    return found


def test_acquisitions_are_sorted_and_cropped(tmp_path: Path):
    plane = crandn(2, 8, 32).numpy()
    found = read_scan(write_mrd_stream(tmp_path / "s.bin", plane))
    torch.testing.assert_close(found.kspace[0], crop_readout(torch.from_numpy(plane), 16))
    assert found.geometry is not None
    np.testing.assert_allclose(found.geometry.affine @ [8 + 1, 4, 0, 1], [-(1 + 2), -2, 3, 1], atol=1e-5)


def test_noise_acquisition_whitens(tmp_path: Path):
    plane, noise = crandn(2, 8, 32).numpy(), 3 * crandn(2, 8192, seed=4).numpy()
    found = read_scan(write_mrd_stream(tmp_path / "s.bin", plane, noise))
    ratio = found.kspace.abs().square().sum() / crop_readout(torch.from_numpy(plane), 16).abs().square().sum()
    assert found.noise == 1
    assert ratio == pytest.approx(1 / 9, rel=0.05)


def test_phantom_of_the_library_is_a_phantom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "phantom.bin"
    monkeypatch.setattr(sys, "argv", ["phantom", "-c", "4", "-m", "64", "-n", "0.01", "-o", str(path)])
    runpy.run_module("mrd.tools.phantom", run_name="__main__")
    found = read_scan(path)
    image = ifft(found.kspace).abs().square().sum(1).sqrt()[0]
    theirs = io.BytesIO()
    from mrd.tools.stream_recon import reconstruct_mrd_stream

    with path.open("rb") as stream:
        reconstruct_mrd_stream(stream, theirs)
    theirs.seek(0)
    with mrd.BinaryMrdReader(theirs) as reader:
        reader.read_header()
        (item,) = list(reader.read_data())
    other = torch.from_numpy(item.value.data[0, 0].copy())
    agreement = (image * other).sum() / (image.norm() * other.norm())
    assert agreement > 0.995  # theirs is not whitened


def test_spiral_without_places_is_refused(tmp_path: Path):
    path = write_mrd_stream(tmp_path / "s.bin", crandn(2, 8, 32).numpy(), trajectory=mrd.Trajectory.SPIRAL)
    with pytest.raises(_errors.FormatError, match=r"is not Cartesian \(spiral\), but its acquisitions do not give"):
        read(path)


def test_echo_planar_readouts_are_warned_of_and_ramps_refused(tmp_path: Path):
    plane, epi = crandn(2, 8, 32).numpy(), mrd.Trajectory.EPI
    with pytest.warns(_errors.ScanWarning, match="it is echo-planar"):
        read(write_mrd_stream(tmp_path / "s.bin", plane, trajectory=epi))
    time = mrd.UserParameterLongType(name="rampUpTime", value=120)
    ramps = mrd.TrajectoryDescriptionType(identifier="ConventionalEPI", user_parameter_long=[time])
    with pytest.raises(_errors.FormatError, match="sampled on the gradient ramps"):
        read(write_mrd_stream(tmp_path / "s.bin", plane, trajectory=epi, trajectory_description=ramps))


def test_spiral_with_places_is_read(tmp_path: Path):
    samples, places = crandn(2, 8, 32).numpy(), np.random.default_rng(0).uniform(-0.5, 0.5, (8, 32, 2))
    spiral = mrd.Trajectory.SPIRAL
    found = read_scan(write_mrd_stream(tmp_path / "s.bin", samples, places=places, trajectory=spiral))
    assert found.trajectory is not None and found.matrix == (8, 16)
    torch.testing.assert_close(found.kspace[0], torch.from_numpy(samples))
    expected = torch.from_numpy(places[None, ..., ::-1] * np.array([8, 16]))
    torch.testing.assert_close(found.trajectory.places, expected, atol=1e-5, rtol=0)


def test_length_that_the_file_cannot_hold_is_not_allocated(tmp_path: Path):
    path = Path(write_mrd_stream(tmp_path / "s.bin", crandn(2, 8, 32).numpy()))
    whole = path.read_bytes()
    first = whole.index(crandn(2, 8, 32).numpy()[:, 0].astype("c8").tobytes())  # behind its two sizes, 2 and 32
    assert whole[first - 2 : first] == b"\x02\x20"
    path.write_bytes(whole[: first - 1] + b"\xff\xff\xff\xff\xff\x7f" + whole[first:])
    with pytest.raises(_errors.CorruptFileError, match="a length of"):
        read(path)


@pytest.mark.parametrize("fov", [np.inf, np.nan, -64.0, 0.0])
def test_field_of_view_is_positive_or_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fov: float):
    made = mrd.FieldOfViewMm
    monkeypatch.setattr(mrd, "FieldOfViewMm", lambda **sizes: made(**{**sizes, "x": fov}))
    path = write_mrd_stream(tmp_path / "s.bin", crandn(2, 8, 32).numpy())
    if fov == 0:
        assert read_scan(path).geometry is None
    else:
        with pytest.raises(_errors.FormatError, match=rf"gives the encodedSpace field of view .{fov}, 24.0"):
            read(path)


def test_stream_that_ends_early_or_goes_on_is_refused(tmp_path: Path):
    path = Path(write_mrd_stream(tmp_path / "s.bin", crandn(2, 40, 128).numpy()))
    whole = path.read_bytes()
    for length in (100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(_errors.CorruptFileError, match=r"s.bin ends before its stream does\. Copy"):
            read(path)
    for more in (whole, b"\0"):
        path.write_bytes(whole + more)
        with pytest.raises(_errors.CorruptFileError, match=r"s.bin continues beyond the end of its stream\. Split"):
            read(path)


@pytest.mark.parametrize(("shape", "ndim"), [((2, 3, 8, 10), 2), ((1, 4, 8, 10), 3)])
def test_images_keep_phase_and_place(affine: np.ndarray, shape: tuple[int, ...], ndim: int):
    image, stream = crandn(*shape), io.BytesIO()
    write_images(stream, image, ndim, Geometry(affine), '{"lam": 3}')
    stream.seek(0)
    with mrd.BinaryMrdReader(stream) as reader:
        space = reader.read_header().encoding[0].recon_space.matrix_size
        images = [item.value for item in reader.read_data()]
    assert (space.x, space.y, space.z) == (10, 8, 4 if ndim == 3 else 1)
    together = np.stack([one.data[0] for one in images])
    np.testing.assert_array_equal(together.reshape(shape), image.numpy())
    assert json.loads(images[0].meta["resolvent"][0].value) == {"lam": 3}
    last = images[-1].head
    depth = 4 if ndim == 3 else 1
    index = [5, 4, 2 if ndim == 3 else 1, 1]  # the voxel N // 2 of the last slice or of the volume
    np.testing.assert_allclose(last.position * [-1, -1, 1], (affine @ index)[:3], atol=1e-4)
    step = np.stack([last.col_dir, last.line_dir, last.slice_dir]).T * (last.field_of_view / [10, 8, depth])
    np.testing.assert_allclose(np.diag([-1, -1, 1]) @ step, affine[:3, :3], atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "ndim", "counters"),
    [((3, 8, 10), 2, ()), ((2, 2, 3, 8, 10), 2, ("contrast", "set")), ((2, 4, 8, 10), 3, ())],
)
def test_images_are_read_back(tmp_path: Path, affine: np.ndarray, shape: tuple[int, ...], ndim: int, counters: tuple):
    for image in (crandn(*shape), crandn(*shape).abs()):
        with (tmp_path / "s.mrd").open("wb") as stream:
            write_images(stream, image, ndim, Geometry(affine), "{}", counters)
        found = read(tmp_path / "s.mrd")
        assert isinstance(found, Volume)
        assert torch.equal(found.image, image + 0j) and found.ndim == ndim and found.counters == counters
        assert found.geometry is not None and found.geometry.oriented
        np.testing.assert_allclose(found.geometry.affine, affine, atol=1e-4)
    with (tmp_path / "s.mrd").open("wb") as stream:
        write_images(stream, crandn(*shape), ndim, None, "{}", counters)
    assert read(tmp_path / "s.mrd").geometry is None
    with mrd.BinaryMrdReader(str(tmp_path / "s.mrd")) as reader:
        space = reader.read_header().encoding[0].recon_space.field_of_view_mm
        assert (space.x, space.y, space.z) == (0, 0, 0)
        list(reader.read_data())


def test_images_of_other_software_are_read(tmp_path: Path):
    """Without a header, in integers, numbered as they were measured."""
    with mrd.BinaryMrdWriter(str(tmp_path / "s.mrd")) as writer:
        writer.write_header(None)
        heads = [mrd.ImageHeader(image_type=mrd.ImageType.MAGNITUDE, repetition=n) for n in (1, 0)]
        data = [np.full((1, 1, 8, 10), value, np.uint16) for value in (7, 5)]
        images = [mrd.Image(head=head, data=values) for head, values in zip(heads, data, strict=True)]
        writer.write_data(map(mrd.StreamItem.ImageUint16, images))
    found = read(tmp_path / "s.mrd")
    assert found.image[0, :, 0, 0].tolist() == [5, 7] and found.geometry is None


def test_images_that_make_no_volume_are_refused(tmp_path: Path):
    def write(*shapes: tuple[int, ...]) -> None:
        with mrd.BinaryMrdWriter(str(tmp_path / "s.mrd")) as writer:
            writer.write_header(None)
            head = mrd.ImageHeader(image_type=mrd.ImageType.MAGNITUDE)
            made = [mrd.Image(head=head, data=np.ones(shape, np.float32)) for shape in shapes]
            writer.write_data(map(mrd.StreamItem.ImageFloat, made))

    write((1, 1, 8, 10), (1, 1, 8, 12))
    with pytest.raises(_errors.ShapeError, match=r"s.mrd holds images of the shapes .*8, 10.* and .*8, 12.* Split"):
        read(tmp_path / "s.mrd")
    write((1, 1, 8, 10), (1, 1, 8, 10))
    with pytest.raises(_errors.ShapeError, match="holds 2 images, not one for each slice"):
        read(tmp_path / "s.mrd")
    write((3, 1, 8, 10))
    with pytest.raises(_errors.ShapeError, match="not one channel each"):
        read(tmp_path / "s.mrd")
    write((1, 1, 0, 10))
    with pytest.raises(_errors.CorruptFileError, match=r"images of the shape .*0, 10\), without a pixel"):
        read(tmp_path / "s.mrd")
    write()
    with pytest.raises(_errors.FormatError, match="an MRD stream without acquisitions or images"):
        read(tmp_path / "s.mrd")


def test_images_of_unknown_orientation_have_no_directions(affine: np.ndarray):
    for geometry in (None, Geometry(affine, oriented=False)):
        stream = io.BytesIO()
        write_images(stream, crandn(1, 8, 10), 2, geometry, "{}")
        stream.seek(0)
        with mrd.BinaryMrdReader(stream) as reader:
            reader.read_header()
            (one,) = (item.value.head for item in reader.read_data())
        assert not np.any([one.col_dir, one.line_dir, one.slice_dir])


def test_images_are_numbered_by_the_counters_of_the_scan():
    with io.BytesIO() as stream:
        write_images(stream, crandn(2, 2, 3, 8, 10), 2, None, "{}", ("contrast", "set"))
        stream.seek(0)
        with mrd.BinaryMrdReader(stream) as reader:
            reader.read_header()
            heads = [item.value.head for item in reader.read_data()]
    found = [(one.slice, one.contrast, one.set, one.repetition) for one in heads]
    assert found == [(s, c, n, None) for s in range(2) for c in range(2) for n in range(3)]
