"""Scans along a trajectory: from ISMRMRD, from BART's pair, and back from the project's own file."""

import math
import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from io_files import Acquisitions, crandn, header, write_mrd_stream

import resolvent as rv
from resolvent import _errors
from resolvent.data import Scan, Trajectory, metrics, radial, simulate, undersample
from resolvent.data.espirit import espirit
from resolvent.data.io import read
from resolvent.data.io.cfl import read_array, write_cfl
from resolvent.data.io.limits import check_coil_images
from resolvent.data.subjects import read_subjects

pytest.importorskip("finufft")
PER_PIXEL = radial(5, (8, 16)) / torch.tensor([8.0, 16.0])  # (y, x) of 5 spokes of 32 samples


def read_scan(path: str | Path, **options: object) -> Scan:
    found = read(path, **options)
    assert isinstance(found, Scan)
    assert found.trajectory is not None
    return found


def mrd(path: Path, samples: np.ndarray, places: np.ndarray, **settings: object) -> Acquisitions:
    """Readouts (coil, readout, sample) with places (readout, sample, component x, y, ...)."""
    file = Acquisitions(path, header(trajectory="radial", **settings))  # pyright: ignore[reportArgumentType]
    for n in range(samples.shape[1]):
        file.add(samples[:, n], places=places[n])
    return file


@pytest.mark.parametrize("unit", ["cycles per pixel", "cycles per field of view", "with weights"])
def test_places_of_ismrmrd_are_those_of_the_reconstructed_field_of_view(tmp_path: Path, unit: str):
    """The encoded space is 32 x 8 pixels, the recon space 16 x 8 of the same size."""
    samples, places = crandn(3, 5, 32).numpy(), PER_PIXEL.numpy()[..., ::-1]
    given = places * np.array([32, 8]) if unit == "cycles per field of view" else places
    if unit == "with weights":
        given = np.concatenate([given, np.full((5, 32, 1), 7.0)], -1)
    found = read_scan(mrd(tmp_path / "r.h5", samples, given).close())
    assert found.matrix == (8, 16)
    torch.testing.assert_close(found.kspace[0], torch.from_numpy(samples))
    torch.testing.assert_close(found.trajectory.places, radial(5, (8, 16))[None], atol=1e-5, rtol=0)
    np.testing.assert_allclose(found.geometry.affine @ [8, 4, 0, 1], [0, 0, 0, 1], atol=1e-5)  # the middle


def test_slices_frames_and_short_readouts_find_their_places(tmp_path: Path):
    places = PER_PIXEL.numpy()[..., ::-1]
    file = Acquisitions(tmp_path / "r.h5", header(trajectory="radial"))
    samples = crandn(2, 8, 32).numpy()
    for n, (repetition, count) in enumerate([(0, 32), (1, 32), (0, 32), (1, 20), (0, 32)]):
        for slice_ in (0, 1):
            line = (1 + slice_) * samples[:, n, :count]
            at = {"slice": slice_, "repetition": repetition, "position": (0, 0, 5.0 * slice_)}
            file.add(line, places=places[n, :count], discard=(2, 1), **at)
    found = read_scan(file.close())
    assert found.kspace.shape == (2, 2, 2, 3, 32)  # slice, coil, repetition, readout, sample
    assert found.mask.shape == (1, 2, 3, 32) and found.trajectory.places.shape == (1, 2, 3, 32, 2)
    counts = found.mask.sum(-1)[0].tolist()
    assert counts == [[29, 29, 29], [29, 17, 0]]
    torch.testing.assert_close(found.kspace[1, :, 1, 1, 2:19], 2 * torch.from_numpy(samples[:, 3, 2:19]))
    torch.testing.assert_close(found.trajectory.places[0, 1, 1, 2:19], radial(5, (8, 16))[3, 2:19], atol=1e-5, rtol=0)
    assert found.kspace[:, :, 1, 2].abs().max() == 0


