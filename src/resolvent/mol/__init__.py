"""Where the physics, the learned operator and the solvers meet."""

from resolvent.mol.certificate import Certificate
from resolvent.mol.equation import Work
from resolvent.mol.model import MOL, Reconstruction, solve_reference

__all__ = ["MOL", "Certificate", "Reconstruction", "Work", "solve_reference"]
