"""Images in ISMRMRD HDF5, read by the format's own library and by ours."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from io_files import crandn

from resolvent import _errors
from resolvent.data.io import read, write
from resolvent.data.places import Geometry
from resolvent.data.volume import Volume

ismrmrd = pytest.importorskip("ismrmrd", reason="ismrmrd is not installed (extra mrd)")


@pytest.mark.parametrize(("shape", "ndim"), [((3, 8, 10), 2), ((2, 3, 8, 10), 2), ((1, 4, 8, 10), 3)])
def test_image_comes_back_with_phase_and_place(tmp_path: Path, affine: np.ndarray, shape: tuple[int, ...], ndim: int):
    volume = Volume(image=crandn(*shape), geometry=Geometry(affine), ndim=ndim)
    write(volume, tmp_path / "out.mrd")
    found = read(tmp_path / "out.mrd")
    assert isinstance(found, Volume)
    assert found.ndim == ndim
    assert torch.equal(found.image, volume.image)
    assert found.geometry is not None
    np.testing.assert_allclose(found.geometry.affine, affine, atol=1e-5)


@pytest.mark.parametrize(
    ("counters", "lead", "kept"),
    [
        (("contrast", "repetition"), (2, 3), ("contrast", "repetition")),
        (("set",), (4,), ("set",)),
        ((), (4,), ("repetition",)),
        (("contrast",), (2, 3), ("repetition",)),  # one name for two axes says nothing
    ],
)
def test_frames_are_numbered_by_the_counters_of_the_scan(tmp_path: Path, counters: tuple, lead: tuple, kept: tuple):
    volume = Volume(image=crandn(3, *lead, 8, 10), counters=counters)
    write(volume, tmp_path / "out.mrd")
    found = read(tmp_path / "out.mrd")
    assert isinstance(found, Volume) and found.counters == kept
    assert torch.equal(found.image.reshape(volume.image.shape), volume.image)
    assert found.image.ndim == 3 + len(kept)


def test_images_that_are_missing_or_there_twice_are_refused(tmp_path: Path):
    for counts in ([(0, 0), (0, 1), (1, 0)], [(0, 0), (0, 1), (1, 0), (1, 0)]):
        path = tmp_path / f"{len(counts)}.mrd"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library's own
            with ismrmrd.Dataset(str(path), "dataset") as dataset:
                for contrast, repetition in counts:
                    one = {"contrast": contrast, "repetition": repetition}
                    image = ismrmrd.Image.from_array(crandn(1, 8, 10).numpy(), transpose=False, **one)
                    dataset.append_image("image_0", image)
        with pytest.raises(_errors.ShapeError, match="not one for each slice and contrast and repetition"):
            read(path)


def test_slices_numbered_as_they_were_measured_are_put_in_order(tmp_path: Path):
    images = crandn(4, 8, 10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own
        with ismrmrd.Dataset(str(tmp_path / "a.mrd"), "dataset") as dataset:
            for number, place in enumerate((0, 2, 1, 3)):  # interleaved
                axes = dict(zip(("read_dir", "phase_dir", "slice_dir"), map(tuple, np.eye(3)), strict=True))
                where = {"position": (0.0, 0.0, 5.0 * place), "field_of_view": (20.0, 16.0, 4.0)}
                one = ismrmrd.Image.from_array(
                    images[place : place + 1].numpy(), transpose=False, slice=number, **axes, **where
                )
                dataset.append_image("image_0", one)
    found = read(tmp_path / "a.mrd")
    assert torch.equal(found.image, images)
    assert found.geometry is not None and found.geometry.oriented
    assert found.geometry.affine[2, 2] == pytest.approx(5)


def test_first_of_several_series_is_read_and_the_others_are_named(tmp_path: Path):
    images = crandn(3, 1, 8, 10).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own
        for group, name, one in zip(("a", "a", "b"), ("image_0", "image_1", "image_0"), images, strict=True):
            with ismrmrd.Dataset(str(tmp_path / "a.mrd"), group) as dataset:
                dataset.append_image(name, ismrmrd.Image.from_array(one, transpose=False))
    with pytest.warns(_errors.ScanWarning, match=r"3 series .*a/image_0, a/image_1, b/image_0.*a/image_0 is"):
        found = read(tmp_path / "a.mrd")
    np.testing.assert_array_equal(found.image.numpy(), images[0])


def test_unknown_orientation_comes_back_as_such(tmp_path: Path, affine: np.ndarray):
    write(Volume(image=crandn(3, 8, 10), geometry=Geometry(affine, oriented=False)), tmp_path / "out.mrd")
    found = read(tmp_path / "out.mrd").geometry
    assert found is not None and not found.oriented
    lengths = [np.linalg.norm(one[:3, :3], axis=0) for one in (found.affine, affine)]
    np.testing.assert_allclose(*lengths, rtol=1e-5)


def test_unknown_size_of_voxels_comes_back_as_such(tmp_path: Path):
    """A field of view of 0 says so; voxels of 1 mm would be an invention."""
    write(Volume(image=crandn(3, 8, 10)), tmp_path / "out.mrd")
    assert read(tmp_path / "out.mrd").geometry is None


@pytest.mark.parametrize(
    ("turn", "said"), [(None, ""), (np.roll(np.eye(3), 1, axis=0), "slices in different directions")]
)
def test_slices_lie_where_each_says(tmp_path: Path, turn: np.ndarray | None, said: str):
    """Slices of 4 mm that are 6 mm apart, and the views of a localiser."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own
        with ismrmrd.Dataset(str(tmp_path / "a.mrd"), "dataset") as dataset:
            for number in range(3):
                axes = np.eye(3) if turn is None or number == 0 else turn
                names = dict(zip(("read_dir", "phase_dir", "slice_dir"), map(tuple, axes), strict=True))
                place = {"position": (1.0, 2.0, 6.0 * number), "field_of_view": (20.0, 16.0, 4.0)}
                one = crandn(1, 8, 10).numpy()
                dataset.append_image(
                    "image_0", ismrmrd.Image.from_array(one, transpose=False, slice=number, **names, **place)
                )
    if said:
        with pytest.warns(_errors.ScanWarning, match=f"a.mrd: it has {said}"):
            geometry = read(tmp_path / "a.mrd").geometry
        assert geometry is not None and not geometry.oriented
    else:
        geometry = read(tmp_path / "a.mrd").geometry
        assert geometry is not None and geometry.oriented
        np.testing.assert_allclose((geometry.affine @ [5, 4, 2, 1])[:3], [-1, -2, 12], atol=1e-5)


