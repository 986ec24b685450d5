"""Operators of SigPy are checked against SigPy, those of MRpro against a stand-in of the same calls."""

import numpy as np
import pytest
import sigpy.mri
import torch

from problems import ODD, PLANE, random, random_mask, unit_maps
from resolvent._errors import DataError, ShapeError
from resolvent.interop import from_deepinv, from_mrpro, from_sigpy
from resolvent.interop.foreign import STEPS
from resolvent.linop import SENSE, Sampling
from resolvent.mol import MOL
from resolvent.monotone import ResidualStack
from resolvent.testing import check_adjoint, check_linear, check_norm_bound


class MRproLike:
    """The calls of ``FourierOp @ SensitivityOp`` of MRpro, over SENSE: tuples, and an axis of one coil in the image."""

    def __init__(self, A):
        self.A = A
        self.H = None  # there an operator; not used

    def __call__(self, x):
        assert x.shape[1] == 1
        return (self.A(x[:, 0]),)

    def adjoint(self, y):
        return (self.A.adjoint(y)[:, None],)


def sense(setting):
    """One operator of ours with full-precision numbers, and the same of SigPy."""
    maps, mask = setting.random_maps(), random_mask(1, *setting.mask)
    theirs = sigpy.mri.linop.Sense(maps[0].numpy(), weights=mask[0].numpy())
    ours = SENSE(maps, mask)
    return ours, from_sigpy(theirs, norm=1.0, frequency=ours.frequency)


@pytest.mark.parametrize("setting", [PLANE, ODD], ids=lambda s: s.name)
def test_sense_of_sigpy_has_the_same_normal_operator(setting):
    ours, theirs = sense(setting)
    x, y = random(2, *setting.image), random(2, 3, *setting.image)
    assert torch.allclose(theirs.normal(x), ours.normal(x), atol=1e-12)
    check_adjoint(theirs, x, y)
    check_linear(theirs, x)
    check_norm_bound(theirs, x)


def test_a_model_gives_the_same_image_with_sense_of_sigpy():
    ours, theirs = sense(PLANE)
    model = MOL(ResidualStack(channels=4, layers=2).double(), 20.0, normalise=True).double()
    model.linear_tol = 1e-12  # scale and lam follow linear reconstructions, which end elsewhere without a density
    y = random(3, 3, *PLANE.image)  # in what was not measured, too
    a, b = (model.solve(y, A, tol=1e-8, noise=0.0) for A in (ours, theirs))
    assert torch.allclose(a.image, b.image, rtol=0, atol=1e-7)
    assert b.certificate.distance < 1e-7


def test_what_was_measured_is_what_the_operator_reaches():
    ours, theirs = sense(PLANE)
    y = random(2, 3, *PLANE.image).requires_grad_()
    assert torch.equal(theirs.measured(y), ours.measured(y)) and theirs.measured(y).requires_grad
    assert (ours.measured(y) == 0).any()
    rows = torch.tensor([1, 1, 0])
    assert torch.equal(theirs.select(rows).measured(y[rows]), ours.select(rows).measured(y[rows]))
    assert torch.equal(sense(PLANE)[1].select(rows).measured(y[rows]), ours.select(rows).measured(y[rows]))


def test_what_was_measured_is_found_once():
    _, theirs = sense(PLANE)
    y, applied = random(2, 3, *PLANE.image), []
    theirs.measured(y)
    forward, theirs.there = theirs.there, lambda x: applied.append(x) or forward(x)
    theirs.measured(y)
    assert not applied


def test_gradients_pass_through_an_operator_of_sigpy():
    ours, theirs = sense(PLANE)
    y, grads = random(1, 3, *PLANE.image), []
    for A in (ours, theirs):
        t = y.clone().requires_grad_()
        torch.view_as_real(A(A.adjoint(t))).square().sum().backward()
        grads.append(t.grad)
    assert torch.allclose(*grads, atol=1e-12)


def test_pixels_without_maps_stay_empty_where_the_support_is_given():
    maps = PLANE.random_maps()
    maps[..., :2] = 0
    theirs = sigpy.mri.linop.Sense(maps[0].numpy())
    A = from_sigpy(theirs, norm=1.0, support=(maps != 0).any(1).double())
    model = MOL(ResidualStack(channels=4, layers=2).double(), 20.0, normalise=True).double()
    image = model.solve(random(1, 3, *PLANE.image), A, noise=0.0).image
    assert not image[..., :2].any() and image[..., 2:].all()


