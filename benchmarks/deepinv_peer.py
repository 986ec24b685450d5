"""deepinv on the same equation: half-quadratic splitting as a deep equilibrium, from its own parts alone.

With ``g_first`` its iteration is ``x <- prox_{gamma f}(D(x))``. With ``D = H / (1 + ridge)``, ``gamma = lam / (1 +
ridge)`` and ``f = |A x - b|^2 / 2`` that is our step with a = 1 / (1 + ridge), and its fixed point our solution.

As its documentation shows it the linear solve takes 50 CG steps or stops at a residual of 1e-4 of the right-hand side,
and Anderson's mixing damps. What can be set is set for its best here, each of which was tried alone:

- *Units*: its CG adds 1e-8 to curvatures and squared residuals. In units where the image is about 1 it therefore stalls
  before it is accurate; in larger ones it does not, so the scan is scaled by `UNIT`, and back around the network.
- *Accuracy of CG*: the residual is that of a system with condition 1 + gamma, so the error may be gamma times as large.
  The fastest of some tolerances is taken, for each accuracy of the image its own.
- *Start*: the linear reconstruction, by one of its own proximal steps from zero; ``A^H b``, its default, takes one more
  network evaluation.
- *Anderson*: without damping (beta = 1). Its other solvers (MINRES, LSQR, BiCGStab) take longer than CG.

Source: J. Tachella et al., DeepInverse, JOSS 10:8923 (2025), version 0.5.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

import resolvent as rv
from benchmarks.problem import Case
from benchmarks.watch import Watch
from resolvent.interop.deepinv import to_channels, to_complex
from resolvent.mol.equation import Work

UNIT = 1e3
TOLERANCES = 1e-5, 6e-6, 3e-6, 1e-6, 3e-7, 1e-7


@dataclass(frozen=True)
class Settings:
    """What a user of deepinv may choose; the defaults are its own."""

    tol: float = 1e-4
    cg_steps: int = 50
    unit: float = 1.0
    beta: float = 0.9
    eps: float = 0.1
    linear_start: bool = False


DEFAULT = Settings()
CANDIDATES = [Settings(tol, 1000, UNIT, 1.0, 1e-4, True) for tol in TOLERANCES]


def deepinv() -> ModuleType | None:
    """The library, or None where it does not import.

    Beside a torch without CUDA its torchvision needs ``.ci/torchvision_without_cuda.py`` on the path.
    """
    with suppress(ImportError):
        import torchvision_without_cuda  # noqa: F401  # pyright: ignore[reportMissingImports]
    with suppress(ImportError):
        import deepinv  # pyright: ignore[reportMissingImports]

        return deepinv
    return None


def compare(mol: rv.MOL, case: Case, exact: Tensor, accuracies: tuple[float, ...]) -> tuple[Watch, Watch]:
    """Its solve with its defaults, and what the fastest of the other settings spends for each accuracy."""
    default = solve(mol, case, exact, accuracies, DEFAULT, 15)
    tried = [solve(mol, case, exact, accuracies, settings, 5) for settings in CANDIDATES]
    best = min(tried, key=lambda watch: watch.nearest)
    for accuracy in accuracies:
        spent = [watch.reached[accuracy] for watch in tried if accuracy in watch.reached]
        best.reached |= {accuracy: min(spent, key=lambda one: one.seconds)} if spent else {}
    return default, best


def solve(
    mol: rv.MOL, case: Case, exact: Tensor, accuracies: tuple[float, ...], settings: Settings, max_steps: int
) -> Watch:
    """A reconstruction by deepinv, of a model that knows nothing of the scan, its every iterate seen."""
    dinv = deepinv()
    assert dinv is not None
    equation, _, _ = mol.pose(case.y, case.A, case.noise)
    watch = Watch(exact, accuracies, case.y.device, work := Work())
    physics = dinv.physics.MultiCoilMRI(
        mask=case.A.mask[:, 0], coil_maps=case.A.maps, max_iter=settings.cg_steps, tol=settings.tol
    )
    normal, gamma = physics.A_adjoint_A, float(mol.lam) / (1 + mol.ridge)

    def counted(x: Tensor, **others: object) -> Tensor:
        work.applications += 1
        return normal(x, **others)

    def denoise(x: Tensor, _: object) -> Tensor:
        return settings.unit / (1 + mol.ridge) * to_channels(equation.score.H(to_complex(x / settings.unit)))

    def start(y: Tensor, physics: torch.nn.Module) -> Tensor:
        back = physics.A_adjoint(y)
        return physics.prox_l2(torch.zeros_like(back), y, gamma) if settings.linear_start else back

    physics.A_adjoint_A = counted
    model = dinv.optim.HQS(
        data_fidelity=dinv.optim.L2(),
        prior=dinv.optim.PnP(denoise),
        stepsize=gamma,
        sigma_denoiser=0.0,
        max_iter=max_steps,
        g_first=True,
        DEQ=True,
        anderson_acceleration=dinv.optim.AndersonAccelerationConfig(10, settings.beta, settings.eps),
    )
    model.fixed_point.iterator.register_forward_hook(
        lambda _, __, out: watch.see(to_complex(out["est"][0] / settings.unit))
    )
    return watch.run(lambda: model(settings.unit * to_channels(case.y), physics, init=start))
