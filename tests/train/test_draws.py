"""Simulated training scans obey the formula, and depend on nothing but seed and number."""

import numpy as np
import pytest
import torch

from resolvent._errors import DataError
from resolvent.data import Subject, birdcage_maps, simulate
from resolvent.linop import estimate_noise, fft
from resolvent.train.config import Scans
from resolvent.train.draws import calibrated, draw_batch, draw_subject, quick_sizes
from resolvent.train.objects import framed, object_phase, received, through, toned

EXACT = {"clean": 1.0, "calibrated": 0.0, "map_error": 0.0, "noise_error": 0.0, "estimated": 0.0}


def subject(seed=0, shape=(3, 26, 22)):
    generator = torch.Generator().manual_seed(seed)
    return Subject("s", "file", images=0.2 + 0.8 * torch.rand(shape, generator=generator))


def scans(**options):
    return Scans(**{"matrix": (16, 24), "depth": (3, 5), "coils": [3], **options})


def test_a_batch_is_a_function_of_seed_and_number():
    first, again = (draw_batch([subject()], scans(), seed=1, number=5, size=2) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True) if isinstance(a, torch.Tensor))
    assert first.A(first.reference).equal(again.A(again.reference))
    for seed, number in ((1, 6), (2, 5)):
        other = draw_batch([subject()], scans(), seed=seed, number=number, size=2)
        assert other.y.shape != first.y.shape or not torch.equal(other.y, first.y)


@pytest.mark.parametrize("spatial", ["2d", "3d", "2d+t"])
def test_without_noise_the_data_are_those_of_the_reference(spatial):
    shape = (3, 26, 22) if spatial == "2d" else (1, 6, 26, 22)
    batch = draw_batch([subject(shape=shape)], scans(spatial=spatial, **EXACT), seed=0, number=0, size=2)
    assert batch.y.shape[:2] == (2, 3) and batch.y.ndim == (4 if spatial == "2d" else 5)
    error = (batch.A(batch.reference) - batch.y).abs().max() / batch.y.abs().max()
    assert float(error) < 0.05  # maps that are zero away from the object cut off what rings there
    whole = draw_batch([subject(shape=shape)], scans(spatial=spatial, **EXACT), seed=0, number=0, size=2, denoise=True)
    assert bool((whole.mask == 1).all()) and float(whole.noise.min()) > 0


def test_another_contrast_swaps_tissues_and_leaves_zero_at_zero():
    tissues = torch.linspace(0, 1, 101)
    curves = [toned(tissues, 0.6, np.random.default_rng(seed)) for seed in range(20)]
    assert all(float(curve[0]) == 0 and bool((curve[1:] > 0).all()) for curve in curves)
    swapped = sum(bool((curve.diff() < 0).any()) for curve in curves)
    assert 0 < swapped < 20
    torch.testing.assert_close(toned(tissues, 0.0, np.random.default_rng(0)), tissues)


def test_phase_is_that_of_the_tissue_the_field_and_more():
    tissue = torch.zeros(40, 32)
    tissue[10:30, 8:24] = 1.0
    edge, inside = [], []
    for seed in range(20):
        phase = object_phase(tissue, 2, 1.5, np.random.default_rng(seed))
        assert phase.shape == tissue.shape and float((phase - phase.mean()).abs().max()) < 20
        edge.append(float((phase[10, 8:24] - phase[9, 8:24]).abs().mean()))
        inside.append(float(phase[14:26, 8:24].diff(dim=0).abs().mean()))
    assert np.median(edge) > 1.5 * np.median(inside)
    assert float(object_phase(tissue, 2, 0.0, np.random.default_rng(0)).abs().max()) == 0


def test_maps_of_the_middle_of_kspace_are_wrong_where_the_object_ends():
    true = birdcage_maps(6, (48, 40), seed=1)
    x = torch.zeros(48, 40, dtype=torch.complex64)
    x[12:36, 10:30] = 1.0
    for seed in range(6):
        told = calibrated(fft(true * x, 2), true, np.random.default_rng(seed))
        power = told.abs().square().sum(0)
        assert float(power.max()) < 1.001 and float(power[12:36, 10:30].min()) > 0.999
        told = told * torch.exp(-1j * (true.conj() * told).sum(0).angle())
        wrong = (told - true).abs().square().sum(0).sqrt()
        assert float(wrong[20:28, 16:24].mean()) < 0.5 * float(wrong[12, 10:30].mean()) < 0.5


def test_every_file_is_as_likely_whatever_it_holds():
    many = [Subject(f"a{i}", "a", images=torch.ones(1, 24, 24)) for i in range(9)]
    few = [Subject("b", "b", images=torch.ones(1, 24, 24))]
    rng = np.random.default_rng(0)
    drawn = [draw_subject([*many, *few], scans(), None, rng) for _ in range(400)]
    assert 160 < drawn.count(9) < 240 and len(set(drawn)) == 10


