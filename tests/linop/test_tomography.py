import pickle

import numpy as np
import pytest
import torch

from problems import dense, random
from resolvent._errors import DataError, ShapeError
from resolvent.linop import ParallelBeam
from resolvent.testing import check_adjoint, check_linear, check_norm_bound, check_normal

ANGLES = torch.tensor([0.0, 0.3, 1.2, 1.6, 2.9, 4.0])


@pytest.mark.parametrize("shape", [(6, 5), (5, 8)])
@pytest.mark.parametrize("batch", [1, 3])
def test_adjoint_linearity_normal_and_norm(shape, batch):
    A = ParallelBeam(ANGLES, shape)
    x = random(batch, *shape)
    check_adjoint(A, x, random(*A(x).shape, seed=3), tol=1e-13)
    check_linear(A, x, tol=1e-13)
    check_normal(A, x, tol=1e-13)
    check_norm_bound(A, x)
    largest = float(torch.linalg.matrix_norm(dense(A, shape), 2))
    assert 0.5 < largest <= float(A.norm_bound[0])


@pytest.mark.parametrize(("shape", "count"), [((1024, 1), 3), ((1, 1), 3000)])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_norm_bound_holds_with_the_rounding_of_long_sums(shape, count, dtype):
    # one angle, along which the image is one pixel wide: |A| is the bound
    A = ParallelBeam(torch.zeros(count), shape)
    for value in (1 / 3, 0.7, 0.1234567):
        x = torch.full((1, *shape), value, dtype=dtype)
        for there, start in ((A, x), (A.adjoint, A(x))):
            end = there(start).to(torch.complex128)
            assert float(end.norm() / start.to(torch.complex128).norm()) <= float(A.norm_bound)


def test_operator_survives_pickle_double_and_frames():
    A, x = ParallelBeam(ANGLES, (6, 5)), random(2, 3, 6, 5)
    assert pickle.loads(pickle.dumps(A)).normal(x).equal(A.normal(x))
    torch.testing.assert_close(A(x)[:, 1], A(x[:, 1]), rtol=0, atol=1e-14)
    assert A(x.to(torch.complex64)).dtype == torch.complex64 and A.to_double()(x).equal(A(x))
    assert A.select(torch.tensor([1]))(x[1:]).equal(A(x)[1:])


def test_projections_are_those_of_scikit_image():
    """It rotates the image and sums: two interpolations of a smooth disc agree to a percent."""
    from skimage.transform import radon

    n = 65
    y, x = np.mgrid[:n, :n] - n // 2
    image = np.exp(-((y - 5) ** 2 + 2.0 * (x + 8) ** 2) / 60) * (y**2 + x**2 < 30**2)
    degrees = np.array([0.0, 30.0, 77.0, 140.0])
    A = ParallelBeam(torch.from_numpy(np.deg2rad(degrees)), (n, n))
    ours = (A(torch.from_numpy(image)[None] + 0j)[0].real * A.size).numpy()
    theirs = radon(image, degrees, circle=True).T
    ours = ours[:, (A.bins - n) // 2 : (A.bins - n) // 2 + n]
    assert np.abs(ours - theirs).max() < 0.01 * theirs.max()


def test_messages_name_the_axes():
    A = ParallelBeam(ANGLES, (6, 5))
    with pytest.raises(ShapeError, match=r"the image has the matrix \(5, 6\), not \(6, 5\)"):
        A(random(1, 5, 6))
    with pytest.raises(ShapeError, match=r"y has \(6, 3\) angles and detectors"):
        A.adjoint(random(1, 6, 3))
    with pytest.raises(ShapeError, match="angles have 2 axes"):
        ParallelBeam(ANGLES[None], (6, 5))


def test_angles_that_are_to_be_learned_are_refused():
    with pytest.raises(DataError, match="require a gradient"):
        ParallelBeam(torch.linspace(0, 3, 5, requires_grad=True), (4, 6))
