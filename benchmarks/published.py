"""The published iteration, as a reference: forward-backward steps with alpha = 0.01 and five CG steps in each.

::

    x <- (I + alpha lam N)^-1 (x - alpha F(x) + alpha lam A^H b)

Each CG starts at x, so that its fixed point is the solution of the equation, which is more than the published code
does: that adds a hidden ridge and forgets the mask in the adjoint. The operators are those of the package, too.

Source: A. Pramanik, M. B. Zimmerman, M. Jacob, IEEE TCI 9:260-275 (2023); alpha and CG steps of its code.
"""

from __future__ import annotations

import torch
from torch import Tensor

from resolvent.mol.equation import Equation
from resolvent.solve import along, inner

ALPHA, CG_STEPS, TRAINING_STEPS = 0.01, 5, 60


def resolvent(equation: Equation, b: Tensor, x: Tensor) -> Tensor:
    """Five CG steps for ``(I + alpha lam N) x = b``, from x; six applications of N."""
    r = b - equation.shifted(ALPHA * x, 1 / ALPHA)
    p, rr = r, inner(r, r)
    for _ in range(CG_STEPS):
        q = equation.shifted(ALPHA * p, 1 / ALPHA)
        a = rr / inner(p, q).clamp_min(torch.finfo(rr.dtype).tiny)
        x, r = x + along(a, p) * p, r - along(a, p) * q
        rr, before = inner(r, r), rr
        p = r + along(rr / before.clamp_min(torch.finfo(rr.dtype).tiny), p) * p
    return x


def step(equation: Equation, x: Tensor, data: Tensor) -> Tensor:
    """One published step; `data` is ``lam A^H b``."""
    equation.work.evaluations += 1
    return resolvent(equation, x - ALPHA * equation.score(x) + ALPHA * data, x)


def attach(equation: Equation, x: Tensor) -> Tensor:
    """X with the published gradient: 60 steps of the adjoint iteration ``w <- J_T^H w + v`` at x.

    ``J_T^H w = (I - alpha J_F^H) (I + alpha lam N)^-1 w``; the CG is not differentiated.
    """
    point = x.detach().requires_grad_()
    z = point - ALPHA * equation.score(point) + ALPHA * equation.data

    def backward(v: Tensor) -> Tensor:
        w = u = v
        for _ in range(TRAINING_STEPS):
            u = resolvent(equation, w, u)
            w = torch.autograd.grad(z, point, u, retain_graph=True)[0] + v
        return resolvent(equation, w, u)

    return _Attach.apply(z, x.detach(), backward)  # pyright: ignore[reportReturnType]


class _Attach(torch.autograd.Function):
    """Forward: x. Backward: what the function makes of the loss gradient, on z."""

    @staticmethod
    def forward(ctx, z, x, backward):
        ctx.solve = backward
        return x.clone()

    @staticmethod
    def backward(ctx, v):  # pyright: ignore
        return ctx.solve(v), None, None
