"""Numerics: solvers that use only callables, work per sample with relative tolerances, and report how they ended."""

from resolvent.solve.cg import conjugate_gradient
from resolvent.solve.fixed_point import fixed_point
from resolvent.solve.implicit import implicit, tracked
from resolvent.solve.solution import Solution, Status
from resolvent.solve.spectrum import Ritz, lanczos
from resolvent.solve.vectors import along, inner, norm

__all__ = [
    "Ritz",
    "Solution",
    "Status",
    "along",
    "conjugate_gradient",
    "fixed_point",
    "implicit",
    "inner",
    "lanczos",
    "norm",
    "tracked",
]
