"""deepinv's own physics and Trainer. CI runs these in an environment with deepinv: see .ci/neighbours."""

import warnings

import pytest
import torch

from problems import random, random_mask, unit_maps
from resolvent._errors import DataError, ShapeError
from resolvent.interop import DeepinvReconstructor, from_deepinv, to_channels, to_complex
from resolvent.linop import SENSE, estimate_noise
from resolvent.mol import MOL
from resolvent.monotone import ResidualStack
from resolvent.testing import check_adjoint, check_linear, check_norm_bound

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    deepinv = pytest.importorskip("deepinv", reason="deepinv is not installed here; CI has it")

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs


def small(**options):
    torch.manual_seed(0)
    model = MOL(ResidualStack(m=0.5, channels=4, layers=2), 20.0, normalise=True, **options)
    model.linear_tol = 1e-6  # scale and lam follow linear reconstructions, which end elsewhere without a density
    return model


def problem(batch=2, ndim=2, dtype=torch.complex64):
    """The same scan as SENSE of this library and as MultiCoilMRI, whose maps leave pixels empty."""
    space = (4, 9, 8)[-ndim:]
    maps, mask = unit_maps(batch, 3, *space), random_mask(batch, *space)
    maps[..., :2] = 0
    maps, mask = maps.to(dtype), mask.to(dtype.to_real())
    theirs = deepinv.physics.MultiCoilMRI(mask=mask[:, None].expand(-1, 2, *space), coil_maps=maps, three_d=ndim == 3)
    return SENSE(maps, mask, ndim=ndim), theirs, random(batch, 3, *space, dtype=dtype)


@pytest.mark.parametrize("ndim", [2, 3])
def test_multi_coil_mri_is_sense(ndim):
    ours, theirs, y = problem(ndim=ndim, dtype=torch.complex128)
    A, x = from_deepinv(theirs), random(*ours.adjoint(y).shape, seed=5)
    assert torch.allclose(A(x), ours(x), atol=1e-12) and torch.allclose(A.adjoint(y), ours.adjoint(y), atol=1e-12)
    assert torch.allclose(A.norm_bound, torch.ones(1, dtype=torch.float64), atol=1e-5)
    assert torch.equal(A.support, ours.support)
    check_adjoint(A, x, y)
    check_linear(A, x)
    check_norm_bound(A, x)


def test_a_model_gives_the_same_image_through_multi_coil_mri():
    ours, theirs, y = problem()
    model = small().eval()
    expected = model.solve(y, ours, tol=1e-6)
    through = model.solve(y, from_deepinv(theirs), tol=1e-6)
    assert (through.image - expected.image).norm() < 1e-4 * expected.image.norm()
    assert through.certificate.distance < 1e-5  # certified in double precision, which the copy has
    assert theirs.coil_maps.dtype == torch.complex64

    with torch.no_grad():
        image = to_complex(DeepinvReconstructor(model)(to_channels(y), theirs))
    assert (image - expected.image).norm() < 1e-3 * expected.image.norm()  # tol of the model


def test_gradients_are_those_of_sense():
    ours, theirs, y = problem()
    model = small()
    model.tol = model.adjoint_tol = 1e-6
    model(y, ours).abs().square().sum().backward()
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    DeepinvReconstructor(model)(to_channels(y), theirs).square().sum().backward()
    for p, e in zip(model.parameters(), expected, strict=True):
        assert torch.allclose(p.grad, e, rtol=1e-3, atol=1e-3 * float(e.abs().max()))


def test_later_updates_of_the_physics_do_not_reach_the_operator():
    ours, theirs, y = problem()
    A = from_deepinv(theirs)
    theirs.update(mask=torch.zeros_like(theirs.mask))
    assert torch.allclose(A.adjoint(y), ours.adjoint(y), atol=1e-5)
    assert not theirs.A_adjoint(to_channels(y)).any()


def test_the_noise_is_that_of_the_noise_model_else_estimated():
    ours, theirs, y = problem()
    assert torch.allclose(from_deepinv(theirs).noise(y), estimate_noise(ours.measured(y)))
    theirs.noise_model = deepinv.physics.GaussianNoise(sigma=0.1)
    assert torch.allclose(from_deepinv(theirs).noise(y), torch.full((2,), 0.1 * 2**0.5))
    theirs.noise_model = deepinv.physics.GaussianNoise(sigma=torch.tensor([0.1, 0.2]))
    second = from_deepinv(theirs).select(torch.tensor([1]))
    assert torch.allclose(second.noise(y[1:]), torch.tensor([0.2 * 2**0.5]))


def test_other_physics_need_a_bound_and_two_channels():
    blur = deepinv.physics.Blur(filter=torch.ones(1, 1, 3, 3) / 9, padding="circular")
    with pytest.raises(DataError, match="No bound of the norm of Blur is known"):
        from_deepinv(blur)
    A, x = from_deepinv(blur, norm=1.0), random(2, 8, 8, dtype=torch.complex64)
    check_adjoint(A, x, random(2, 8, 8, seed=1, dtype=torch.complex64), tol=1e-4)
    check_norm_bound(A, x)
    with pytest.raises(DataError, match="Identity has no A"):
        from_deepinv(torch.nn.Identity(), norm=1.0)
    with pytest.raises(ShapeError, match=r"not \(batch, 2"):
        to_complex(torch.ones(2, 1, 4))


def test_a_reconstructor_takes_physics_of_which_it_is_told_the_norm():
    blur = deepinv.physics.Blur(filter=torch.ones(1, 1, 3, 3) / 9, padding="circular")
    model, y = small().eval(), random(2, 8, 8, seed=1, dtype=torch.complex64)
    image = to_complex(DeepinvReconstructor(model, norm=1.0)(to_channels(y), blur, noise=0.1))
    assert torch.equal(image, model(y, from_deepinv(blur, norm=1.0, batch=2), 0.1))
    with pytest.raises(DataError, match="do not show the noise level"):
        DeepinvReconstructor(model, norm=1.0)(to_channels(y), blur)
    with pytest.raises(DataError, match="No bound of the norm of Blur is known"):
        DeepinvReconstructor(model)(to_channels(y), blur)


def test_the_trainer_of_deepinv_lowers_the_loss(tmp_path):
    _, theirs, _ = problem(batch=1)
    images = to_channels(random(3, 9, 8, seed=4, dtype=torch.complex64))
    data = [(x, theirs(x[None])[0]) for x in images]
    model = DeepinvReconstructor(small())
    before = [p.detach().clone() for p in model.parameters()]
    trainer = deepinv.Trainer(
        model=model,
        physics=theirs,
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-2),
        train_dataloader=torch.utils.data.DataLoader(data, batch_size=1),
        losses=deepinv.loss.SupLoss(),
        epochs=3,
        save_path=str(tmp_path),
        device="cpu",
        show_progress_bar=False,
        verbose=False,
    )
    trainer.train()
    assert all(not torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True) if p.requires_grad)
    first, *_, last = trainer.loss_history["SupLoss"]
    assert last < first
