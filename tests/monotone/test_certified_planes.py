"""`CertifiedPlanes`: the mean of the 2-D stacks across three axes, with the constants of one."""

from dataclasses import replace

import pytest
import torch

import resolvent as rv
from problems import CERTIFIED, DYNAMIC, PLANE, VOLUME, WIDE, dense, random, small_scores, unit_maps
from resolvent.linop import Still
from resolvent.mol import plan, solve_peak
from resolvent.monotone import CertifiedPlanes, CertifiedSeries, CertifiedStack, ScanContext, Score, certified

SHAPE = (2, 6, 7, 8)


def scan(shape=SHAPE, seed=0):
    """A context with a data-consistency step that is no permutation's friend: it weights every voxel by itself."""
    sense = random(*shape, seed=seed)
    weights = torch.rand(shape, generator=torch.Generator().manual_seed(seed)).double()
    noise = torch.full((shape[0],), 0.05, dtype=torch.float64)
    still = sense.mean(-3, keepdim=True).expand(shape).contiguous()
    return ScanContext(sense, sense, noise, lambda u: (u + weights * sense) / (1 + weights), still=lambda: still)


AXES = ((0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 1, 2))
"""Of a volume: the axis that planes lie across, before the two of a plane."""


both = pytest.mark.parametrize(("kind", "network_of"), [(CertifiedPlanes, (0, 0, 0)), (CertifiedSeries, (0, 1, 1))])


@both
@pytest.mark.parametrize("passes", [1, 3])
def test_is_the_mean_of_the_stacks_over_the_planes_across_each_axis(kind, network_of, passes):
    stack = {**CERTIFIED, "passes": passes, "trunks": passes}
    score, context, x = kind(m=0.3, **stack).double(), scan(), random(*SHAPE, seed=1)
    networks = [score.stacks[i] for i in network_of]
    anchor = start = context.sense if kind is CertifiedPlanes else context.data_consistent(context.still())
    parts = []
    for done in range(passes):
        start, parts = context.data_consistent(anchor) if done else anchor, []
        for axes, one in zip(AXES, networks, strict=True):
            kernels = [c() for c in one.convs]
            planes = replace(context, sense=start.permute(axes))
            u, f = one.looks(planes, kernels, anew=False)[done](start.permute(axes))
            parts.append((one, kernels, axes, u.permute([axes.index(i) for i in range(4)]), f))
        anchor = sum(u for *_, u, _ in parts) / 3
    H = torch.zeros_like(x)
    for one, kernels, axes, _, features in parts:
        back = [axes.index(i) for i in range(4)]
        H += one.network(x.permute(axes), one.shared(kernels), (anchor.permute(axes), features)).permute(back) / 3
    F = score.condition(context)
    torch.testing.assert_close(F(x), x - H, rtol=0, atol=1e-12)
    torch.testing.assert_close(F.start, start, rtol=0, atol=1e-12)


def test_every_pass_is_recomputed_with_a_trunk_of_its_own(monkeypatch: pytest.MonkeyPatch):
    score, context, x = CertifiedPlanes(m=0.3, **WIDE).double(), scan(), random(*SHAPE, seed=1)

    def gradient():
        loss = score.condition(context)(x).abs().square().sum()
        return torch.autograd.grad(loss, list(score.parameters()))

    anew = gradient()
    monkeypatch.setattr(certified, "recomputed", lambda network: network)
    torch.testing.assert_close(anew, gradient())


@torch.no_grad()
@pytest.mark.parametrize("kind", ["CertifiedPlanes", "CertifiedSeries"])
def test_constants_are_those_of_the_stack_and_no_pair_violates_them(kind):
    score, more = small_scores(3)[kind], {"passes": CERTIFIED["passes"] + (kind == "CertifiedSeries")}
    flat = CertifiedStack(m=0.3, **{**CERTIFIED, **more})
    assert (score.m, score.c, score.r, score.tier) == (flat.m, flat.c, flat.r, flat.tier)
    assert score.conditioning(7.0) == flat.conditioning(7.0) and score.radius == flat.radius
    F = score.condition(scan())
    for seed in range(20):
        x, y = random(*SHAPE, seed=seed), random(*SHAPE, seed=seed + 100) * 10.0 ** (seed % 5 - 3)
        difference = F(y) - F(x) - (y - x)
        assert float(difference.norm()) <= 0.7 * float((y - x).norm()) * (1 + 1e-12)


