"""What `resolvent certify` finds: how the constants of a model are proved, or what a search finds against them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from resolvent._errors import ModelError
from resolvent.cli.reconstruct import Outcome, reconstruct
from resolvent.data import Scan
from resolvent.linop import LinearOperator
from resolvent.mol import MOL
from resolvent.mol.certificate import data_gain
from resolvent.mol.monotonicity import local_monotonicity, verified
from resolvent.mol.targets import attack_conditioning
from resolvent.monotone import Score, conv_norm_bound
from resolvent.monotone.estimates import local_lipschitz
from resolvent.monotone.layers import UnitKernel
from resolvent.solve import Ritz

GRID = 32
"""Frequencies on every axis at which the norm of a kernel is recomputed."""
SIZES = (0.1, 1.0, 10.0)
"""Standard deviations of the noise images, in units of the model."""
STARTS, ASCENT = 3, 15
"""Starts, and gradient steps of each, of the search for a Lipschitz constant."""

EPSILON = 0.01
"""Size of the change of the data, relative to the data, at which the conditioning is observed."""

TIERS = {
    "all-data": "for all data: one solution, the distance to it and the data gain are proved",
    "per-scan": "for each scan: one solution and the distance to it are proved; "
    "the data gain only with conditioning, scale and lam held",
    "estimated": "nothing is proved: there may be several solutions, and m is what the training aimed at",
}
PROVED = "construction: the norm of every convolution is bounded, recomputed from the weights"
ESTIMATED = (
    f"estimate: gradient ascent on |H(u)-H(v)|/|u-v|, |v-u| <= 0.1 |u|, {STARTS} starts of {ASCENT} steps; each a "
    "lower bound of the Lipschitz constant at the points that were tried, and no bound anywhere else"
)


def constants(model: MOL) -> dict[str, Any]:
    """Constants of ``F + ridge I`` and how they are known: proved with their derivation, or with estimates.

    Raises:
        ModelError: a layer of a strict score has a norm above 1.
    """
    m, c, r = model.m, model.c.value, model.r.value
    proved = m.kind == "proved"
    bound = model.score.conditioning(float(model.lam.detach()))
    found = {
        "proved": proved,
        "kind": m.kind,
        "tier": model.tier,
        "m": m.value,
        "c": c,
        "r": r,
        "lipschitz": c + r,
        "conditioning": bound.value if bound.kind == "proved" else None,
        "method": PROVED if proved else ESTIMATED,
        "meaning": TIERS[model.tier],
    }
    if proved:
        return {**found, "derivation": derivation(model)}
    return {**found, "derivation": None, "estimates": [at_noise(model, size) for size in SIZES]}


def derivation(model: MOL) -> dict[str, Any]:
    """Each layer with a bound of the norm of its weight, and of the kernel that a solve uses: at most 1.

    Both are bounds for images of any size. The kernel was divided by the first. The second is computed on a grid of
    its own; if that grid does not show that it is at most 1, on the grid of the construction.

    Raises:
        ModelError: a kernel has a larger norm.
    """
    layers = []
    with torch.no_grad():
        for name, layer in model.score.named_modules():
            if isinstance(layer, UnitKernel):
                kernel = layer().double()
                norm = float(conv_norm_bound(kernel, GRID))
                if not norm <= 1:
                    norm = min(norm, float(conv_norm_bound(kernel, layer.grid)))
                if not norm <= 1:
                    raise ModelError(
                        f"layer {name} has a convolution of norm up to {norm:.4g}, so the constants of the model are "
                        "not proved. Report it: the construction promises at most 1."
                    )
                weight = float(conv_norm_bound(layer.weight.double(), layer.grid))
                layers.append({"layer": name, "shape": list(layer.weight.shape), "weight": weight, "kernel": norm})
    factor = 1 - model.score.m.value
    ridge = f", F = {1 + model.ridge:g} I - H" if model.ridge else ", F = I - H"
    text = (
        f"N is made of these convolutions and of 1-Lipschitz operations, so |N|_Lip <= 1; H = {factor:.4g} N (around "
        f"an anchor, if conditioned){ridge}"
    )
    return {"layers": layers, "factor": factor, "text": text}


def at_noise(model: MOL, size: float) -> dict[str, Any]:
    """The estimate of `local_lipschitz` at two noise images of the standard deviation `size`."""
    ndim = model.score.ndim
    shape = (2, 32, 32) if ndim == 2 else (2, 8, 24, 24)
    u = size * torch.randn(shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        score = model.score.condition()
    return estimate(model, score, u, f"noise of size {size:g}")


def estimate(model: MOL, score: Score, u: Tensor, where: str) -> dict[str, Any]:
    """The worst local Lipschitz estimate of H at u, and whether it contradicts ``|H|_Lip <= r``."""
    found = local_lipschitz(score.H, u, starts=STARTS, steps=ASCENT).value
    worst, limit = float(found.max()), model.score.r.value
    finite = math.isfinite(worst)
    return {"at": where, "lipschitz": worst if finite else None, "limit": limit, "exceeded": not worst <= limit}


def at_scan(model: MOL, scan: Scan, *, steps: int, say: Callable[[str], None]) -> tuple[dict[str, Any], Outcome]:
    """Reconstruct, and examine the Jacobians at each solution: the worst slice counts.

    The eigenvectors are searched for in single precision; value and residual are then computed in double precision.
    """
    outcome = reconstruct(scan.replace(reference=None), model, say=say)
    of_f, of_g, others = [], [], []
    for number in range(len(outcome.solved.kspace)):
        say(f"monotonicity at the solution of slice {number}")
        y, A, noise = _measured(outcome, number, model)
        with torch.no_grad():
            equation = model.pose(y, A, noise)[0]
        exact, x = equation.to_double(), outcome.recon.solution.x[number : number + 1].to(y.device)
        precise = x.to(torch.complex128)
        of_f.append(verified(exact.score, precise, local_monotonicity(equation.score, x, steps=steps, tol=1e-5)))
        of_g.append(verified(exact.residual, precise, local_monotonicity(equation.residual, x, steps=steps, tol=1e-5)))
        if model.m.kind == "estimated":
            others.append(estimate(model, equation.score, x, f"solution of slice {number}"))
    found: dict[str, Any] = {"J_F": _worst(of_f), "J_G": _worst(of_g)}
    if model.tier == "per-scan":
        say("how the conditioning changes with the data")
        found["conditioning"] = at_data(model, outcome)
    return {**found, **({"estimates": others} if others else {})}, outcome


def at_data(model: MOL, outcome: Outcome) -> dict[str, Any]:
    """What the certificate of a conditioned model leaves out: K of `attack_conditioning` for the first slice."""
    y, A, noise = _measured(outcome, 0, model)
    options = {"steps": ASCENT, "starts": 1, "methods": ("pgd",), "draws": 4}
    found = attack_conditioning(model, y, A, EPSILON, noise=noise, **options)
    worst = float(found.gain_worst)
    lam = outcome.recon.lam[:1].double()
    gain = float(data_gain(lam, model.m.value, A.norm_bound.double(), worst))
    return {"gain": worst, "gaussian": float(found.gain_gaussian), "epsilon": EPSILON, "data_gain": gain, "slice": 0}


def _measured(outcome: Outcome, number: int, model: MOL) -> tuple[Tensor, LinearOperator, float | None]:
    """Measurements, operator and noise level of a slice, on the device of the model."""
    one, device = outcome.solved.entry(number).normalised(), model.log_lam.device
    return one.kspace.to(device), one.operator().to(device), one.noise


def _worst(of: list[Ritz]) -> dict[str, Any]:
    """The slice with the smallest value."""
    number = min(range(len(of)), key=lambda i: float(of[i].value))
    ritz = of[number]
    numbers = {"smallest": float(ritz.value), "residual": float(ritz.residual)}
    numbers = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
    return {**numbers, "steps": int(ritz.steps), "slice": number}
