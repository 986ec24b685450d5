"""A network in tiles: the numbers and gradients of the whole image, with the memory of a tile."""

from dataclasses import replace

import pytest
import torch

from problems import CONDITIONED, KINDS, random, small_scores
from resolvent.evaluate.cost import saved_storages
from resolvent.monotone import ResidualStack, ScanContext, certified
from resolvent.monotone.tiling import cuts, in_tiles

# batch, lead, odd and even sizes; tiles that divide nothing, one pixel wide, and larger than the image
CASES = {
    "2-D": (2, (2, 13, 10), (1, 5, 4)),
    "2-D frames": (2, (2, 3, 9, 8), (2, 4, 99)),
    "2-D sets of one frame": (2, (2, 3, 1, 9, 8), (2, 4, 99)),
    "3-D": (3, (1, 5, 9, 8), (1, 2, 4, 5)),
    "thin": (2, (1, 7, 1), (1, 1, 1)),
}
cases = pytest.mark.parametrize(("ndim", "shape", "tile"), CASES.values(), ids=CASES)
kinds = pytest.mark.parametrize("kind", KINDS)


def context(shape, tile=None):
    sense, zero_filled = random(*shape, seed=7), random(*shape, seed=8)
    noise = torch.linspace(0.01, 0.3, shape[0], dtype=torch.float64)
    return ScanContext(sense, zero_filled, noise, lambda u: 0.5 * u + 0.3 * zero_filled, tile)


def both(kind, ndim, shape, tile):
    """The score in one piece and in tiles, its conditioning too, in double precision."""
    score = small_scores(ndim)[kind]
    whole = score.condition(context(shape))
    return score, whole, score.condition(context(shape, tile)).in_tiles(score.radius, tile)


@kinds
@cases
def test_tiles_give_the_numbers_of_the_whole_image(kind, ndim, shape, tile):
    _, whole, tiled = both(kind, ndim, shape, tile)
    x = random(*shape)
    with torch.no_grad():
        torch.testing.assert_close(tiled.H(x), whole.H(x), rtol=0, atol=1e-12)
    for ours, theirs in zip(tiled.own, whole.own, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@kinds
@cases
def test_gradients_through_tiles_are_those_of_the_whole_image(kind, ndim, shape, tile):
    x, v = random(*shape).requires_grad_(), random(*shape, seed=1)
    found = []
    for one in (None, tile):
        score = small_scores(ndim)[kind]
        F = score.condition(context(shape, one)).in_tiles(score.radius, one)
        # as `implicit` does it: several products with the Jacobian of one evaluation, then the weights
        H = F.H(x)
        products = [torch.autograd.grad(H, x, u, retain_graph=True)[0] for u in (v, 1j * v)]
        gradients = torch.autograd.grad(H, tuple(score.parameters()), v, allow_unused=True)
        found.append((*products, *(g for g in gradients if g is not None)))
    assert len(found[1]) == len(found[0]) > 2
    for ours, theirs in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@kinds
@pytest.mark.parametrize("ndim", [2, 3])
def test_a_pixel_moves_the_network_within_the_radius_and_no_farther(kind, ndim):
    score = small_scores(ndim)[kind]
    size = 2 * score.radius + 5
    shape = (1, *(size,) * ndim)
    H = score.condition(context(shape)).H
    x = random(*shape)
    moved = x.clone()
    centre = size // 2
    moved[(0, *(centre,) * ndim)] += 100
    with torch.no_grad():
        changed = (H(moved) - H(x)).abs()[0] > 0
    for axis in range(ndim):
        seen = changed.movedim(axis, 0).flatten(1).any(1).nonzero().flatten()
        assert int(seen.min()) == centre - score.radius
        assert int(seen.max()) == centre + score.radius


@pytest.mark.parametrize("kind", CONDITIONED)
def test_a_halo_that_is_too_narrow_shows(kind):
    _, ndim, shape, tile = "2-D", *CASES["2-D"]
    score, whole, _ = both(kind, ndim, shape, tile)
    x = random(*shape)
    with torch.no_grad():
        narrow = whole.in_tiles(score.radius - 1, tile).H(x)
        assert (narrow - whole.H(x)).abs().max() > 1e-9


def test_every_pixel_lies_in_one_tile():
    times = torch.zeros(1, 3, 7, 11)
    for core, halo, inner in cuts((3, 7, 11), (2, 3, 4), (0, 2, 2)):
        times[core] += 1
        assert times[halo][inner].shape == times[core].shape
        assert max(times[core].shape[2:]) <= 4
    assert bool((times == 1).all())


def test_single_precision_agrees_to_1e_6():
    torch.manual_seed(0)
    score = ResidualStack(channels=8, layers=6)
    x = random(1, 41, 37, dtype=torch.complex64)
    with torch.no_grad():
        whole = score.condition().H(x)
        tiled = score.condition().in_tiles(score.radius, (1, 16, 16)).H(x)
    assert (tiled - whole).norm() <= 1e-6 * whole.norm()


def test_a_network_of_unknown_reach_is_evaluated_in_one_piece():
    def network(x, shared, own):
        return x.sum() * x

    assert in_tiles(network, None, (1, 2, 2)) is network
    assert in_tiles(network, 1, None) is network


def test_a_gradient_through_tiles_keeps_the_inputs_alone():
    """Bytes that autograd saves: of a network in one piece they grow with its depth, in tiles they do not."""

    def saved(layers, tile):
        torch.manual_seed(0)
        score = ResidualStack(channels=8, layers=layers)
        x = random(1, 32, 32, dtype=torch.complex64).requires_grad_()
        F = replace(score.condition(), shared=tuple(t.detach() for t in score.condition().shared))
        sizes = {}

        def note(t):
            sizes[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
            return t

        with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
            H = F.in_tiles(score.radius, tile).H(x)
        assert H.requires_grad
        return sum(sizes.values())

    assert saved(8, None) > 1.8 * saved(4, None)
    assert saved(8, (1, 8, 8)) < 0.05 * saved(8, None)


def test_volume_conditioned_once_more_has_the_same_gradient_and_keeps_no_layer(monkeypatch):
    shape, v = (1, 5, 9, 8), random(1, 5, 9, 8, seed=1)
    found, kept = [], []
    for once in (certified.recomputed, lambda network: network):
        monkeypatch.setattr(certified, "recomputed", once)
        score = small_scores(3)["CertifiedStack"]
        with saved_storages(score) as saved:
            anchor, features = score.condition(context(shape)).own
        loss = (anchor.conj() * v).real.sum() + features.square().sum()
        found.append(torch.autograd.grad(loss, tuple(score.parameters()), allow_unused=True))
        kept.append(sum(storage.nbytes() for storage in saved.values()))
    assert sum(g is not None for g in found[0]) > 2
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    assert kept[0] < kept[1] / 2
