"""Attacks: honest where the worst case is known, and below the bound where one is proved."""

import pytest
import torch

import resolvent as rv
from problems import DYNAMIC, ODD, PLANE, TWO_SETS, LinearScore, Setting, dense, random, random_mask, small_scores
from resolvent._errors import DataError, ShapeError
from resolvent.linop import LinearOperator, Sampling, estimate_noise
from resolvent.mol import MOL
from resolvent.mol.ascent import METHODS
from resolvent.mol.targets import attack_conditioning, attack_model, attack_sense
from resolvent.mol.windows import within
from resolvent.mol.worst_case import attack
from resolvent.monotone import Bound, MonotoneOperator, Score
from resolvent.solve import norm

WEIGHT = 100.0
LARGE = Setting("large", (24, 20), (24, 20), (24, 20), ndim=2, network=2, coils=2)


def measured(setting, batch=1, seed=5):
    """An operator and data of an image, with some noise."""
    A = setting.operator(batch)
    y = A(random(batch, *setting.image, seed=seed))
    return A, y + 0.01 * random(*y.shape, seed=seed + 1) * (y != 0)


def solution_map(A, shape):
    """The matrix of ``(I + lam N)^-1 lam A^H``."""
    matrix = dense(lambda x: A.select(torch.tensor([0]))(x), shape)
    identity = torch.eye(matrix.shape[1], dtype=torch.complex128)
    return torch.linalg.solve(identity + WEIGHT * matrix.mH @ matrix, WEIGHT * matrix.mH)


def linear(A, setting):
    """The same as a reconstruction, exact."""
    matrix = solution_map(A, setting.image)

    def reconstruct(y, A):
        return (y.flatten(1) @ matrix.T).reshape(len(y), *setting.image)

    return reconstruct


def _weighted(y, A):
    return rv.sense(y, A, weight=WEIGHT)


def _adjoint(y, A):
    return A.adjoint(y)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("setting", [PLANE, DYNAMIC], ids=lambda s: s.name)
def test_attack_of_linear_sense_reaches_its_largest_singular_value(setting, method):
    A, y = measured(setting)
    top = torch.linalg.svdvals(solution_map(A, setting.image))[0]
    found = attack(linear(A, setting), y, A, 0.1, steps=200, starts=1, methods=(method,))
    assert 0.95 * top <= found.gain_worst <= top * (1 + 1e-10)
    assert found.gain_gaussian_max < 0.7 * top


def test_attack_sense_is_that_of_the_linear_map_and_knows_its_bound():
    A, y = measured(PLANE)
    options = {"steps": 8, "starts": 1, "methods": ("pgd",)}
    found, exact = (
        attack_sense(y, A, 0.1, weight=WEIGHT, **options),
        attack(linear(A, PLANE), y, A, 0.1, **options),
    )
    assert found.gain_worst.item() == pytest.approx(exact.gain_worst.item(), rel=0.01)
    assert abs(found.gain_worst - exact.gain_worst) <= 2 * found.error * found.gain_worst
    assert norm(found.clean - exact.clean) <= 1e-3 * norm(exact.clean)
    top = torch.linalg.svdvals(solution_map(A, PLANE.image))[0]
    assert top <= found.gain_bound <= 0.5 * WEIGHT**0.5 * (1 + 1e-6)
    assert found.gain_bound_kind == "proved"


def test_default_weight_is_that_of_sense():
    A, y = measured(PLANE)
    for noise in (None, 0.3):
        found = attack_sense(y, A, 0.1, noise=noise, steps=1, starts=1, methods=("pgd",))
        wanted = rv.sense(y, A, noise=noise)
        assert norm(found.clean - wanted) <= 1e-3 * norm(wanted)


