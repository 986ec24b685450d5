"""Learned baselines: the call of a model, its units, and the formulas that their papers state."""

import pytest
import torch

from problems import DYNAMIC, PLANE, VOLUME, dense, random, random_mask, small_scores
from resolvent import SENSE
from resolvent._errors import DataError, ModelError
from resolvent.mol import MOL
from resolvent.mol.baselines import ADMMNet, DEGrad, MoDL, UNet, UnrolledStack
from resolvent.mol.baselines.network import noise_level
from resolvent.mol.worst_case import attack
from resolvent.solve import norm
from resolvent.train.run import begin

OPTIONS = {"normalise": True}
NOISE = 0.05


def model_of(kind, ndim=2, **options):
    torch.manual_seed(0)
    sizes = {"channels": 2, "levels": 2} if kind is UNet else {"channels": 4, "depth": 3}
    if kind is UnrolledStack:
        sizes = {"channels": 4, "layers": 2, "trunk_layers": 1, "passes": 2, "trunks": 2}
    if kind in (MoDL, ADMMNet, UnrolledStack):
        sizes["steps"] = 3
    model = kind(**sizes, lam=8.0, ndim=ndim, **{**OPTIONS, **options}).double()
    model.linear_tol = 1e-12
    if kind is DEGrad:
        model.tol, model.adjoint_tol, model.max_steps = 1e-12, 1e-9, 1000
    return model


kinds = pytest.mark.parametrize("kind", [MoDL, UnrolledStack, ADMMNet, DEGrad, UNet], ids=lambda kind: kind.__name__)


@kinds
@pytest.mark.parametrize("setting", [PLANE, DYNAMIC, VOLUME], ids=lambda s: s.name)
def test_image_has_the_axes_of_the_scan(kind, setting):
    model = model_of(kind, setting.network)
    x = model(setting.kspace(2), setting.operator(2), NOISE)
    assert x.shape == (2, *setting.image)
    assert x.dtype == torch.complex128
    assert model.tier == "none"


@kinds
def test_samples_without_data_are_refused_and_nothing_is_attached_for_nothing(kind):
    model, y, A = model_of(kind).requires_grad_(False), PLANE.kspace(2), PLANE.operator(2)
    assert not model(y, A, NOISE).requires_grad
    y[1] = 0
    with pytest.raises(DataError, match="k-space of sample 1 is zero everywhere"):
        model(y, A, NOISE)


@kinds
@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_scaled_data_give_the_same_image(kind, factor):
    model, y, A = model_of(kind), PLANE.kspace(), PLANE.operator()
    with torch.no_grad():
        x = model(y, A)
        torch.testing.assert_close(model(factor * y, A) / factor, x, rtol=0, atol=1e-6 * float(norm(x)))
        assert model_of(kind, normalise=False)(2 * y, A).sub(2 * x).abs().max() > 1e-3


@kinds
def test_maps_of_any_scale_give_the_same_image_over_it(kind):
    model, y, A = model_of(kind), PLANE.kspace(), PLANE.operator()
    with torch.no_grad():
        x, other = model(y, A, NOISE), model(y, SENSE(64 * A.maps, A.mask), NOISE)
    torch.testing.assert_close(64 * other, x, rtol=0, atol=1e-6 * float(norm(x)))


@kinds
def test_samples_of_a_batch_do_not_see_each_other(kind):
    model, y, maps, mask = model_of(kind), PLANE.kspace(2), PLANE.random_maps(2), random_mask(2, *PLANE.mask)
    noise = torch.tensor([0.02, 0.1], dtype=torch.float64)
    with torch.no_grad():
        both = model(y, SENSE(maps, mask), noise)
        for i in (0, 1):
            alone = model(y[i : i + 1], SENSE(maps[i : i + 1], mask[i : i + 1]), noise[i : i + 1])
            torch.testing.assert_close(both[i : i + 1], alone, rtol=0, atol=1e-6 * float(norm(alone)))


@kinds
def test_gradient_reaches_every_parameter_and_the_data(kind):
    model, y, maps = model_of(kind), PLANE.kspace().requires_grad_(), PLANE.random_maps().requires_grad_()
    model(y, PLANE.operator(maps=maps), NOISE).abs().square().sum().backward()
    for name, p in [*model.named_parameters(), ("kspace", y), ("maps", maps)]:
        assert p.grad is not None, name
        assert torch.isfinite(p.grad).all(), name
        assert p.grad.abs().max() > 0, name


@kinds
def test_gradient_is_that_of_finite_differences(kind):
    model, y, A = model_of(kind), PLANE.kspace(), PLANE.operator()
    weight = random(1, *PLANE.image, seed=7)

    def value():
        return (model(y, A, NOISE).conj() * weight).real.sum()

    value().backward()
    directions = [random(p.numel(), seed=i, dtype=p.dtype).reshape(p.shape) for i, p in enumerate(model.parameters())]
    slope = sum(float((p.grad * d).sum()) for p, d in zip(model.parameters(), directions, strict=True))
    numeric = []
    with torch.no_grad():
        for h in (1e-5, 1e-7):  # a kink between the two points spoils a difference, not both
            sides = []
            for move in (h, -2 * h, h):
                for p, d in zip(model.parameters(), directions, strict=True):
                    p.add_(move * d)
                sides.append(float(value()))
            numeric.append((sides[0] - sides[1]) / (2 * h))
    assert min(abs(slope - n) for n in numeric) < 1e-4 * abs(slope), (slope, numeric)


