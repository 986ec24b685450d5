"""Photographs are blurred, and pixels of them are missing, by the formula; nothing but seed and number decides how."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import resolvent as rv
from resolvent._errors import DataError, FormatError
from resolvent.linop import Sampling
from resolvent.train.config import Scans, parsed
from resolvent.train.pictures import draw_kernel, draw_pictures, read_picture
from resolvent.train.run import train


def picture(name="camera.png"):
    return read_picture(Path(name))


def with_data(config, data):
    return parsed({**json.loads(config.model_dump_json()), "data": data}, "the settings")


def scans(**options):
    settings = {"matrix": (24, 32), "acceleration": (1.5, 3), "blur": (0.5, 1.5), "whole": 0.0, "contrast": (1, 1)}
    return Scans(**{"spatial": "picture", **settings, **options})


def test_without_noise_the_data_are_those_of_the_reference():
    batch = draw_pictures([picture()], scans(clean=1.0), seed=0, number=0, size=3)
    torch.testing.assert_close(batch.y, batch.A(batch.reference), rtol=0, atol=1e-6)
    assert not bool(batch.noise.any()) and float(batch.reference.real.min()) >= 0
    assert not bool(batch.reference.imag.any()) and not bool(batch.y.imag.any())
    assert 0.2 < float(batch.mask.mean()) < 0.8
    assert bool((batch.y[batch.mask == 0] == 0).all())
    assert bool((batch.A.norm_bound <= 1 + 1e-5).all())


def test_noise_has_the_level_that_is_told_and_lies_on_the_measured_pixels():
    options = {"clean": 0.0, "snr_db": (10, 10), "noise_error": 0.0}
    batch = draw_pictures([picture()], scans(matrix=(64, 64), **options), seed=0, number=1, size=2)
    n = (batch.y - batch.A(batch.reference)).real
    assert bool((n[batch.mask == 0] == 0).all())
    for sample, mask, sigma in zip(n, batch.mask, batch.noise, strict=True):  # of 1365 samples or more: 4 sigma
        assert float(sample[mask == 1].square().mean().sqrt()) == pytest.approx(float(sigma), rel=0.08)


def test_a_batch_is_a_function_of_seed_and_number():
    first, again = (draw_pictures([picture()], scans(), seed=1, number=5, size=2) for _ in range(2))
    assert first.y.equal(again.y) and first.A(first.reference).equal(again.A(again.reference))
    other = draw_pictures([picture()], scans(), seed=1, number=6, size=2)
    assert other.y.shape != first.y.shape or not other.y.equal(first.y)


def test_denoising_draws_have_all_pixels_no_blur_and_noise():
    batch = draw_pictures([picture()], scans(clean=1.0), seed=0, number=0, size=2, denoise=True)
    assert bool((batch.mask == 1).all()) and float(batch.noise.min()) > 0
    torch.testing.assert_close(batch.A(batch.reference), batch.reference, rtol=0, atol=1e-6)


@pytest.mark.parametrize("width", [0.0, 0.7, 2.0])
def test_a_kernel_has_unit_sum_and_the_width_that_was_asked(width):
    rng = np.random.default_rng(0)
    for _ in range(8):
        k = draw_kernel(width, rng).double()
        assert float(k.sum()) == pytest.approx(1, abs=1e-6) and float(k.min()) >= 0
        place = torch.arange(len(k), dtype=torch.float64) - len(k) // 2
        yy, xx = (k.sum(1) * place**2).sum(), (k.sum(0) * place**2).sum()
        xy = (k * place[:, None] * place).sum()
        longest = float(torch.linalg.eigvalsh(torch.stack([yy, xy, xy, xx]).reshape(2, 2))[-1].clamp_min(0)) ** 0.5
        assert longest == pytest.approx(width, abs=0.35)  # of the pixel: 1 / sqrt(12) = 0.29


@pytest.mark.parametrize("supervision", ["full", "self"])
def test_a_model_trains_on_photographs_and_solves_with_their_physics(config, tmp_path, supervision):
    data = {"train": ["camera.png"], "validation": ["coins.png"], "supervision": supervision}
    options = {"spatial": "picture", "matrix": [24, 32], "acceleration": [1.5, 2], "blur": [0, 1]}
    config = with_data(config, {**data, "scans": options})
    found = train(config, tmp_path / "run")
    assert found["finished"] and found["psnr"] > 10
    model = rv.load(found["model"])
    batch = draw_pictures([picture()], config.data.scans, seed=3, number=0, size=1)
    recon = model.solve(batch.y, batch.A, noise=batch.noise)
    assert recon.solution.converged and recon.certificate.proved
    again = model.solve(batch.y, batch.A @ Sampling(torch.ones(1, 1)), noise=batch.noise)
    torch.testing.assert_close(again.image, recon.image, rtol=0, atol=2e-3 * float(recon.image.abs().max()))


def test_messages_name_the_picture_and_the_setting(config, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(FormatError, match=r"text\.png is no picture"):
        read_picture(tmp_path / "text.png")
    with pytest.raises(FormatError, match=r"nowhere\.png does not exist, here or among scikit-image's"):
        read_picture(tmp_path / "nowhere.png")
    data = {"train": ["camera.png"], "validation": ["camera.png"]}
    with pytest.raises(DataError, match=r"camera.png is in validation and in training"):
        train(with_data(config, {**data, "scans": {"spatial": "picture"}}), tmp_path / "run")
    with pytest.raises(DataError, match="blur must be at least 0, and at most a sixth of the matrix"):
        with_data(config, {**data, "scans": {"spatial": "picture", "matrix": [24, 32], "blur": [0, 9]}})
