"""`MOL`: the image is the unique solution of ``lam A^H (A x - b) + F(x) = 0``."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resolvent._errors import DataError, ModelError
from resolvent._types import Image, KSpace
from resolvent.linop import LinearOperator
from resolvent.mol.certificate import certify
from resolvent.mol.equation import Equation, Work
from resolvent.mol.fit import fit
from resolvent.mol.memory import plan
from resolvent.mol.reconstruction import Reconstruction
from resolvent.mol.units import ScanUnits, check_signal, full_precision
from resolvent.monotone import Bound, MonotoneOperator, ScanContext, Tier, Tile
from resolvent.solve import Status, along


class MOL(ScanUnits):
    """Monotone operator learning: x* solves ``lam A^H (A x - b) + F(x) + ridge x = 0``.

    ``model(y, A)`` is x*, differentiable in weights, lam, y and maps with the memory of one network evaluation;
    ``model.solve(y, A)`` is x* with its `Solution` and `Certificate`. x* depends only on the equation, not on the
    start, the step size or the solver.

    With ``normalise=True`` the equation is set up in the units of the scan, ``x = s R(y / s)``, see `ScanUnits`. Scaled
    data then give the same image in the same steps. Pixels that A does not see (no coil map) are zero, since they would
    only show what F makes up. lam follows the noise of the scan, how well its maps explain its samples, and how much of
    an image its sampling leaves open; for a given scan it is a constant. With ``normalise=False`` s = 1, F acts on all
    pixels, and lam is the same for all scans.

    Args:
        score: the learned operator F.
        lam: weight of the data, positive; learned as ``log lam``, so it stays positive. Dimensionless: |A| <= 1.
        ridge: weight of ``ridge x`` in the equation; 0 except for converted models.
        normalise: set up the equation in the units of the scan.
        adapted: the weights were trained on the present scan, so they change with its data.

    Attributes:
        tol: relative accuracy of `forward`.
        max_steps: maximum number of network evaluations of `forward`, and of its gradient.
        adjoint_tol: relative accuracy of the adjoint solve.
        linear_tol: accuracy of the linear reconstruction and of the data-consistency steps of the conditioning.

    Source: A. Pramanik, M. B. Zimmerman, M. Jacob, IEEE TCI 9:260-275 (2023).
    """

    def __init__(
        self,
        score: MonotoneOperator,
        lam: float = 100.0,
        *,
        ridge: float = 0.0,
        normalise: bool = False,
        adapted: bool = False,
    ) -> None:
        super().__init__(lam, normalise=normalise)
        if not 0 <= ridge < math.inf:
            raise ModelError(f"ridge is {ridge}; it must be a finite number and not negative, as it adds to m.")
        self.score = score
        self.ridge, self.adapted = ridge, adapted
        self.tol, self.max_steps, self.adjoint_tol = 1e-4, 100, 1e-3

    @classmethod
    def from_pretrained(cls, name: str | Path) -> MOL:
        """`resolvent.load` under the name that other libraries use, for models with an equation.

        Args:
            name: a packaged model, a folder, or ``owner/name[@revision]`` on the Hugging Face Hub.

        Raises:
            ModelError: as `load`, or the model is a baseline.

        >>> MOL.from_pretrained("brain-2d").m.kind
        'proved'
        """
        from resolvent.mol.weights import load_mol

        return load_mol(name)

    def save_pretrained(self, folder: str | Path, card: dict[str, Any] | None = None) -> Path:
        """`resolvent.save` under the name that other libraries use: ``model.safetensors`` and ``model.json``."""
        from resolvent.mol.weights import save

        return save(self, folder, card)

    @property
    def m(self) -> Bound:
        """Monotonicity constant of ``F + ridge I``."""
        return Bound(self.score.m.value + self.ridge, self.score.m.kind)

    @property
    def c(self) -> Bound:
        """Centre of ``F + ridge I``."""
        return Bound(self.score.c.value + self.ridge, self.score.c.kind)

    @property
    def r(self) -> Bound:
        """``c - m``, a bound of ``|F + ridge I - c I|_Lip``."""
        return Bound(self.c.value - self.m.value, self.m.kind)

    @property
    def tier(self) -> Tier:
        """The data for which the certificate of this model holds."""
        adapts = self.normalise or self.adapted
        return "per-scan" if self.score.tier == "all-data" and adapts else self.score.tier

    def pose(
        self,
        y: KSpace,
        A: LinearOperator,
        noise: Tensor | float | None = None,
        work: Work | None = None,
        tile: Tile | None = None,
    ) -> tuple[Equation, Tensor, ScanContext]:
        """Set up the equation of the scans; returns it with their scale and the context of the conditioning.

        Args:
            y: measurements ``(batch, coil, *lead, *spatial)``.
            A: the physics.
            noise: standard deviation of the complex noise of a sample of y; by default estimated from y, or 0 for a
                model of the tier "all-data", whose proofs hold for a level that does not change with the data.
            work: counts the work that is done.
            tile: the largest part that the network may process at once (see `in_tiles`); None for everything.
        """
        work = work or Work()
        conditioned = self.score.conditioning(1.0).value > 0
        noise = 0.0 if noise is None and self.tier == "all-data" else noise
        scan = self.in_units(y, A, noise, work, ndim=self.score.ndim, conditioned=conditioned)
        context = replace(scan.context, tile=tile)
        score = self.score.condition(context).in_tiles(self.score.radius, tile)
        score = replace(score, ridge=self.ridge, support=scan.support)
        equation = Equation(scan.A, scan.y, scan.lam, score, self.c.value, self.m, work, scan.worth)
        return equation, scan.scale, context

    @full_precision
    def forward(
        self, y: KSpace, A: LinearOperator, noise: Tensor | float | None = None, *, work: Work | None = None
    ) -> Image:
        """x*, differentiable once in weights, lam, y and the maps of A.

        See `solve` for y, A and noise. `work` counts the work that is done; after a backward pass it also has a bound
        of the error of the adjoint solution, from which the error of the gradient follows.

        The attributes `tol` and `adjoint_tol` set the accuracy. The image is returned even if the solve
        did not converge: use `solve` if you need to know.

        Raises:
            ShapeError: y, A and the network do not fit together.
            DataError: y is not finite, or zero.
        """
        check_signal(y)
        equation, scale, context = self.pose(y, A, noise, work)
        x = equation.solve(starting_point(equation, context), tol=self.tol, max_steps=self.max_steps).x
        x = equation.attach(x, tol=self.adjoint_tol, max_steps=self.max_steps)
        return along(scale, x) * x

    @full_precision
    @torch.no_grad()
    def solve(
        self,
        y: KSpace,
        A: LinearOperator,
        *,
        tol: float = 1e-3,
        max_steps: int = 100,
        noise: Tensor | float | None = None,
        start: Image | None = None,
        max_memory: int | None = None,
    ) -> Reconstruction:
        """Reconstruct, certify the image, and check whether it explains the measurements.

        Args:
            y: measurements ``(batch, coil, *lead, *spatial)``.
            A: the physics.
            tol: requested bound of the relative distance ``|x - x*| / |x|`` to the exact solution. A sample has
                converged if its certificate gives this bound, however its solve ended.
            max_steps: maximum number of network evaluations.
            noise: see `pose`.
            start: initial image, in the units of y; by default that of the score, if it has one near the solution,
                else the linear reconstruction. The image does not depend on it beyond `tol`.
            max_memory: bytes that the solve may use in addition to y and A. The network is evaluated in tiles if
                necessary (see `plan`); the image is the same apart from rounding.

        Raises:
            ShapeError: y, A and the network do not fit together.
            DataError: y is not finite, or zero.
            MemoryLimitError: the solve does not fit into `max_memory`.
        """
        check_signal(y)
        tile = None if max_memory is None else plan(self, y, A, max_memory).tile
        level = noise
        if noise is None:
            with suppress(DataError):  # a model that needs the level raises it later
                level = A.noise(y)
        equation, scale, context = self.pose(y, A, noise if self.tier == "all-data" else level, tile=tile)
        x0 = starting_point(equation, context) if start is None else (start / along(scale, start)).to(equation.y)
        solution = equation.solve(x0, tol=tol, max_steps=max_steps)
        K = self.score.conditioning(float(equation.lam.max())).value if self.tier == "all-data" else 0.0
        certificate = certify(equation, solution.x, self.tier, K, scale)
        status = _judged(solution.sample_status, certificate.distances <= tol)
        solution = replace(solution, sample_status=status, applications=equation.work.applications)
        image = along(scale, solution.x) * solution.x
        return Reconstruction(
            image=image,
            solution=solution,
            certificate=certificate,
            fit=fit(A, image, y, level),
            scale=scale,
            lam=equation.lam,
            noise=context.noise,
            model=self.identity,
        )


def starting_point(equation: Equation, context: ScanContext) -> Tensor:
    """Where a solve starts: at the start of the score, if it has one, else at the linear reconstruction."""
    x = context.sense if equation.score.start is None else equation.score.start
    return x if equation.score.support is None else equation.score.support * x


def solve_reference(model: MOL, y: KSpace, A: LinearOperator, noise: Tensor | float | None = None) -> Image:
    """The solution of the equation of `MOL.solve` for (y, A), to a relative 1e-9 in double precision.

    Raises:
        DataError: the solve did not converge in 10,000 steps.
    """
    with torch.no_grad():
        equation, scale, context = model.pose(y, A, noise)
        exact = equation.to_double()
        solution = exact.solve(context.sense.to(torch.complex128), tol=1e-9, max_steps=10_000)
    if not solution.converged:
        raise DataError(f"the reference solve ended with: {solution.status.value}. The network may not be monotone.")
    return along(scale.double(), solution.x) * solution.x


def _judged(status: tuple[Status, ...], reached: Tensor) -> tuple[Status, ...]:
    """How the solve of each sample ended, given whether its certificate reached `tol`."""
    missed = [Status.INACCURATE if one is Status.CONVERGED else one for one in status]
    return tuple(Status.CONVERGED if good else one for good, one in zip(reached.tolist(), missed, strict=True))
