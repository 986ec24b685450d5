"""The model, which combines the physics, the learned operator and the solvers."""

from resolvent.mol.certificate import Certificate
from resolvent.mol.equation import Work
from resolvent.mol.memory import Plan, plan, solve_peak
from resolvent.mol.model import MOL, solve_reference
from resolvent.mol.monotonicity import local_monotonicity, monotone_penalty
from resolvent.mol.reconstruction import Reconstruction
from resolvent.mol.targets import attack_conditioning, attack_model, attack_sense
from resolvent.mol.worst_case import Attack, attack

__all__ = [
    "MOL",
    "Attack",
    "Certificate",
    "Plan",
    "Reconstruction",
    "Work",
    "attack",
    "attack_conditioning",
    "attack_model",
    "attack_sense",
    "local_monotonicity",
    "monotone_penalty",
    "plan",
    "solve_peak",
    "solve_reference",
]
