"""The published iteration, as a reference: forward-backward steps with alpha = 0.01 and five CG steps in each.

::

    x <- (1.001 I + alpha lam N)^-1 ((1 - alpha) x + alpha H(x) + alpha lam A^H b)

Done as the published code does it: CG starts at x and has no preconditioner; each transform is centred by moving its
samples; the network runs in PyTorch's own layout; and the adjoint iteration ``w <- J^H w + v`` differentiates the step
with its CG by autograd. Or, to tell what the method takes from what its code does, on the operators of this package.

One thing is better here: the mask is not forgotten in the adjoint.

Source: A. Pramanik, M. B. Zimmerman, M. Jacob, IEEE TCI 9:260-275 (2023); alpha, CG steps and operations of its code,
anikpram/Monotone-Operator-Learning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.fft import fft2, fftshift, ifft2, ifftshift
from torch.nn.functional import conv2d

import resolvent as rv
from benchmarks.problem import Case
from resolvent.mol.equation import Work
from resolvent.monotone import PlainCNN
from resolvent.solve import along

ALPHA, CG_STEPS, SPATIAL = 0.01, 5, (-2, -1)
TRAINING_STEPS = 60, 500
"""Of the image, and as many of its gradient: fewer than the code takes, which stops by the step; the most it allows."""


@dataclass(frozen=True, eq=False)
class Iteration:
    """The equation of one batch of scans, as the published method sees it.

    Attributes:
        normal: ``N = A^H A``.
        network: H.
        lam: weight of the data, ``(batch,)``.
        ridge: ``F(x) = (1 + ridge) x - H(x)``.
        data: ``lam A^H b``.
        start: the linear reconstruction.
        work: counts the applications of N and the evaluations of H.
    """

    normal: Callable[[Tensor], Tensor]
    network: Callable[[Tensor], Tensor]
    lam: Tensor
    ridge: float
    data: Tensor
    start: Tensor
    work: Work = field(default_factory=Work)

    def step(self, x: Tensor) -> Tensor:
        """One published step."""
        self.work.evaluations += 1
        return self._resolvent((1 - ALPHA) * x + ALPHA * self.network(x) + ALPHA * self.data, x)

    def attach(self, x: Tensor, steps: int) -> Tensor:
        """A step from x with the published gradient: so many steps of the adjoint iteration."""
        with torch.enable_grad():
            z = self.step(x.detach())
            point = z.detach().requires_grad_()
            again = self.step(point)

        def adjoint(v: Tensor) -> Tensor:
            w = v
            for _ in range(steps):
                w = torch.autograd.grad(again, point, w, retain_graph=True)[0] + v
            return w

        z.register_hook(adjoint)
        return z

    def _resolvent(self, b: Tensor, x: Tensor) -> Tensor:
        """Five CG steps for ``((1 + alpha ridge) I + alpha lam N) x = b``, from x."""
        r = b - self._shifted(x)
        p, rr = r, _inner(r, r)
        for _ in range(CG_STEPS):
            q = self._shifted(p)
            a = rr / (_inner(p, q) + 1e-10)
            x, r = x + along(a, p) * p, r - along(a, p) * q
            rr, before = _inner(r, r), rr
            p = r + along(rr / (before + 1e-10), p) * p
        return x

    def _shifted(self, p: Tensor) -> Tensor:
        self.work.applications += 1
        return along(ALPHA * self.lam, p) * self.normal(p) + (1 + ALPHA * self.ridge) * p


Form = Callable[[rv.MOL, Case], Iteration]


def as_published(mol: rv.MOL, case: Case) -> Iteration:
    """With the operations of the published code."""

    def normal(x: Tensor) -> Tensor:
        k = case.mask * fftshift(fft2(ifftshift(case.maps * x.unsqueeze(1), SPATIAL), norm="ortho"), SPATIAL)
        return (case.maps.conj() * fftshift(ifft2(ifftshift(k, SPATIAL), norm="ortho"), SPATIAL)).sum(1)

    score = mol.score
    assert isinstance(score, PlainCNN)

    def network(x: Tensor) -> Tensor:
        z = torch.stack([x.real, x.imag], 1)
        for i, (weight, bias) in enumerate(zip(score.weights, score.biases, strict=True)):
            z = conv2d(z.relu() if i else z, weight, bias, padding=1)
        return torch.complex(z[:, 0], z[:, 1])

    equation, _, context = mol.pose(case.y, case.A, case.noise)
    return Iteration(normal, network, equation.lam, mol.ridge, equation.data, context.sense)


def on_our_operators(mol: rv.MOL, case: Case) -> Iteration:
    """With those of this package: transforms that move no sample, convolutions with the channels last."""
    equation, _, context = mol.pose(case.y, case.A, case.noise)
    return Iteration(equation.A.normal, equation.score.H, equation.lam, mol.ridge, equation.data, context.sense)


def _inner(a: Tensor, b: Tensor) -> Tensor:
    return (a.conj() * b).sum(SPATIAL).abs()
