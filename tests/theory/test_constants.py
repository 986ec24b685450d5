"""No pair of images violates the constants that a strict score declares: random weights, trained ones, adversaries."""

import json

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, svds

from problems import STRICT, random, small_scores
from resolvent.linop import SENSE
from resolvent.mol.weights import CARD, PACKAGED, load, packaged_models
from resolvent.monotone import CertifiedSeries, ConditionedRidge, ScanContext, conv_norm_bound
from resolvent.monotone.conditioned import modulations

STEPS, MORE = 60, 200
INERTIA = 0.24  # of heavy-ball power steps; with it 60 find what 200 plain ones find
GEOMETRIES = {
    2: {"2-D even": (4, 6), "2-D odd": (5, 3)},
    3: {"3-D even": (2, 4, 4), "3-D odd": (3, 3, 5), "2-D+time even": (6, 2, 4), "2-D+time odd": (5, 3, 3)},
}
MARGINS = {"ProductNetwork": 0.02, "ResidualStack": 0.05, "ConvexRidge": 0.1, "CertifiedStack": 0.3}


def squares(a):
    """``|a|^2`` of each image ``(draw, pair, ...)``."""
    return a.abs().square().flatten(2).sum(2)


def spread(u, v):
    """Real inner products ``<u, v>``."""
    return (u.conj() * v).real.flatten(2).sum(2)


def along(t, like):
    return t.reshape(*t.shape, *(1,) * (like.ndim - t.ndim))


def unit(g, fallback):
    """g at length one; where it vanishes, `fallback`."""
    length = squares(g).sqrt()
    lost = along(~(length > 1e-200), g)
    g = torch.where(lost, fallback, g)
    return g / along(squares(g).sqrt(), g)


def ascend(F, c, x, d, reach, steps=STEPS):
    """Most of ``|F(x+d) - F(x) - c d| / |d|`` and least of ``<F(x+d) - F(x), d> / |d|^2`` that an ascent finds.

    The first half of the pairs climbs the one by power steps of d with inertia, the second half descends the other; x
    follows the gradient with shrinking steps of `reach`. The best of all steps and of the random start are returned,
    per draw.
    """
    half, length = x.shape[1] // 2, squares(d).sqrt()
    before, grown = torch.zeros_like(d), torch.ones_like(length)
    most = least = None
    for k in range(steps + 1):
        x, d = x.detach().requires_grad_(), d.detach().requires_grad_()
        points = F(torch.cat([x, x + d], 1))
        moved = points[:, x.shape[1] :] - points[:, : x.shape[1]]
        n = squares(d)
        ratio = ((squares(moved - c * d) / n).sqrt().detach(), (spread(moved, d) / n).detach())
        most = ratio[0] if most is None else torch.maximum(most, ratio[0])
        least = ratio[1] if least is None else torch.minimum(least, ratio[1])
        if k == steps:
            return most.amax(1), least.amin(1)
        far = moved - c * d
        climb = 0.5 * squares(far)[:, :half].sum() - spread(far, d)[:, half:].sum()
        gx, gd = torch.autograd.grad(climb, (x, d))
        with torch.no_grad():
            gd[:, half:] += 2 * d[:, half:]  # the shifted symmetric part is positive: power steps climb
            x = x + along(reach, x) * (1 - k / steps) * unit(gx, d)
            ahead = unit(gd, d) - INERTIA * before / along(grown, d)
            before, grown = unit(d, d), squares(ahead).sqrt()
            d = along(length, d) * unit(ahead, d)


def powers(generator, shape, low=-3.0, high=3.0):
    """Random powers of ten."""
    return 10 ** (low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64))