def test_of_some_samples_and_in_double_an_operator_without_a_support_has_none():
    A = sense(PLANE)[1]
    assert A.support is A.select(torch.tensor([0])).support is A.to_double().support is None


def test_an_operator_of_mrpro_is_the_same_with_an_axis_of_one_coil():
    A = SENSE(unit_maps(2, 3, 1, 6, 5), random_mask(2, 1, 6, 5), ndim=2)
    theirs = from_mrpro(MRproLike(A), norm=1.0, batch=2)
    x, y = random(2, 1, 6, 5), random(2, 3, 1, 6, 5)
    assert torch.equal(theirs(x), A(x))
    assert torch.allclose(theirs.normal(x), A.normal(x), atol=1e-12)
    check_adjoint(theirs, x, y)


def test_an_operator_of_mrpro_sees_the_pixels_that_it_is_said_to():
    A = SENSE(unit_maps(2, 3, 1, 6, 5), random_mask(2, 1, 6, 5), ndim=2)
    support = torch.ones(1, 1, 6, 5, dtype=torch.float64)
    support[..., :2] = 0
    assert torch.equal(from_mrpro(MRproLike(A), norm=1.0, batch=2, support=support).support, support)
    assert from_mrpro(MRproLike(A), norm=1.0, batch=2).support is None


@pytest.mark.parametrize("wrong", [lambda A, y: 1.01 * A.adjoint(y), lambda A, y: SENSE.adjoint(A, y).conj()])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_an_adjoint_that_is_none_is_noticed_when_measurements_come(wrong, dtype):
    A = SENSE(unit_maps(2, 3, 1, 6, 5).to(dtype), random_mask(2, 1, 6, 5).to(dtype.to_real()), ndim=2)
    theirs = MRproLike(A)
    theirs.adjoint = lambda y: (wrong(A, y)[:, None],)
    y = random(2, 3, 1, 6, 5, dtype=dtype)
    with pytest.raises(DataError, match=r"not the adjoint of A: <A x, y> and <x, A\^H y> differ by"):
        from_mrpro(theirs, norm=1.0, batch=2).select(torch.tensor([1])).adjoint(y[1:])


def test_a_forward_map_without_the_mask_is_noticed_in_sigpy():
    maps, mask = PLANE.random_maps(), random_mask(1, *PLANE.mask)
    theirs = sigpy.mri.linop.Sense(maps[0].numpy(), weights=mask[0].numpy())
    full = sigpy.mri.linop.Sense(maps[0].numpy())
    full.adj = theirs.H
    with pytest.raises(DataError, match="not the adjoint of A"):
        from_sigpy(full, norm=1.0).adjoint(random(1, 3, *PLANE.image))


@pytest.mark.parametrize("rows", [[0, 1], [1]], ids=str)
def test_a_norm_that_is_too_small_is_noticed_when_measurements_come(rows):
    A = SENSE(unit_maps(2, 3, 1, 6, 5), random_mask(2, 1, 6, 5), ndim=2)
    y = random(len(rows), 3, 1, 6, 5)
    from_mrpro(MRproLike(A), norm=1.0, batch=2).select(torch.tensor(rows)).adjoint(y)
    with pytest.raises(DataError, match=r"norm is 0\.9 but \|A x\| is 0\.9\d+ at an x of length 1"):
        from_mrpro(MRproLike(A), norm=0.9, batch=2).select(torch.tensor(rows)).adjoint(y)


def test_adjoint_and_norm_are_tried_once():
    A, calls = SENSE(unit_maps(2, 3, 1, 6, 5), random_mask(2, 1, 6, 5), ndim=2), []
    theirs = MRproLike(A)
    theirs.adjoint = lambda y: calls.append(len(y)) or (A.adjoint(y)[:, None],)
    operator, y = from_mrpro(theirs, norm=1.0, batch=2), random(2, 3, 1, 6, 5)
    operator.adjoint(y)
    tried = [2] * (2 + STEPS)
    assert calls == tried
    for one in (operator, operator.to_double(), operator.select(torch.tensor([1, 0]))):
        one.adjoint(y)
    assert calls == [*tried, 2, 2, 2]