def test_a_measured_scan_is_as_likely_as_a_file_of_many_subjects():
    many = [Subject(f"a{i}", "a", images=torch.ones(1, 24, 24)) for i in range(9)]
    scan = Subject("b", "b", scan=simulate(torch.ones(16, 16), n_coils=2, acceleration=1))
    coils = [draw_batch([*many, scan], scans(), seed=0, number=i, size=1).y.shape[1] for i in range(60)]
    assert 20 < coils.count(2) < 40 and set(coils) == {2, 3}


def test_a_ring_of_coils_receives_more_from_the_rim():
    for seed in range(10):
        profile = received((64, 48), 1.5, np.random.default_rng(seed))
        middle, rim = profile[32, 24], profile[[4, 60, 32, 32], [24, 24, 4, 44]]
        assert float(profile.max()) <= 1 and bool((rim > 1.2 * middle).all())
        assert bool((received((64, 48), 0.0, np.random.default_rng(seed)) == 1).all())


def test_the_planes_of_a_volume_lie_along_the_first_axis_or_along_the_readout():
    """A box of planes of their own intensity: where they lie is the axis along which the object changes."""
    planes = torch.arange(1.0, 5).reshape(1, 4, 1, 1).expand(1, 4, 24, 24)
    options = {
        "contrast": (1, 1),
        "tone": 0.0,
        "shading": 0.0,
        "phase": 0.0,
        "whole": 0.0,
        "zoom": (1, 1),
        "matrix": (16, 16),
        "depth": (4, 4),
    }
    shapes = set()
    for number in range(6):
        batch = draw_batch(
            [Subject("s", "f", planes)], scans(spatial="3d", **options, **EXACT), seed=0, number=number, size=1
        )
        x = batch.reference[0].abs()
        shapes.add(tuple(x.shape))
        axis = min(range(3), key=lambda a: x.shape[a])
        profiles = [x.movedim(a, 0).flatten(1).median(1).values for a in range(3)]
        changes = [float(profile.max() / profile.min()) for profile in profiles]
        assert changes.pop(axis) > 1.2 * max(changes)  # across them only the transmit field changes
        assert batch.mask[:, 0].shape == batch.reference.shape
    assert shapes == {(4, 16, 16), (16, 16, 4)}


def test_planes_lie_one_to_two_apart_and_are_mirrored_where_the_volume_ends():
    def taken(planes: int, seed: int) -> torch.Tensor:
        volume = torch.arange(float(planes))[:, None, None].expand(planes, 2, 2)
        return through(volume, 12, np.random.default_rng(seed))[:, 0, 0]

    few, many = (torch.stack([taken(planes, seed) for seed in range(20)]) for planes in (5, 200))
    steps = many.diff(dim=1).abs()
    straight = (steps.amax(1) - steps.amin(1)) < 1e-4
    assert int(straight.sum()) > 15 and bool(((steps[straight] >= 1 - 1e-4) & (steps[straight] <= 2 + 1e-4)).all())
    assert bool((many.diff(dim=1) < 0).any()) and bool((many.diff(dim=1) > 0).any())
    assert float(few.min()) >= 0 and 3.5 < float(few.max()) <= 4 and float(few.diff(dim=1).abs().max()) <= 2 + 1e-5
    assert not bool(taken(1, 0).any())


def test_series_are_drawn_from_stills_with_the_odds_of_motion():
    series, still = subject(shape=(1, 6, 26, 22)), subject(seed=1)
    for odds, expected in ((0.0, 0), (1.0, 1)):
        drawn = [
            draw_batch([series, still], scans(spatial="2d+t", motion=odds), seed=0, number=i, size=1) for i in range(4)
        ]
        assert {int(batch.subject) for batch in drawn} == {expected}
    assert drawn[0].reference.ndim == 4 and drawn[0].mask[:, 0].shape == drawn[0].reference.shape
    one = draw_batch([still], scans(spatial="2d+t", motion=0.0), seed=0, number=0, size=1)
    frames = one.reference[0]
    assert 0.01 < float((frames[1:] - frames[:-1]).norm() / frames.norm()) < 1  # it moves


def test_noise_has_the_level_that_is_told():
    batch = draw_batch(
        [subject()], scans(clean=0.0, snr_db=(5, 5), noise_error=0.0, estimated=0.0), seed=0, number=3, size=1
    )
    clean = draw_batch(
        [subject()], scans(clean=1.0, snr_db=(5, 5), noise_error=0.0, estimated=0.0), seed=0, number=3, size=1
    )
    n = (batch.y - clean.y)[(batch.mask > 0).expand_as(batch.y)]
    assert float(n.abs().square().mean().sqrt()) == pytest.approx(float(batch.noise), rel=0.1)
    assert float(clean.noise) == 0
    told = draw_batch([subject()], scans(clean=0.0, snr_db=(5, 5), estimated=1.0), seed=0, number=3, size=1)
    assert torch.equal(told.noise, estimate_noise(told.y))


