"""Planes of a page: order, twelve bits, and a budget that is kept."""

import zlib

import numpy as np
import pytest
import torch

from resolvent.report.planes import BUDGET, kept, magnitude_bytes, phase_bytes, planes, sampled


def unpacked(content, shape):
    raw = np.frombuffer(zlib.decompress(content), np.uint8).reshape(2, *shape).astype(int)
    return raw[0] + 256 * raw[1]


def test_slices_come_first_and_lead_axes_become_frames():
    image = torch.arange(2 * 3 * 4 * 5 * 6).reshape(2, 3, 4, 5, 6) + 0j
    stack, volumes = planes(image, 2), planes(image, 3)
    assert stack.shape == (2, 12, 5, 6)
    assert (stack[1, 7] == image[1, 1, 3].numpy()).all()
    assert volumes.shape == (8, 3, 5, 6)
    assert (volumes[5, 2] == image[1, 2, 1].numpy()).all()


def test_magnitudes_are_kept_to_half_a_step_of_4095():
    image = np.random.default_rng(0).normal(size=(2, 3, 7, 5)) * np.exp(1j)
    peak = np.abs(image).max() * 1.1
    found = unpacked(magnitude_bytes(image, peak), image.shape) * peak / 4095
    assert np.abs(found - np.abs(image)).max() <= peak / 4095 / 2 * (1 + 1e-9)


def test_phases_are_kept_to_half_a_step_of_256():
    image = np.exp(1j * np.linspace(-np.pi, np.pi, 101)).reshape(1, 1, 1, 101)
    angles = (np.frombuffer(zlib.decompress(phase_bytes(image)), np.uint8) / 256 - 0.5) * 2 * np.pi
    assert np.abs(np.angle(np.exp(1j * angles) / image.ravel())).max() <= np.pi / 256 + 1e-9


def test_nothing_has_no_phase():
    nothing = np.array([complex(a, b) for a in (0.0, -0.0) for b in (0.0, -0.0)]).reshape(1, 1, 2, 2)
    assert set(zlib.decompress(phase_bytes(nothing))) == {128}


@pytest.mark.parametrize(("slices", "frames"), [(1, 1), (16, 1), (1, 20), (120, 1), (6, 40)])
def test_noise_keeps_the_budget_and_everything_stays_that_fits(slices, frames):
    image = np.random.default_rng(0).normal(size=(slices, frames, 96, 96, 2)).view(complex)[..., 0]
    keep = kept([image, image], 2)
    size = 2 * sum(
        len(part) for part in (magnitude_bytes(keep.of(image), np.abs(image).max()), phase_bytes(keep.of(image)))
    )
    assert size <= BUDGET[2]
    fits = slices * frames * 96 * 96 * 2 * 2.6 < BUDGET[2]
    assert (len(keep.slices), len(keep.frames)) == (slices, frames) if fits else size > BUDGET[2] / 4


def test_an_empty_plane_in_the_middle_does_not_make_a_page_larger(monkeypatch):
    image = np.random.default_rng(0).normal(size=(9, 5, 32, 32)) + 0j
    monkeypatch.setitem(BUDGET, 2, 60_000)
    wanted = kept([image], 2)
    hollow = image.copy()
    hollow[4, 2] = 0
    assert len(wanted.slices) < 9 and kept([hollow], 2) == wanted


def test_kspace_is_in_decibels_of_all_coils():
    kspace = torch.zeros(1, 2, 4, 4, dtype=torch.complex64)
    kspace[0, :, 2, 2] = torch.tensor([3.0, 4.0j])
    kspace[0, 0, 1, 1] = 0.05
    lines, points, said = sampled(kspace, (kspace[:, 0] != 0).float(), 2)
    assert lines.shape == points.shape == (1, 1, 4, 4)
    assert lines[0, 0, 2, 2] == 255
    assert lines[0, 0, 1, 1] == round(255 * (1 - 40 / 80))
    assert lines[0, 0, 0, 0] == 0
    assert points.sum() == 2
    assert said == "root of the sum of squares over coils"


def test_of_a_volume_the_readout_is_summed_over():
    mask = torch.zeros(1, 4, 5, 6)
    mask[:, 1, 2] = 1
    kspace = mask[:, None] * (2.0 + 0j)
    lines, points, said = sampled(kspace, mask, 3)
    assert lines.shape == (1, 1, 4, 5)
    assert points[0, 0, 1, 2] == 1 == points.sum()
    assert said.endswith("along x; z down, y across")
