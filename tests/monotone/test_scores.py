import itertools
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, conv3d, conv_transpose2d, conv_transpose3d, pad, relu

from problems import CONDITIONED, KINDS, STRICT, LinearScore, random, small_scores
from resolvent._errors import ModelError
from resolvent.monotone import (
    Bound,
    CertifiedStack,
    ConditionedRidge,
    ConditionedStack,
    ConvexRidge,
    PlainCNN,
    ProductNetwork,
    ResidualStack,
    ScanContext,
)
from resolvent.monotone.splines import KNOTS
from resolvent.testing import check_contraction, check_monotone

SHAPES = {2: (2, 6, 5), 3: (2, 2, 4, 3)}
kinds = pytest.mark.parametrize("kind", KINDS)
strict = pytest.mark.parametrize("kind", STRICT)
dims = pytest.mark.parametrize("ndim", [2, 3])


def context(shape, scale=1.0):
    sense, zero_filled = scale * random(*shape, seed=7), scale * random(*shape, seed=8)
    noise = torch.linspace(0.01, 0.3, shape[0], dtype=torch.float64)
    return ScanContext(sense, zero_filled, noise, lambda u: 0.5 * u + 0.3 * zero_filled)


def conditioned(kind, ndim, m=0.3, seed=0):
    score = small_scores(ndim, m, seed)[kind]
    return score, score.condition(context(SHAPES[ndim]))


@strict
@pytest.mark.parametrize(("ndim", "seed"), [(2, 0), (2, 1), (3, 0)])
def test_strict_score_is_monotone_on_random_and_adversarial_pairs(kind, ndim, seed):
    score, F = conditioned(kind, ndim, seed=seed)
    x = random(*SHAPES[ndim], seed=seed)
    check_monotone(F, x, m=score.m.value, draws=4, ascent=4)
    check_contraction(F.H, x, score.r.value, draws=4, ascent=4)


@strict
@pytest.mark.parametrize("change", [lambda p: 1e3 * p, lambda p: -1e3 * p, lambda p: p.sign(), torch.ones_like])
def test_weights_written_by_anyone_leave_the_score_monotone(kind, change):
    score = small_scores(2)[kind]
    with torch.no_grad():
        for name, p in score.named_parameters():
            if not name.startswith("trunk"):  # a larger trunk moves the anchor beyond what x - u can resolve
                p.copy_(change(p).clamp(-8, 8) if name.endswith("log_width") else change(p))
    F = score.condition(context(SHAPES[2]))
    x = random(*SHAPES[2])
    check_monotone(F, x, m=score.m.value, draws=4, ascent=4)
    check_contraction(F.H, x, score.r.value, draws=4, ascent=4)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("kind", CONDITIONED)
def test_conditioned_score_is_monotone_whatever_the_trunk_says(kind, scale):
    score = small_scores(2)[kind]
    F = score.condition(context(SHAPES[2], scale))
    check_monotone(F, random(*SHAPES[2]), m=score.m.value, draws=4, ascent=4)


def test_some_strict_score_comes_close_to_its_bound():
    # all kernels an identity: the product network is (1 - m) relu-free on positive channels, so the bound is used up
    score = ResidualStack(m=0.3, channels=2, layers=1).double()
    with torch.no_grad():
        score.convs[0].weight.zero_()
        score.convs[0].weight[0, 0, 1, 1] = score.convs[0].weight[1, 1, 1, 1] = 1.0
        score.biases[0].fill_(-100.0)  # never active: N is the identity
    F, d = score.condition(), random(1, 4, 4)
    torch.testing.assert_close(F.H(d), 0.7 * d, rtol=1e-6, atol=0)


@kinds
@dims
def test_constants_follow_from_the_margin(kind, ndim):
    score = small_scores(ndim, m=0.25)[kind]
    proved = "estimated" if kind == "PlainCNN" else "proved"
    assert score.c == Bound(1.0, "proved")
    assert (score.r.kind, score.m.kind) == (proved, proved)
    assert math.isclose(score.m.value, 0.25)
    assert math.isclose(score.r.value, 0.75)
    tiers = {"PlainCNN": "estimated", "ConditionedStack": "per-scan", "ConditionedRidge": "per-scan"}
    assert score.tier == tiers.get(kind, "all-data")
    assert str(score.m) == f"0.25 ({proved})"


