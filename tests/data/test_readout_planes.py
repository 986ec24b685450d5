"""Planes of a 3-D scan across a fully sampled axis: exactly 2-D problems, or refused."""

import pytest
import torch

import resolvent as rv
from problems import random, unit_maps
from resolvent._errors import DataError, ShapeError
from resolvent.data.planes import in_planes, readout, volumes_of

SHAPE = (5, 6, 7)


def volume(axis: int, seed: int = 0) -> rv.Scan:
    """A 3-D scan whose mask is constant along the axis and varies along the others."""
    plane = [n for i, n in enumerate(SHAPE) if i != axis]
    mask = (torch.rand(*plane, generator=torch.Generator().manual_seed(seed)) < 0.5).double()
    mask[0, 0], mask[-1, -1] = 1, 0
    mask = mask.unsqueeze(axis).expand(SHAPE)[None]
    return rv.Scan(random(1, 3, *SHAPE) * mask, mask, unit_maps(1, 3, *SHAPE), noise=0.1, ndim=3)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_normal_equations_of_the_planes_are_those_of_the_volume(axis):
    scan = volume(axis)
    assert readout(scan) == axis
    planes = in_planes(scan, axis)
    A, parts = scan.operator(), planes.operator()
    x = random(1, *SHAPE, seed=9)
    flat = x[0].movedim(axis, 0)
    depth = SHAPE[axis]
    assert torch.allclose(volumes_of(parts.adjoint(planes.kspace), axis, depth), A.adjoint(scan.kspace), atol=1e-12)
    assert torch.allclose(volumes_of(parts.normal(flat), axis, depth), A.normal(x), atol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("own_masks", [True, False])
@pytest.mark.parametrize("own_maps", [True, False])
def test_planes_of_volumes_are_those_of_each(axis, own_masks, own_maps):
    alone = [volume(axis, seed=seed) for seed in (0, int(own_masks))]
    alone[1] = alone[1].replace(kspace=2 * alone[1].kspace, coil_maps=alone[1].maps.roll(int(own_maps), 1))
    both = {name: torch.cat([getattr(one, name) for one in alone]) for name in ("kspace", "mask", "coil_maps")}
    both["mask"] = both["mask"] if own_masks else both["mask"][:1]
    both["coil_maps"] = both["coil_maps"] if own_maps else both["coil_maps"][:1]
    scan, depth = alone[0].replace(**both), SHAPE[axis]
    assert readout(scan) == axis
    planes = in_planes(scan, axis).validated()
    for n, one in enumerate(alone):
        expected = in_planes(one, axis)
        for m in range(depth):
            found, wanted = planes.entry(n * depth + m), expected.entry(m)
            assert torch.equal(found.operator().adjoint(found.kspace), wanted.operator().adjoint(wanted.kspace))
    images = random(2, *SHAPE)
    assert torch.equal(volumes_of(images.movedim(axis + 1, 1).flatten(0, 1), axis, depth), images)


def test_noise_of_the_planes_is_that_of_the_volume():
    scan = volume(1)
    white = scan.replace(kspace=random(1, 3, *SHAPE), mask=torch.ones(1, *SHAPE))
    planes = in_planes(white, 1)
    assert planes.noise == scan.noise
    assert torch.allclose(planes.kspace.norm(), white.kspace.norm())


@pytest.mark.parametrize(
    ("of_volume", "axis", "of_planes"), [(None, 0, None), (-1, 0, -1), (-1, 2, None), (-3, 1, -2), (-2, 2, -1)]
)
def test_planes_keep_the_readout_unless_they_lie_across_it(of_volume, axis, of_planes):
    assert in_planes(volume(axis).replace(readout=of_volume), axis).readout == of_planes


def test_an_axis_along_which_the_mask_varies_is_refused():
    with pytest.raises(DataError, match="mask varies along y"):
        in_planes(volume(0), 1)


def test_a_mask_that_varies_along_all_axes_has_no_readout():
    scan = volume(0)
    mask = scan.mask.clone()
    mask[0, 0, 0, 0] = 0
    assert readout(scan.replace(mask=mask)) is None


def test_a_stack_and_a_series_are_refused():
    scan = volume(0)
    series = scan.replace(kspace=scan.kspace.unsqueeze(2))
    assert readout(series) is None
    for other in (scan.replace(ndim=2), series):
        with pytest.raises(ShapeError, match=r"no Cartesian 3-D volume .* Pass volumes, and not a series"):
            in_planes(other, 0)
