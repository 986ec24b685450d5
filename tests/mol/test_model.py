import json
import math

import pytest
import torch

from problems import DYNAMIC, KINDS, PLANE, TWO_SETS_DYNAMIC, VOLUME, LinearScore, random, random_mask, small_scores
from resolvent import solve_reference
from resolvent._errors import DataError, ModelError, ShapeError
from resolvent.linop import SENSE
from resolvent.mol import MOL
from resolvent.mol.baselines import sense
from resolvent.mol.scale import intensity
from resolvent.solve import Status, norm

kinds = pytest.mark.parametrize("kind", KINDS)


def model_of(kind, setting=PLANE, lam=20.0, m=0.3, dtype=torch.float32, **options):
    return MOL(small_scores(setting.network, m)[kind], lam, **options).to(dtype).eval()


def scan(setting=PLANE, batch=1, dtype=torch.complex64, seed=3):
    """k-space of a smooth object with a little noise, and its operator, in single precision."""
    A = setting.operator(batch).to_double()
    axes = [torch.linspace(-1, 1, n, dtype=torch.float64) for n in setting.image]
    grid = torch.meshgrid(*axes, indexing="ij")
    x = torch.exp(-sum(g**2 for g in grid)).to(torch.complex128) * torch.exp(1j * grid[-1])
    x = x.expand(batch, *setting.image) + 0.05 * random(batch, *setting.image, seed=seed)
    y = A(x)
    y = y + 0.02 * random(*y.shape, seed=seed + 1) * (y != 0)
    if dtype == torch.complex128:
        return y, A
    return y.to(dtype), SENSE(
        setting.random_maps(batch).to(dtype),
        random_mask(batch, *setting.mask).float(),
        ndim=setting.ndim,
        sets=setting.sets,
    )


@kinds
@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e12])
def test_scaled_data_take_the_same_steps_to_the_same_image(kind, scale):
    model = model_of(kind, normalise=True)
    y, A = scan()
    scale = 2.0 ** round(math.log2(scale))
    one, other = model.solve(y, A), model.solve(scale * y, A)
    assert one.solution.converged
    assert other.solution.steps == one.solution.steps
    torch.testing.assert_close(other.image / scale, one.image, rtol=0, atol=1e-5 * float(norm(one.image)))
    torch.testing.assert_close(other.scale / scale, one.scale, rtol=1e-5, atol=0)
    torch.testing.assert_close(other.lam, one.lam, rtol=1e-4, atol=0)


@kinds
@pytest.mark.parametrize("factor", [2.0**-10, 64.0])
def test_maps_of_any_scale_give_the_same_image_over_it(kind, factor):
    model = model_of(kind, normalise=True)
    y, A = scan()
    B = SENSE(factor * A.maps, A.mask)
    one, other = (model.solve(y, operator, tol=1e-4, noise=0.05) for operator in (A, B))
    torch.testing.assert_close(factor * other.image, one.image, rtol=0, atol=1e-4 * float(norm(one.image).max()))
    torch.testing.assert_close(factor**2 * other.lam, one.lam, rtol=1e-3, atol=0)
    torch.testing.assert_close(other.noise, one.noise, rtol=1e-3, atol=0)
    torch.testing.assert_close(factor * sense(y, B), sense(y, A), rtol=0, atol=1e-4 * float(norm(one.image).max()))


def test_without_normalisation_the_score_sees_the_units_of_the_data():
    model = model_of("ResidualStack")
    y, A = scan()
    one, other = model.solve(y, A), model.solve(100 * y, A)
    assert one.scale.equal(torch.ones(1))
    assert norm(other.image / 100 - one.image) > 1e-3 * norm(one.image)


@kinds
@pytest.mark.parametrize("setting", [PLANE, VOLUME, DYNAMIC, TWO_SETS_DYNAMIC], ids=lambda s: s.name)
def test_slice_alone_and_with_neighbours_is_the_same_image(kind, setting):
    model = model_of(kind, setting, normalise=True)
    y, A = scan(setting, batch=3)
    y[1] = 30 * random(*y[1].shape, seed=50).to(y.dtype) * (y[1] != 0)  # a hard neighbour: noise
    together = model.solve(y, A, tol=1e-4)
    for i in range(3):
        alone = model.solve(y[i : i + 1], A.select(torch.tensor([i])), tol=1e-4)
        assert norm(alone.image - together.image[i : i + 1]) <= 1e-6 * norm(alone.image)
        assert alone.solution.steps == together.solution.sample_steps[i]
        assert alone.solution.sample_status[0] == together.solution.sample_status[i]