def test_c_and_m_of_a_general_score_give_r():
    score = LinearScore(torch.zeros(4, 4, dtype=torch.complex128), c=2.0, m=0.5)
    assert score.r == Bound(1.5, "proved")


@dims
def test_plain_network_is_convolutions_with_relu_between(ndim):
    score, F = conditioned("PlainCNN", ndim)
    run = conv2d if ndim == 2 else conv3d
    x = random(*SHAPES[ndim])
    z = torch.stack([x.real, x.imag], 1)
    for i, (w, b) in enumerate(zip(score.weights, score.biases, strict=True)):
        z = run(relu(z) if i else z, w, b, padding=1)
    torch.testing.assert_close(F(x), x - torch.complex(z[:, 0], z[:, 1]), rtol=0, atol=1e-13)


@dims
def test_product_network_is_its_formula(ndim):
    score, F = conditioned("ProductNetwork", ndim)
    run = conv2d if ndim == 2 else conv3d
    x = random(*SHAPES[ndim])
    z = torch.stack([x.real, x.imag], 1)
    for i, (unit, b) in enumerate(zip(score.convs, score.biases, strict=True)):
        z = run(relu(z) if i else z, unit(), b, padding=1)
    torch.testing.assert_close(F.H(x), 0.7 * torch.complex(z[:, 0], z[:, 1]), rtol=0, atol=1e-13)


@dims
def test_residual_stack_is_its_formula(ndim):
    score, F = conditioned("ResidualStack", ndim)
    run, back = (conv2d, conv_transpose2d) if ndim == 2 else (conv3d, conv_transpose3d)
    x = random(*SHAPES[ndim])
    z = pad(torch.stack([x.real, x.imag], 1), (0, 0) * ndim + (0, 2))
    for unit, b in zip(score.convs, score.biases, strict=True):
        z = z - 2 * back(relu(run(z, unit(), b, padding=1)), unit(), padding=1)
    torch.testing.assert_close(F.H(x), 0.7 * torch.complex(z[:, 0], z[:, 1]), rtol=0, atol=1e-13)


def channels(t):
    return torch.stack([t.real, t.imag], 1)


def image(z):
    return torch.complex(z[:, 0], z[:, 1])


def noise_by_hand(scan, ndim):
    return scan.noise.log10().reshape(-1, *(1,) * (ndim + 1)).expand(-1, 1, *SHAPES[ndim][1:])


def trunk_by_hand(score, scan, ndim):
    """Anchor, and biases and gates before the sigmoid, of a conditioned score of two passes."""
    run = conv2d if ndim == 2 else conv3d
    noise, u = noise_by_hand(scan, ndim), scan.sense
    for turn in range(2):
        f = torch.cat([channels(u), channels(scan.zero_filled), noise], 1)
        for w, b in zip(score.trunk.weights, score.trunk.biases, strict=True):
            f = relu(run(f, w, b, padding=1))
        u = u + image(run(f, score.trunk.last, padding=1))
        u = scan.data_consistent(u) if turn == 0 else u
    return u, run(f, score.head_weight, score.head_bias)


@dims
def test_conditioned_stack_is_its_formula(ndim):
    score, F = conditioned("ConditionedStack", ndim)
    run, back = (conv2d, conv_transpose2d) if ndim == 2 else (conv3d, conv_transpose3d)
    u, head = trunk_by_hand(score, context(SHAPES[ndim]), ndim)
    x = random(*SHAPES[ndim])
    z = pad(channels(x - u), (0, 0) * ndim + (0, 2))
    for layer, unit in enumerate(score.convs):
        bias, gate = head[:, 4 * layer : 4 * layer + 4], torch.sigmoid(head[:, 8 + 4 * layer : 12 + 4 * layer])
        z = z - 2 * back(gate * relu(run(z, unit(), padding=1) + bias), unit(), padding=1)
    torch.testing.assert_close(F.H(x), u + 0.7 * image(z), rtol=0, atol=1e-12)
    torch.testing.assert_close(F.start, u, rtol=0, atol=1e-13)


def spline_by_hand(score, t):
    """``w sum_j a_j int over the piece``, by numpy's interpolation, channel by channel."""
    out = torch.empty_like(t.detach())
    for k in range(t.shape[1]):
        a, w = score.splines.logits[k].detach().sigmoid().numpy(), float(score.splines.log_width[k].detach().exp())
        knots = w * np.array([-1e3, *KNOTS, 1e3])
        heights = np.concatenate([[0], np.cumsum(a * np.diff(knots))])
        out[:, k] = torch.from_numpy(np.interp(t.detach()[:, k].numpy(), knots, heights - np.interp(0, knots, heights)))
    return out


