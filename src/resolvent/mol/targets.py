"""Attacks on a model and on the linear reconstruction, compared with the bound of the theory."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from resolvent._errors import DataError
from resolvent._types import KSpace
from resolvent.linop import LinearOperator
from resolvent.mol.baselines import sense_weight
from resolvent.mol.equation import Equation, resolvent
from resolvent.mol.model import MOL
from resolvent.mol.scale import noise_of
from resolvent.mol.worst_case import Attack, Reconstruct, attack
from resolvent.solve import along, norm

ACCURACY = 5e-3
"""Accuracy of the images that are measured, relative to epsilon."""
SEARCH = 0.1
"""Accuracy of the images while searching, relative to epsilon: an error of some percent of the change."""
SLOPE = 0.05
"""Accuracy of the gradients."""
ROUNDING = 1e-5
"""Accuracy below which single precision is not trusted."""


def attack_model(
    model: MOL,
    y: KSpace,
    A: LinearOperator,
    epsilon: float,
    *,
    noise: Tensor | float | None = None,
    hold_conditioning: bool = False,
    **options: Any,
) -> Attack:
    """`attack` on ``model(y, A, noise)``, with the data gain of the certificate of the clean image as bound.

    The gradient passes through everything that depends on y: the data of the equation, conditioning, scale and lam. It
    is the implicit gradient, with loose tolerances. The reported gains are of solves to a relative distance of 0.005
    epsilon (in double precision where single is too coarse for it), and `Attack.error` gives the remaining error. The
    model is not changed.

    The noise level is given, or estimated once from the clean y: it is not part of the attack.

    A data gain that is "proved" bounds every gain found here. One of kind "conditioning held" does not, except with
    `hold_conditioning`: the equation is then set up once, for the clean y, and the attack only changes its data
    ``lam A^H (y + d) / scale``. This is the case that the bound covers; its kind is then "proved".

    Args:
        model: the model.
        y: measurements ``(batch, coil, *lead, *spatial)``.
        A: the physics.
        epsilon: norm of the perturbation relative to that of the measured samples of y.
        noise: standard deviation of the complex noise of a sample of y, a number or ``(batch,)``.
        hold_conditioning: keep conditioning, scale and lam as they are for the clean y.
        options: those of `attack`, except `measure` and `accuracy`.

    Raises:
        DataError: see `attack`; also if the clean solve does not converge.
    """
    sigma = noise_of(y, A, noise)
    search, accuracy = _tolerances(y, epsilon)
    clean = model.solve(y, A, tol=min(1e-3, search), max_steps=model.max_steps, noise=sigma)
    if not clean.solution.converged:
        raise DataError(
            f"The clean image is no solution to attack ({clean.solution.status}). Attack a model that converges."
        )
    rough = _Solver(model, y, A, sigma, clean.image, search, hold_conditioning)
    exact = _Solver(model, y, A, sigma, clean.image, accuracy, hold_conditioning)
    found = attack(rough, y, A, epsilon, measure=exact, accuracy=accuracy, **options)
    certificate = clean.certificate
    kind = certificate.data_gain_kind
    return replace(
        found,
        error=found.error if exact.converged else torch.full_like(found.error, torch.inf),
        gain_bound=certificate.data_gain,
        gain_bound_kind="proved" if hold_conditioning and kind == "conditioning held" else kind,
    )


def attack_conditioning(
    model: MOL,
    y: KSpace,
    A: LinearOperator,
    epsilon: float,
    *,
    noise: Tensor | float | None = None,
    **options: Any,
) -> Attack:
    """`attack` on the equation at the clean solution x*: how much its score, scale and lam change with the data.

    With everything that `MOL.pose` derives from the data b held fixed, the equation is ``G_0(x; b) = 0``; the actual
    equation is ``G_b(x) = 0``. The attack is on ``b -> G_b(x*) - G_0(x*; b)``, which is zero at the clean data. With
    its worst gain K the data gain is no longer that with conditioning held, but `resolvent.mol.certificate.data_gain`
    of K: for D the change of the image, ``m |D|^2 + lam |A D|^2 <= lam |A D| |d| + K |d| |D|``.

    The result is a lower bound of K, for this scan and this epsilon, and so an estimate. If the score bounds K
    (`MonotoneOperator.conditioning`) and nothing else adapts, `Attack.gain_bound` is that bound.

    Args:
        model: the model.
        y: measurements ``(batch, coil, *lead, *spatial)``.
        A: the physics.
        epsilon: norm of the perturbation relative to that of the measured samples of y.
        noise: standard deviation of the complex noise of a sample of y, a number or ``(batch,)``; estimated once.
        options: those of `attack`, except `measure` and `accuracy`.
    """
    sigma = noise_of(y, A, noise)
    model = copy.deepcopy(model).eval().requires_grad_(False)
    model.linear_tol = max(ACCURACY * epsilon, ROUNDING)
    clean = model.solve(y, A, max_steps=model.max_steps, noise=sigma)
    with torch.no_grad():
        before, _, _ = model.pose(y, A, sigma)

    def moved(y: Tensor, A: LinearOperator) -> Tensor:
        index = torch.arange(len(sigma), device=y.device).repeat(len(y) // len(sigma))
        equation, scale, _ = model.pose(y, A, sigma[index])
        x = clean.image[index] / along(scale, clean.image)
        held = before.select(index).of(y).data  # minus the change of G_0
        return along(scale, x) * equation.residual(x) + held

    found = attack(moved, y, A, epsilon, **options)
    bound = model.score.conditioning(float(clean.lam.max()))
    known = model.tier == "all-data"
    return replace(found, gain_bound=bound.value if known else None, gain_bound_kind="proved" if known else "none")


def attack_sense(
    y: KSpace,
    A: LinearOperator,
    epsilon: float,
    *,
    weight: float | None = None,
    noise: float | None = None,
    **options: Any,
) -> Attack:
    """`attack` on ``(I + lam N)^-1 lam A^H y``, the linear reconstruction with its weight held fixed.

    The map is linear, so the worst gain does not depend on y or epsilon: it is the largest
    ``lam s / (1 + lam s^2)`` of the singular values s of A, which is at most ``min(sqrt(lam) / 2, lam |A|)``. Where the
    singular values are known, this shows how good the search is.

    Args:
        y: measurements ``(batch, coil, *lead, *spatial)``.
        A: the physics.
        epsilon: norm of the perturbation relative to that of the measured samples of y.
        weight: lam; by default that of `resolvent.sense` for the clean y (the mean of the batch).
        noise: standard deviation of the complex noise of a sample of y; estimated from y by default.
        options: those of `attack`, except `measure` and `accuracy`.
    """
    lam = float(sense_weight(y, A, noise).mean()) if weight is None else weight

    def solver(tol: float) -> Reconstruct:
        def reconstruct(y: Tensor, A: LinearOperator) -> Tensor:
            if tol < ROUNDING:
                y, A = y.to(torch.complex128), A.to_double()
            every = torch.full((len(y),), lam, dtype=y.real.dtype, device=y.device)
            return resolvent(A, every, lam * A.adjoint(y), tol=tol)

        return reconstruct

    search, accuracy = _tolerances(y, epsilon)
    found = attack(solver(search), y, A, epsilon, measure=solver(accuracy), accuracy=accuracy, **options)
    bound = min(lam**0.5 / 2, lam * float(A.norm_bound.max()))
    return replace(found, gain_bound=bound, gain_bound_kind="proved")


def _tolerances(y: Tensor, epsilon: float) -> tuple[float, float]:
    """Tolerances of the images while searching, in the precision of y, and of the images that are measured."""
    return max(SEARCH * epsilon, ROUNDING if y.dtype == torch.complex64 else 0.0), ACCURACY * epsilon


class _Solver:
    """The call of a model for copies of one batch, which may hold the conditioning of the clean y fixed.

    A solve starts from the last image of the same copy or from the clean image, whichever had the closer data, so a new
    search does not start from the result of the last one. If single precision is too coarse for `tol`, it works in
    double precision. `converged` says whether all solves converged.
    """

    def __init__(
        self,
        model: MOL,
        y: Tensor,
        A: LinearOperator,
        noise: Tensor,
        image: Tensor,
        tol: float,
        hold_conditioning: bool,
    ) -> None:
        model = copy.deepcopy(model).eval().requires_grad_(False)
        model.linear_tol = 0.1 * tol
        self.double = tol < ROUNDING
        self.model = model.double() if self.double else model
        self.noise = noise.double() if self.double else noise
        self.tol = tol
        self.converged = True
        y, A = self._precise(y, A)
        self.clean = y, image.to(y.dtype)
        self.last = self.clean
        self.held: tuple[Equation, Tensor] | None = None
        if hold_conditioning:
            with torch.no_grad():
                self.held = self.model.pose(y, A, self.noise)[:2]

    def __call__(self, y: Tensor, A: LinearOperator) -> Tensor:
        """x*, differentiable in y."""
        y, A = self._precise(y, A)
        index = torch.arange(len(self.noise), device=y.device).repeat(len(y) // len(self.noise))
        data, start = self.clean[0][index], self.clean[1][index]
        if len(self.last[0]) == len(y):
            near = norm(y.detach() - self.last[0]) < norm(y.detach() - data)
            start = torch.where(along(near, start), self.last[1], start)
        given = y
        if self.held is None:
            equation, scale, _ = self.model.pose(y, A, self.noise[index])
        else:
            equation, scale = self.held[0].select(index), self.held[1][index]
            equation = equation.of(y / along(scale, y))
        start = start / along(scale.detach(), start)
        solution = equation.solve(start, tol=self.tol, max_steps=self.model.max_steps)
        self.converged = self.converged and solution.converged
        x = equation.attach(solution.x, tol=SLOPE, max_steps=self.model.max_steps)
        x = along(scale, x) * x
        self.last = given.detach(), x.detach()
        return x

    def _precise(self, y: Tensor, A: LinearOperator) -> tuple[Tensor, LinearOperator]:
        return (y.to(torch.complex128), A.to_double()) if self.double else (y, A)