@kinds
@pytest.mark.parametrize("setting", [PLANE, VOLUME, DYNAMIC], ids=lambda s: s.name)
def test_reference_is_within_the_distance_that_is_certified(kind, setting):
    model = model_of(kind, setting, normalise=True)
    y, A = scan(setting, batch=2)
    reference = solve_reference(model, y, A)
    assert reference.dtype == torch.complex128
    for tol in (0.1, 1e-3, 1e-5):
        recon = model.solve(y, A, tol=tol, max_steps=500)
        error = norm(recon.image.to(torch.complex128) - reference) / norm(recon.image)
        assert (error <= recon.certificate.distances).all()
        assert (error <= tol).all()
        assert recon.certificate.proved == (kind != "PlainCNN")


def test_reference_satisfies_the_equation():
    model = model_of("ConditionedStack", normalise=True)
    y, A = scan()
    x = solve_reference(model, y, A)
    with torch.no_grad():
        equation, scale, _ = model.pose(y, A)
        exact = equation.to_double()
        assert norm(exact.residual(x / scale)) <= 1e-8 * norm(exact.data)


def test_reference_of_a_score_that_is_not_monotone_is_refused():
    score = LinearScore(1e30 * torch.eye(30, dtype=torch.complex128), m=0.5)
    model = MOL(score, 1.0).double()
    y, A = scan(dtype=torch.complex128)
    with pytest.raises(DataError, match=r"reference solve ended with: .*may not be monotone"):
        solve_reference(model, y, A)


@kinds
def test_start_does_not_matter(kind):
    model = model_of(kind)
    y, A = scan()
    one = model.solve(y, A, tol=1e-5, max_steps=300)
    for start in (torch.zeros(1, 6, 5), 5 * random(1, 6, 5), A.adjoint(y)):
        other = model.solve(y, A, tol=1e-5, max_steps=300, start=start.to(torch.complex64))
        assert norm(other.image - one.image) <= 2e-5 * norm(one.image)


def test_start_is_in_the_units_of_the_data():
    model = model_of("ResidualStack", normalise=True)
    y, A = scan()
    y = 1e4 * y
    cold = model.solve(y, A, tol=1e-4, max_steps=300, start=torch.zeros(1, 6, 5, dtype=torch.complex64))
    warm = model.solve(y, A, tol=1e-4, start=cold.image)
    assert warm.solution.steps < cold.solution.steps
    assert warm.solution.steps <= 3


def test_record_is_json_and_the_text_is_one_line():
    model = model_of("ConditionedStack", normalise=True)
    model.identity = {"name": "test", "sha256": "0"}
    y, A = scan(batch=2)
    recon = model.solve(y, A)
    record = json.loads(json.dumps(recon.record(), allow_nan=False))
    assert record["converged"] is True
    assert record["model"] == {"name": "test", "sha256": "0"}
    assert len(record["lam"]) == len(record["scale"]) == len(record["noise"]) == 2
    assert record["steps"] == recon.solution.steps
    assert record["evaluations"] == recon.solution.evaluations >= record["steps"]
    assert record["applications"] > record["evaluations"]
    assert record["certificate"]["tier"] == "per-scan"
    assert record["certificate"]["distance"] == recon.certificate.distance
    text = str(recon)
    assert text.startswith("2 of 6x5 · converged in ")
    assert "(proved) · data gain <= " in text
    assert "(conditioning held)" in text
    assert "\n" not in text
    assert str(model.solve(y[:1], A.select(torch.tensor([0])))).startswith("6x5 · ")


def test_record_of_a_failed_solve_is_json_too():
    score = LinearScore(1e30 * torch.eye(30, dtype=torch.complex128), m=0.5)
    y, A = scan(dtype=torch.complex128)
    recon = MOL(score, 1.0).double().solve(y, A, max_steps=40)
    assert not recon.solution.converged
    record = json.loads(json.dumps(recon.record(), allow_nan=False))
    assert record["certificate"]["distance"] is None or record["certificate"]["distance"] > 0.01
    assert torch.isfinite(recon.image).all()


def test_step_limit_is_said():
    model = model_of("ResidualStack", lam=100.0)
    y, A = scan()
    recon = model.solve(y, A, tol=1e-6, max_steps=2)
    assert recon.solution.status is Status.MAX_STEPS
    assert recon.solution.steps == 2
    assert "not converged: the step limit was reached" in str(recon)
    assert recon.record()["converged"] is False
    error = norm(recon.image.to(torch.complex128) - solve_reference(model, y, A)) / norm(recon.image)
    assert 1e-6 < error <= recon.certificate.distance  # the certificate holds all the same
    assert recon.certificate.proved


@pytest.mark.parametrize("noise", [math.nan, math.inf, -0.1, torch.tensor([0.1, 0.2, 0.3])])
def test_a_noise_level_that_is_none_is_refused(noise):
    y, A = scan(batch=2)
    for call in (model_of("ConditionedStack"), model_of("ConditionedStack").solve):
        with pytest.raises((DataError, ShapeError), match="noise"):
            call(y, A, noise=noise)


