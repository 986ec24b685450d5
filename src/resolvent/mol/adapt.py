"""Adaptation of a model to one scan, using only the samples of that scan."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from resolvent._errors import ModelError
from resolvent._types import KSpace
from resolvent.linop import LinearOperator, Sampling
from resolvent.mol.held_out import held_out_loss, split
from resolvent.mol.model import MOL
from resolvent.mol.scale import noise_of

JUDGED, HELD = 0.05, 0.15
"""Fractions of the samples: kept out of the adaptation to judge it, and held out anew in each of its steps."""
TOL, ADJOINT_TOL, LINEAR_TOL = 1e-2, 1e-1, 1e-3
"""Accuracy of the solves and their gradients while adapting."""
CLIP, WARMUP = 3.0, 5
"""Largest norm of a gradient; steps over which the learning rate rises."""


@dataclass(frozen=True)
class Adapted:
    """The result of an adaptation.

    Attributes:
        model: the adapted model, whether it is better or not.
        before: error with which the given model predicts the samples kept out: `held_out_loss`, mean over
            the slices; 2 for an empty image, and never 0 with noise.
        after: the same for the adapted model; infinite if the adaptation diverged.
    """

    model: MOL
    before: float
    after: float

    @property
    def better(self) -> bool:
        """Whether the samples that the adaptation never saw are predicted better than before."""
        return self.after < self.before


def adapt(
    model: MOL,
    y: KSpace,
    A: LinearOperator,
    noise: Tensor | float | None = None,
    *,
    steps: int = 60,
    rate: float = 1e-3,
    seed: int = 0,
    say: Callable[[str], None] = lambda text: None,
) -> Adapted:
    """Train a copy of a model on the measured samples of one scan: no reference, no other data.

    In each step 15 % of the samples of a slice are held out, the image is reconstructed from the rest, and the weights
    are changed so that it predicts the held-out samples (Adam on the logarithm of `held_out_loss`). 5 % are kept out of
    all steps: they tell whether the adaptation helped. A score that is strictly monotone by construction is so for any
    weights, so what is proved per scan for the given model is also proved for the adapted one. What holds for all data
    is not: the weights now depend on the data.

    Args:
        model: where to start; it is not changed.
        y: measurements ``(batch, coil, *lead, *spatial)``, zero where not measured; a step uses one of the batch.
        A: the physics, on the same grid as y.
        noise: standard deviation of the complex noise of a sample; estimated from y by default.
        steps: steps of Adam, each about twice the work of a reconstruction to 1e-2.
        rate: rate of Adam, at most 1: about the change of each weight in a step. It falls to zero over the second half.
        seed: seed of the choice of held-out samples.
        say: called with the progress.

    Raises:
        ModelError: the model is only approximate, so nothing would keep it monotone; or steps or rate is out of
            range.

    Source: B. Yaman et al., "Zero-shot self-supervised learning for MRI reconstruction", ICLR (2022).
    """
    if model.m.kind != "proved":
        raise ModelError(
            "the model is not strictly monotone by construction, so adaptation could end that. Use a strict model."
        )
    if steps < 1:
        raise ModelError(f"steps is {steps}; it must be positive.")
    if not 0 < rate <= 1:
        raise ModelError(f"rate is {rate}, about the change of each weight in a step. Pass a positive one, at most 1.")
    sigma = noise_of(y, A, noise)
    measured = (y != 0).any(1).to(y.real.dtype)
    used, judged = (part.unsqueeze(1) for part in split(measured, JUDGED, seed))
    before = _error(model, y, A, sigma, used, judged)
    pupil = copy.deepcopy(model)
    if not any(p.requires_grad for p in pupil.parameters()):  # the model was frozen for reconstruction
        pupil.requires_grad_()
    pupil.tol, pupil.adjoint_tol, pupil.linear_tol, pupil.max_steps = TOL, ADJOINT_TOL, LINEAR_TOL, 30
    optimiser = torch.optim.Adam(pupil.parameters(), lr=rate)
    for step in range(steps):
        say(f"adapting · step {step + 1} of {steps}")
        i = torch.tensor([step % len(y)], device=y.device)
        given, held = (part.unsqueeze(1) for part in split(used[i, 0], HELD, seed + 1 + step))
        with torch.enable_grad():
            loss = _predicted(pupil, y[i], A.select(i), sigma[i], given, held).log().mean()
        optimiser.zero_grad()
        loss.backward()
        size = nn.utils.clip_grad_norm_(pupil.parameters(), CLIP)
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / WARMUP, 2 * (steps - step) / steps)
        if bool(torch.isfinite(size)):
            optimiser.step()
    adapted = copy.deepcopy(model)
    adapted.adapted = True
    adapted.load_state_dict(pupil.state_dict())
    adapted.identity = {"adapted_from": model.identity}  # a record must not give these weights the hash of the original
    after = _error(adapted, y, A, sigma, used, judged)
    return Adapted(adapted, before, after if math.isfinite(after) else math.inf)


def _predicted(model: MOL, y: Tensor, A: LinearOperator, noise: Tensor, given: Tensor, held: Tensor) -> Tensor:
    """Error with which the image from the samples `given` predicts those `held`."""
    part, rest = Sampling(given), Sampling(held)
    x = model(part(y), part @ A, noise)
    return held_out_loss(rest(A(x)), rest(y))


@torch.no_grad()
def _error(model: MOL, y: Tensor, A: LinearOperator, noise: Tensor, given: Tensor, held: Tensor) -> float:
    """Mean of `_predicted` over the slices, computed one at a time."""
    ones = [torch.tensor([i], device=y.device) for i in range(len(y))]
    return float(torch.cat([_predicted(model, y[i], A.select(i), noise[i], given[i], held[i]) for i in ones]).mean())
