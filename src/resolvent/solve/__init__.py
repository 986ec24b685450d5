"""Numerics: solvers that know callables only. Per-sample, relative, and honest about how they ended."""

from resolvent.solve.cg import conjugate_gradient
from resolvent.solve.fixed_point import fixed_point
from resolvent.solve.implicit import implicit
from resolvent.solve.solution import Solution, Status, inner, norm

__all__ = ["Solution", "Status", "conjugate_gradient", "fixed_point", "implicit", "inner", "norm"]
