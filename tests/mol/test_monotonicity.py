import pytest
import torch

import resolvent as rv
from problems import PLANE, SETTINGS, LinearScore, random, small_scores
from resolvent.mol.monotonicity import local_monotonicity, monotone_penalty, symmetric_jacobian, verified
from resolvent.monotone import PlainCNN


def real(x):
    return torch.view_as_real(x.resolve_conj()).reshape(len(x), -1)


def dense_jacobian(F, x):
    """The real Jacobian of F at one sample."""
    shape = x.shape

    def of_reals(flat):
        return real(F(torch.view_as_complex(flat.reshape(*shape, 2))))[0]

    return torch.autograd.functional.jacobian(of_reals, real(x)[0])


def smallest(jacobian):
    return torch.linalg.eigvalsh((jacobian + jacobian.T) / 2)[0].item()


@pytest.mark.parametrize("kind", ["PlainCNN", "ProductNetwork", "ResidualStack"])
def test_it_is_the_smallest_eigenvalue_of_the_dense_symmetric_part(kind):
    F = small_scores(2)[kind].condition()
    x = random(2, 4, 5, seed=5)
    ritz = local_monotonicity(F, x, steps=80, tol=1e-10)
    for sample in range(2):
        jacobian = dense_jacobian(F, x[sample : sample + 1])
        assert (jacobian - jacobian.T).abs().max() > 1e-4 or kind == "ResidualStack"
        assert ritz.value[sample].item() == pytest.approx(smallest(jacobian), abs=1e-9)
        assert ritz.residual[sample] < 1e-8


def test_nonsymmetric_jacobians_are_symmetrised():
    # eigenvalues of J are 1, those of its symmetric part 1 +- 5/2
    shear = torch.tensor([[1.0, 5.0], [0.0, 1.0]], dtype=torch.float64)
    ritz = local_monotonicity(lambda x: x @ shear.T, torch.zeros(1, 2, dtype=torch.float64))
    assert ritz.value.item() == pytest.approx(-1.5)
    matrix = random(12, 12)
    F = LinearScore(matrix, m=0.1).condition()
    ritz = local_monotonicity(F, random(1, 3, 4), tol=1e-10)
    eye = torch.eye(12, dtype=torch.complex128)
    assert ritz.value.item() == pytest.approx(torch.linalg.eigvalsh(eye - (matrix + matrix.mH) / 2)[0].item())


def test_the_products_are_those_of_the_dense_jacobian():
    F, x, v = small_scores(2)["PlainCNN"].condition(), random(1, 4, 4), random(1, 4, 4, seed=1)
    jacobian = dense_jacobian(F, x)
    expected = (jacobian + jacobian.T) / 2 @ real(v)[0]
    torch.testing.assert_close(real(symmetric_jacobian(F, x)(v))[0], expected)


def test_a_function_that_ignores_a_part_of_x_has_zero_slope_there():
    ritz = local_monotonicity(lambda x: x.real + 0j, torch.ones(1, 3, dtype=torch.complex128))
    assert ritz.value.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_of_a_strict_score_it_is_at_least_m_and_of_the_equation_too(setting):
    score = small_scores(setting.network, m=0.3)["ResidualStack"]
    model = rv.MOL(score, lam=20.0).double()
    equation = model.pose(setting.kspace(2), setting.operator(2))[0].to_double()
    x = random(2, *setting.image, seed=8)
    of_f = local_monotonicity(equation.score, x, steps=30)
    of_g = local_monotonicity(equation.residual, x, steps=60)
    assert (of_f.value >= 0.3 - 1e-9).all()
    assert (of_g.value >= 0.3 - 1e-9).all()
    assert (of_g.value >= of_f.value - of_f.residual - 1e-6).all()  # N is positive semidefinite


