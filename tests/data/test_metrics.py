"""Image quality: closed forms, and scikit-image called as fastMRI's public evaluation calls it."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from resolvent._errors import DataError, ShapeError
from resolvent.data.metrics import metrics, nmse, psnr, ssim


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    reference = rng.random((3, 24, 20)) * np.array([1.0, 0.3, 0.6])[:, None, None]  # one slice has the maximum
    return reference, reference + 0.05 * rng.standard_normal(reference.shape)


def test_measures_equal_scikit_image_on_a_volume(pair):
    r, x = pair[0], np.abs(pair[1])
    assert psnr(r, x) == pytest.approx(peak_signal_noise_ratio(r, x, data_range=r.max()), rel=1e-12)
    per_slice = [structural_similarity(r[i], x[i], data_range=r.max()) for i in range(3)]
    assert ssim(r, x) == pytest.approx(np.mean(per_slice), rel=1e-12)
    assert nmse(r, x) == pytest.approx(np.linalg.norm(r - x) ** 2 / np.linalg.norm(r) ** 2, rel=1e-12)


def test_range_is_the_maximum_of_the_volume_not_of_the_slice(pair):
    r, x = pair
    alone = np.mean([ssim(r[i], x[i]) for i in range(3)])
    assert ssim(r, x) == pytest.approx(0.9348, abs=1e-4)
    assert alone == pytest.approx(0.9322, abs=1e-4)


def test_closed_forms():
    r = torch.linspace(0.1, 2.0, 64).reshape(1, 8, 8)
    assert psnr(r, r + 0.02) == pytest.approx(40.0, abs=1e-4)
    assert nmse(r, 1.1 * r) == pytest.approx(0.01, rel=1e-5)
    assert psnr(r, r) == math.inf
    assert ssim(r, r) == 1.0
    assert nmse(r, r) == 0.0


def test_only_magnitudes_count(pair):
    r, x = pair[0], np.abs(pair[1])
    turned = torch.from_numpy(x * np.exp(1j * np.random.default_rng(1).random(x.shape)))
    assert metrics(torch.from_numpy(r), turned) == pytest.approx(metrics(r, x), rel=1e-12)


def test_leading_axes_are_slices(pair):
    r, x = pair
    assert ssim(r.reshape(1, 3, 24, 20), x.reshape(1, 3, 24, 20)) == ssim(r, x)


def test_gradients_and_conjugate_views_are_accepted(pair):
    r = torch.from_numpy(pair[0]).to(torch.complex64)
    assert psnr(r.conj(), (0.9 * r).requires_grad_()) == pytest.approx(psnr(r, 0.9 * r))


def test_measures_come_by_name(pair):
    assert set(metrics(*pair)) == {"psnr", "ssim", "nmse"}


def test_bad_input_is_refused(pair):
    r, x = pair
    with pytest.raises(ShapeError, match=r"reference is \(3, 24, 20\) but the image is \(2, 24, 20\)"):
        psnr(r, x[:2])
    with pytest.raises(DataError, match="reference is zero everywhere"):
        nmse(0 * r, x)
    with pytest.raises(DataError, match="The image has values that are not finite"):
        ssim(r, x * np.inf)
    with pytest.raises(ShapeError, match="SSIM needs 7 x 7 pixels"):
        ssim(r[:, :5], x[:, :5])
