"""Gradients of an equation's solution: differentiate the equation, not the algorithm."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

VectorJacobian = Callable[[Tensor], Tensor]


def implicit(
    x: Tensor,
    residual: Callable[[Tensor], Tensor],
    adjoint_solve: Callable[[VectorJacobian, Tensor], Tensor],
) -> Tensor:
    """Attach the implicit gradient, with respect to all that g depends on, to the solution of ``g(x, theta) = 0``.

    For the loss gradient v at x: solve ``J^H w = v`` with ``J = dg/dx``, then ``dL/dtheta = -(dg/dtheta)^H w``.
    However x was found, the gradient is that of the equation at x. The iterations are never stored; the memory is that
    of one evaluation of g. If g is m-strongly monotone, the error of the gradient is at most
    ``|J^H w - v| |dg/dtheta| / m``. Differentiable once.

    Args:
        x: the solution; it needs no graph.
        residual: g, evaluated once here with a graph; the tensors it closes over are theta.
        adjoint_solve: given the product ``w -> J^H w`` and v, returns w.

    Returns:
        x, with the gradient attached.

    >>> import torch
    >>> a = torch.tensor([3.0], requires_grad=True)
    >>> root = torch.tensor([3.0]).sqrt()  # solves x^2 - a = 0, dx/da = 1 / (2 x)
    >>> x = implicit(root, lambda x: x**2 - a, lambda vjp, v: v / vjp(torch.ones_like(v)))
    >>> bool(torch.isclose(torch.autograd.grad(x.sum(), a)[0], 1 / (2 * root)))
    True
    """
    x = x.detach()
    with torch.enable_grad():
        point = x.clone().requires_grad_()
        g = residual(point)

    def vector_jacobian(w: Tensor) -> Tensor:
        return torch.autograd.grad(g, point, w, retain_graph=True)[0]

    return _Attach.apply(g, x, lambda v: adjoint_solve(vector_jacobian, v))  # pyright: ignore[reportReturnType]


def tracked(*of: Tensor | nn.Module) -> bool:
    """Whether results of these tensors, or of the tensors of these modules, require a gradient."""
    return torch.is_grad_enabled() and any(t.requires_grad for one in of for t in _tensors(one))


def _tensors(one: Tensor | nn.Module) -> Iterable[Tensor]:
    return (one,) if isinstance(one, Tensor) else (*one.parameters(), *one.buffers())


class _Attach(torch.autograd.Function):
    """Forward: x. Backward: the loss gradient v becomes ``-w`` on g."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, solve: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.solve = solve
        return x.clone()

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if torch.is_grad_enabled():  # `once_differentiable` raises nothing where v leads to no leaf
            raise RuntimeError("the gradient of a solution cannot be differentiated again (create_graph=True)")
        return -ctx.solve(v), None, None
