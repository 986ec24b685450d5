import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import conv2d, conv3d, conv_transpose2d, conv_transpose3d, pad, relu

from problems import LinearScore, random, small_scores
from resolvent.monotone import Bound, ConditionedStack, PlainCNN, ProductNetwork, ResidualStack, ScanContext
from resolvent.testing import check_contraction, check_monotone

KINDS = ["PlainCNN", "ProductNetwork", "ResidualStack", "ConditionedStack"]
STRICT = KINDS[1:]
SHAPES = {2: (2, 6, 5), 3: (2, 2, 4, 3)}
kinds = pytest.mark.parametrize("kind", KINDS)
strict = pytest.mark.parametrize("kind", STRICT)
dims = pytest.mark.parametrize("ndim", [2, 3])


def context(shape, scale=1.0):
    sense, zero_filled = scale * random(*shape, seed=7), scale * random(*shape, seed=8)
    noise = torch.linspace(0.01, 0.3, shape[0], dtype=torch.float64)
    return ScanContext(sense, zero_filled, noise, torch.ones(shape[0]), lambda u, w: 0.5 * u + 0.3 * zero_filled)


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
                p.copy_(change(p))
    F = score.condition(context(SHAPES[2]))
    x = random(*SHAPES[2])
    check_monotone(F, x, m=score.m.value, draws=4, ascent=4)
    check_contraction(F.H, x, score.r.value, draws=4, ascent=4)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_conditioned_score_is_monotone_whatever_the_trunk_says(scale):
    score = small_scores(2)["ConditionedStack"]
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
    tiers = {"PlainCNN": "estimated", "ConditionedStack": "per-scan"}
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


@dims
def test_conditioned_stack_is_its_formula(ndim):
    score, F = conditioned("ConditionedStack", ndim)
    run, back = (conv2d, conv_transpose2d) if ndim == 2 else (conv3d, conv_transpose3d)
    scan = context(SHAPES[ndim])

    def channels(t):
        return torch.stack([t.real, t.imag], 1)

    noise = scan.noise.log10().reshape(-1, *(1,) * (ndim + 1)).expand(-1, 1, *SHAPES[ndim][1:])
    u = scan.sense
    for turn in range(2):
        f = torch.cat([channels(u), channels(scan.zero_filled), noise], 1)
        for w, b in zip(score.trunk.weights, score.trunk.biases, strict=True):
            f = relu(run(f, w, b, padding=1))
        change = run(f, score.trunk.last, padding=1)
        u = u + torch.complex(change[:, 0], change[:, 1])
        u = scan.data_consistent(u, scan.lam) if turn == 0 else u
    head = run(f, score.head_weight, score.head_bias)
    x = random(*SHAPES[ndim])
    z = pad(channels(x - u), (0, 0) * ndim + (0, 2))
    for layer, unit in enumerate(score.convs):
        bias, gate = head[:, 4 * layer : 4 * layer + 4], torch.sigmoid(head[:, 8 + 4 * layer : 12 + 4 * layer])
        z = z - 2 * back(gate * relu(run(z, unit(), padding=1) + bias), unit(), padding=1)
    torch.testing.assert_close(F.H(x), u + 0.7 * torch.complex(z[:, 0], z[:, 1]), rtol=0, atol=1e-12)


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
            scan.lam,
            lambda u, w, t=t: 0.5 * u + 0.3 * scan.zero_filled[:, t],
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
        scan.lam.float(),
        lambda u, w: (0.5 * u + 0.3 * scan.zero_filled).to(torch.complex64),
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


def test_conditioned_score_without_a_scan_is_refused():
    with pytest.raises(ValueError, match=r"a conditioned score needs a scan\. Use it in MOL"):
        small_scores(2)["ConditionedStack"].condition()


@pytest.mark.parametrize("score", [ProductNetwork, ResidualStack, ConditionedStack])
@pytest.mark.parametrize("m", [0.0, 1.0, -0.1, math.nan])
def test_margin_outside_zero_and_one_is_refused(score, m):
    with pytest.raises(ValueError, match="needs 0 < m < 1"):
        score(m=m)


@pytest.mark.parametrize("score", [PlainCNN, ProductNetwork, ResidualStack, ConditionedStack])
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
