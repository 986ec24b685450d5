"""The equation of one batch of scans, ``G(x) = lam A^H (A x - b) + F(x) = 0``, and the contraction that solves it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypedDict

import torch
from torch import Tensor

from resolvent.linop import LinearOperator
from resolvent.monotone import Bound, Score
from resolvent.solve import Solution, along, conjugate_gradient, fixed_point, implicit, norm, tracked
from resolvent.solve.fixed_point import Step, reach
from resolvent.solve.implicit import VectorJacobian

INNER, WINDOW, EARLY = 0.2, 3, 20
"""Error of the linear solve in the first steps, relative to the step length; the window by which it is estimated; the
number of these steps."""

Matrix = Callable[[Tensor], Tensor]


class Accuracy(TypedDict):
    """Accuracy of a linear solve, as `resolvent` takes it: the allowed error, and the window of the estimate."""

    tol: float
    window: int


@dataclass
class Work:
    """The work done for an equation and its gradient, in counts that do not depend on the machine.

    Attributes:
        applications: applications of N.
        evaluations: evaluations of H, in the solve.
        contraction: ratio of the lengths of successive steps, the geometric mean over the steps of the slowest sample;
            None before a solve of at least two steps.
        adjoint_evaluations: products with the transposed Jacobian of F, in the solve of the adjoint equation.
        adjoint_error: estimate of ``|w - w*| / |w|`` for the computed solution w of the adjoint equation, the worst of
            the batch. It is a bound if m and the errors of the linear solves are what they claim. None before a
            backward pass. The error of the gradient ``(dG/dtheta)^H w`` is at most this times ``|w| |dG/dtheta|``.
    """

    applications: int = 0
    evaluations: int = 0
    contraction: float | None = None
    adjoint_evaluations: int = 0
    adjoint_error: float | None = None


@dataclass(frozen=True)
class Equation:
    """``G(x) = lam N x - lam A^H b + F(x)``, ``N = A^H A``: all that a solve needs; a solve only changes `work`.

    Attributes:
        A: the physics.
        y: measurements b ``(batch, coil, ...)``, in the units in which F was trained.
        lam: weight of the data, positive, ``(batch,)``.
        score: F, with its conditioning.
        c: centre of F: ``|F - c I|_Lip <= r = c - m``.
        m: monotonicity constant of F, with its kind.
        work: counts the work of all solves.
        worth: weights of the measurements, in (0, 1], already applied to A and y; None if there are none.
    """

    A: LinearOperator
    y: Tensor
    lam: Tensor
    score: Score
    c: float
    m: Bound
    work: Work = field(default_factory=Work)
    worth: Tensor | None = None

    @property
    def data(self) -> Tensor:
        """``lam A^H b``, computed at each call; solves do not use it."""
        back = self.A.adjoint(self.y.to(self.lam.dtype.to_complex()))
        return along(self.lam, back) * back

    @property
    def contraction(self) -> float:
        """Lipschitz constant ``q = r / c = 1 - m / c`` of `step`."""
        return 1 - self.m.value / self.c

    @property
    def inexact(self) -> float:
        """Error d of a computed step relative to its length, after the first steps: ``d <= (1 - q) / 3``.

        The length of the computed step then falls at least by the factor ``(q + d) / (1 - d) < 1`` from one plain step
        to the next (``|T(x') - x'| <= q |x' - x| + d |x' - x|`` for the computed x' of x), so convergence is also
        proved for computed steps. The first `EARLY` steps are computed only to `INNER`, by an estimate: their result is
        a start for the others, and mostly the end of the solve. A certificate measures its distance to the solution.
        """
        return min(INNER, (1 - self.contraction) / 3)

    def accuracies(self) -> Iterator[Accuracy]:
        """The accuracy of each step of a solve."""
        early, late = Accuracy(tol=INNER, window=WINDOW), Accuracy(tol=self.inexact, window=0)
        return itertools.chain(itertools.repeat(early, EARLY), itertools.repeat(late))

    def residual(self, x: Tensor) -> Tensor:
        """``G(x)``."""
        self.work.applications += 1
        return along(self.lam, x) * self.A.gradient(x, self.y) + self.score(x)

    def shifted(self, p: Tensor, shift: float) -> Tensor:
        """``(shift I + lam N) p``."""
        self.work.applications += 1
        return shifted(self.A, self.lam, p, shift)

    def resolvent(self, rhs: Tensor, *, shift: float, tol: float, window: int = 0) -> Tensor:
        """``(shift I + lam N)^-1 rhs`` by CG from zero, to an error of at most `tol` times the norm of the result."""
        return resolvent(self.A, self.lam, rhs, shift=shift, tol=tol, window=window, work=self.work)

    def step(self, x: Tensor, alpha: float | None = None, *, tol: float | None = None, window: int = 0) -> Tensor:
        """``T(x) = (I + a lam N)^-1 (x - a F(x) + a lam A^H b)``, a the step size `alpha`, by default ``1 / c``.

        A contraction: ``x - a F(x)`` has the Lipschitz constant ``|1 - a c| + a r``, which is smallest, ``r / c``, at
        ``a = 1 / c``; that of the resolvent is 1. The fixed point does not depend on a. T is computed in the equivalent
        form ``T(x) = x - (I / a + lam N)^-1 G(x)``: the linear solve then starts from x, and its accuracy is relative
        to the step length: `tol`, by default `inexact`.
        """
        shift = self.c if alpha is None else 1 / alpha
        return x - self.resolvent(self.residual(x), shift=shift, tol=tol or self.inexact, window=window)

    def solve(
        self,
        x0: Tensor,
        *,
        tol: float,
        max_steps: int,
        anderson: int = 5,
        see: Callable[[Tensor], None] = lambda x: None,
    ) -> Solution:
        """The root of G; `tol` is the relative distance to it.

        `tol` is a bound if m, and the errors of the linear solves in the first steps, are what they claim to be;
        `certify` measures the distance that was reached.

        Args:
            x0: the start.
            tol: relative distance.
            max_steps: maximum number of network evaluations.
            anderson: number of earlier points that are mixed.
            see: called with the image of every step.
        """
        before, allowed = self.work.applications, self.accuracies()
        solution = fixed_point(
            self._steps(allowed, see),
            x0.detach(),
            tol=tol,
            max_steps=max_steps,
            contraction=self.contraction,
            inexact=INNER,
            anderson=anderson,
            select=lambda index: self.select(index)._steps(allowed, see),
        )
        self.work.evaluations += solution.evaluations
        if len(solution.residuals) > 1:
            shortened = solution.residuals[-1] / solution.residuals[0]
            steps = (solution.sample_steps - 1).clamp_min(1).to(shortened)
            self.work.contraction = float((shortened ** (1 / steps)).max())
        return replace(solution, applications=self.work.applications - before)

    def _steps(self, allowed: Iterator[Accuracy], see: Callable[[Tensor], None]) -> Step:
        """`step` for a solve; each call uses the next accuracy."""

        def step(x: Tensor) -> Tensor:
            see(image := self.step(x, **next(allowed)))
            return image

        return step

    def attach(self, x: Tensor, *, tol: float, max_steps: int) -> Tensor:
        """x, the root of G, with its gradient with respect to all of weights, lam, b and maps that require one.

        The adjoint equation ``(lam N + J_F^H) w = v`` is solved by the same contraction as the equation itself:
        ``w <- w - (c I + lam N)^-1 (J_G^H w - v)``.
        """
        if not tracked(self.y, self.lam, *self.score.shared, *self.score.own, self.A):
            return x

        def adjoint_solve(vector_jacobian: VectorJacobian, v: Tensor) -> Tensor:
            allowed = self.accuracies()

            def step(w: Tensor) -> Tensor:
                return w - self.resolvent(vector_jacobian(w) - v, shift=self.c, **next(allowed))

            start = self.resolvent(v, shift=self.c, **next(allowed))
            q = self.contraction
            solution = fixed_point(step, start, tol=tol, max_steps=max_steps, contraction=q, inexact=INNER)
            self.work.adjoint_evaluations += solution.evaluations
            last = solution.residuals[-1] if len(solution.residuals) else torch.inf
            distance = reach(q, INNER) * last / norm(solution.x)
            self.work.adjoint_error = float(torch.where(norm(v) > 0, distance, 0.0).max())
            return solution.x

        return implicit(x, self.residual, adjoint_solve)

    def select(self, index: Tensor) -> Equation:
        """The equations of the samples `index`, in the order of the batch."""
        if len(index) == len(self.lam):
            return self
        return replace(
            self,
            A=self.A.select(index),
            y=self.y[index],
            lam=self.lam[index],
            score=self.score.select(index),
            worth=None if self.worth is None else self.worth[index],
        )

    def of(self, y: Tensor) -> Equation:
        """The equation for other measurements y, in the units of F and not yet weighted; all else is held fixed."""
        return replace(self, y=y if self.worth is None else self.worth * y)

    def to_double(self) -> Equation:
        """The same equation in double precision: the same weights and conditioning, without recomputing them."""
        lam = self.lam.detach().double()
        return replace(self, A=self.A.to_double(), y=self.y.detach(), lam=lam, score=self.score.to_double())


def shifted(A: LinearOperator, lam: Tensor, p: Tensor, shift: float) -> Tensor:
    """``(shift I + lam N) p``."""
    return torch.add(along(lam, p) * A.normal(p), p, alpha=shift)


def resolvent(
    A: LinearOperator,
    lam: Tensor,
    rhs: Tensor,
    *,
    shift: float = 1.0,
    tol: float,
    window: int = 0,
    start: Tensor | None = None,
    work: Work | None = None,
) -> Tensor:
    """``(shift I + lam N)^-1 rhs``, differentiable in rhs, lam and the operator; the resolvent of the data term.

    Args:
        A: the physics, ``N = A^H A``.
        lam: weight ``(batch,)``.
        rhs: right-hand side.
        shift: weight of the identity, positive: a lower bound of the eigenvalues, from which the error is bounded.
        tol: allowed error, relative to the norm of the result.
        window: window of the estimate by which a solve may end (see `conjugate_gradient`); 0 for bounds only.
        start: start of the iteration; zero by default.
        work: counts the applications of N.
    """

    def matrix(A: LinearOperator, lam: Tensor) -> Matrix:
        def matvec(p: Tensor) -> Tensor:
            if work is not None:
                work.applications += 1
            return shifted(A, lam, p, shift)

        return matvec

    def solve(b: Tensor, x0: Tensor | None = None) -> Tensor:
        def system(A: LinearOperator, lam: Tensor) -> tuple[Matrix, Matrix | None]:
            return matrix(A, lam), A.preconditioner(shift, lam)

        def select(index: Tensor) -> tuple[Matrix, Matrix | None]:
            return system(A.select(index), lam[index])

        with torch.no_grad():
            matvec, near = system(A, lam)
            return conjugate_gradient(
                matvec,
                b,
                x0,
                tol=tol,
                relative_to="x",
                smallest=shift,
                window=window,
                precondition=near,
                select=select,
            ).x

    x = solve(rhs, start)
    if not tracked(rhs, lam, A):
        return x
    return implicit(x, lambda x: matrix(A, lam)(x) - rhs, lambda _, v: solve(v))