@dims
def test_convex_ridge_is_its_formula(ndim):
    score, F = conditioned("ConvexRidge", ndim)
    run, back = (conv2d, conv_transpose2d) if ndim == 2 else (conv3d, conv_transpose3d)
    x, w = random(*SHAPES[ndim]), score.filters().detach()
    expected = 0.3 * x + 1.4 * image(back(spline_by_hand(score, run(channels(x), w, padding=1)), w, padding=1))
    torch.testing.assert_close(F(x), expected, rtol=0, atol=1e-12)


@dims
def test_conditioned_ridge_is_its_formula(ndim):
    score, F = conditioned("ConditionedRidge", ndim)
    run, back = (conv2d, conv_transpose2d) if ndim == 2 else (conv3d, conv_transpose3d)
    u, head = trunk_by_hand(score, context(SHAPES[ndim]), ndim)
    x, w = random(*SHAPES[ndim]), score.filters().detach()
    breadth = score.splines.log_width.exp().reshape(-1, *(1,) * ndim)
    t = run(channels(x - u), w, padding=1) + breadth * head[:, :4]
    s = torch.sigmoid(head[:, 4:]) * spline_by_hand(score, t)
    torch.testing.assert_close(F(x), 0.3 * (x - u) + 1.4 * image(back(s, w, padding=1)), rtol=0, atol=1e-12)
    torch.testing.assert_close(F.start, u, rtol=0, atol=1e-13)


@dims
def test_certified_stack_is_its_formula(ndim):
    score, F = conditioned("CertifiedStack", ndim)
    run, back = (conv2d, conv_transpose2d) if ndim == 2 else (conv3d, conv_transpose3d)
    scan, column = context(SHAPES[ndim]), (-1, *(1,) * ndim)

    def stack(z, numbers):
        for i, d in zip(numbers, (1, 2 if ndim == 2 else 1), strict=True):
            w, holes = score.convs[i](), {"padding": d, "dilation": d}
            z = z - 2 * back(relu(run(z, w, **holes) + score.biases[i].reshape(column)), w, **holes)
        return z

    level = 0.1 * (noise_by_hand(scan, ndim) + 2)
    first = stack(pad(torch.cat([channels(scan.sense), level], 1), (0, 0) * ndim + (0, 1)), (0, 1))
    v = scan.data_consistent(image(first))
    own = 2 if ndim == 2 else 0  # layers of the second pass and of the network: the small one of 3-D has one trunk
    seen = stack(pad(torch.cat([channels(v), level], 1), (0, 0) * ndim + (0, 1)), (own, own + 1))
    u, f, x = image(seen), seen[:, 2:], random(*SHAPES[ndim])
    z = stack(torch.cat([channels(x - u), 2.0 * f], 1), (own + 2, own + 3))
    torch.testing.assert_close(F.H(x), u + 0.7 * image(z), rtol=0, atol=1e-12)
    torch.testing.assert_close(F.start, v, rtol=0, atol=1e-12)  # u is no image


def real_jacobian(F, shape):
    def real(v):
        return torch.view_as_real(F(torch.view_as_complex(v.reshape(*shape, 2)))).reshape(-1)

    return lambda x: torch.autograd.functional.jacobian(real, torch.view_as_real(x).reshape(-1))


@dims
@pytest.mark.parametrize("kind", ["ConvexRidge", "ConditionedRidge"])
def test_jacobian_of_a_ridge_is_symmetric_with_eigenvalues_in_its_interval(kind, ndim):
    score = small_scores(ndim)[kind]
    shape = (1, *SHAPES[ndim][1:])
    jacobian = real_jacobian(score.condition(context(shape)), shape)
    for seed in range(2):
        J = jacobian(random(*shape, seed=seed))
        torch.testing.assert_close(J, J.T, rtol=0, atol=1e-13)
        eigenvalues = torch.linalg.eigvalsh(J)
        assert eigenvalues[0] >= 0.3 - 1e-12
        assert eigenvalues[-1] <= 1.7 + 1e-12
        assert eigenvalues[-1] > 0.35  # the network does something