@pytest.mark.parametrize("setting", [PLANE, DYNAMIC, ODD, TWO_SETS], ids=lambda s: s.name)
def test_perturbation_has_the_norm_asked_for_and_lives_on_the_measured_samples(setting):
    A, y = measured(setting, batch=2)
    found = attack(_adjoint, y, A, 0.03, steps=2, starts=2)
    assert torch.allclose(norm(found.perturbation), 0.03 * norm(y))
    measured_here = A(random(2, *setting.image)) != 0
    assert (found.perturbation[~measured_here] == 0).all()
    assert (found.perturbation[measured_here] != 0).all()


def test_samples_that_were_not_measured_do_not_count_in_the_norm_of_the_data():
    A, y = measured(PLANE)
    dirty = torch.where(y == 0, 7.0, y)
    clean, found = (attack(_adjoint, data, A, 0.03, steps=1, starts=1) for data in (y, dirty))
    assert torch.allclose(norm(found.perturbation), norm(clean.perturbation))


class Halved(LinearOperator):
    """``x / 2``: an operator without a mask."""

    def forward(self, x):
        return x.unsqueeze(1) / 2

    def adjoint(self, y):
        return y[:, 0] / 2

    @property
    def norm_bound(self):
        return torch.tensor([0.5], dtype=torch.float64)


def test_without_a_mask_every_sample_is_perturbed():
    A, x = Halved(), random(1, 4, 4)
    found = attack(lambda y, A: 4 * A.adjoint(y), A(x), A, 0.1, steps=1, starts=1)
    assert (found.perturbation != 0).all()
    assert found.gain_worst.item() == pytest.approx(2)


def test_pixels_that_are_missing_are_not_perturbed():
    mask = random_mask(1, 6, 6)
    A = Sampling(mask)
    found = attack(lambda y, A: A.adjoint(y), random(1, 6, 6), A, 0.1, steps=1, starts=1, draws=1)
    assert ((found.perturbation != 0) == (mask != 0)).all()
    assert found.gain_worst.item() == pytest.approx(1)
    assert found.gain_gaussian.item() == pytest.approx(1)


def test_gain_is_the_change_of_the_image_over_that_of_the_data():
    A, y = measured(PLANE, batch=2)
    found = attack(linear(A, PLANE), y, A, 0.05, steps=3, starts=2)
    assert torch.allclose(found.gain_worst, norm(found.image - found.clean) / norm(found.perturbation))
    assert torch.allclose(found.image, linear(A, PLANE)(y + found.perturbation, A))
    assert torch.allclose(found.clean, linear(A, PLANE)(y, A))
    assert (found.gain_gaussian <= found.gain_gaussian_max).all()
    assert (found.error == 0).all()


@pytest.mark.parametrize("starts", [1, 3])
def test_white_noise_is_never_worse_than_what_was_found(starts):
    A, y = measured(LARGE)
    for window in (None, 5):
        found = attack(_weighted, y, A, 0.1, steps=1, starts=starts, window=window, methods=("pgd",))
        assert found.gain_worst >= found.gain_gaussian_max * (1 - 1e-3)


def test_gain_of_white_noise_is_the_root_mean_square_singular_value():
    A, y = measured(PLANE)
    found = attack(linear(A, PLANE), y, A, 0.1, steps=1, starts=1, draws=2000)
    samples = int((A(random(1, *PLANE.image)) != 0).sum())
    expected = torch.linalg.svdvals(solution_map(A, PLANE.image)).square().sum().div(samples).sqrt()
    assert found.gain_gaussian.item() == pytest.approx(expected.item(), rel=0.03)


@pytest.mark.parametrize("together", [1, 2])
def test_a_sample_is_attacked_as_if_it_were_alone(together):
    A, y = measured(PLANE, batch=2)
    y = y * torch.tensor([1.0, 40.0], dtype=torch.float64).reshape(2, 1, 1, 1)
    options = {"weight": WEIGHT, "steps": 4, "starts": 2, "methods": ("pgd",)}
    both = attack_sense(y, A, 0.1, **options, together=together)
    for i in range(2):
        alone = attack_sense(y[i : i + 1], A.select(torch.tensor([i])), 0.1, **options)
        assert alone.gain_worst.item() == pytest.approx(both.gain_worst[i].item(), rel=1e-3)
        assert alone.gain_gaussian.item() == pytest.approx(both.gain_gaussian[i].item(), rel=1e-3)
        assert alone.method[0] == both.method[i]
        assert norm(alone.perturbation - both.perturbation[i : i + 1]) <= 0.05 * norm(alone.perturbation)


