import pickle
import re

import numpy as np
import pytest
import torch
from scipy import ndimage

from problems import dense, random, random_mask
from resolvent._errors import DataError, ShapeError
from resolvent.linop import SENSE, Blur, Decimation, Sampling, Still, fourier
from resolvent.testing import check_adjoint, check_linear, check_norm_bound, check_normal


def kernel(*shape, seed=5):
    return random(*shape, seed=seed, dtype=torch.float64)


CASES = {
    "circular": (lambda b: Blur(kernel(b, 3, 4), (6, 5)), (6, 5)),
    "zero": (lambda b: Blur(kernel(b, 4, 3), (5, 6), boundary="zero"), (5, 6)),
    "complex kernel of the size of the image": (lambda b: Blur(random(b, 5, 7), (5, 7)), (5, 7)),
    "volume": (lambda b: Blur(kernel(3, 2, 3), (4, 3, 5), boundary="zero"), (4, 3, 5)),
    "frames": (lambda b: Blur(kernel(b, 3, 3), (4, 5)), (2, 4, 5)),
    "missing pixels": (lambda b: Sampling(0.7 * random_mask(b, 5, 6)), (5, 6)),
    "deblurring": (lambda b: Sampling(random_mask(b, 5, 6)) @ Blur(kernel(b, 3, 3), (5, 6)), (5, 6)),
    "super-resolution": (lambda b: Decimation(2, (5, 6)) @ Blur(kernel(3, 3), (5, 6), boundary="zero"), (5, 6)),
    "decimated volume": (lambda b: Decimation(3, (4, 6, 5)), (4, 6, 5)),
    "fourier": (lambda b: fourier(random_mask(b, 5, 6)), (5, 6)),
    "samples left out": (lambda b: Sampling(random_mask(b, 1, 5, 6)) @ fourier(random_mask(b, 5, 6, seed=7)), (5, 6)),
    "one image for all frames": (lambda b: Still(3), (1, 4, 5)),
    "series of one image": (lambda b: fourier(random_mask(b, 3, 4, 5)) @ Still(3), (1, 4, 5)),
}
cases = pytest.mark.parametrize("case", CASES)


def in_single(A):
    return A._map(lambda t: t.to(torch.complex64 if t.is_complex() else torch.float32), in_single)


@cases
@pytest.mark.parametrize("batch", [1, 3])
def test_adjoint_linearity_normal_and_norm(case, batch):
    A, shape = CASES[case][0](batch), CASES[case][1]
    x = random(batch, *shape)
    y = random(*A(x).shape, seed=3)
    check_adjoint(A, x, y, tol=1e-13)
    check_linear(A, x, tol=1e-13)
    check_normal(A, x, tol=1e-13)
    check_norm_bound(A, x)


@cases
def test_norm_bound_is_at_least_the_largest_singular_value(case):
    A, shape = CASES[case][0](1), CASES[case][1]
    largest = float(torch.linalg.matrix_norm(dense(A, shape), 2))
    assert largest <= float(A.norm_bound[0])
    exact = case not in (
        "zero",
        "volume",
        "deblurring",
        "super-resolution",
        "samples left out",
        "one image for all frames",  # which does not know in what precision
        "series of one image",
    )
    assert largest > (1 - 1e-12 if exact else 0.5) * float(A.norm_bound[0])


@cases
def test_select_double_precision_and_pickle_keep_the_operator(case):
    A, shape = CASES[case][0](4), CASES[case][1]
    x, index = random(4, *shape), torch.tensor([3, 1])
    torch.testing.assert_close(A.select(index)(x[index]), A(x)[index], rtol=0, atol=1e-14)
    twin = pickle.loads(pickle.dumps(A))
    assert twin(x).equal(A(x)) and twin.norm_bound.equal(A.norm_bound)
    single = in_single(A)
    y = single(x.to(torch.complex64))
    assert y.dtype == torch.complex64 and single.to_double()(x).dtype == torch.complex128
    assert float((single.to_double()(x) - y).norm() / y.norm()) < 1e-6


@pytest.mark.parametrize("boundary", ["circular", "zero"])
@pytest.mark.parametrize("size", [(3, 3), (4, 3)])
def test_blur_equals_that_of_scipy(boundary, size):
    image, k = random(7, 8, dtype=torch.float64), kernel(*size)
    ours = Blur(k, (7, 8), boundary=boundary)(image[None] + 0j)[0]
    theirs = ndimage.convolve(image.numpy(), k.numpy(), mode="wrap" if boundary == "circular" else "constant")
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-13)