def draw_weights(score, generator):
    """New parameters at wild scales; in half of the draws kernels near the identity, which come near the bound."""
    near = torch.rand((), generator=generator) < 0.5
    with torch.no_grad():
        for name, p in score.named_parameters():
            value = torch.randn(p.shape, generator=generator, dtype=p.dtype)
            if p.ndim == 0 or name.endswith("log_width"):  # logarithms
                p.copy_((3 * value).clamp(-8, 8))  # beyond, rounding of W x + b is larger than x
                continue
            if p.ndim > 3 and near:
                value = value * powers(generator, (), -3, -0.5)
                value[(..., *(n // 2 for n in p.shape[2:]))] += torch.eye(*p.shape[:2], dtype=p.dtype)
            p.copy_(value * powers(generator, ()))


def draw_context(shape, generator):
    """A scan of any scale, and a step of data consistency of any strength."""
    size = powers(generator, ())
    sense, zero_filled = (
        size * torch.randn((1, *shape), generator=generator, dtype=torch.complex128) for _ in range(2)
    )
    share = torch.rand((), generator=generator, dtype=torch.float64)
    level = powers(generator, (1,), -4, 0)
    return ScanContext(sense, zero_filled, level, lambda u: share * u + (1 - share) * zero_filled, still=lambda: sense)


def grain(score, F):
    """How far rounding moves ``F(x + d) - F(x)`` at most where numbers much larger than x are added to W x.

    ``W x + w b`` is off by ``eps |w b|`` at each pixel of each filter, at both points, and ``|W|, s' <= 1``, L <= 2.
    """
    if not isinstance(score, ConditionedRidge):
        return 0.0
    (_, _, breadth, weight, offset), (_, features) = F.shared, F.own
    ((bias, _),) = modulations(features.flatten(0, 1), weight, offset, 1)
    return 4 * torch.finfo(bias.dtype).eps * float((breadth * bias).abs().max()) * bias[0].numel() ** 0.5


def stacked(score, draws, seed):
    """Of every geometry: F of `draws` draws of weights and scans at once, on points ``(draw, 4, ...)``; the grains."""
    generator = torch.Generator().manual_seed(seed)
    made, grains = ({name: [] for name in GEOMETRIES[score.ndim]} for _ in range(2))
    for _ in range(draws):
        draw_weights(score, generator)
        for name, shape in GEOMETRIES[score.ndim].items():
            with torch.no_grad():
                F = score.condition(draw_context(shape, generator))
                grains[name].append(grain(score, F))
            copies = (tuple(t.detach().clone() for t in tensors) for tensors in (F.shared, F.own))  # not the parameters
            made[name].append((F.network, *copies))
    for name, scores in made.items():
        networks, shared, own = zip(*scores, strict=True)
        shared = tuple(torch.stack(t) for t in zip(*shared, strict=True))
        own = tuple(torch.stack(t).expand(-1, 4, *t[0].shape[1:]) for t in zip(*own, strict=True))
        network = torch.func.vmap(networks[0])
        anchor = own[0][:, :2] if own else None
        yield name, lambda x, n=network, s=shared, o=own: x - n(x, s, o), anchor, torch.tensor(grains[name])


def start(shape, draws, anchor, seed):
    """Pairs near the anchor, at any scale, as far apart as rounding lets be seen."""
    generator = torch.Generator().manual_seed(seed)
    x, d = (torch.randn((draws, 2, *shape), generator=generator, dtype=torch.complex128) for _ in range(2))
    size = powers(generator, (draws, 2))
    if anchor is not None:
        x = x + anchor / along(size, anchor)
        size = size.maximum(1e-4 * squares(anchor).sqrt())
    x = x * along(size, x)
    largest = squares(x).sqrt()
    d = d * along(powers(generator, (draws, 2), -3, 0) * largest / squares(d).sqrt(), d)
    return x, d, largest * powers(generator, (draws, 2), -3, 0)


def check(kind, ndim, draws, seed, steps=STEPS):
    score = small_scores(ndim, MARGINS.get(kind, 0.2))[kind]
    c, r, m = score.c.value, score.r.value, score.m.value
    assert score.r.kind == score.m.kind == "proved"
    used = 0.0
    for name, F, anchor, grains in stacked(score, draws, seed):
        x, d, reach = start(GEOMETRIES[ndim][name], draws, anchor, seed)
        most, least = ascend(F, c, x, d, reach, steps)
        assert torch.isfinite(most).all()
        assert torch.isfinite(least).all()
        used = max(used, float(most.max()) / r)
        print(f"{kind}, {name}, {draws} draws: |F - cI| / r <= {float(most.max()) / r:.6f}", end="")
        print(f", median {float(most.median()) / r:.4f}; least monotonicity / m >= {float(least.min()) / m:.4f}")
        # points lie up to 1000 distances apart from zero: rounding moves the ratios by 1e-12, and by the grain
        rounding = 1e-11 + grains / squares(d).sqrt().amin(1)
        assert (most <= r + rounding).all()
        assert (least >= m - rounding).all()
        assert rounding.median() < 2e-11
    assert used > (
        0.3 if kind == "ProductNetwork" else 0.9
    )  # an adversary that comes nowhere near the bound shows nothing


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("kind", STRICT)
def test_no_pair_violates_the_constants_of_random_weights(kind, ndim):
    check(kind, ndim, draws=4, seed=1)


@pytest.mark.exhaustive
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("kind", STRICT)
def test_no_pair_violates_the_constants_of_1000_random_weights(kind, ndim):
    for part in range(10):
        check(kind, ndim, draws=100, seed=100 + part, steps=MORE)


@pytest.mark.parametrize("parity", ["even", "odd"])
@pytest.mark.parametrize(
    "name",
    [n for n in packaged_models() if json.loads((PACKAGED / n / CARD).read_text())["claims"].get("kind") == "proved"],
)
def test_no_pair_violates_the_constants_of_trained_weights(name, parity):
    model = load(name).double()
    score = model.score
    shape = {2: {"even": (10, 12), "odd": (9, 11)}, 3: {"even": (4, 6, 4), "odd": (3, 5, 7)}}[score.ndim][parity]
    maps = torch.ones(1, 1, *shape, dtype=torch.complex128)
    mask = (random(*shape, seed=4, dtype=torch.float64).abs() > 0.5).double()
    A = SENSE(maps, mask[None], ndim=2 if isinstance(score, CertifiedSeries) else score.ndim)
    grid = torch.meshgrid(*(torch.linspace(-1, 1, n, dtype=torch.float64) for n in shape), indexing="ij")
    image = (sum(g**2 for g in grid) < 0.7) * (1 + 0.3 * torch.sin(7 * grid[-1]))
    with torch.no_grad():
        _, _, context = model.pose(A(image.to(torch.complex128).unsqueeze(0)), A, 0.02)
        F = score.condition(context)
    x = context.sense.unsqueeze(0) + 0.3 * random(1, 2, *shape, seed=1)
    d = 0.1 * random(1, 2, *shape, seed=2)
    index = torch.zeros(4, dtype=torch.int64)
    F = F.select(index)
    c, r, m = score.c.value, score.r.value, score.m.value
    most, least = ascend(lambda p: F(p[0]).unsqueeze(0), c, x, d, torch.ones(1, 2, dtype=torch.float64))
    print(f"{name}, {shape}: |F - cI| / r {float(most) / r:.5f}, least monotonicity / m {float(least) / m:.4f}")
    assert 0.5 * r < most <= r + 1e-12
    assert m - 1e-12 <= least < 1


# ---- the norm under all of this ------------------------------------------------------------------------------


def taps(w, x, size):
    """``y[o, p] = sum_i sum_k w[o, i, k] x[i, p + k - 1]`` with zeros outside, written with slices of numpy."""
    padded = np.pad(x.reshape(w.shape[1], size, size), ((0, 0), (1, 1), (1, 1)))
    y = 0
    for a in range(3):
        for b in range(3):
            y = y + w[:, :, a, b] @ padded[:, a : a + size, b : b + size].reshape(w.shape[1], -1)
    return y.ravel()


def dense_norm(w, size):
    """The largest singular value of the convolution on images of this size, by ARPACK's Lanczos iteration."""
    back = w.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
    shape = (w.shape[0] * size**2, w.shape[1] * size**2)
    matrix = LinearOperator(
        shape, matvec=lambda x: taps(w, x, size), rmatvec=lambda y: taps(back, y, size), dtype=np.float64
    )
    rng = np.random.default_rng(0)
    u, v = rng.standard_normal(shape[0]), rng.standard_normal(shape[1])
    assert abs(u @ matrix.matvec(v) - matrix.rmatvec(u) @ v) <= 1e-10 * np.linalg.norm(u) * np.linalg.norm(v)
    options = {"tol": 1e-6, "ncv": 60}  # values that lie close together take many vectors, or a hundred restarts
    return float(svds(matrix, k=1, **options, return_singular_vectors=False, random_state=0)[0])


@pytest.mark.parametrize("kind", ["random", "smoothing", "near the identity"])
def test_certified_norm_of_64_channels_is_within_5_percent_above_the_dense_norm(kind):
    w = random(64, 64, 3, 3, dtype=torch.float64)
    if kind == "smoothing":
        w = w.abs()
    elif kind == "near the identity":
        w = 0.02 * w
        w[:, :, 1, 1] += torch.eye(64, dtype=torch.float64)
    norm, bound = dense_norm(w.numpy(), 32), float(conv_norm_bound(w, grid=32))
    print(f"{kind}: bound / dense norm {bound / norm:.5f}")
    assert norm <= bound <= 1.05 * norm
    assert float(conv_norm_bound(w, grid=16)) >= norm