def test_stack_of_planes_takes_z_from_the_counter(tmp_path: Path):
    places = PER_PIXEL.numpy()[..., ::-1]
    file = Acquisitions(tmp_path / "r.h5", header(planes=4, trajectory="radial"))
    for plane in range(4):
        file.add(crandn(2, 32, seed=plane).numpy(), plane=plane, places=places[1])
    found = read_scan(file.close())
    assert found.ndim == 3 and found.matrix == (4, 8, 16) and found.kspace.shape == (1, 2, 1, 4, 32)
    assert found.trajectory.places[0, 0, :, 0, 0].tolist() == [-2, -1, 0, 1]
    torch.testing.assert_close(found.trajectory.places[0, 0, 2, :, 1:], radial(5, (8, 16))[1], atol=1e-5, rtol=0)


def test_noise_scan_whitens_readouts(tmp_path: Path):
    samples = crandn(2, 5, 32).numpy()
    file = mrd(tmp_path / "r.h5", samples, PER_PIXEL.numpy()[..., ::-1])
    file.add(3 * crandn(2, 8192, seed=4).numpy(), flags=(19,))
    found = read_scan(file.close())
    assert found.noise == 1
    ratio = float(found.kspace.abs().square().sum()) / float(np.square(np.abs(samples)).sum())
    assert ratio == pytest.approx(1 / 9, rel=0.05)


def test_calibration_readouts_are_left_out_with_a_warning(tmp_path: Path):
    samples, places = crandn(2, 5, 32).numpy(), PER_PIXEL.numpy()[..., ::-1]
    file = mrd(tmp_path / "a.h5", samples, places).add(samples[:, 0], places=places[0], flags=(20,)).close()
    with pytest.warns(_errors.ScanWarning, match="its calibration lines are left out: .* not Cartesian"):
        assert read_scan(file).kspace.shape[-2] == 5


def test_places_that_cannot_be_are_refused(tmp_path: Path):
    samples, places = crandn(2, 5, 32).numpy(), PER_PIXEL.numpy()[..., ::-1].copy()
    file = mrd(tmp_path / "a.h5", samples, places).add(samples[:, 0], places=np.zeros((32, 3))).close()
    with pytest.raises(_errors.CorruptFileError, match=r"readouts of \[2, 3\] components"):
        read(file)
    file = mrd(tmp_path / "b.h5", samples, places).add(samples[:, 0]).close()
    with pytest.raises(_errors.FormatError, match="do not give places of their samples"):
        read(file)
    places[2, 3] = np.nan
    with pytest.raises(_errors.CorruptFileError, match="places that are not finite"):
        read(mrd(tmp_path / "c.h5", samples, places).close())


@pytest.mark.parametrize(("unit", "reach"), [(1.0, ""), (0.7, "0.35"), (2 * math.pi, "0.39"), (0.25, "0.12")], ids=str)
def test_places_in_another_unit_are_warned_of(tmp_path: Path, unit: float, reach: str):
    """Radians per pixel are taken for cycles per field of view, and few cycles per mm for cycles per pixel."""
    file = mrd(tmp_path / "r.h5", crandn(2, 5, 32).numpy(), unit * PER_PIXEL.numpy()[..., ::-1])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        read_scan(file.close())
    texts = [str(one.message) for one in said]
    assert len(texts) == (reach != "") and all(f"reaches {reach} of the 0.5 cycles per pixel" in text for text in texts)


@pytest.mark.parametrize("kind", ["mrd", "mrd-stream"])
def test_zeros_that_fill_up_readouts_are_not_measured(tmp_path: Path, kind: str):
    """As in lines of the grid: readouts of zeros, and zeros at their ends; not a zero of chance."""
    samples, places = crandn(2, 5, 32).numpy(), PER_PIXEL.numpy()[..., ::-1]
    samples[:, 0], samples[:, 1, :12], samples[:, 2, 9], samples[:, 3, -1:] = 0, 0, 0, 0
    if kind == "mrd":
        file = mrd(tmp_path / "r.h5", samples, places).close()
    else:
        mrd2 = pytest.importorskip("mrd")
        file = write_mrd_stream(tmp_path / "r.mrd", samples, places=places, trajectory=mrd2.Trajectory.RADIAL)
    found = read_scan(file)
    assert found.mask.sum(-1).tolist() == [[0, 20, 32, 31, 32]] and found.mask[0, 1, 12:].all()
    assert found.trajectory.places[0, 1, :12].abs().max() == 0