@kinds
def test_pixels_that_no_coil_sees_are_zero(kind):
    maps = PLANE.random_maps()
    maps[..., :2] = 0
    x = model_of(kind)(PLANE.kspace(), PLANE.operator(maps=maps), NOISE)
    assert (x[..., :2] == 0).all()
    assert (x[..., 2:] != 0).all()


@kinds
def test_noise_level_is_seen_and_estimated_where_it_is_not_given(kind):
    model, y, A = model_of(kind, normalise=False), PLANE.kspace(), PLANE.operator()
    with torch.no_grad():
        quiet, loud, estimated = (model(y, A, noise) for noise in (0.01, 0.3, None))
    assert float(norm(quiet - loud)) > 1e-3 * float(norm(quiet))
    assert float(norm(quiet - estimated)) > 1e-3 * float(norm(quiet))


@kinds
def test_baseline_can_be_attacked(kind):
    model, y, A = model_of(kind), PLANE.kspace(), PLANE.operator()

    def reconstruct(y, A):
        return model(y, A, NOISE)

    found = attack(reconstruct, y, A, 0.01, steps=3, starts=1, methods=("pgd",), draws=2)
    assert float(found.gain_worst) > float(found.gain_gaussian_max)


@pytest.mark.parametrize("shared", [False, True])
def test_admm_net_takes_the_steps_of_its_formula(shared):
    model, A, y = model_of(ADMMNet, shared=shared), PLANE.operator(), PLANE.kspace()
    with torch.no_grad():
        model.rates.copy_(torch.tensor([1.0, 0.7, 1.3]))
        scan = model.in_units(y, A, NOISE, ndim=2)
        level = noise_level(scan, 2)
        matrix = dense(scan.A, PLANE.image)
        system = torch.eye(matrix.shape[1]) + scan.lam * matrix.mH @ matrix
        x, u = scan.context.sense, torch.zeros_like(scan.context.sense)
        for k in range(3):
            z = x + u + model.denoisers[0 if shared else k](x + u, level)
            u = u + model.rates[k] * (x - z)
            rhs = (z - u).reshape(-1) + scan.lam * matrix.mH @ scan.y.reshape(-1)
            x = torch.linalg.solve(system, rhs).reshape(x.shape)
        expected = scan.scale * x
        torch.testing.assert_close(model(y, A, NOISE), expected, rtol=0, atol=1e-8 * float(norm(expected)))
    assert len(model.denoisers) == (1 if shared else 3)


def test_unrolled_stack_is_the_strict_model_stopped_early_until_its_kernels_are_trained():
    strict = MOL(small_scores(2)["CertifiedStack"], 8.0, normalise=True).double()
    strict.linear_tol = 1e-12
    sizes = {key: value for key, value in strict.score.config.items() if key != "ndim"}
    model = UnrolledStack(steps=4, **OPTIONS, **sizes).double()
    model.linear_tol = 1e-12
    begin(model, strict)
    maps = PLANE.random_maps()
    maps[..., :2] = 0  # pixels that nothing sees
    y, A = PLANE.kspace(), PLANE.operator(maps=maps)
    with torch.no_grad():
        equation, scale, context = strict.pose(y, A, NOISE)
        x = context.sense
        for _ in range(4):
            x = equation.step(x, tol=1e-10)
        torch.testing.assert_close(model(y, A, NOISE), scale * x, rtol=0, atol=1e-8 * float(norm(scale * x)))
        before = model(y, A, NOISE)
        model.score.convs[0].weight.mul_(2)
        assert float(norm(model(y, A, NOISE) - before)) > 1e-3 * float(norm(before))


def test_de_grad_solves_its_equation():
    model, A, y = model_of(DEGrad), PLANE.operator(), PLANE.kspace()
    with torch.no_grad():
        scan = model.in_units(y, A, NOISE, ndim=2)
        x = model(y, A, NOISE) / scan.scale
        D = x + model.network(x, noise_level(scan, 2))
        slope = scan.lam * scan.A.gradient(x, scan.y) + D
    assert float(norm(slope)) < 1e-6 * float(norm(D))
    assert float(norm(D)) > 0.1 * float(norm(x))


def test_unet_looks_beyond_one_convolution_and_only_at_the_linear_image():
    model = model_of(UNet)
    scan = model.in_units(PLANE.kspace(), PLANE.operator(), NOISE, ndim=2)
    z = torch.zeros(1, 3, 17, 13, dtype=torch.float64, requires_grad=True)
    (reach,) = torch.autograd.grad(model._correction(z)[0, 0, 8, 6], z)
    assert model._correction(z).shape == (1, 2, 17, 13)
    assert int((reach.abs().amax(1)[0] > 0).any(0).sum()) > 9
    x = model.reconstruct(scan)
    assert x.equal(model.reconstruct(scan))
    assert x.shape == (1, *PLANE.image)


@kinds
def test_impossible_sizes_are_refused(kind):
    with pytest.raises(ModelError, match=r"ndim is 4; .* convolves 2 or 3 axes\. Pass"):
        kind(ndim=4)
    with pytest.raises(ModelError, match=r"lam is 0; the weight of the data must be positive"):
        kind(lam=0)
    if kind not in (UNet, UnrolledStack):
        with pytest.raises(ModelError, match=r"depth is 1; .* has at least 2"):
            kind(depth=1)