class Strict(torch.nn.Module):
    """MRproLike of one precision, as MRpro's non-uniform transform is."""

    def __init__(self, A):
        super().__init__()
        self.A = A
        self.H = None

    def forward(self, x):
        assert x.dtype == self.A.weighted_maps.dtype
        return MRproLike(self.A)(x)

    def adjoint(self, y):
        assert y.dtype == self.A.weighted_maps.dtype
        return MRproLike(self.A).adjoint(y)


def test_an_operator_of_mrpro_is_certified_in_double_precision():
    single = SENSE(unit_maps(1, 3, 1, 6, 5).to(torch.complex64), random_mask(1, 1, 6, 5).float(), ndim=2)
    A = from_mrpro(Strict(single), norm=1.0)
    x = random(1, 1, 6, 5)
    assert torch.equal(A.to_double()(x), single.to_double()(x))
    model = MOL(ResidualStack(channels=4, layers=2), 20.0)
    assert model.solve(random(1, 3, 1, 6, 5, dtype=torch.complex64), A, noise=0.0).certificate.distance < 1e-3
    assert single.weighted_maps.dtype == torch.complex64


@pytest.mark.parametrize("index", [[1], [2, 0], [1, 1, 0, 1]], ids=str)
def test_samples_of_a_batch_keep_their_own_operator(index):
    A = SENSE(unit_maps(3, 3, 1, 6, 5), random_mask(3, 1, 6, 5), ndim=2)
    theirs = from_mrpro(MRproLike(A), norm=1.0, batch=3)
    x, rows = random(len(index), 1, 6, 5), torch.tensor(index)
    assert torch.allclose(theirs.select(rows)(x), A.select(rows)(x), atol=1e-12)
    again = torch.tensor([len(index) - 1])
    assert torch.allclose(theirs.select(rows).select(again)(x[:1]), A.select(rows).select(again)(x[:1]), atol=1e-12)


@pytest.mark.parametrize("inside", [False, True])
def test_samples_of_a_batch_keep_their_own_operator_within_others(inside):
    A = SENSE(unit_maps(3, 3, 1, 6, 5).to(torch.complex64), random_mask(3, 1, 6, 5), ndim=2)
    mask = random_mask(1, 1, 6, 5) if inside else random_mask(1, 1, 1, 6, 5)
    operators = (A, from_mrpro(Strict(A), norm=1.0, batch=3))
    ours, theirs = (B @ Sampling(mask) if inside else Sampling(mask) @ B for B in operators)
    x, rows = random(3, 1, 6, 5), torch.tensor([2, 0])
    exact = theirs.to_double()
    assert torch.allclose(exact.select(rows)(x[rows]), ours.to_double()(x)[rows], atol=1e-12)
    assert torch.allclose(exact.H.select(rows).H(x[rows]), ours.to_double()(x)[rows], atol=1e-12)


def test_what_does_not_fit_is_said():
    with pytest.raises(DataError, match=r"float has no ishape\. Pass a sigpy"):
        from_sigpy(1.0, norm=1.0)
    with pytest.raises(DataError, match=r"float has no adjoint\. Pass a mrpro"):
        from_mrpro(1.0, norm=1.0)
    with pytest.raises(DataError, match=r"a bound of \|A\| is a positive number"):
        from_sigpy(sigpy.linop.Identity((2, 2)), norm=0.0)
    A = from_sigpy(sigpy.linop.Identity((2, 2)), norm=1.0)
    with pytest.raises(ShapeError, match=r"takes \(2, 2\)"):
        A(random(1, 2, 3))
    B = from_mrpro(MRproLike(SENSE(unit_maps(2, 1, 6, 5), torch.ones(6, 5))), norm=1.0, batch=2)
    with pytest.raises(ShapeError, match="3 samples"):
        B(random(3, 6, 5))


def test_a_mask_of_deepinv_that_differs_between_channels_is_refused():
    class MRI(torch.nn.Module):
        three_d, A, A_adjoint = False, staticmethod(torch.clone), staticmethod(torch.clone)
        mask = torch.ones(1, 2, 4, 4)

    physics = MRI()
    assert from_deepinv(physics).norm_bound == 1
    physics.mask = torch.stack([torch.ones(4, 4), torch.eye(4)])[None]
    with pytest.raises(DataError, match="mask differs between real and imaginary part"):
        from_deepinv(physics)


def test_single_precision_stays_single():
    A = from_sigpy(sigpy.linop.Multiply((2, 2), np.ones((2, 2), dtype=np.complex128)), norm=1.0)
    assert A(torch.ones(1, 2, 2, dtype=torch.complex64)).dtype == torch.complex64
