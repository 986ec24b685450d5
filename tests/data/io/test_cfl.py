"""BART files: axes, sizes, and agreement with BART itself."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from io_files import crandn

from resolvent import _errors
from resolvent.data.io import read, read_maps, write
from resolvent.data.scan import Scan
from resolvent.data.volume import Volume
from resolvent.linop.fourier import ifft


def bart(folder: Path, *words: str) -> None:
    if shutil.which("bart") is None:
        pytest.skip("bart is not installed (Debian package bart)")
    subprocess.run(["bart", *words], cwd=folder, check=True, capture_output=True)


def save(path: Path, array: np.ndarray) -> str:
    """A cfl by its definition: sizes in text, numbers in Fortran order."""
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, array.shape)) + "\n# Command\nphantom\n")
    path.with_suffix(".cfl").write_bytes(array.astype("<c8").tobytes(order="F"))
    return str(path.with_suffix(".cfl"))


def test_phantom_of_bart_is_read_as_coil_images(tmp_path: Path):
    bart(tmp_path, "phantom", "-k", "-s", "8", "-x", "32", "k")
    bart(tmp_path, "fft", "-u", "-i", "3", "k", "im")  # BART's own unitary transform
    scan, theirs = read(tmp_path / "k.cfl"), read_maps(tmp_path / "im.cfl")
    assert isinstance(scan, Scan)
    assert scan.kspace.shape == (1, 8, 32, 32)
    torch.testing.assert_close(ifft(scan.kspace), theirs, rtol=0, atol=1e-5 * float(theirs.abs().max()))


def test_bart_reads_what_is_written(tmp_path: Path):
    kspace = crandn(1, 3, 6, 8, 10)
    write(Scan(kspace=kspace, mask=torch.ones(1, 6, 8, 10), ndim=3), tmp_path / "k.cfl")
    bart(tmp_path, "fft", "-u", "-i", "7", "k", "im")
    torch.testing.assert_close(read_maps(tmp_path / "im.cfl", ndim=3), ifft(kspace, 3))


def test_column_is_read_and_row_is_phase(tmp_path: Path):
    array = crandn(10, 8, 1, 3).numpy()  # READ, PHASE1, PHASE2, COIL
    found = read(save(tmp_path / "k", array))
    assert isinstance(found, Scan)
    np.testing.assert_array_equal(found.kspace[0].numpy(), array[:, :, 0].transpose(2, 1, 0))


def test_plane_without_readout_is_two_dimensional(tmp_path: Path):
    array = crandn(1, 10, 8, 3).numpy()
    found = read(save(tmp_path / "k", array))
    assert found.ndim == 2 and found.readout is None
    np.testing.assert_array_equal(found.kspace[0].numpy(), array[0].transpose(2, 1, 0))


@pytest.mark.parametrize("name", ["k", "k.cfl", "k.hdr"])
def test_any_half_of_the_pair_names_it(tmp_path: Path, name: str):
    save(tmp_path / "k", crandn(10, 8, 1, 3).numpy())
    assert read(tmp_path / name).kspace.shape == (1, 3, 8, 10)


@pytest.mark.parametrize("shape", [(2, 3, 8, 10), (2, 3, 4, 8, 10), (2, 3, 4, 5, 8, 10), (1, 2, 2, 3, 4, 8, 10)])
def test_scan_comes_back(tmp_path: Path, shape: tuple[int, ...]):
    kspace = crandn(*shape)
    write(Scan(kspace=kspace, mask=torch.ones(1, *(1,) * (len(shape) - 4), 8, 10)), tmp_path / "k.cfl")
    assert torch.equal(read(tmp_path / "k.cfl").kspace, kspace)


@pytest.mark.parametrize("shape", [(3, 8, 10), (3, 4, 8, 10)])
def test_image_comes_back_with_its_phase(tmp_path: Path, shape: tuple[int, ...]):
    image = crandn(*shape)
    write(image, tmp_path / "im.cfl")
    found = read(tmp_path / "im.cfl")
    assert isinstance(found, Volume)
    assert torch.equal(found.image, image)


def test_volume_is_a_stack_of_slices(tmp_path: Path):
    array = crandn(10, 8, 6).numpy()
    np.testing.assert_array_equal(read(save(tmp_path / "v", array)).image.numpy(), array.transpose(2, 1, 0))


def test_two_map_sets_become_an_axis(tmp_path: Path):
    array = crandn(10, 8, 1, 3, 2).numpy()
    found = read_maps(save(tmp_path / "maps", array))
    np.testing.assert_array_equal(found[0].numpy(), array[:, :, 0].transpose(2, 3, 1, 0))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (crandn(10, 8, 1, 3, 2), "holds 2 map sets"),
        (crandn(10, 8, 1, 3, 1, 1, 4), r"uses axis 6 \(size 4\), which has no meaning"),
        (crandn(10, 8, 6, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2), "both PHASE2 and SLICE"),
    ],
)
def test_axes_without_meaning_are_refused(tmp_path: Path, array: torch.Tensor, message: str):
    with pytest.raises(_errors.FormatError, match=message):
        read(save(tmp_path / "k", array.numpy()))


def test_volumes_that_could_not_be_read_back_are_not_written(tmp_path: Path):
    with pytest.raises(_errors.ShapeError, match=r"2 volumes are no series of slices, and \.cfl holds one"):
        write(Volume(crandn(2, 6, 8, 10), ndim=3), tmp_path / "two.cfl")
    assert not list(tmp_path.iterdir())


def test_length_must_be_the_product_of_the_sizes(tmp_path: Path):
    path = save(tmp_path / "k", crandn(10, 8, 1, 3).numpy())
    Path(path).write_bytes(Path(path).read_bytes()[:-8])
    with pytest.raises(_errors.CorruptFileError, match=r"holds 1912 bytes but .* declares 10 x 8 x 1 x 3"):
        read(path)


@pytest.mark.parametrize("suffix", [".hdr", ".cfl"])
def test_missing_half_is_named(tmp_path: Path, suffix: str):
    path = Path(save(tmp_path / "k", crandn(10, 8, 1, 3).numpy()))
    path.with_suffix(suffix).unlink()
    with pytest.raises(_errors.CorruptFileError, match=f"k{suffix} is missing"):
        read(tmp_path / "k")


@pytest.mark.parametrize(
    "text", ["", "# Dimensions\n", "# Dimensions\n1 -2\n", "# Dimensions\n0 2\n", "# Dimensions\n1 x\n"]
)
def test_header_without_sizes_is_refused(tmp_path: Path, text: str):
    path = Path(save(tmp_path / "k", crandn(10, 8, 1, 3).numpy()))
    path.with_suffix(".hdr").write_text(text)
    with pytest.raises(_errors.CorruptFileError, match="lists no sizes"):
        read(path)


def test_five_lead_axes_are_too_many(tmp_path: Path):
    with pytest.raises(_errors.ShapeError, match="at most 4 lead axes, not 5"):
        write(crandn(1, 1, 1, 1, 1, 1, 8, 10), tmp_path / "im.cfl")
    assert not list(tmp_path.iterdir())