def test_of_the_equation_it_counts_the_physics():
    matrix = 0.2 * random(30, 30)
    model = rv.MOL(LinearScore(matrix, m=0.1), lam=7.0).double()
    A = PLANE.operator()
    equation = model.pose(PLANE.kspace(), A)[0].to_double()
    x = random(1, 6, 5)
    normal = dense_jacobian(A.normal, x)
    expected = smallest(7.0 * normal + dense_jacobian(equation.score, x))
    assert local_monotonicity(equation.residual, x, steps=60, tol=1e-10).value.item() == pytest.approx(expected)
    assert expected > smallest(dense_jacobian(equation.score, x)) + 1e-3


def test_no_graph_is_left_behind():
    score = small_scores(2)["PlainCNN"]
    with torch.no_grad():
        ritz = local_monotonicity(score.condition(), random(1, 4, 4))
    assert not ritz.value.requires_grad
    assert all(p.grad is None for p in score.parameters())


def test_penalty_is_the_hinge_of_the_eigenvalue():
    F, x = small_scores(2)["PlainCNN"].condition(), random(3, 4, 4)
    values = local_monotonicity(F, x, steps=10, tol=0.0).value
    limit = values.median().item()
    expected = torch.relu(limit - values).mean().item()
    assert expected > 0
    assert monotone_penalty(F, x, limit).item() == pytest.approx(expected)
    assert monotone_penalty(F, x, values.amin().item() - 1e-6).item() == 0


def test_gradient_of_the_penalty_is_that_of_the_eigenvalue():
    score, x = small_scores(2)["PlainCNN"], random(2, 4, 4)
    limit, weight = 3.0, score.weights[1]
    monotone_penalty(score.condition(), x, limit, steps=80).backward()
    for index in ((0, 0, 1, 1), (2, 3, 0, 2), (3, 1, 2, 0)):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[index] += sign * 1e-5
                dense = [smallest(dense_jacobian(score.condition(), x[i : i + 1])) for i in range(2)]
                weight[index] -= sign * 1e-5
            values.append(sum(limit - v for v in dense) / 2)
        assert weight.grad[index].item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-3, abs=1e-6)


def test_penalty_works_inside_no_gradient_of_x():
    score, x = small_scores(2)["PlainCNN"], random(1, 4, 4).requires_grad_()
    monotone_penalty(score.condition(), x, 3.0).backward()
    assert x.grad is None


def test_training_with_the_penalty_makes_a_network_monotone_where_it_is_applied():
    torch.manual_seed(0)
    score = PlainCNN(channels=6, depth=3)
    with torch.no_grad():
        for weight in score.weights:
            weight.mul_(2)
    x = random(2, 8, 8, dtype=torch.complex64)
    assert (local_monotonicity(score.condition(), x).value < 0).all()
    optimiser = torch.optim.Adam(score.parameters(), lr=2e-2)
    for step in range(30):
        optimiser.zero_grad()
        monotone_penalty(score.condition(), x, 0.3, seed=step).backward()
        optimiser.step()
    ritz = local_monotonicity(score.condition(), x)
    assert (ritz.value - ritz.residual > 0.1).all()


def test_search_in_single_precision_is_verified_in_double():
    matrix = random(12, 12)
    x = random(1, 3, 4)
    exact, single = (LinearScore(matrix.to(dtype), m=0.1).condition() for dtype in (torch.complex128, torch.complex64))
    rough = local_monotonicity(single, x.to(torch.complex64), tol=1e-6)
    ritz = verified(exact, x, rough)
    assert ritz.value.dtype == torch.float64
    assert torch.linalg.vector_norm(ritz.vector).item() == pytest.approx(1, abs=1e-14)
    eigenvalues = torch.linalg.eigvalsh(torch.eye(12) - (matrix + matrix.mH) / 2)
    assert ritz.value.item() >= eigenvalues[0]
    assert ritz.value.item() - eigenvalues[0] <= ritz.residual.item() < 1e-4
    symmetric = symmetric_jacobian(exact, x)(ritz.vector)
    assert ritz.residual.item() == pytest.approx((symmetric - ritz.value * ritz.vector).abs().square().sum().sqrt())
    assert ritz.steps.equal(rough.steps)