def test_repetitions_elsewhere_keep_the_voxel_size_alone(tmp_path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own
        with ismrmrd.Dataset(str(tmp_path / "a.mrd"), "dataset") as dataset:
            for number in range(2):
                place = {"position": (1.0, 2.0, 6.0 * number), "field_of_view": (20.0, 16.0, 4.0)}
                axes = dict(zip(("read_dir", "phase_dir", "slice_dir"), map(tuple, np.eye(3)), strict=True))
                one = ismrmrd.Image.from_array(crandn(1, 8, 10).numpy(), transpose=False, **place, **axes)
                one.repetition = number
                dataset.append_image("image_0", one)
    with pytest.warns(_errors.ScanWarning, match="a.mrd: it has frames at different positions"):
        geometry = read(tmp_path / "a.mrd").geometry
    assert geometry is not None and not geometry.oriented


def test_library_of_the_format_reads_image_place_and_record(tmp_path: Path, affine: np.ndarray):
    image = crandn(2, 8, 10)
    write(Volume(image=image, geometry=Geometry(affine)), tmp_path / "out.mrd", record={"lam": 3})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own
        with ismrmrd.Dataset(str(tmp_path / "out.mrd"), "dataset") as dataset:
            one = dataset.read_image("image_0", 1)
    np.testing.assert_array_equal(one.data[0, 0], image[1].numpy())
    np.testing.assert_allclose(np.array(one.position) * [-1, -1, 1], (affine @ [5, 4, 1, 1])[:3], atol=1e-4)
    assert json.loads(one.meta["resolvent"])["lam"] == 3


def test_images_of_single_coils_are_refused(tmp_path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with ismrmrd.Dataset(str(tmp_path / "a.mrd"), "dataset") as dataset:
            dataset.append_image("image_0", ismrmrd.Image.from_array(crandn(3, 1, 8, 10).numpy(), transpose=False))
    with pytest.raises(_errors.ShapeError, match="not one channel each"):
        read(tmp_path / "a.mrd")
