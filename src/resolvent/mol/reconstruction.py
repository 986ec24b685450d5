"""`Reconstruction`: an image with everything that is known about it, and its record."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from resolvent._types import Image
from resolvent._version import __version__
from resolvent.mol.certificate import Certificate
from resolvent.mol.fit import Fit, numbers
from resolvent.solve import Solution


@dataclass(frozen=True, repr=False)
class Reconstruction:
    """An image with everything that is known about it.

    Attributes:
        image: ``(batch, *lead, *spatial)``, complex, in the units of the data.
        solution: the solve, in the units of the model: ``image = scale * solution.x``.
        certificate: bounds of the distance to the exact solution and of the stability.
        fit: how well the image explains the measurements.
        scale: units of the data divided by units of the model, ``(batch,)``.
        lam: weight of the data, ``(batch,)``; the largest of the rings of k-space (see `ScanUnits`).
        noise: noise level relative to the image scale, as used by the model, ``(batch,)``.
        model: name and hash of the model.
    """

    image: Image
    solution: Solution
    certificate: Certificate
    fit: Fit
    scale: Tensor
    lam: Tensor
    noise: Tensor
    model: dict[str, Any] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> Reconstruction:
        """The same reconstruction with all tensors on a device."""
        return _moved(self, device)

    def record(self) -> dict[str, Any]:
        """The record that is saved with the image: JSON types only; None for a number that is not finite."""
        s, c = self.solution, self.certificate
        return {
            "version": __version__,
            "model": self.model,
            "lam": numbers(self.lam),
            "scale": numbers(self.scale),
            "noise": numbers(self.noise),
            "status": s.status.value,
            "converged": s.converged,
            "steps": s.steps,
            "evaluations": s.evaluations,
            "applications": s.applications,
            "residual": numbers(s.residuals[-1]) if len(s.residuals) else [],
            "fit": self.fit.record(),
            "certificate": {
                "proved": c.proved,
                "tier": c.tier,
                "m": c.m,
                "distance": c.distance if math.isfinite(c.distance) else None,
                "data_gain": c.data_gain if math.isfinite(c.data_gain) else None,
                "data_gain_kind": c.data_gain_kind,
                "network_gain": c.network_gain,
                "text": c.text,
            },
        }

    def __repr__(self) -> str:
        """Size, how the solve ended, and the certificate, in one line."""
        shape = "x".join(str(n) for n in self.image.shape[1:])
        count = f"{self.image.shape[0]} of " if self.image.shape[0] > 1 else ""
        ended = f"converged in {self.solution.steps} steps" if self.solution.converged else self.solution.status.value
        return f"{count}{shape} · {ended} · {self.certificate.text}"


def _moved(value: Any, device: torch.device | str) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: _moved(getattr(value, one.name), device) for one in fields(value)})
    return value