@kinds
def test_a_solve_that_rounding_ends_too_early_has_not_converged(kind):
    y, A = scan()
    recon = model_of(kind, lam=1e9).solve(y, A, tol=1e-5)
    assert recon.certificate.distance > 1e-5
    assert recon.solution.status is Status.INACCURATE
    assert "rounding" in str(recon)
    assert recon.record()["converged"] is False
    assert model_of(kind, lam=1e9).solve(y, A, tol=1e-3).solution.converged


def test_an_image_whose_certificate_is_good_enough_has_converged():
    model = model_of("ResidualStack")
    y, A = scan()
    free = model.solve(y, A, tol=1e-3)
    early = model.solve(y, A, tol=1e-3, max_steps=free.solution.steps - 1)  # where its own count is not content yet
    assert free.certificate.distance < early.certificate.distance <= 1e-3
    assert early.solution.steps < free.solution.steps
    assert early.solution.converged


def test_applications_are_those_of_the_normal_operator_and_of_its_gradient():
    y, A = scan()
    counted = []

    class Counting(SENSE):
        def normal(self, x):
            counted.append(1)
            return super().normal(x)

        def gradient(self, x, y):
            counted.append(1)
            return super().gradient(x, y)

    A = Counting(PLANE.random_maps().to(torch.complex64), random_mask(1, 6, 5).float())
    recon = model_of("ConditionedStack").solve(y, A)
    assert recon.solution.applications == len(counted)


def test_conditioning_is_computed_once_a_solve():
    model = model_of("ConditionedStack")
    calls = []
    model.score.trunk.register_forward_hook(lambda *_: calls.append(1))
    y, A = scan()
    recon = model.solve(y, A, tol=1e-5, max_steps=300)
    assert recon.solution.evaluations > 3
    assert len(calls) == model.score.passes


def test_noise_is_estimated_unless_it_is_given():
    model = model_of("ResidualStack", normalise=True)
    y, A = scan(batch=2)
    given, silent = model.solve(y, A, noise=torch.tensor([0.02, 5.0])), model.solve(y, A, noise=0.0)
    assert (given.lam < silent.lam).all()  # more noise, less weight of the data
    assert given.lam[1] / silent.lam[1] < 0.5 * given.lam[0] / silent.lam[0]
    torch.testing.assert_close(given.lam, model.solve(y, A, noise=torch.tensor([0.02, 5.0])).lam)
    assert not model.solve(y, A).lam.equal(given.lam)


def test_lam_of_a_model_that_does_not_normalise_is_that_of_its_weights():
    model = model_of("ResidualStack")
    y, A = scan(batch=2)
    torch.testing.assert_close(model.solve(y, A, noise=0.5).lam, model.lam.detach().expand(2))


def test_forward_is_the_solve_and_carries_gradients():
    model = model_of("ConditionedStack", normalise=True)
    y, A = scan()
    x = model(y, A)
    assert x.requires_grad
    torch.testing.assert_close(x.detach(), model.solve(y, A, tol=1e-4).image)
    x.abs().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    with torch.no_grad():
        assert not model(y, A).requires_grad
    assert not model.solve(y, A).image.requires_grad


@kinds
def test_nothing_is_attached_where_nothing_has_a_gradient(kind):
    model = model_of(kind).requires_grad_(False)
    y, A = scan()
    assert not model(y, A).requires_grad
    assert model(y.requires_grad_(), A).requires_grad


@kinds
@pytest.mark.parametrize(
    "where", [torch.autocast("cpu", torch.bfloat16), torch.device("meta")], ids=["autocast", "meta"]
)
def test_what_pytorch_does_by_default_is_no_part_of_the_solve(kind, where):
    model = model_of(kind, normalise=True)
    y, A = scan()
    found = [model.solve(y, A).image, model(y, A)]
    with where:
        again = [model.solve(y, A).image, model(y, A)]
    for one, other in zip(found, again, strict=True):
        assert one.equal(other)


def test_a_start_in_another_precision_is_brought_to_that_of_the_data():
    model = model_of("ResidualStack")
    y, A = scan()
    image = model.solve(y, A).image
    assert model.solve(y, A, start=image.to(torch.complex128)).image.dtype == image.dtype