def test_starts_one_by_one_find_the_same_as_together():
    A, y = measured(ODD, batch=2)
    for window in (None, 3):
        options = {"steps": 4, "starts": 3, "window": window, "methods": ("pgd",)}
        at_once, in_turn = (attack(linear(A, ODD), y, A, 0.1, **options, together=n) for n in (None, 2))
        assert torch.allclose(at_once.gain_worst, in_turn.gain_worst, rtol=1e-9)
        assert torch.allclose(at_once.history["pgd"], in_turn.history["pgd"], rtol=1e-9)
        counts = (at_once.gradients, at_once.reconstructions)
        assert counts == (in_turn.gradients, in_turn.reconstructions) == (2 * 3 * 4, 2 * (3 * 4 + 1 + 8 + 1))


def test_the_seed_alone_decides():
    A, y = measured(PLANE)
    first, again, other = (attack(_adjoint, y, A, 0.1, steps=1, starts=1, seed=s) for s in (3, 3, 4))
    assert torch.equal(first.perturbation, again.perturbation)
    assert not torch.allclose(first.perturbation, other.perturbation)


def test_what_is_reported_is_measured_accurately():
    A, y = measured(PLANE)
    exact = linear(A, PLANE)

    def wrong(y, A):
        return 3 * exact(y, A)

    found = attack(wrong, y, A, 0.1, steps=5, starts=1, measure=exact, accuracy=1e-3, methods=("pgd",))
    assert torch.allclose(found.gain_worst, norm(exact(found.perturbation, A)) / norm(found.perturbation))
    assert torch.allclose(found.clean, exact(y, A))
    size = torch.maximum(norm(found.image), norm(found.clean))
    assert torch.allclose(found.error, 2e-3 * size / norm(found.change))


def test_with_several_methods_the_worst_is_kept_for_each_sample():
    A, y = measured(PLANE, batch=2)
    options = {"steps": 3, "starts": 1}
    both = attack(linear(A, PLANE), y, A, 0.1, **options)
    single = {m: attack(linear(A, PLANE), y, A, 0.1, **options, methods=(m,)).gain_worst for m in METHODS}
    assert torch.allclose(both.gain_worst, torch.stack(list(single.values())).amax(0))
    assert both.method == tuple(max(single, key=lambda m: single[m][i].item()) for i in range(2))
    assert set(both.history) == set(METHODS)
    assert all(rows.shape == (3, 2) for rows in both.history.values())


@pytest.mark.parametrize("setting", [LARGE, DYNAMIC], ids=lambda s: s.name)
def test_an_attack_of_a_window_concentrates_the_error_in_it(setting):
    side = 5 if setting is LARGE else 2
    A, y = measured(setting, batch=2)
    whole = attack_sense(y, A, 0.1, weight=WEIGHT, steps=8, starts=1, methods=("pgd",))
    local = attack_sense(y, A, 0.1, weight=WEIGHT, steps=8, starts=2, methods=("pgd",), window=side)
    inside = within(local.window, side, local.clean)
    assert inside.sum((-1, -2)).unique().tolist() == [side**2]

    def share(found):
        return norm(found.change * inside) / norm(found.change)

    assert (share(local) > 1.3 * share(whole)).all()
    assert torch.allclose(local.gain_worst, norm(local.change * inside) / norm(local.perturbation))
    assert (local.gain_worst > 2 * local.gain_gaussian_max).all()
    peak = (local.change * inside).abs().flatten(1).amax(1) / local.clean.abs().flatten(1).amax(1)
    assert torch.allclose(local.largest_error, peak)