def test_convex_ridge_is_the_gradient_of_an_energy():
    # m |x|^2 / 2 + L sum_k S_k((W x)_k), the primitives S_k by Simpson's rule between the kinks
    score, F = conditioned("ConvexRidge", 2)
    w = score.filters().detach()

    def energy(x):
        t = conv2d(channels(x), w, padding=1)
        widths = score.splines.log_width.detach().exp().reshape(-1, 1, 1)
        ends = [-1e6, *KNOTS, 1e6]
        total = 0.15 * x.abs().square().sum()
        for below, above in itertools.pairwise(ends):
            a, b = ((g / widths).clamp(below, above) * widths for g in (t.clamp(max=0), t.clamp(min=0)))
            mean = (spline_by_hand(score, a) + spline_by_hand(score, b)) / 2  # linear on the piece: exact
            total = total + 1.4 * (torch.sign(t) * (b - a) * mean).sum()
        return float(total.detach())

    for seed in range(3):
        x, d = random(*SHAPES[2], seed=seed), random(*SHAPES[2], seed=seed + 10)
        h = 1e-5
        slope = (energy(x + h * d) - energy(x - h * d)) / (2 * h)
        assert slope == pytest.approx(float((F(x).detach().conj() * d).real.sum()), rel=1e-6)


def bound_by_hand(m, passes, lam, k):
    """K, with the maximum over the angle between |du| and |df| by search."""
    moved = 0.0
    for _ in range(passes):  # the largest root of g^2 = moved g + lam / 4
        moved = float(np.roots([1.0, -moved, -lam / 4]).real.max())
    angle = np.linspace(0, np.pi / 2, 200_001)
    p, q = np.cos(angle), np.sin(angle)
    return moved * (p + (1 - m) * np.sqrt(p**2 + (k * q) ** 2)).max()


