"""`Scan`: frozen, normalised without loss, maps from the file or from the calibration lines."""

import dataclasses
import sys
import types

import pytest
import torch

from resolvent._errors import DataError
from resolvent.data.io import write
from resolvent.data.places import Geometry, Trajectory
from resolvent.data.scan import Scan
from resolvent.data.simulate import simulate
from resolvent.linop.fourier import ifft


def crandn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def scan() -> Scan:
    return Scan(
        kspace=5 * crandn(2, 3, 8, 10), mask=torch.ones(1, 8, 10), noise=0.5, reference=crandn(2, 8, 10, seed=1)
    )


def test_conjugate_k_space_is_k_space(scan: Scan, tmp_path):
    turned = scan.replace(kspace=scan.kspace.conj(), reference=scan.reference.conj(), coil_maps=scan.kspace.conj())
    torch.testing.assert_close(turned.normalised().kspace, scan.normalised().kspace.conj().resolve_conj())
    assert turned.validated().single().maps.numpy().dtype == "complex64"
    write(turned, tmp_path / "turned.cfl")


def test_scan_prints_in_a_line(scan: Scan):
    assert repr(scan).startswith("Scan(kspace=complex64 (2, 3, 8, 10), mask=float32 (1, 8, 10), noise=0.5, reference=")


def test_scan_is_frozen(scan: Scan):
    with pytest.raises(dataclasses.FrozenInstanceError):
        scan.noise = 1.0  # pyright: ignore[reportAttributeAccessIssue]


def test_largest_coil_image_magnitude_becomes_one(scan: Scan):
    assert float(ifft(scan.normalised().kspace).abs().max()) == pytest.approx(1, rel=1e-6)


def test_scale_undoes_the_division(scan: Scan):
    scan = scan.replace(scale=3.0)
    small = scan.normalised()
    factor = small.scale / 3.0
    torch.testing.assert_close(small.kspace * factor, scan.kspace)
    torch.testing.assert_close(small.reference * factor, scan.reference)
    assert small.noise * factor == pytest.approx(scan.noise)


def test_normalising_twice_is_normalising_once(scan: Scan):
    once = scan.normalised()
    twice = once.normalised()
    torch.testing.assert_close(once.kspace, twice.kspace)
    assert twice.scale == pytest.approx(once.scale)


def test_volume_is_normalised_by_its_three_dimensional_transform():
    scan = Scan(kspace=crandn(1, 2, 4, 8, 10), mask=torch.ones(1, 4, 8, 10), ndim=3).normalised()
    assert float(ifft(scan.kspace, 3).abs().max()) == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("factor", [1e-30, 1e-6, 1e12])
def test_units_of_the_file_do_not_matter(scan: Scan, factor: float):
    ours, theirs = scan.normalised(), scan.replace(kspace=scan.kspace * factor).normalised()
    torch.testing.assert_close(theirs.kspace, ours.kspace, rtol=1e-5, atol=1e-7)
    assert theirs.scale == pytest.approx(ours.scale * factor, rel=1e-5)


@pytest.mark.parametrize("factor", [1e-300, 1e-30, 3.0, 1e200])
def test_double_precision_is_reduced_within_the_range_of_single(scan: Scan, factor: float):
    wide = scan.replace(
        kspace=scan.kspace.to(torch.complex128) * factor,
        reference=scan.reference.to(torch.complex128) * factor,
        mask=scan.mask.double(),
        coil_maps=crandn(2, 3, 8, 10).to(torch.complex128),
        noise=scan.noise * factor,
    )
    narrow = wide.single()
    for name in ("kspace", "reference", "coil_maps"):
        assert getattr(narrow, name).dtype == torch.complex64
    assert narrow.mask.dtype == torch.float32
    for name in ("kspace", "reference"):
        torch.testing.assert_close(getattr(narrow, name) * (narrow.scale / factor), getattr(scan, name))
    assert narrow.noise * narrow.scale == pytest.approx(scan.noise * factor)


