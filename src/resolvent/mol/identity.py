"""The origin of the weights of a model, as long as they have not changed."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import nn


class Identified(nn.Module):
    """A model with an `identity`: name and hash of the weights it was loaded from, or what else is known of them.

    Attributes:
        card: the information saved with the loaded weights: data sources, licences, training; empty if there is none.
    """

    def __init__(self) -> None:
        super().__init__()
        self._identity: dict[str, Any] = {}
        self._numbers = ""
        self.card: dict[str, Any] = {}

    @property
    def identity(self) -> dict[str, Any]:
        """Name and hash of the loaded weights; once they have changed, ``{"changed_from": ...}``."""
        if not self._identity or self._numbers == _digest(self):
            return self._identity
        return {"changed_from": self._identity}

    @identity.setter
    def identity(self, value: dict[str, Any]) -> None:
        self._identity, self._numbers = value, _digest(self)


def _digest(model: nn.Module) -> str:
    """Hash of the values of all weights, independent of device, and of precision if the values are the same."""
    found = hashlib.sha256()
    for name, t in model.state_dict().items():
        found.update(name.encode() + t.detach().to("cpu", torch.float64).contiguous().numpy().tobytes())
    return found.hexdigest()