def test_samples_beyond_the_matrix_are_left_out_with_a_warning(tmp_path: Path):
    """The first spoke goes too far at one end; where most do, the unit is another one, and they stay to be refused."""
    samples, places = crandn(2, 5, 32).numpy(), PER_PIXEL.numpy()[..., ::-1].copy()
    places[0, :2] *= 1.19
    with pytest.warns(_errors.ScanWarning, match=r"1\.2% of its samples lie beyond the k-space of the matrix"):
        found = read_scan(mrd(tmp_path / "r.h5", samples, places).close())
    assert found.mask.sum(-1).tolist() == [[30, 32, 32, 32, 32]]
    assert found.kspace[:, :, 0, :2].abs().max() == 0
    with pytest.warns(_errors.ScanWarning, match=r"82% of its samples lie beyond .* another unit .* is wrong"):
        found = read_scan(mrd(tmp_path / "m.h5", samples, 100 * places).close())
    assert found.mask.all() and found.trajectory.places.abs().max() > 16


def test_discarding_more_than_there_is_discards_all(tmp_path: Path):
    samples, places = crandn(2, 5, 32).numpy(), PER_PIXEL.numpy()[..., ::-1]
    file = mrd(tmp_path / "r.h5", samples, places).add(samples[:, 0], places=places[0], discard=(0, 40)).close()
    assert read_scan(file).mask.sum(-1).tolist() == [[32, 32, 32, 32, 32, 0]]


def test_places_off_the_grid_of_a_cartesian_header_are_warned_of(tmp_path: Path):
    places = PER_PIXEL.numpy()[..., ::-1]
    lines = np.stack(np.broadcast_arrays(places[0, :, 0], np.full((5, 1), 0.1)), -1)
    for name, given in (("spokes", places), ("lines", lines)):
        file = Acquisitions(tmp_path / f"{name}.h5", header())
        for n in range(5):
            file.add(crandn(2, 32, seed=n).numpy(), n, places=given[n])
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            scan = read(file.close())
        assert isinstance(scan, Scan) and scan.trajectory is None
        texts = [str(one.message) for one in said]
        assert len(texts) == (name == "spokes")
        assert all("header says cartesian, so its readouts are taken as lines" in text for text in texts)


@pytest.mark.parametrize("kind", ["mrd", "native"])
def test_matrix_that_the_file_cannot_fill_is_refused(tmp_path: Path, kind: str):
    """2 GiB and more of coil images for five readouts; 128 x 128 is no more than so short a file may ask for."""
    samples, places = crandn(3, 5, 32).numpy(), PER_PIXEL.numpy()[..., ::-1]
    for n in (128, 16000):
        path = tmp_path / f"{n}.h5"
        if kind == "mrd":
            file = Acquisitions(path, header(columns=n, rows=n, oversampling=1, trajectory="radial"))
            for readout in range(5):
                file.add(samples[:, readout], places=places[readout])
            file.close()
        else:
            trajectory = Trajectory(radial(5, (n, n))[None, :, : samples.shape[-1]], (n, n))
            kspace = torch.from_numpy(samples)[None]
            scan = Scan(kspace=kspace, mask=torch.ones(1, *kspace.shape[2:]), trajectory=trajectory)
            rv.write(scan, path)
        if n < 200:
            assert read_scan(path).matrix == (n, n)
        else:
            with pytest.raises(
                _errors.FormatError, match=r"coil images of the matrix 16000 x 16000 .* Check the matrix"
            ):
                read(path)


@pytest.fixture(scope="module")
def disc() -> Scan:
    """48 x 48, 4 coils: a disc with stripes."""
    n = 48
    inside = torch.linspace(-1, 1, n) ** 2 + torch.linspace(-1, 1, n)[:, None] ** 2 < 0.7
    return simulate(inside * (1 + 0.3 * torch.linspace(0, 15, n).cos()), n_coils=4, snr_db=40, seed=2)


@pytest.fixture(scope="module")
def along(disc: Scan) -> Scan:
    """The same along 24 spokes."""
    places = radial(24, disc.matrix)[None]
    scan = disc.replace(mask=torch.ones(1, 24, 96), trajectory=Trajectory(places, disc.matrix))
    y = scan.operator()(disc.reference)
    white = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(0))
    return scan.replace(kspace=y + disc.noise * white).validated()