def test_windows_lie_where_noise_does_most_harm_and_apart():
    from resolvent.mol.windows import worst_places

    harm = torch.zeros(1, 20, 20)
    harm[0, 3:6, 4:7], harm[0, 12:15, 10:13] = 1.0, 2.0
    first, second, third = worst_places(harm, 3, 3)[:, 0].tolist()
    assert (first, second) == ([12, 10], [3, 4])
    assert max(abs(third[0] - 12), abs(third[1] - 10)) > 1
    crowded = worst_places(harm[:, :4, :4], 3, 3)
    assert crowded.shape == (3, 1, 2)
    assert (crowded <= 1).all()


UNCONDITIONED = ("ProductNetwork", "ResidualStack")


@pytest.mark.parametrize("name", UNCONDITIONED)
@pytest.mark.parametrize("setting", [PLANE, DYNAMIC], ids=lambda s: s.name)
def test_no_attack_exceeds_a_proved_data_gain(setting, name):
    model = MOL(small_scores(setting.network, m=0.3)[name], lam=20.0).double()
    A, y = measured(setting)
    found = attack_model(model, y, A, 0.1, steps=8, starts=2, methods=("pgd",))
    assert found.gain_bound_kind == "proved"
    assert found.gain_worst <= found.gain_bound * (1 + found.error)
    assert found.gain_worst > 1.2 * found.gain_gaussian_max
    assert (found.error < 0.05).all()


def test_an_attack_comes_near_a_tight_bound():
    m, lam = 0.04, 20.0
    score = LinearScore.identity(m, 30)
    A = rv.SENSE(0.05 * random(1, 1, 6, 5).sgn(), torch.ones(6, 5, dtype=torch.float64))
    model = MOL(score, lam=lam).double()
    found = attack_model(model, A(random(1, 6, 5)), A, 0.1, steps=5, starts=1, noise=0.0)
    assert found.gain_bound == pytest.approx(0.5 * (lam / m) ** 0.5)
    assert 0.9 * found.gain_bound < found.gain_worst <= found.gain_bound


def conditioned(**options):
    return MOL(small_scores(2, m=0.3)["ConditionedStack"], lam=20.0, **options).double()


@pytest.mark.parametrize("options", [{}, {"normalise": True}], ids=["plain", "scaled"])
def test_with_the_conditioning_held_no_attack_exceeds_the_bound(options):
    model = conditioned(**options)
    A, y = measured(PLANE, batch=2)
    free, held = (
        attack_model(model, y, A, 0.1, steps=6, starts=1, methods=("pgd",), hold_conditioning=h) for h in (False, True)
    )
    assert free.gain_bound_kind == "conditioning held"
    assert held.gain_bound_kind == "proved"
    assert free.gain_bound == held.gain_bound
    assert (held.gain_worst <= held.gain_bound * (1 + held.error)).all()
    assert norm(free.clean - held.clean).max() <= 1e-2 * norm(held.clean).max()
    assert not torch.allclose(free.gain_worst, held.gain_worst, rtol=1e-3)


def test_image_of_a_held_attack_solves_the_equation_of_the_clean_scan_with_new_data():
    model = conditioned(normalise=True)
    A, y = measured(PLANE)
    found = attack_model(model, y, A, 0.2, steps=2, starts=1, methods=("pgd",), hold_conditioning=True, noise=0.1)
    equation, scale, _ = model.pose(y, A, 0.1)
    x = found.image / scale
    data = equation.lam * A.adjoint(y + found.perturbation) / scale
    with torch.no_grad():
        residual = equation.lam * A.normal(x) - data + equation.score(x)
    assert norm(residual) <= 1e-2 * 0.2 * norm(data)


