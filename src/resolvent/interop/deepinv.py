"""deepinv: its physics as an operator here, our models as reconstructors there."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from resolvent._errors import DataError, ShapeError
from resolvent._types import Image
from resolvent.interop.foreign import ForeignOperator, copied
from resolvent.linop.base import doubled
from resolvent.linop.fourier import grid_frequency, varying
from resolvent.linop.noise import estimate_noise
from resolvent.mol import MOL
from resolvent.mol.baselines import Baseline


def to_complex(x: Tensor) -> Image:
    """``(batch, 2, ...)``, real and imaginary part as channels, to complex ``(batch, ...)``.

    Raises:
        ShapeError: there are not two real channels.

    >>> import torch
    >>> to_complex(torch.tensor([[[3.0], [4.0]]]))
    tensor([[3.+4.j]])
    """
    if x.is_complex() or x.ndim < 3 or x.shape[1] != 2:
        raise ShapeError(
            f"the array has axes {tuple(x.shape)} and type {x.dtype}, not (batch, 2, ...) of real numbers. "
            "Pass images and measurements with real and imaginary part as channels (axis 1)."
        )
    return torch.complex(x[:, 0], x[:, 1])


def to_channels(x: Image) -> Tensor:
    """Complex ``(batch, ...)`` to ``(batch, 2, ...)``, real and imaginary part as channels.

    The layout of deepinv: the axes after the channels stay. (Networks here treat the axes before the spatial ones as
    part of the batch, see `resolvent.monotone.channels`.)

    >>> import torch
    >>> to_channels(torch.tensor([[3 + 4j]]))
    tensor([[[3.],
             [4.]]])
    """
    return torch.view_as_real(x.resolve_conj()).movedim(-1, 1)


def from_deepinv(physics: Any, *, norm: float | None = None, batch: int = 1) -> ForeignOperator:
    """A ``LinearPhysics`` of deepinv as a `LinearOperator`: ``A``, and ``A_adjoint`` for the adjoint.

    It holds a copy, so later updates of `physics` do not affect it (tensors are shared, not copied). The linear solves
    and their gradients are those of this library. A must be linear over the complex numbers (see
    `resolvent.testing.check_linear`), as is any map that treats both channels alike. Certificates rest on ``A_adjoint``
    and on `norm`, which are tested at random vectors (see `ForeignOperator`).

    Args:
        physics: maps ``(batch, 2, *image)`` to ``(batch, 2, *measurements)``; k-space of ``MultiCoilMRI`` is
            ``(batch, 2, coil, *spatial)`` there and ``(batch, coil, *spatial)`` here.
        norm: proved bound of ``|A|``. Known for ``MRI`` and ``MultiCoilMRI``. ``physics.compute_norm`` is not a bound:
            it estimates the norm from below.
        batch: number of samples, if the physics differs from sample to sample. Known for ``MRI`` and ``MultiCoilMRI``.

    Raises:
        DataError: `physics` has no adjoint, its mask treats the channels differently, or its norm is not known.

    Source: J. Tachella et al., DeepInverse, JOSS 10:8923 (2025).
    """
    for needed in ("A", "A_adjoint"):
        if not callable(getattr(physics, needed, None)):
            raise DataError(f"{type(physics).__name__} has no {needed}. Pass a deepinv.physics.LinearPhysics.")
    mask, maps = getattr(physics, "mask", None), getattr(physics, "coil_maps", None)
    support = frequency = None
    if hasattr(physics, "three_d") and isinstance(mask, Tensor):  # MRI, MultiCoilMRI
        if mask.shape[1] == 2 and not torch.equal(mask[:, 0], mask[:, 1]):
            raise DataError(
                "The mask differs between real and imaginary part (axis 1), so A is not complex linear. "
                "Pass the same mask for both."
            )
        bound, batch = float(mask.abs().max()), max(batch, len(mask))
        if isinstance(maps, Tensor):
            bound *= float(maps.detach().abs().double().square().sum(1).max().sqrt()) * (1 + 1e-6)  # rounding
            batch, support = max(batch, len(maps)), (maps.detach() != 0).any(1).to(maps.real.dtype)
            samples = mask[:, :1].detach()
            frequency = grid_frequency(samples, varying(samples, 3 if physics.three_d else 2))
        norm = norm or bound
    if norm is None:
        raise DataError(
            f"No bound of the norm of {type(physics).__name__} is known. Pass norm=, one that is proved: an estimate "
            "such as compute_norm may be too small, and certificates rest on it."
        )
    sigma = getattr(getattr(physics, "noise_model", None), "sigma", None)
    batch = max(batch, sigma.numel()) if isinstance(sigma, Tensor) else batch
    return _FromDeepinv(copied(physics), norm, batch, support, frequency)


class DeepinvReconstructor(nn.Module):
    """A model as a ``Reconstructor`` of deepinv: ``reconstructor(y, physics)``, also for its ``Trainer``.

    The image is that of ``model(y, A)``, with its gradient to weights, lam and y, real and imaginary part as channels.
    For the certificate: ``model.solve(to_complex(y), from_deepinv(physics))``.

    Args:
        model: a `MOL` or a baseline; its parameters are those of the reconstructor.
        norm: see `from_deepinv`.
    """

    def __init__(self, model: MOL | Baseline, norm: float | None = None) -> None:
        super().__init__()
        self.model, self.norm = model, norm

    def forward(self, y: Tensor, physics: Any, *, noise: Tensor | float | None = None) -> Tensor:
        """The image ``(batch, 2, *image)``.

        Args:
            y: measurements ``(batch, 2, ...)``.
            physics: a ``LinearPhysics``.
            noise: standard deviation of the complex noise of a sample; by default that of the noise model of the
                physics, ``sqrt(2) sigma``, or else an estimate from multi-coil k-space.

        Raises:
            DataError: the model needs the noise level, and it cannot be found in any of these ways.
        """
        A = from_deepinv(physics, norm=self.norm, batch=len(y))
        return to_channels(self.model(to_complex(y), A, noise))


class _FromDeepinv(ForeignOperator):
    """The operator of a copy of the physics."""

    def __init__(self, physics: Any, norm: float, batch: int, support: Tensor | None, frequency: Tensor | None) -> None:
        super().__init__(norm, batch, support, frequency)
        self.physics = physics

    def there(self, x: Tensor) -> Tensor:
        return to_complex(self.physics.A(to_channels(x)))

    def back(self, y: Tensor) -> Tensor:
        return to_complex(self.physics.A_adjoint(to_channels(y)))

    def noise(self, y: Tensor) -> Tensor:
        """The complex noise of the noise model, ``sqrt(2) sigma``; else `estimate_noise` of multi-coil k-space."""
        sigma = getattr(getattr(self.physics, "noise_model", None), "sigma", None)
        if sigma is not None:
            sigma = torch.as_tensor(sigma, dtype=y.real.dtype, device=y.device).reshape(-1)
            if self.rows is not None and len(sigma) > 1:
                sigma = sigma[self.rows]
            return math.sqrt(2) * sigma.expand(len(y))
        if hasattr(self.physics, "coil_maps"):
            return estimate_noise(self.measured(y), 3 if self.physics.three_d else 2)
        return super().noise(y)

    def to_double(self) -> Self:
        new = super().to_double()
        new.physics = copied(self.physics, doubled)
        return new