def test_single_precision_stays_as_it_is(scan: Scan):
    assert scan.single().kspace is scan.kspace
    assert (scan.single().scale, scan.single().noise) == (scan.scale, scan.noise)


def test_zero_kspace_cannot_be_normalised(scan: Scan):
    with pytest.raises(DataError, match=r"k-space is zero everywhere \(kspace in a.h5\). Check the export"):
        scan.replace(kspace=torch.zeros_like(scan.kspace), source="a.h5").normalised()


def test_maps_of_the_file_are_used(scan: Scan):
    maps = crandn(2, 3, 8, 10, seed=2)
    assert scan.replace(coil_maps=maps).maps is maps


@pytest.mark.parametrize("separate", [True, False])
def test_maps_are_estimated_once_from_the_calibration_lines_if_there_are_any(
    scan: Scan, separate: bool, monkeypatch: pytest.MonkeyPatch
):
    asked = []
    made = crandn(2, 3, 8, 10)
    module = types.ModuleType("resolvent.data.espirit")
    module.espirit = lambda scan: asked.append(scan) or made  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "resolvent.data.espirit", module)
    calibration = Scan(kspace=crandn(2, 3, 8, 10, seed=3), mask=torch.ones(1, 8, 10))
    chosen = scan.replace(calibration=calibration) if separate else scan
    assert chosen.maps is chosen.maps and torch.equal(chosen.maps, made)
    assert asked == [calibration if separate else scan]


def test_maps_of_separate_calibration_lines_serve_all_frames():
    still = simulate(torch.ones(32, 32), n_coils=4, acceleration=1, seed=0)
    still = still.replace(coil_maps=None, reference=None)
    series = still.replace(kspace=still.kspace.unsqueeze(2).repeat(1, 1, 3, 1, 1), mask=torch.ones(1, 1, 32, 32))
    series = series.replace(calibration=still)
    assert torch.equal(series.maps, still.maps.unsqueeze(2))
    assert series.operator().adjoint(series.kspace).shape == (1, 3, 32, 32)


def test_an_entry_takes_what_is_its_own_and_keeps_what_is_shared(scan: Scan):
    affine = torch.eye(4).double().numpy()
    affine[:3, 2] = (0, 0, 5)
    places = crandn(2, 8, 10, 2).real
    stack = scan.replace(
        coil_maps=crandn(2, 3, 8, 10, seed=2),
        geometry=Geometry(affine),
        calibration=scan.replace(kspace=scan.kspace[:1]),
        trajectory=Trajectory(places, (8, 10)),
    )
    one = stack.entry(1)
    for name in ("kspace", "coil_maps", "reference"):
        torch.testing.assert_close(getattr(one, name), getattr(stack, name)[1:])
    assert one.mask is stack.mask and one.calibration is stack.calibration
    assert one.trajectory is not None and one.geometry is not None
    torch.testing.assert_close(one.trajectory.places, places[1:])
    assert one.geometry.affine[2, 3] == 5 and affine[2, 3] == 0
    several = stack.replace(calibration=scan).entry(1).calibration
    assert several is not None
    torch.testing.assert_close(several.kspace, scan.kspace[1:])


def test_the_entries_of_a_batch_of_volumes_lie_in_one_place():
    volumes = Scan(crandn(2, 2, 4, 8, 10), torch.ones(1, 4, 8, 10), ndim=3, geometry=Geometry(torch.eye(4).numpy()))
    assert volumes.entry(1).geometry is volumes.geometry


@pytest.mark.parametrize("number", [-1, 2])
def test_an_entry_that_is_not_there(scan: Scan, number: int):
    with pytest.raises(DataError, match=f"a.h5 has no slice {number}: the slices are 0 to 1. Pass another."):
        scan.replace(source="a.h5").entry(number)


def test_counts(scan: Scan):
    assert scan.n_coils == 3 and scan.acceleration == 1
    assert scan.replace(mask=torch.eye(8, 10)[None]).acceleration == 10