def test_maps_with_errors_keep_unit_norm_and_the_reference_is_what_they_make_of_the_full_data():
    options = {"map_error": 0.5, "clean": 1.0, "noise_error": 0.0}
    batch = next(
        b
        for b in (draw_batch([subject()], scans(**options), seed=0, number=i, size=1) for i in range(20))
        if bool((b.A.support == 1).all())  # not cut off
    )
    squares = batch.A.weighted_maps.abs().square().sum(1)
    torch.testing.assert_close(squares, torch.ones_like(squares))


def test_measured_scans_are_undersampled_anew_if_complete_and_kept_if_not():
    full = simulate(torch.rand(24, 20) + 0.1, n_coils=3, acceleration=1, snr_db=40)
    batch = draw_batch([Subject("a", "f", scan=full)], scans(acceleration=(3, 3)), seed=0, number=0, size=2)
    assert float(batch.mask[0].mean()) == pytest.approx(1 / 3, abs=0.05)
    assert not torch.equal(batch.mask[0], batch.mask[1])
    torch.testing.assert_close(batch.y, batch.mask * full.kspace.expand_as(batch.y))
    scale = float(full.reference.abs().max())
    assert float((batch.reference - full.reference).abs().max()) < 0.2 * scale
    part = simulate(torch.rand(24, 20) + 0.1, n_coils=3, acceleration=2)
    kept = draw_batch([Subject("a", "f", scan=part)], scans(), seed=0, number=0, size=1)
    assert (
        torch.equal(kept.y, part.kspace) and torch.equal(kept.mask[:, 0], part.mask) and not bool(kept.reference.any())
    )


@pytest.mark.parametrize(("lead", "frames"), [((5,), (5,)), ((2, 3), (1, 1))])
def test_measured_series_are_undersampled_frame_by_frame(lead, frames):
    full = simulate(torch.rand(1, *lead, 24, 20) + 0.1, n_coils=3, acceleration=1)
    full = full.replace(mask=torch.ones(1, *(1,) * len(lead), 24, 20))  # as readers find it
    batch = draw_batch([Subject("a", "f", scan=full)], scans(acceleration=(3, 3)), seed=0, number=0, size=2)
    assert batch.mask.shape == (2, 1, *frames, 24, 20)
    assert float(batch.mask.mean()) == pytest.approx(1 / 3, abs=0.05)
    torch.testing.assert_close(batch.y, batch.mask * full.kspace.expand_as(batch.y))
    assert batch.A(batch.reference).shape == batch.y.shape


def test_readouts_of_measured_scans_are_kept_or_left_out_whole():
    full = simulate(torch.rand(24, 20) + 0.1, n_coils=3, acceleration=1).replace(readout=-1)
    lines = scans(acceleration=(3, 3), masks={"gaussian1d": 1.0})
    mask = draw_batch([Subject("a", "f", scan=full)], lines, seed=0, number=0, size=2).mask
    assert torch.equal(mask, mask[..., :1].expand_as(mask)) and float(mask.mean()) == pytest.approx(1 / 3, abs=0.05)


def test_frames_follow_each_other_around_the_cycle():
    series = torch.arange(1.0, 5).reshape(4, 1, 1).expand(4, 16, 16)
    drawn = framed(series, (16, 16), 4, scans(whole=0.0, zoom=(1, 1)), np.random.default_rng(0))
    steps = (drawn[:, 8, 8] - drawn[[3, 0, 1, 2], 8, 8]).round().tolist()
    assert sorted(steps) in ([-3, 1, 1, 1], [-1, -1, -1, 3])


def test_an_image_of_which_no_part_shows_anything_is_named():
    dark = torch.zeros(1, 26, 22)
    for images, spatial in ((dark, "2d"), (dark[None].expand(1, 3, 26, 22), "2d+t")):
        with pytest.raises(DataError, match=r"1000 parts of an image of ada in f\.h5 show next to nothing\. Leave"):
            draw_batch([Subject("ada", "f.h5", images=images)], scans(spatial=spatial), seed=0, number=0, size=1)


def test_matrix_sizes_have_quick_transforms():
    assert quick_sizes(64, 128) == [64, 72, 80, 90, 96, 100, 108, 120, 128]
    assert quick_sizes(46, 46) == [46]


def test_a_cropped_kspace_keeps_the_units():
    """Images of constant intensity come out of the resampling with that intensity."""
    flat = Subject("s", "f", images=torch.ones(1, 24, 24))
    options = {
        "contrast": (1, 1),
        "tone": 0.0,
        "shading": 0.0,
        "phase": 0.0,
        "whole": 0.0,
        "zoom": (1, 1),
        "matrix": (16, 16),
    }
    for number in range(6):
        batch = draw_batch([flat], scans(**options, **EXACT), seed=0, number=number, size=1)
        assert 0.6 < float(batch.reference.abs().median()) < 1.7  # times the shading, exp(-0.5) to exp(0.5)
        middle = batch.A(batch.reference)
        assert middle.shape == batch.y.shape