def test_own_file_keeps_the_trajectory(tmp_path: Path, along: Scan):
    rv.write(along, tmp_path / "r.h5")
    found = read_scan(tmp_path / "r.h5")
    assert found.matrix == along.matrix and found.kspace.equal(along.kspace)
    assert found.trajectory.places.equal(along.trajectory.places)
    with pytest.raises(_errors.FormatError, match="would lose the trajectory"):
        rv.write(along, tmp_path / "r.cfl")


@pytest.mark.skipif(shutil.which("bart") is None, reason="BART is not installed")
def test_pair_of_bart_is_read_and_reconstructed(tmp_path: Path, disc: Scan):
    """``bart traj``, ``bart nufft``: SENSE of the pair is the image that BART transformed."""

    def bart(*words: str) -> None:
        subprocess.run(["bart", *words], cwd=tmp_path, check=True, capture_output=True)

    bart("traj", "-x96", "-o2", "-y30", "-r", "t")
    bart("scale", "0.5", "t", "t")  # 96 samples over +- 24
    write_cfl(str(tmp_path / "x.cfl"), disc.maps * disc.reference.unsqueeze(1), 2, coils=True)
    bart("nufft", "t", "x", "k")
    found = read_scan(tmp_path / "k.cfl", trajectory=tmp_path / "t.cfl")
    assert found.matrix == (48, 48) and found.kspace.shape[:3] == (1, 4, 30)
    image = rv.sense(found.kspace, found.operator(disc.maps), noise=1e-3 * float(found.kspace.abs().max()))
    assert metrics(disc.reference, image)["psnr"] > 30


def test_bart_pair_of_a_volume_and_wrong_pairs(tmp_path: Path):
    def write(name: str, array: np.ndarray) -> str:
        shape = array.shape + (1,) * (16 - array.ndim)
        (tmp_path / f"{name}.hdr").write_text("# Dimensions\n" + " ".join(map(str, shape)) + "\n")
        array.astype("<c8").ravel(order="F").tofile(tmp_path / f"{name}.cfl")
        return str(tmp_path / f"{name}.cfl")

    places = radial(6, (4, 6, 8))[0]  # (readout, sample, z y x)
    t = write("t", places.numpy()[..., ::-1].transpose(2, 1, 0))
    k = write("k", crandn(1, 16, 6, 3).numpy())
    found = read_scan(k, trajectory=t)
    assert found.ndim == 3 and found.matrix == (4, 6, 8) and found.kspace.shape == (1, 3, 1, 6, 16)
    torch.testing.assert_close(found.trajectory.places[0, 0], places, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.kspace[0, 1, 0, 2], torch.from_numpy(read_array(k)[0, :, 2, 1].squeeze()))
    with pytest.raises(_errors.FormatError, match="Give the pair of files that `bart nufft` takes"):
        read(t, trajectory=k)
    with pytest.raises(_errors.FormatError, match=r"u.cfl uses axis 6 \(size 2\), which has no meaning"):
        read(write("u", crandn(1, 16, 6, 3, 1, 1, 2).numpy()), trajectory=t)
    with pytest.raises(_errors.FormatError, match="coil images of the matrix 4000 x 5454 x 7492"):
        read(k, trajectory=write("w", 1000 * places.numpy()[..., ::-1].transpose(2, 1, 0)))
    with pytest.raises(_errors.CorruptFileError, match=r"n.cfl has places that are not finite"):
        read(k, trajectory=write("n", np.nan * places.numpy()[..., ::-1].transpose(2, 1, 0)))
    for unit in (1 / 8, 2 * math.pi / 8):  # per pixel, in cycles and in radians
        with pytest.raises(_errors.FormatError, match=r"p.cfl reaches only .* in cycles per pixel by the"):
            read(k, trajectory=write("p", unit * places.numpy()[..., ::-1].transpose(2, 1, 0)))
    with pytest.raises(_errors.ShapeError, match="trajectory has shape"):
        read(write("v", crandn(1, 16, 5, 3).numpy()), trajectory=t)