def test_lead_axes_are_volumes_of_their_own():
    score, context = small_scores(3)["CertifiedPlanes"], scan((1, 2, 5, 6, 7))
    x = random(1, 2, 5, 6, 7, seed=1)
    whole = score.condition(context)(x)
    for frame in range(2):
        one = replace(
            context,
            sense=context.sense[:, frame],
            zero_filled=context.zero_filled[:, frame],
            data_consistent=lambda u, i=frame: context.data_consistent(
                torch.stack([u if i == j else context.sense[:, j] for j in range(2)], 1)
            )[:, i],
        )
        torch.testing.assert_close(score.condition(one)(x[:, frame]), whole[:, frame], rtol=0, atol=1e-12)


@pytest.mark.parametrize("tile", [(1, 3, 4, 8), (1, 6, 2, 3)])
def test_tiles_give_the_numbers_of_the_whole_volume(tile):
    score, x = small_scores(3)["CertifiedPlanes"], random(*SHAPE, seed=1).requires_grad_()

    def both(F: Score):
        out = F(x)
        (gradient,) = torch.autograd.grad(out.abs().square().sum(), x)
        return out, gradient

    whole = both(score.condition(scan()))
    tiled = both(score.condition(replace(scan(), tile=tile)).in_tiles(score.radius, tile))
    for a, b in zip(whole, tiled, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


def test_image_under_a_limit_is_the_same():
    torch.manual_seed(0)
    model = rv.MOL(CertifiedPlanes(channels=16, layers=1, trunk_layers=1), lam=20.0, normalise=True)
    A = rv.SENSE(unit_maps(1, 3, 20, 24, 22).to(torch.complex64), torch.ones(1, 20, 24, 22), ndim=3)
    y = random(1, 3, 20, 24, 22, dtype=torch.complex64)
    limit = solve_peak(model, y, A) - 1
    assert plan(model, y, A, limit).tile is not None
    assert torch.allclose(model.solve(y, A).image, model.solve(y, A, max_memory=limit).image, atol=1e-5)


def test_gradient_of_the_equation_is_that_of_finite_differences():
    model = rv.MOL(small_scores(VOLUME.network)["CertifiedPlanes"], lam=8.0, normalise=True).double()
    model.tol = model.adjoint_tol = 1e-11
    model.linear_tol, model.max_steps = 1e-12, 1000
    A = rv.SENSE(unit_maps(1, 2, 3, 4, 5), torch.ones(1, 3, 4, 5), ndim=3)
    y, name = random(1, 2, 3, 4, 5), "score.stacks.0.convs.0.weight"
    weight = dict(model.named_parameters())[name]
    model(y, A, 0.1).abs().square().sum().backward()
    direction, step = torch.randn_like(weight), 1e-5
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weight.add_(sign * step * direction)
            values.append(float(model(y, A, 0.1).abs().square().sum()))
            weight.sub_(sign * step * direction)
    assert weight.grad is not None
    found, wanted = float((weight.grad * direction).sum()), (values[0] - values[1]) / (2 * step)
    assert found == pytest.approx(wanted, rel=1e-4)


def test_there_are_no_planes_of_a_plane():
    with pytest.raises(ValueError, match="planes are those of a volume"):
        CertifiedPlanes(ndim=2)
    with pytest.raises(ValueError, match=r"a conditioned score needs a scan"):
        CertifiedPlanes().condition()


def test_series_begin_with_one_image_for_all_frames():
    A, y = DYNAMIC.operator(), DYNAMIC.kspace()
    model = rv.MOL(small_scores(3)["CertifiedSeries"], lam=8.0).double()
    model.linear_tol = 1e-12
    _, _, context = model.pose(y, A, 0.1)
    one = Still(DYNAMIC.image[0])
    matrix = torch.eye(20) + 8.0 * dense((A @ one).normal, (1, 4, 5))
    right = 8.0 * one.adjoint(A.adjoint(y)).reshape(20)
    expected = one(torch.linalg.solve(matrix, right).reshape(1, 1, 4, 5))
    torch.testing.assert_close(context.still(), expected, rtol=0, atol=1e-7)  # lam was single


@pytest.mark.parametrize("setting", [VOLUME, PLANE], ids=lambda setting: setting.name)
def test_only_series_have_frames(setting):
    _, _, context = (
        rv.MOL(small_scores(setting.network)["CertifiedStack"], lam=8.0)
        .double()
        .pose(setting.kspace(), setting.operator(), 0.1)
    )
    assert context.still is None
    with pytest.raises(ValueError, match=r"this score is for series of 2-D frames"):
        small_scores(3)["CertifiedSeries"].condition(context)