def test_the_image_reported_is_that_of_the_model():
    model = conditioned(normalise=True)
    A, y = measured(PLANE)
    found = attack_model(model, y, A, 0.05, steps=2, starts=1, methods=("pgd",))
    noise = estimate_noise(y)
    for image, data in ((found.clean, y), (found.image, y + found.perturbation)):
        wanted = rv.solve_reference(model, data, A, noise)
        assert norm(image - wanted) <= 0.02 * norm(found.change)


def test_scaling_the_data_scales_the_perturbation_and_leaves_the_gain():
    model = conditioned(normalise=True)
    A, y = measured(PLANE)
    one, thousand = (attack_model(model, y * k, A, 0.05, steps=2, starts=1, methods=("pgd",)) for k in (1.0, 1e3))
    assert thousand.gain_worst.item() == pytest.approx(one.gain_worst.item(), rel=0.01)
    assert norm(thousand.perturbation).item() == pytest.approx(1e3 * norm(one.perturbation).item())


def test_the_model_is_left_as_it_was():
    model = conditioned(normalise=True).float()
    A, y = measured(PLANE)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    settings = (model.tol, model.adjoint_tol, model.linear_tol, model.max_steps, model.training)
    attack_model(model, y.to(torch.complex64), _single(A), 0.05, steps=1, starts=1, methods=("pgd",))
    assert (model.tol, model.adjoint_tol, model.linear_tol, model.max_steps, model.training) == settings
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def _single(A):
    return A._map(lambda t: t.to(torch.complex64 if t.is_complex() else torch.float32), _single)


def test_a_small_attack_in_single_precision_is_measured_in_double():
    model = conditioned(normalise=True)
    A, y = measured(PLANE)
    options = {"steps": 1, "starts": 1, "draws": 2, "noise": 0.1, "methods": ("pgd",)}
    fine = attack_model(model, y, A, 1e-3, **options)
    coarse = attack_model(model.float(), y.to(torch.complex64), _single(A), 1e-3, **options)
    assert coarse.image.dtype == torch.complex128
    assert coarse.gain_gaussian.item() == pytest.approx(fine.gain_gaussian.item(), rel=1e-3)


def test_an_attack_finer_than_single_precision_starts_where_that_ends():
    A, y = measured(PLANE)
    model = conditioned(normalise=True).float()
    options = {"steps": 1, "starts": 1, "draws": 1, "noise": 0.1, "methods": ("pgd",)}
    found = attack_model(model, y.to(torch.complex64), _single(A), 3e-6, **options)
    assert (found.error < found.gain_worst).all()


def test_the_noise_level_is_not_attacked():
    model = conditioned(normalise=True)
    A, y = measured(PLANE)
    options = {"steps": 1, "starts": 1, "draws": 1, "methods": ("pgd",)}
    guessed, given = (attack_model(model, y, A, 0.05, **options, noise=n) for n in (None, estimate_noise(y)))
    assert torch.equal(guessed.perturbation, given.perturbation)
    assert torch.equal(guessed.image, given.image)


def test_a_clean_solve_that_does_not_converge_is_no_target():
    model = conditioned()
    model.max_steps = 1
    A, y = measured(PLANE)
    with pytest.raises(DataError, match=r"The clean image is no solution to attack .*max_steps"):
        attack_model(model, y, A, 0.01, steps=1)


def test_a_measurement_that_does_not_converge_has_no_known_error(monkeypatch):
    from resolvent.mol import targets as module

    monkeypatch.setattr(module, "ACCURACY", 1e-15)
    model = conditioned()
    model.max_steps = 15
    A, y = measured(PLANE)
    assert attack_model(model, y, A, 0.1, steps=1, starts=1, draws=1, methods=("pgd",)).error.isinf().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": 0.0}, "An attack cannot have epsilon = 0.0. Pass a positive number."),
        ({"steps": 0}, "An attack cannot have steps = 0"),
        ({"starts": -1}, "An attack cannot have starts = -1"),
        ({"together": -2}, "An attack cannot have together = -2"),
        ({"methods": ("newton",)}, r"methods are \['newton'\]. Name one or more of: pgd, adam."),
        ({"methods": ()}, r"methods are \[\]. Name one or more"),
    ],
)
def test_options_that_make_no_attack_are_refused(options, message):
    A, y = measured(PLANE)
    with pytest.raises(DataError, match=message):
        attack(_weighted, y, A, **{"epsilon": 0.1, **options})


