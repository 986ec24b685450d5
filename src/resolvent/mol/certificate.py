"""`Certificate`: what is known about a reconstruction, and how it is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from resolvent._types import Brief
from resolvent.mol.equation import Equation, Matrix
from resolvent.monotone import Kind, Tier
from resolvent.solve import along, conjugate_gradient, inner, norm


@dataclass(frozen=True, repr=False)
class Certificate(Brief):
    """Bounds for one reconstruction; numbers are the worst of the batch.

    Attributes:
        tier: "all-data": uniqueness, distance and data gain are proved. "per-scan": uniqueness and distance are proved,
            the data gain only with conditioning, scale and lam held fixed. "estimated": nothing is proved.
        m: monotonicity constant of F.
        distance: bound of ``|x - x*| / |x|``, x* the solution of the equation, x the returned image.
        distances: the same for each sample, ``(batch,)``.
        data_gain: bound of ``|x1* - x2*| / |b1 - b2|``.
        data_gain_kind: "proved", "conditioning held" (proved for changes of the data that leave conditioning, scale
            and lam unchanged) or "estimated".
        network_gain: bound of ``|x1* - x2*|`` for two networks that differ by at most 1 at x*: ``1 / m``.
        proved: whether uniqueness and `distance` are proved: the tier is not "estimated" and the residual was measured.
    """

    tier: Tier
    m: float
    distance: float
    distances: Tensor
    data_gain: float
    data_gain_kind: str
    network_gain: float
    proved: bool

    @property
    def kind(self) -> Kind:
        """How `distance` is known: "proved" or "estimated"."""
        return "proved" if self.proved else "estimated"

    @property
    def text(self) -> str:
        """One line for a person."""
        gain = f"data gain <= {self.data_gain:.3g} ({self.data_gain_kind})"
        if not math.isfinite(self.distance):
            return f"no certificate: the residual is not finite · {gain}"
        return f"|x - x*| <= {self.distance:.2g} |x| ({self.kind}) · {gain}"


def data_gain(lam: Tensor, m: float, norm_bound: Tensor | float, conditioning: float = 0.0) -> Tensor:
    """Bound of ``|x_1* - x_2*| / |b_1 - b_2|``, which depends on A only through its norm.

    Let D be the change of the image, d that of the data, and ``|F_1(x) - F_2(x)| <= K |d|``, K = `conditioning`. The
    two equations give ``lam |A D|^2 + m |D|^2 <= lam |A D| |d| + K |d| |D|``, so ``m g^2 - K g <= lam / 4`` for
    ``g = |D| / |d|``, and ``m g <= lam |A| + K``::

        g <= (K + sqrt(K^2 + m lam)) / (2 m),      g <= (lam |A| + K) / m

    The smaller one is returned, ``(batch,)``; without conditioning the first is ``sqrt(lam / m) / 2``.
    """
    if isinstance(norm_bound, Tensor):
        norm_bound = norm_bound.to(lam.device)  # an operator without tensors has it on the CPU
    by_energy = (conditioning + (conditioning**2 + m * lam).sqrt()) / (2 * m)
    return torch.minimum(by_energy, (lam * norm_bound + conditioning) / m)


_WORTH = 0.85
"""The energy bound is computed if it may be less than this times the bound of the step."""


def _preimage(equation: Equation, exact: Equation, g: Tensor, shift: float, *, tol: float) -> tuple[Tensor, Tensor]:
    """A p near ``(shift I + lam N)^-1 g``, computed in the precision of the data, and ``e = g - M p``."""

    def system(part: Equation) -> tuple[Matrix, Matrix | None]:
        return lambda p: part.shifted(p, shift), part.A.preconditioner(shift, part.lam)

    rhs, (matvec, near) = g.to(equation.lam.dtype.to_complex()), system(equation)
    p = conjugate_gradient(
        matvec,
        rhs,
        tol=tol * shift,
        relative_to="x",
        precondition=near,
        select=lambda index: system(equation.select(index)),
    ).x.to(g.dtype)
    return p, g - exact.shifted(p, shift)


def certify(
    equation: Equation, x: Tensor, tier: Tier, conditioning: float = 0.0, scale: Tensor | None = None
) -> Certificate:
    """Measure the residual of `x` in double precision and bound its distance to the solution.

    With ``M = m I + lam N`` and an m-monotone F, ``|x - x*|_M^2 <= <G(x), x - x*>``, so::

        |x - x*| <= |G(x)|_{M^-1} / sqrt(m),
        |G|_{M^-1}^2 <= <G, p> + |<p, e>| + |e|^2 / m      for any p with e = G - M p
        |x - x*| <= (|p'| + |e'| / c) / (1 - q)            for any p' with e' = G - (c I + lam N) p'

    The second line accounts for the inexact solution of the linear system. The third is Banach's bound for the step
    ``T(x) = x - p'``, whose linear error is at most ``|e'| / c``. The smaller bound is reported; the energy bound is
    left out where its lower bound ``<G, p'>^2 / <p', M p'>`` shows that it would gain little. For the data gain see
    `data_gain`; `conditioning` is its K where that is proved, else 0: the gain then holds with the conditioning fixed.

    Rounding: the bounds are for the stored values of x, and G, e, e' and the bounds are computed in double precision; p
    and p' may be anything, and are computed in the precision of the data. The equation is that with the stored weights
    and conditioning. One rounding of x to its own precision, by the scale of the data or by a file, is added; it is
    larger where ``scale * x``, the image, leaves the range of that precision. No relative distance below 1e-12 is
    claimed. Nothing is bounded, and nothing proved, where m is not positive.

    Args:
        equation: equation of the scans.
        x: their images, in the units of the equation.
        tier: tier of the model.
        conditioning: K of the data gain.
        scale: ratio of the returned image to x, ``(batch,)``; 1 by default.
    """
    exact = equation.to_double()
    rounding = _rounding(x, scale)
    x = x.detach().to(torch.complex128)
    m, c = exact.m.value, exact.c
    with torch.no_grad():
        g = exact.residual(x)
        size = norm(x)

        p, e = _preimage(equation, exact, g, c, tol=0.1)
        by_step = (norm(p) + norm(e) / c) / (1 - exact.contraction)

        # <G, p>^2 / <p, M p> <= |G|_{M^-1}^2: if even this gains less than a sixth, the second system is not solved
        least = inner(g, p).clamp_min(0) / (m * inner(p, g - e - (c - m) * p)).clamp_min(0).sqrt()
        by_energy = torch.full_like(by_step, torch.inf)
        index = (~(least >= _WORTH * by_step)).nonzero().flatten()
        if index.numel():
            some = g[index]
            p, e = _preimage(equation.select(index), exact.select(index), some, m, tol=0.3)
            weighted = inner(some, p) + inner(p, e).abs() + inner(e, e) / m
            by_energy[index] = (weighted.clamp_min(0) / m).sqrt()

        distances = torch.minimum(by_energy, by_step) / size.clamp_min(torch.finfo(torch.float64).tiny)
        distances = torch.where(size > 0, distances + rounding, torch.where(norm(g) == 0, 0.0, torch.inf))
        distances = torch.where(torch.isfinite(distances) & (m > 0), distances, torch.inf)  # NaN is no distance
        gain = float(data_gain(exact.lam, m, exact.A.norm_bound, conditioning).max()) if m > 0 else math.inf
        gain = gain if math.isfinite(gain) else math.inf

    measured = bool(torch.isfinite(distances).all())
    proved = tier != "estimated" and exact.m.kind == "proved" and measured
    kind = {"all-data": "proved", "per-scan": "conditioning held", "estimated": "estimated"}[tier]
    return Certificate(
        tier=tier,
        m=m,
        distance=float(distances.max()),
        distances=distances,
        data_gain=gain,
        data_gain_kind=kind if proved and gain < math.inf else "estimated",
        network_gain=1 / m if m > 0 else math.inf,
        proved=proved,
    )


def _rounding(x: Tensor, scale: Tensor | None) -> Tensor:
    """Relative loss of rounding ``scale * x`` to the precision of x, at least that of normal numbers: ``(batch,)``."""
    least = max(torch.finfo(x.dtype).eps, 1e-12)
    if scale is None:
        return torch.full((len(x),), least, dtype=torch.float64, device=x.device)
    image = (along(scale, x) * x).to(torch.complex128)
    lost = norm(along(scale.double(), x) * x.to(torch.complex128) - image)
    return torch.where(lost > 0, lost / norm(image), 0.0).clamp_min(least)
