"""The reconstructions under test, classical ones and models, with one common call."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from resolvent._errors import ModelError
from resolvent.linop import LinearOperator
from resolvent.mol import baselines
from resolvent.mol.baselines import sense, sense_weight
from resolvent.mol.model import MOL
from resolvent.mol.weights import describe, load

TOL, MAX_STEPS = 1e-3, 200
"""Relative distance to the solution at which solves stop (the default of users), and the limit of evaluations."""

Noise = Tensor | float | None
"""Standard deviation of the complex noise of a sample; None where it is unknown."""
Call = Callable[[Tensor, LinearOperator, Noise], Tensor]
"""Maps measurements, physics and noise level to the image."""


@dataclass(frozen=True, eq=False)
class Method:
    """A reconstruction under test.

    Attributes:
        name: name in tables; unique among the methods of a study.
        call: computes the image, differentiable in y where the method is.
        model: the network; None for a classical method.
        weight: weight of a regularised method, for scans in units in which the largest coil image is 1. None if the
            method has none, or follows its own rule.
        tuned: the data on which `weight` was chosen: files, and the number of scans.
        hold: for a linear method, returns its linear map for given data, with the weight held fixed.
        tol: relative distance to the solution, for a `MOL`.
    """

    name: str
    call: Call
    model: nn.Module | None = None
    weight: float | None = None
    tuned: str | None = None
    hold: Callable[[Tensor, LinearOperator, Noise], Call] | None = None
    tol: float = TOL

    @property
    def about(self) -> dict[str, Any]:
        """Columns that describe the method; for a model also its architecture, since weights do not hold all of it."""
        identity = getattr(self.model, "identity", {})
        architecture = describe(self.model) if isinstance(self.model, MOL | baselines.Baseline) else None
        return {
            "method": self.name,
            "tier": "linear" if self.hold else str(getattr(self.model, "tier", "none")),
            "model_sha256": identity.get("sha256"),
            "architecture": architecture and json.dumps(architecture),
            "weight": self.weight,
            "tuned": self.tuned,
        }

    def reconstruct(self, y: Tensor, A: LinearOperator, noise: Noise) -> tuple[Tensor, dict[str, Any]]:
        """The image and the seconds it took; for a `MOL` also how the solve ended, and its certificate.

        An image that is not finite is replaced by zeros, and `finite` is False.
        """
        began = time.perf_counter()
        facts: dict[str, Any] = {}
        if isinstance(self.model, MOL):
            recon = self.model.solve(y, A, tol=self.tol, max_steps=MAX_STEPS, noise=noise)
            image, record = recon.image, recon.record()
            facts = {name: record[name] for name in ("converged", "steps", "evaluations", "applications")}
            facts |= {name: record["certificate"][name] for name in ("proved", "m", "distance")}
            facts |= {name: record["certificate"][name] for name in ("data_gain", "data_gain_kind")}
        else:
            with torch.no_grad():
                image = self.call(y, A, noise)
        facts = {"seconds": time.perf_counter() - began, **facts, "finite": bool(torch.isfinite(image.abs()).all())}
        return (image if facts["finite"] else torch.zeros_like(image)), facts

    def precise(self, tol: float) -> Method:
        """The same method with images of accuracy `tol` where it can be set: solves, and linear solves in a network."""
        if self.model is None:
            return self
        model = copy.deepcopy(self.model).eval().requires_grad_(False)
        for name, wanted in (("tol", tol), ("linear_tol", 0.1 * tol)):
            if hasattr(model, name):
                setattr(model, name, min(float(getattr(model, name)), wanted))
        return replace(self, call=model, model=model, tol=min(self.tol, tol))


@dataclass(frozen=True, eq=False)
class Regularised:
    """A classical method whose weight is still to be chosen.

    Attributes:
        name: name in tables.
        function: ``f(y, A, *, weight, noise)``.
        first: the weight at which the search for the best one starts, and the one used without a search.
        rule: for a linear method, the weight for given data if none was chosen.
    """

    name: str
    function: Callable[..., Tensor]
    first: float
    rule: Callable[[Tensor, LinearOperator, Noise], float] | None = None

    def at(self, weight: float, tuned: str | None = None) -> Method:
        """The method with this weight."""
        call = self._call(weight)
        hold = None if self.rule is None else lambda y, A, noise: call
        return Method(self.name, call, weight=weight, tuned=tuned, hold=hold)

    def by_rule(self) -> Method:
        """The method with the weight of its own rule, or with the first weight if it has no rule."""
        rule = self.rule
        if rule is None:
            return self.at(self.first)
        return Method(self.name, self._call(None), hold=lambda y, A, noise: self._call(rule(y, A, noise)))

    def _call(self, weight: float | None) -> Call:
        return lambda y, A, noise: self.function(y, A, weight=weight, noise=noise)


def _zero_filled(y: Tensor, A: LinearOperator, noise: Noise) -> Tensor:
    return A.zero_filled(y)


def _sense_rule(y: Tensor, A: LinearOperator, noise: Noise) -> float:
    return float(sense_weight(y, A, noise).mean())


ZERO_FILLED = Method("zero-filled", _zero_filled, hold=lambda y, A, noise: _zero_filled)
"""``A^H y``."""


def regularised(name: str) -> Regularised:
    """A classical method with a weight: "sense", "tv" or "wavelet"."""
    if name == "sense":
        return Regularised(name, sense, 100.0, _sense_rule)
    function = getattr(baselines, {"tv": "total_variation", "wavelet": "wavelet"}[name])

    def along_all_axes(y: Tensor, A: LinearOperator, *, weight: float, noise: Noise) -> Tensor:
        return function(y, A, weight=weight, noise=noise, ndim=y.ndim - 2)  # in a series also along time

    return Regularised(name, along_all_axes, 3e-3)


def load_models(names: Sequence[str]) -> list[Method]:
    """Packaged models, or folders of models, as frozen methods.

    A name that two of them share is replaced by the one passed in `names`.

    Raises:
        ModelError: see `resolvent.load`; also if a model is named twice.
    """
    if len(set(names)) < len(names):
        raise ModelError(f"A model is named twice in {', '.join(names)}. Name each once.")
    found = []
    for name in names:
        model = load(name).requires_grad_(False)
        found.append(Method(str(model.identity.get("name", name)), model, model=model))
    called = [method.name for method in found]
    return [
        replace(method, name=name) if called.count(method.name) > 1 else method
        for method, name in zip(found, names, strict=True)
    ]