def test_data_without_signal_and_images_that_are_not_finite_are_refused():
    A, y = measured(PLANE)
    with pytest.raises(DataError, match="measured samples are zero or not finite"):
        attack(_weighted, 0 * y, A, 0.1)
    with pytest.raises(DataError, match="A perturbed image is not finite"):
        attack(lambda y, A: A.adjoint(y) / 0, y, A, 0.1, steps=1, starts=1)
    with pytest.raises(ShapeError, match=r"A window of side 15 does not fit an image of 6 x 5. Pass a smaller one."):
        attack(_weighted, y, A, 0.1, window=15)


def test_masks_with_weights_count_as_measured():
    mask = 0.5 * random_mask(1, *PLANE.mask)
    A = PLANE.operator(mask=mask)
    found = attack(_adjoint, A(random(1, *PLANE.image)), A, 0.1, steps=1, starts=1)
    assert ((found.perturbation != 0) == (mask != 0).unsqueeze(1)).all()


class Following(LinearScore):
    """``F_b(x) = m x - kappa A^H b``: a conditioning whose constant is ``kappa |A|``, and all else known."""

    tier = MonotoneOperator.tier

    def __init__(self, m, kappa, bounded):
        super().__init__(torch.eye(1, dtype=torch.complex128), m=m)
        self.kappa, self.bounded = kappa, bounded

    def conditioning(self, lam):
        return Bound(self.kappa, "proved") if self.bounded else Bound(torch.inf, "estimated")

    def condition(self, context=None):
        m, kappa = self.m.value, self.kappa
        return Score(lambda x, shared, own: (1 - m) * x + kappa * own[0], (), (context.zero_filled,))


@pytest.mark.parametrize("bounded", [True, False])
def test_attack_of_the_conditioning_finds_its_constant(bounded):
    A, y = measured(PLANE)
    kappa = 3.0
    top = torch.linalg.matrix_norm(dense(lambda x: A.select(torch.tensor([0]))(x), PLANE.image), 2)
    model = MOL(Following(0.4, kappa, bounded), 20.0).double()
    found = attack_conditioning(model, y, A, 0.1, noise=0.1, steps=100, starts=2)
    assert 0.98 * kappa * top <= found.gain_worst <= kappa * top * (1 + 1e-6)
    assert (found.gain_bound, found.gain_bound_kind) == ((kappa, "proved") if bounded else (None, "none"))


def test_no_attack_of_a_certified_conditioning_exceeds_its_constant():
    A, y = measured(PLANE)
    model = MOL(small_scores(2)["CertifiedStack"], 30.0).double()
    found = attack_conditioning(model, y, A, 0.3, noise=0.1, steps=30, starts=2)
    assert found.gain_bound_kind == "proved"
    assert 0 < found.gain_worst <= found.gain_bound


def test_what_units_and_lam_follow_counts_as_conditioning():
    A, y = measured(PLANE)
    score = small_scores(2)["ResidualStack"]
    still, adapting = (MOL(score, 30.0, normalise=adapts).double() for adapts in (False, True))
    nothing = attack_conditioning(still, y, A, 0.1, noise=0.1, steps=5, starts=1)
    assert nothing.gain_worst < 1e-9
    assert nothing.gain_bound == 0
    something = attack_conditioning(adapting, y, A, 0.1, noise=0.1, steps=5, starts=1)
    assert something.gain_worst > 0.1
    assert something.gain_bound is None