def test_maps_are_found_in_the_centre_of_the_trajectory(disc: Scan, along: Scan):
    """As well as those of a Cartesian scan of the same size."""
    inside = disc.reference.abs() > 0.1

    def error(maps: torch.Tensor) -> float:
        aligned = maps * torch.sgn((disc.maps * maps.conj()).sum(1, keepdim=True))
        return float(((aligned - disc.maps) * inside.unsqueeze(1)).norm() / (disc.maps * inside.unsqueeze(1)).norm())

    found = espirit(along)
    assert error(found) < 1.2 * error(espirit(disc.replace(coil_maps=None)))
    frames = along.replace(  # the same spokes as four frames of six
        kspace=along.kspace.unflatten(2, (4, 6)),
        mask=along.mask.unflatten(1, (4, 6)),
        trajectory=Trajectory(along.trajectory.places.unflatten(1, (4, 6)), along.matrix),
        reference=None,
        coil_maps=None,
    )
    torch.testing.assert_close(espirit(frames.validated())[:, :, 0], found, atol=1e-3, rtol=0)


def test_frames_of_any_phase_add_up_in_the_maps(along: Scan):
    """Cycled phases, echoes, inversion: spokes of opposite signs cancelled, and so did what the maps are made of."""
    frames = along.replace(
        kspace=along.kspace.unflatten(2, (4, 6)),
        mask=along.mask.unflatten(1, (4, 6)),
        trajectory=Trajectory(along.trajectory.places.unflatten(1, (4, 6)), along.matrix),
        reference=None,
        coil_maps=None,
    )
    turns = torch.tensor([1, -1, 1j, -1j]).reshape(4, 1, 1)
    turned = frames.replace(kspace=frames.kspace * turns)
    torch.testing.assert_close(espirit(turned), espirit(frames), atol=1e-3, rtol=0)  # noise at DC: 7e-4


def test_centre_without_enough_samples_is_refused(along: Scan):
    few = along.replace(
        kspace=along.kspace[:, :, :3],
        mask=along.mask[:, :3],
        trajectory=Trajectory(along.trajectory.places[:, :3], along.matrix),
    )
    with pytest.raises(_errors.DataError, match="ESPIRiT needs 8 on every axis"):
        espirit(few)


def test_units_and_acceleration_are_those_of_the_image(disc: Scan, along: Scan):
    assert along.acceleration == pytest.approx(math.pi / 2 * 48 / 24) and not along.complete
    assert along.normalised().scale == pytest.approx(disc.normalised().scale, rel=0.5)
    scaled = along.replace(kspace=1e6 * along.kspace).normalised()
    torch.testing.assert_close(scaled.kspace, along.normalised().kspace, rtol=1e-4, atol=1e-6)


def test_what_needs_a_grid_says_so(tmp_path: Path, along: Scan):
    with pytest.raises(_errors.DataError, match="only samples of a grid can be left out"):
        undersample(along, 4)
    rv.write(along, tmp_path / "r.h5")
    with pytest.raises(_errors.DataError, match="none of its samples can be left out"):
        read_subjects(tmp_path / "r.h5")
    with pytest.raises(_errors.FormatError, match=r"no \.cfl file, so its trajectory, if any, is in it"):
        read(tmp_path / "r.h5", trajectory="t.cfl")
    two = along.replace(coil_maps=torch.stack([along.maps, along.maps], 2)).validated()
    with pytest.raises(_errors.ShapeError, match="maps have 2 sets, but a trajectory allows only one"):
        two.operator()
    with pytest.raises(_errors.ShapeError, match="maps are 46 x 48 but k-space is 48 x 48"):
        along.replace(coil_maps=along.coil_maps[..., 1:-1, :]).validated()


def test_coil_images_of_all_frames_are_held_at_once(tmp_path: Path):
    (tmp_path / "short").write_bytes(bytes(1000))
    check_coil_images((1, 8, 4, 32), (64, 64), str(tmp_path / "short"))
    with pytest.raises(_errors.FormatError, match=r"coil images of the matrix 64 x 64.*would unpack to 125 MiB"):
        check_coil_images((1, 8, 500, 4, 32), (64, 64), str(tmp_path / "short"))
