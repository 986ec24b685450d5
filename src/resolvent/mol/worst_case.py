"""`attack`: the perturbation of the measured samples that changes the image most, as far as a search finds it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from resolvent._errors import DataError, ShapeError
from resolvent._types import Brief, Image, KSpace
from resolvent.linop import LinearOperator
from resolvent.mol.ascent import METHODS
from resolvent.mol.windows import within, worst_places
from resolvent.solve import along, norm

Reconstruct = Callable[[Tensor, LinearOperator], Tensor]
"""From measurements and physics, both of the same batch, to the image: the call of a model."""


@dataclass(frozen=True, repr=False)
class Attack(Brief):
    """What an attack found: a LOWER bound of the worst case, estimated, never a guarantee.

    All gains are ``|dx| / |d|``: dx the change of the image, inside `window` if there is one, d that of the data.

    Attributes:
        epsilon: ``|d| / |y|``.
        perturbation: d, zero where nothing was measured; shape of y.
        clean: image of y.
        image: image of ``y + d``.
        gain_worst: gain of d, measured again with accurate images, ``(batch,)``.
        gain_gaussian: mean gain of white noise of the same norm on the measured samples, ``(batch,)``.
        gain_gaussian_max: the largest among the draws, ``(batch,)``.
        method: the search that found d, for each sample.
        history: for each method the best gain after every step, as the search saw it, ``(steps, batch)``.
        reconstructions: number of images computed, of one sample each.
        gradients: number of gradients computed, of one sample each.
        error: bound of the relative error of `gain_worst` due to inexact images, ``(batch,)``; 0 if taken as exact.
        window: first row and column of the window, ``(batch, 2)``; None if the whole image was attacked.
        side: rows and columns of the window.
        gain_bound: bound of the gain; None if none is known.
        gain_bound_kind: how it is known: "proved", "conditioning held", "estimated" or "none".
    """

    epsilon: float
    perturbation: KSpace
    clean: Image
    image: Image
    gain_worst: Tensor
    gain_gaussian: Tensor
    gain_gaussian_max: Tensor
    method: tuple[str, ...]
    history: dict[str, Tensor]
    reconstructions: int
    gradients: int
    error: Tensor
    window: Tensor | None = None
    side: int | None = None
    gain_bound: float | None = None
    gain_bound_kind: str = "none"

    @property
    def change(self) -> Image:
        """dx: attacked minus clean image."""
        return self.image - self.clean

    @property
    def largest_error(self) -> Tensor:
        """``max |dx|``, inside the window if there is one, over ``max |x|`` of the clean image, ``(batch,)``."""
        inside = self.change if self.window is None else self.change * within(self.window, self.side or 0, self.change)
        return inside.abs().flatten(1).amax(1) / self.clean.abs().flatten(1).amax(1)


def attack(
    reconstruct: Reconstruct,
    y: KSpace,
    A: LinearOperator,
    epsilon: float,
    *,
    steps: int = 200,
    starts: int = 6,
    methods: Sequence[str] = ("pgd", "adam"),
    window: int | None = None,
    draws: int = 8,
    seed: int = 0,
    together: int | None = None,
    measure: Reconstruct | None = None,
    accuracy: float = 0.0,
    say: Callable[[str], None] = lambda text: None,
) -> Attack:
    """Maximise ``|R(y + d) - R(y)|`` over ``|d| = epsilon |y|``, d on the measured samples, for each scan of a batch.

    This is a search for local maxima: its result is a lower bound of the worst case, however long it runs. It starts
    from the worst of `draws` draws of white noise, so its result is at least as bad as those. Every sample of the batch
    is attacked on its own, with the same numbers as if it were alone.

    With `window`, the change inside a square of that side is maximised instead (along the last two axes, through all
    others), at one position per start: those where the draws do the most harm, apart from each other.

    Args:
        reconstruct: R, the call of a model, differentiable in y: ``attack(sense, y, A, 0.01)``. It receives up
            to `together` copies of the batch, one after the other, with a matching operator.
        y: measurements ``(batch, coil, *lead, *spatial)``.
        A: the physics; `A.measured` says which samples were measured and may be changed.
        epsilon: norm of the perturbation relative to that of the measured samples of y, positive.
        steps: gradient steps per start and method.
        starts: starts per method.
        methods: "pgd", "adam" or both; see `resolvent.mol.ascent`.
        window: side of the window in pixels; None attacks the whole image.
        draws: draws of white noise, raised to `starts` if fewer.
        seed: of the draws.
        together: starts computed at once; all by default. Fewer need less memory and give the same result.
        measure: R with accurate images, without gradient, for the reported gains; `reconstruct` by default. An
            inexact R hides changes that are no larger than its error.
        accuracy: bound of the relative error of the images of `measure`; it becomes `Attack.error`.
        say: told what is being done.

    Raises:
        DataError: `epsilon`, `steps`, `starts` or `together` not positive, an unknown method, no signal in y, or an
            image that does not change or is not finite.
        ShapeError: a window larger than the image.

    Source: V. Antun et al., PNAS 117:30088-30095 (2020), for the question; the searches name their own sources.

    >>> import torch
    >>> from resolvent import SENSE
    >>> A = SENSE(torch.ones(1, 1, 4, 4, dtype=torch.complex64), torch.ones(4, 4))
    >>> y = A(torch.ones(1, 4, 4, dtype=torch.complex64))
    >>> found = attack(lambda y, A: 3 * A.adjoint(y), y, A, 0.01, steps=2, starts=1)
    >>> round(found.gain_worst.item(), 3)
    3.0
    """
    _check(epsilon, steps, starts, together, methods)
    sampled = sampled_by(A, y)
    radius = epsilon * norm(y * sampled)
    if not bool((torch.isfinite(radius) & (radius > 0)).all()):
        raise DataError("The measured samples are zero or not finite, so no perturbation is relative to them. Check y.")
    say("the clean image, and white noise")
    with torch.no_grad():
        clean = (measure or reconstruct)(y, A)
    if window is not None and not 0 < window <= min(clean.shape[-2:]):
        rows, columns = clean.shape[-2:]
        raise ShapeError(f"A window of side {window} does not fit an image of {rows} x {columns}. Pass a smaller one.")
    target = _Target(reconstruct, measure or reconstruct, y, A, sampled, radius, clean, together or starts)

    noise = _white(sampled.expand_as(y), max(draws, starts), y.dtype, seed)
    harm = (target.measured(noise) - clean).abs().square()
    if window is None:
        places = None
        chosen = harm.flatten(2).sum(2).argsort(0, descending=True)[:starts]
    else:
        places = worst_places(harm.mean(0), window, starts)
        chosen = torch.stack([(harm * within(place, window, clean)).flatten(2).sum(2).argmax(0) for place in places])
    each = torch.arange(len(y), device=y.device)
    begin = noise[chosen, each]

    history: dict[str, Tensor] = {}
    points, winners = [], []
    for method in methods:
        u, value, grown = target.climb(method, begin, places, window or 0, steps, say)
        winner = value.argmax(0)
        points.append(u[winner, each])
        winners.append(winner)
        history[method] = grown.amax(1)

    say("measuring what was found")
    images = target.measured(torch.stack(points))
    change = images - clean
    if places is not None:
        change = change * torch.stack([within(places[w, each], window or 0, clean) for w in winners])
    gains = norm(change.flatten(0, 1)).unflatten(0, (-1, len(y))) / radius
    worst = gains.argmax(0)
    found, image = torch.stack(points)[worst, each], images[worst, each]
    place = None if places is None else places[torch.stack(winners)[worst, each], each]
    quiet = (harm if place is None else harm * within(place, window or 0, clean)).flatten(2).sum(2).sqrt() / radius
    gain = gains[worst, each]
    if not bool((torch.isfinite(gain) & torch.isfinite(quiet).all(0)).all()):
        raise DataError(
            "A perturbed image is not finite, so no gain was measured. Attack a reconstruction that converges."
        )
    size = torch.maximum(norm(image), norm(clean))
    return Attack(
        epsilon=epsilon,
        perturbation=along(radius, found) * found,
        clean=clean,
        image=image,
        gain_worst=gain,
        gain_gaussian=quiet.mean(0),
        gain_gaussian_max=quiet.amax(0),
        method=tuple(methods[int(i)] for i in worst),
        history=history,
        reconstructions=target.reconstructions + len(y),
        gradients=target.gradients,
        error=torch.where(gain > 0, 2 * accuracy * size / (gain * radius), 0.0 if accuracy == 0 else torch.inf),
        window=place,
        side=window,
    )


@dataclass
class _Target:
    """The map that is attacked, ``u -> R(y + radius u) - R(y)``, for copies of the batch; it counts its evaluations."""

    reconstruct: Reconstruct
    measure: Reconstruct
    y: Tensor
    A: LinearOperator
    sampled: Tensor
    radius: Tensor
    clean: Tensor
    together: int
    reconstructions: int = 0
    gradients: int = 0

    def measured(self, u: Tensor) -> Tensor:
        """Accurate images of ``(copies, batch, ...)`` perturbations of unit norm."""
        with torch.no_grad():
            parts = [self._images(self.measure, part.flatten(0, 1)) for part in u.split(self.together)]
        return torch.cat(parts).unflatten(0, u.shape[:2])

    def climb(
        self, method: str, begin: Tensor, places: Tensor | None, side: int, steps: int, say: Callable[[str], None]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The result of a method from each start.

        Returns:
            Points ``(starts, batch, ...)``, gains ``(starts, batch)``, best gains so far ``(steps, starts, batch)``.
        """
        found = []
        for first in range(0, len(begin), self.together):
            last = min(first + self.together, len(begin))
            where = f"{method}, start {first + 1} to {last} of {len(begin)}"
            inside = None if places is None else within(places[first:last].flatten(0, 1), side, self.clean)
            found.append(self._climb(method, begin[first:last], inside, steps, where, say))
        points, values, rows = zip(*found, strict=True)
        return torch.cat(points), torch.cat(values), torch.cat(rows, 1)

    def _climb(
        self, method: str, begin: Tensor, inside: Tensor | None, steps: int, where: str, say: Callable[[str], None]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`climb` for starts that are computed at once."""
        number = itertools.count(1)

        def objective(u: Tensor) -> tuple[Tensor, Tensor]:
            say(f"{where}: step {next(number)} of {steps}")
            return self._slope(u, inside)

        ascent, shape = METHODS[method](objective, begin.flatten(0, 1), steps), begin.shape[:2]
        return ascent.point.unflatten(0, shape), ascent.value.unflatten(0, shape), ascent.history.unflatten(1, shape)

    def _images(self, of: Reconstruct, u: Tensor) -> Tensor:
        index = torch.arange(len(self.y), device=u.device).repeat(len(u) // len(self.y))
        self.reconstructions += len(u)
        return of(self.y[index] + along(self.radius[index], u) * u, self.A.select(index))

    def _slope(self, u: Tensor, inside: Tensor | None) -> tuple[Tensor, Tensor]:
        """The gain at u, and the direction in which it grows."""
        copies = len(u) // len(self.y)
        u = u.detach().requires_grad_()
        with torch.enable_grad():
            image = self._images(self.reconstruct, u)
        self.gradients += len(u)
        change = image.detach() - self.clean.repeat(copies, *(1,) * (self.clean.ndim - 1)).to(image.dtype)
        change = change if inside is None else change * inside
        size = norm(change)
        (slope,) = torch.autograd.grad(image, u, change / along(size.clamp_min(torch.finfo(size.dtype).tiny), change))
        sampled = self.sampled.expand_as(self.y).repeat(copies, *(1,) * (u.ndim - 1))
        return (size / self.radius.repeat(copies)).to(u.real.dtype), slope * sampled


def sampled_by(A: LinearOperator, y: Tensor) -> Tensor:
    """1 where something was measured, 0 elsewhere; broadcasts to y."""
    return (A.measured(torch.ones_like(y)) != 0).to(y.real.dtype)


def _white(sampled: Tensor, draws: int, dtype: torch.dtype, seed: int) -> Tensor:
    """White noise of unit norm on the measured samples, ``(draws, batch, ...)``; the same numbers for every sample."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(draws, 1, *sampled.shape[1:], device="cpu", generator=generator, dtype=torch.complex128)
    noise = noise.to(sampled.device, dtype) * sampled
    flat = noise.flatten(0, 1)
    return (flat / along(norm(flat), flat)).unflatten(0, noise.shape[:2])


def _check(epsilon: float, steps: int, starts: int, together: int | None, methods: Sequence[str]) -> None:
    for name, value in (("epsilon", epsilon), ("steps", steps), ("starts", starts), ("together", together or 1)):
        if not 0 < value < float("inf"):
            raise DataError(f"An attack cannot have {name} = {value}. Pass a positive number.")
    if not methods or not set(methods) <= set(METHODS):
        raise DataError(f"methods are {list(methods)}. Name one or more of: {', '.join(METHODS)}.")