def test_all_frames_of_one_image_are_that_image():
    x = random(2, 1, 4, 5)
    assert Still(3)(x).equal((x / 3**0.5).expand(2, 3, 4, 5))
    torch.testing.assert_close(Still(3).adjoint(Still(3)(x)), x)


def test_the_first_axis_of_a_mask_is_the_batch():
    mask = random_mask(2, 5, 6)
    A, x = Sampling(mask), random(2, 5, 6)
    assert A.select(torch.tensor([1]))(x[1:]).equal(A(x)[1:])
    coils = Sampling(torch.tensor([1.0, 0.0, 1.0]).reshape(1, 3, 1, 1))
    y = random(2, 3, 5, 6)
    assert coils.select(torch.tensor([1]))(y[1:]).equal(coils(y)[1:])
    with pytest.raises(ShapeError, match="the mask has axes"):
        A(random(2, 2, 5, 6))  # is the two the batch or the frames?


def test_a_series_of_one_image_shows_the_noise_of_its_samples():
    A = fourier(random_mask(1, 3, 24, 24))
    y = random(1, 1, 3, 24, 24) * A.mask
    assert torch.equal((A @ Still(3)).noise(y), A.noise(y))


@pytest.mark.parametrize("nested", [False, True])
def test_what_a_sampling_leaves_of_a_scan_is_what_both_measure(nested):
    maps, mask, part = random(1, 4, 24, 20), random_mask(1, 24, 20), random_mask(1, 1, 24, 20, seed=8)
    A, y = SENSE(maps, mask), random(1, 4, 24, 20)
    both = (Sampling(part) @ Sampling(0.5 * part)) @ A if nested else Sampling(part) @ A
    assert both.measured(y).equal(part * mask * y)
    assert both.noise(y).equal(A.noise(part * y))
    assert torch.allclose(both.adjoint(both.measured(y)), both.adjoint(y), atol=1e-12)
    assert (A @ Sampling(random_mask(1, 24, 20, seed=9))).measured(y).equal(mask * y)


def test_pixels_that_are_missing_may_be_filled_but_not_those_that_no_coil_sees():
    assert (Sampling(random_mask(1, 4, 4)) @ Blur(kernel(3, 3), (4, 4))).support is None
    maps = random(1, 2, 4, 4)
    maps[..., 0] = 0
    A = SENSE(maps, torch.ones(4, 4))
    assert (Sampling(random_mask(1, 1, 4, 4)) @ A).support.equal(A.support)


def test_what_is_left_out_of_a_scan_is_as_if_it_had_not_been_measured():
    maps, mask = random(1, 2, 6, 5), random_mask(1, 6, 5)
    part = mask * random_mask(1, 6, 5, seed=8)
    x = random(1, 6, 5)
    composed, direct = Sampling(part[:, None]) @ SENSE(maps, mask), SENSE(maps, part)
    torch.testing.assert_close(composed.normal(x), direct.normal(x), rtol=0, atol=1e-13)


BAD = {
    "boundary": (lambda: Blur(torch.ones(3, 3), (4, 4), boundary="mirror"), DataError, "no boundary 'mirror'"),
    "large kernel": (lambda: Blur(torch.ones(5, 3), (4, 4)), ShapeError, "kernel has axes (5, 3) and the image (4, 4)"),
    "one axis": (lambda: Blur(torch.ones(1, 3), (4,)), ShapeError, "no larger than the 2 or 3 spatial axes"),
    "zero kernel": (lambda: Blur(torch.zeros(3, 3), (4, 4)), DataError, "kernel is zero everywhere or not finite"),
    "NaN kernel": (lambda: Blur(torch.full((3, 3), torch.nan), (4, 4)), DataError, "zero everywhere or not finite"),
    "mask": (lambda: Sampling(-torch.ones(2, 2)), DataError, "mask has values outside [0, 1]"),
    "factor": (lambda: Decimation(0, (4, 4)), DataError, "factor is 0"),
    "image": (lambda: Blur(torch.ones(3, 3), (4, 4))(random(1, 4, 5)), ShapeError, "the operator wants"),
    "coarse": (lambda: Decimation(2, (4, 4)).adjoint(random(1, 4, 4)), ShapeError, "(batch, *lead, (2, 2))"),
    "sampled": (lambda: Sampling(torch.ones(4, 4))(random(1, 5, 4)), ShapeError, "the mask has axes (1, 4, 4)"),
    "noise": (lambda: Sampling(torch.ones(4, 4)).noise(random(1, 4, 4)), DataError, "Pass noise="),
}


@pytest.mark.parametrize("case", BAD)
def test_message_names_the_fact_and_the_remedy(case):
    build, error, message = BAD[case]
    with pytest.raises(error, match=re.escape(message)):
        build()
