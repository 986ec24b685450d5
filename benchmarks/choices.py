"""What the choices in the solver are worth: evaluations of the network and applications of N to 1e-3 and 1e-4 of x*.

Anderson depth, accuracy of the linear solves, preconditioner and start are changed one at a time. Newton-Krylov, which
the package does not have, solves ``J_G d = -G(x)`` by GMRES, preconditioned by the linear solve of a step; a product
with the Jacobian counts as one evaluation, less than it costs. The linear reconstruction, the same for all, is left
out; what it takes stands in the first row.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import Tensor

import resolvent as rv
from benchmarks.problem import PUBLISHED, make_case, model, table
from resolvent.mol.equation import INNER, WINDOW, Equation, Work
from resolvent.mol.model import starting_point
from resolvent.solve import conjugate_gradient, fixed_point, norm

ACCURACIES = (1e-3, 1e-4)


@dataclass(frozen=True)
class Problem:
    """An equation, a start, the image without a solve, the solution, and the applications of N until the start."""

    equation: Equation
    start: Tensor
    zero_filled: Tensor
    exact: Tensor
    spent: int

    def error(self, x: Tensor) -> float:
        """``|x - x*| / |x*|``."""
        return float(norm(x.to(self.exact.dtype) - self.exact) / norm(self.exact))


def pose(mol: rv.MOL, size: int, coils: int, device: torch.device) -> Problem:
    """The equation of a scan, and its solution to 1e-9."""
    case = make_case(size, coils, device)
    equation, _, context = mol.pose(case.y, case.A, case.noise, work := Work())
    start, spent = starting_point(equation, context), work.applications
    exact = equation.to_double().solve(start.to(torch.complex128), tol=1e-9, max_steps=1000)
    return Problem(equation, start, context.zero_filled, exact.x, spent)


def by_steps(
    problem: Problem,
    *,
    depth: int = 5,
    inner: float = INNER,
    window: int = WINDOW,
    start: Tensor | None = None,
    preconditioned: bool = True,
) -> list[str]:
    """The cells of a row: the solve of the package, with one thing changed."""
    equation, found = replace(problem.equation, work=Work()), []

    def direct(g: Tensor) -> Tensor:
        def matvec(p: Tensor) -> Tensor:
            return equation.shifted(p, equation.c)

        return conjugate_gradient(matvec, g, tol=inner, relative_to="x", smallest=equation.c).x

    def step(x: Tensor) -> Tensor:
        image = equation.step(x, tol=inner, window=window) if preconditioned else x - direct(equation.residual(x))
        equation.work.evaluations += 1
        error = problem.error(image)
        while len(found) < len(ACCURACIES) and error <= ACCURACIES[len(found)]:
            found.append(f"{equation.work.evaluations} + {equation.work.applications} N")
        if len(found) == len(ACCURACIES):
            raise StopIteration
        return image

    x0, q = problem.start if start is None else start, equation.contraction
    with suppress(StopIteration):
        fixed_point(step, x0, tol=1e-9, max_steps=100, contraction=q, inexact=inner, anderson=depth)
    return found + ["not reached"] * (len(ACCURACIES) - len(found))


def by_newton(problem: Problem, *, forcing: float, inner: float = 0.05) -> list[str]:
    """The cells of a row: Newton's method, each linearised equation solved to `forcing`."""
    equation, x, found = replace(problem.equation, work=Work()), problem.start, []
    work = equation.work
    for _ in range(8):
        before = equation.score(x)
        work.evaluations += 1
        g = equation.residual(x)
        h = 1e-3 * norm(x).max()

        def product(v: Tensor, x: Tensor = x, before: Tensor = before, h: Tensor = h) -> Tensor:
            work.evaluations += 1
            slope = (equation.score(x + h * v) - before) / h
            return equation.resolvent(equation.shifted(v, 0.0) + slope, shift=equation.c, tol=inner)

        x = x + gmres(product, -equation.resolvent(g, shift=equation.c, tol=inner), forcing)
        while len(found) < len(ACCURACIES) and problem.error(x) <= ACCURACIES[len(found)]:
            found.append(f"{work.evaluations} + {work.applications} N")
        if len(found) == len(ACCURACIES):
            break
    return found + ["not reached"] * (len(ACCURACIES) - len(found))


def gmres(product: Callable[[Tensor], Tensor], b: Tensor, forcing: float, limit: int = 12) -> Tensor:
    """An x with ``|b - M x| <= forcing |b|``, M real-linear, `limit` products at most."""
    size = float(norm(b))
    basis, H = [torch.view_as_real(b).flatten() / size], torch.zeros(limit + 1, limit, dtype=torch.float64)
    weights = H.new_zeros(0, 1)
    for j in range(limit):
        w = torch.view_as_real(product(torch.view_as_complex(basis[j].reshape(*b.shape, 2)))).flatten()
        for i, v in enumerate(basis):
            H[i, j] = float(v @ w)
            w = w - float(H[i, j]) * v
        H[j + 1, j] = float(w.norm())
        basis.append(w / w.norm())
        first = H.new_zeros(j + 2, 1)
        first[0] = size
        weights = torch.linalg.lstsq(H[: j + 2, : j + 1], first).solution
        if float((H[: j + 2, : j + 1] @ weights - first).norm()) <= forcing * size:
            break
    x = torch.stack([float(weight) * v for weight, v in zip(weights.flatten(), basis, strict=False)]).sum(0)
    return torch.view_as_complex(x.reshape(*b.shape, 2))


@torch.no_grad()
def measure(device: torch.device, size: int = 96, coils: int = 8) -> str:
    """The table."""
    columns: list[dict[str, list[str]]] = []
    for name in (PUBLISHED, "brain-2d"):
        problem = pose(model(name, device), size, coils, device)
        rows = {"the linear reconstruction alone": [f"0 + {problem.spent} N"] * len(ACCURACIES)}
        rows |= {f"depth 5, inner {INNER:g}: the package": by_steps(problem)}
        rows |= {f"depth {depth}": by_steps(problem, depth=depth) for depth in (0, 1, 2, 8)}
        rows |= {f"inner {inner:g}": by_steps(problem, inner=inner) for inner in (0.5, 0.3, 0.1, 0.05)}
        rows |= {"linear solves ended by bounds alone": by_steps(problem, window=0)}
        rows |= {"no preconditioner": by_steps(problem, preconditioned=False)}
        rows |= {"from the zero-filled image": by_steps(problem, start=problem.zero_filled)}
        rows |= {"from zero": by_steps(problem, start=torch.zeros_like(problem.start))}
        rows |= {f"Newton-Krylov, to {f:g}": by_newton(problem, forcing=f) for f in (0.3, 0.1)}
        columns.append(rows)
    head = ["", *(f"{name}, {a:.0e}" for name in (PUBLISHED, "brain-2d") for a in ACCURACIES)]
    lines = [[name, *(cell for rows in columns for cell in rows[name])] for name in columns[0]]
    return f"{size} x {size}, {coils} coils, R = 6; evaluations + applications of N.\n\n{table(head, lines)}"