@kinds
def test_memory_of_a_differentiable_solve_does_not_grow_with_its_steps(kind):
    y, A = scan(dtype=torch.complex128)
    model = model_of(kind, dtype=torch.float64, normalise=True)

    def saved(steps):
        model.tol, model.max_steps = 1e-30, steps
        storages = {}

        def pack(t):
            storages[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            x = model(y, A)
        assert x.requires_grad
        return sum(storages.values())

    few, many = saved(5), saved(50)
    print("saved bytes", kind, few, many)
    assert few == many > 0


def test_maps_changed_between_forward_and_backward_are_noticed():
    model = model_of("ResidualStack")
    y, A = scan()
    x = model(y, A)
    A.weighted_maps.mul_(1.1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        x.abs().sum().backward()


def test_weights_changed_between_forward_and_backward_are_noticed():
    model = model_of("PlainCNN")
    y, A = scan()
    x = model(y, A)
    with torch.no_grad():
        model.score.weights[1].mul_(0.5)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        x.abs().sum().backward()


def test_lam_is_positive_whatever_the_parameter():
    model = model_of("ResidualStack")
    for value in (-30.0, 0.0, 10.0):
        with torch.no_grad():
            model.log_lam.fill_(value)
        assert model.lam > 0


@pytest.mark.parametrize("lam", [0.0, -1.0, math.nan, math.inf])
def test_weight_of_the_data_must_be_positive(lam):
    with pytest.raises(ModelError, match="weight of the data must be positive"):
        MOL(small_scores(2)["ResidualStack"], lam)


@pytest.mark.parametrize("ridge", [-0.1, math.nan, math.inf])
def test_ridge_that_is_negative_or_not_finite_is_refused(ridge):
    with pytest.raises(ModelError, match=f"ridge is {ridge}"):
        MOL(small_scores(2)["ResidualStack"], 1.0, ridge=ridge)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_data_that_are_not_finite_are_refused(bad):
    y, A = scan(batch=2)
    y[1, 0, 2, 2] = bad
    with pytest.raises(DataError, match=r"k-space of sample 1 holds NaN or infinite values\. Repair or leave out"):
        model_of("ResidualStack").solve(y, A)


@pytest.mark.parametrize("call", ["solve", "forward"])
def test_an_empty_batch_is_refused(call):
    y, A = scan()
    with pytest.raises(DataError, match=r"its batch \(axis 0\) is empty"):
        getattr(model_of("ResidualStack"), call)(y[:0], A)


@pytest.mark.parametrize("call", ["solve", "forward"])
def test_data_of_zeros_are_refused(call):
    y, A = scan(batch=2)
    y[1] = 0
    with pytest.raises(DataError, match=r"k-space of sample 1 is zero everywhere.*Leave out that slice"):
        getattr(model_of("ResidualStack"), call)(y, A)


@pytest.mark.parametrize("call", ["solve", "forward"])
def test_data_too_small_to_be_held_in_full_are_refused(call):
    y, A = scan(batch=2)
    y[1] *= 1e-40
    with pytest.raises(DataError, match=r"k-space of sample 1 is .*e-41 at most.*Scale the data"):
        getattr(model_of("ResidualStack"), call)(y, A)


def test_data_with_too_few_axes_for_the_network_are_refused():
    y, A = scan()
    with pytest.raises(ShapeError, match=r"the image has 2 axes after the batch; the network convolves 3"):
        model_of("ResidualStack", VOLUME).solve(y, A)


@pytest.mark.parametrize("call", ["solve", "forward"])
@pytest.mark.parametrize("wide", ["y", "A", "y and A", "model"])
def test_another_precision_than_that_of_the_weights_is_refused_with_a_remedy(call, wide):
    (y, A), model = scan(), model_of("PlainCNN")
    y = y.to(torch.complex128) if "y" in wide else y
    A = A.to_double() if "A" in wide else A
    model = model.double() if wide == "model" else model
    with pytest.raises(
        DataError, match=r"weights are torch.float(32|64). .* y.to\(torch.complex.*model.(double|float)"
    ):
        getattr(model, call)(y, A)


def test_data_of_another_scan_are_refused():
    _, A = scan()
    with pytest.raises(ShapeError, match="k-space has 4 coils"):
        model_of("ResidualStack").solve(torch.ones(1, 4, 6, 5, dtype=torch.complex64), A)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e12, 1e30])
def test_intensity_is_that_of_the_object(scale):
    x = torch.zeros(2, 8, 8, dtype=torch.complex64)
    x[0, 2:5, 2:5] = 3.0 * scale
    x[1, 2:3, 2:5] = 3.0j * scale
    torch.testing.assert_close(intensity(x), torch.full((2,), 3.0 * scale))


def test_intensity_is_differentiable():
    x = random(2, 4, 4).requires_grad_()
    assert torch.autograd.gradcheck(intensity, (x,), fast_mode=True)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_sense_scales_with_the_data(scale):
    y, A = scan(batch=2)
    torch.testing.assert_close(sense(scale * y, A) / scale, sense(y, A), rtol=1e-3, atol=1e-4)


def test_sense_of_noisier_data_is_smoother():
    y, A = scan()
    assert norm(sense(y, A, noise=1.0)) < norm(sense(y, A, noise=0.01))