@pytest.mark.parametrize("m", [0.02, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("k", [1.0, 1.2, 2.0, 8.0])
@pytest.mark.parametrize(("passes", "lam"), [(1, 100.0), (2, 1.0), (4, 30.0)])
def test_conditioning_of_the_certified_stack_is_its_formula(m, k, passes, lam):
    score = CertifiedStack(m=m, channels=3, layers=1, trunk_layers=1, passes=passes, emphasis=k)
    assert score.conditioning(lam).kind == "proved"
    assert score.conditioning(lam).value == pytest.approx(bound_by_hand(m, passes, lam, k), rel=1e-8)


def test_conditioning_is_bounded_where_it_is_proved():
    scores = small_scores(2)
    for kind in ("ProductNetwork", "ResidualStack", "ConvexRidge"):
        assert scores[kind].conditioning(7.0) == Bound(0.0, "proved")
    for kind in ("ConditionedStack", "ConditionedRidge"):
        assert scores[kind].conditioning(7.0) == Bound(math.inf, "estimated")


@pytest.mark.parametrize("emphasis", [0.9, -2.0, math.inf, math.nan])
def test_certified_stack_whose_bound_would_not_hold_is_refused(emphasis):
    with pytest.raises(ValueError, match=f"emphasis is {emphasis}; it must be a number of at least 1"):
        CertifiedStack(emphasis=emphasis)


@pytest.mark.parametrize(
    ("faulty", "why"),
    [
        ({"passes": 3, "trunks": 2}, "trunks is 2; there is one for all passes, or one for each of the 3"),
        ({"dilations": 0}, "dilations is 0; it must be at least 1"),
        ({"dilations": 2, "ndim": 3}, "dilations is 2; it must be at least 1, and 1 for kernels of three axes"),
    ],
)
def test_certified_stack_that_cannot_be_is_refused(faulty, why):
    with pytest.raises(ValueError, match=why):
        CertifiedStack(**faulty)


def test_certified_stack_sees_as_far_as_its_radius_and_no_farther():
    score = CertifiedStack(channels=4, layers=3, trunk_layers=1, dilations=3).double()
    assert score.radius == 2 * (1 + 2 + 4)
    scan = context((1, 41, 41))
    F = score.condition(scan)
    x = random(1, 41, 41).requires_grad_()
    F.H(x)[0, 20, 20].abs().backward()
    far = (x.grad[0] != 0).nonzero() - 20
    assert int(far.abs().max()) == score.radius


def test_certified_stack_needs_room_for_image_and_noise():
    with pytest.raises(ValueError, match="channels is 2; image and noise level need at least 3"):
        CertifiedStack(channels=2)


@kinds
def test_axes_before_the_convolved_ones_are_independent_images(kind):
    score = small_scores(2)[kind]
    x, scan = random(2, 3, 4, 3), context((2, 3, 4, 3))
    together = score.condition(scan)(x)
    for t in range(3):
        one = ScanContext(
            scan.sense[:, t],
            scan.zero_filled[:, t],
            scan.noise,
            lambda u, t=t: 0.5 * u + 0.3 * scan.zero_filled[:, t],
        )
        torch.testing.assert_close(score.condition(one)(x[:, t]), together[:, t], rtol=0, atol=1e-13)


@kinds
@dims
def test_selected_and_double_scores_are_the_same_function(kind, ndim):
    score, F = conditioned(kind, ndim)
    x, index = random(*SHAPES[ndim]), torch.tensor([1])
    torch.testing.assert_close(F.select(index)(x[index]), F(x)[index], rtol=0, atol=1e-13)
    single = score.float()
    scan = context(SHAPES[ndim])
    half = ScanContext(
        scan.sense.to(torch.complex64),
        scan.zero_filled.to(torch.complex64),
        scan.noise.float(),
        lambda u: (0.5 * u + 0.3 * scan.zero_filled).to(torch.complex64),
    )
    F = single.condition(half)
    out = F.to_double()(x)
    assert out.dtype == torch.complex128
    error = (out - F(x.to(torch.complex64))).norm() / out.norm()
    assert 0 < error < 1e-5


def test_ridge_is_added_to_the_score():
    _, F = conditioned("PlainCNN", 2)
    x = random(*SHAPES[2])
    torch.testing.assert_close(replace(F, ridge=0.1)(x), F(x) + 0.1 * x, rtol=0, atol=1e-14)


def test_score_of_one_operator_can_be_called_without_a_scan():
    score = small_scores(2)["ResidualStack"]
    x = random(*SHAPES[2])
    assert score(x).equal(score.condition()(x))


@pytest.mark.parametrize("kind", CONDITIONED)
def test_conditioned_score_without_a_scan_is_refused(kind):
    with pytest.raises(ValueError, match=r"a conditioned score needs a scan\. Use it in MOL"):
        small_scores(2)[kind].condition()


CLASSES = [ProductNetwork, ResidualStack, ConvexRidge, ConditionedStack, ConditionedRidge, CertifiedStack]


@pytest.mark.parametrize("score", [PlainCNN, *CLASSES])
@pytest.mark.parametrize("m", [0.0, 1.0, -0.1, math.nan])
def test_margin_outside_zero_and_one_is_refused(score, m):
    with pytest.raises(ValueError, match="between 0 and 1"):
        score(m=m)


@pytest.mark.parametrize("score", [PlainCNN, *CLASSES])
def test_number_of_convolved_axes_is_two_or_three(score):
    with pytest.raises(ValueError, match="a score convolves 2 or 3 axes"):
        score(ndim=1)


@pytest.mark.parametrize("score", [ResidualStack, ConditionedStack])
def test_stack_needs_room_for_the_image(score):
    with pytest.raises(ValueError, match=r"channels is 1; .* needs at least 2"):
        score(channels=1)


@kinds
def test_configuration_builds_the_same_operator(kind):
    score = small_scores(3)[kind]
    twin = type(score)(**score.config).double()
    twin.load_state_dict(score.state_dict())
    scan, x = context(SHAPES[3]), random(*SHAPES[3])
    assert twin.condition(scan)(x).equal(score.condition(scan)(x))


@dims
def test_plain_network_starts_near_a_multiple_of_the_identity(ndim: int):
    x = random(*SHAPES[ndim]).to(torch.complex64)
    for depth in (2, 5):
        H = PlainCNN(channels=12, depth=depth, ndim=ndim, identity=0.8).condition().H
        assert (H(x) - 0.8 * x).norm() < 0.1 * x.norm()
    with pytest.raises(ModelError, match="cannot carry"):
        PlainCNN(channels=3, identity=0.8)


def test_operators_can_be_compiled():
    # in a process of its own: here types are checked at each call, which the compiler cannot follow
    code = """
import torch
from resolvent.monotone import ResidualStack
operator, x = ResidualStack(channels=2, layers=1), torch.randn(1, 8, 8, dtype=torch.complex64)
torch.testing.assert_close(torch.compile(operator, backend="eager")(x), operator(x))
"""
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
