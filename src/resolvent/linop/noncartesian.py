"""`NonCartesian`: multi-coil MRI along any trajectory (radial, spiral), in 2-D, 3-D and over time."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from typing_extensions import Self

from resolvent._errors import DataError, ShapeError
from resolvent._types import Image, KSpace, Maps
from resolvent.linop.base import LinearOperator
from resolvent.linop.magnitude import magnitude_of
from resolvent.linop.noise import estimate_noise
from resolvent.linop.nufft import compensation, exponential_sums, nufft, nufft_adjoint
from resolvent.linop.shapes import check_batch, fits


class NonCartesian(LinearOperator):
    """``A = M F S``: coil maps, Fourier transform at the places of a trajectory, mask.

    ``(A x)_cj = mask_j N^(-1/2) sum_n maps_c[n] x[n] exp(-2 pi i k_j . (n - N // 2) / N)``: at the places of the grid
    it is `SENSE`. A sample has the weight and the noise of a Cartesian sample, so lam means the same. Where samples
    are denser than the grid, ``|A|`` exceeds 1; the theorems of the model allow this.

    ``A^H A = sum_c S_c^H T S_c`` needs no samples: T, with ``T[n, n'] = q[n - n']`` and
    ``q[d] = N^-1 sum_j mask_j^2 exp(2 pi i k_j . d / N)``, is exactly a block of a circulant matrix on a grid of twice
    the size. The spectrum of that matrix is computed once, in double precision.

    Args:
        maps: coil sensitivities ``(batch, coil, *lead or 1, *spatial)``, spatial ``(y, x)`` or ``(z, y, x)``.
        trajectory: places of the samples in cycles per field of view, within ``+- N / 2``,
            ``(batch or 1, *lead or 1, *samples, axis)``, or only ``(*samples, axis)``; the components in the order of
            the spatial axes. There are as many sample axes as the image has spatial axes, such as
            ``(readout, sample)`` in 2-D and ``(1, readout, sample)`` or ``(partition, readout, sample)`` in 3-D.
        mask: real weights in [0, 1], ``(batch or 1, *lead or 1, *samples)``; 1 everywhere by default. A constant: no
            gradient reaches it.

    k-space has the axes ``(batch, coil, *lead, *samples)``.

    Raises:
        ShapeError: the axes of maps, trajectory and mask do not agree.
        DataError: numbers are not finite, places lie outside the grid or require a gradient (none reaches them), or
            finufft is not installed.

    Source: J. A. Fessler et al., Toeplitz-based iterative image reconstruction, IEEE TSP 53:3393-3402 (2005); A. H.
    Barnett et al., finufft, SIAM J. Sci. Comput. 41:C479 (2019).

    >>> import torch
    >>> from resolvent.data import radial
    >>> A = NonCartesian(torch.ones(1, 1, 8, 8, dtype=torch.complex64), radial(5, (8, 8)))
    >>> A(torch.ones(1, 8, 8, dtype=torch.complex64)).shape
    torch.Size([1, 1, 5, 16])
    """

    maps: Tensor
    trajectory: Tensor
    mask: Tensor
    spectrum: Tensor
    unit: Tensor
    weights: Tensor

    def __init__(self, maps: Maps, trajectory: Tensor, mask: Tensor | None = None) -> None:
        super().__init__()
        ndim = trajectory.shape[-1] if trajectory.ndim else 0
        lead = maps.ndim - 2 - ndim
        if ndim not in (2, 3) or lead < 0:
            raise ShapeError(
                f"the trajectory has {ndim} components (its last axis) and the maps axes {tuple(maps.shape)}. "
                "Pass 2 or 3 components, and maps (batch, coil, *lead or 1, *spatial)."
            )
        self.ndim, self.n_coils = ndim, maps.shape[1]
        self.spatial = tuple(maps.shape[-ndim:])
        places = trajectory.reshape((1,) * (1 + lead) + trajectory.shape) if trajectory.ndim == ndim + 1 else trajectory
        mask = torch.ones(places.shape[:-1], device=places.device) if mask is None else mask.detach()
        mask = mask.reshape((1,) * (1 + lead) + mask.shape) if mask.ndim == ndim else mask
        _check_axes(maps, places, mask, ndim)
        _check_values(maps, places, mask)

        shape = torch.broadcast_shapes(mask.shape, places.shape[:-1])
        own, self.samples = shape[: 1 + lead], tuple(shape[1 + lead :])
        self.lead = tuple(max(a, b) for a, b in zip(maps.shape[2:-ndim], own[1:], strict=True))
        places = places.double().expand(*shape, ndim)
        flat_places, flat_mask = places.reshape(-1, math.prod(self.samples), ndim), mask.expand(shape)
        flat_mask = flat_mask.reshape(flat_places.shape[:-1]).double()
        weights = compensation(flat_mask, flat_places, self.spatial).reshape(shape).unsqueeze(1)
        self.register_buffer("maps", maps)
        self.register_buffer("unit", magnitude_of(maps.detach()))
        self.register_buffer("trajectory", places)
        self.register_buffer("mask", mask.expand(shape).to(maps.real.dtype).unsqueeze(1))  # a coil axis of length 1
        self.register_buffer("weights", weights.to(maps.real.dtype))
        self.register_buffer("spectrum", self._spectrum().to(maps.real.dtype))

    @property
    def batch(self) -> int:
        """Number of samples."""
        return max(self.maps.shape[0], self.trajectory.shape[0])

    def forward(self, x: Image) -> KSpace:
        """``A x``: image ``(batch, *lead, *spatial)`` to k-space ``(batch, coil, *lead, *samples)``."""
        self._check_image(x)
        coil_images = self.maps * x.unsqueeze(1)
        grouped, places = self._grouped(coil_images, self.ndim)
        return self.mask * self._ungrouped(nufft(grouped, places), coil_images.shape[: -self.ndim], self.samples)

    def adjoint(self, y: KSpace) -> Image:
        """``A^H y``: k-space to image; the mask is applied to y."""
        return (self.maps.conj() * self.coil_images(y)).sum(1)

    def coil_images(self, y: KSpace) -> Tensor:
        """``F^H M y``, one image for each coil: ``(batch, coil, *lead, *spatial)``."""
        self._check_kspace(y)
        grouped, places = self._grouped(self.mask * y, self.ndim)
        images = nufft_adjoint(grouped.flatten(2), places, self.spatial)
        return self._ungrouped(images, y.shape[: -self.ndim], self.spatial)

    def normal(self, x: Image) -> Image:
        """``A^H A x`` by two Fourier transforms on a grid of twice the size, on the device of x."""
        self._check_image(x)
        axes, grid = tuple(range(-self.ndim, 0)), tuple(2 * n for n in self.spatial)
        inside = (..., *(slice(n) for n in self.spatial))
        image: Tensor | None = None
        for coil in range(self.n_coils):
            maps = self.maps[:, coil]
            spectrum = torch.fft.fftn(maps * x, s=grid, dim=axes) * self.spectrum[:, 0]  # zeros beyond the image
            part = maps.conj() * torch.fft.ifftn(spectrum, dim=axes)[inside]
            image = part if image is None else image + part
        assert image is not None
        return image

    @property
    def norm_bound(self) -> Tensor:
        """``sqrt(max spectrum * max over pixels of sum_c |maps_c|^2)``, a bound of ``|A|``, ``(batch or 1,)``.

        T is a block of the circulant matrix, whose norm is its largest eigenvalue. Proved, except for the relative
        error of the transform in single precision, which is assumed to be at most 1e-5.
        """
        maps = self.maps.detach().to(torch.complex128)
        energy = (maps.real**2 + maps.imag**2).sum(1).flatten(1).amax(1)
        largest = self.spectrum.detach().double().flatten(1).amax(1) * energy
        return largest.sqrt() * (1 + 1e-5)

    @property
    def magnitude(self) -> Tensor:
        """See `magnitude_of`."""
        return self.unit

    @property
    def support(self) -> Tensor:
        """The pixels in which some map is not zero, ``(batch or 1, *lead or 1, *spatial)``."""
        return (self.maps.detach() != 0).any(1).to(self.mask.dtype)

    @property
    def compensation(self) -> Tensor:
        """Density compensation weights (`nufft.compensation`), ``(batch or 1, 1, *lead or 1, *samples)``."""
        return self.weights

    def measured(self, y: KSpace) -> KSpace:
        """``y`` where the mask is not zero."""
        return (self.mask != 0) * y

    def by_frame(self, y: KSpace) -> Tensor:
        """See `LinearOperator.by_frame`: ``(batch, *lead, coil * samples)``."""
        return y.movedim(1, -1 - self.ndim).flatten(-1 - self.ndim)

    def noise(self, y: KSpace) -> Tensor:
        """`estimate_noise` of the samples farthest from the centre, with their neighbours along the readout."""
        self._check_kspace(y)
        radius = (self.trajectory / self.trajectory.new_tensor(self.spatial)).square().sum(-1).sqrt()
        return estimate_noise(self.measured(y), self.ndim, radius)

    def to_double(self) -> Self:
        """The same operator in double precision, with its spectrum computed again."""
        new = super().to_double()
        new._buffers["spectrum"] = new._spectrum()
        return new

    def _spectrum(self) -> Tensor:
        """Eigenvalues of the circulant matrix that contains T, ``(batch or 1, 1, *lead or 1, *2 spatial)``; real."""
        own = self.trajectory.shape[: -1 - self.ndim]
        places = self.trajectory.reshape(-1, math.prod(self.samples), self.ndim)
        q = exponential_sums(self.mask.double().square().reshape(places.shape[:-1]), places, self.spatial)
        axes = tuple(range(-self.ndim, 0))
        for axis in axes:
            q.select(axis, 0).zero_()  # d = -N does not occur in T; zero keeps the matrix Hermitian
        q = torch.fft.ifftshift(q, dim=axes) / math.prod(self.spatial)
        return torch.fft.fftn(q, dim=axes).real.reshape(own[0], 1, *own[1:], *q.shape[1:])

    def _grouped(self, values: Tensor, ndim: int) -> tuple[Tensor, Tensor]:
        """``(batch, coil, *lead, *axes)`` to ``(trajectory, many, *axes)``, and the places of each trajectory."""
        own = self.trajectory.shape[: -1 - self.ndim]
        places = self.trajectory.reshape(-1, math.prod(self.samples), self.ndim)
        last = values.shape[-ndim:]
        if len(places) == 1:
            return values.reshape(1, -1, *last), places
        values = values.movedim(1, -1 - ndim)  # (batch, *lead, coil, *axes)
        places = self.trajectory.expand(*values.shape[: len(own)], *self.trajectory.shape[len(own) :])
        return values.reshape(-1, self.n_coils, *last), places.reshape(-1, math.prod(self.samples), self.ndim)

    def _ungrouped(self, values: Tensor, first: torch.Size, last: tuple[int, ...]) -> Tensor:
        """Inverse of `_grouped`; `first` is (batch, coil, *lead)."""
        if values.shape[0] == 1:
            return values.reshape(*first, *last)
        return values.reshape(first[0], *first[2:], first[1], *last).movedim(len(first) - 1, 1)

    def _check_image(self, x: Tensor) -> None:
        if not fits(x.shape[1:], self.lead, self.spatial):
            raise ShapeError(
                f"image has axes {tuple(x.shape[1:])} after the batch but the operator maps "
                f"{self.lead + self.spatial} (lead, spatial). Pass an image of that shape."
            )
        check_batch(self.batch, x, "image")

    def _check_kspace(self, y: Tensor) -> None:
        if y.ndim < 2 or y.shape[1] != self.n_coils or not fits(y.shape[2:], self.lead, self.samples):
            raise ShapeError(
                f"k-space has axes {tuple(y.shape[1:])} after the batch but the operator has "
                f"{(self.n_coils, *self.lead, *self.samples)} (coil, lead, samples). "
                "Pass k-space of the scan that maps and trajectory belong to."
            )
        check_batch(self.batch, y, "k-space")


def _check_axes(maps: Tensor, places: Tensor, mask: Tensor, ndim: int) -> None:
    axes = maps.ndim - 1  # batch, lead, samples
    if places.ndim != axes + 1 or mask.ndim != axes:
        raise ShapeError(
            f"the trajectory has axes {tuple(places.shape)} and its mask {tuple(mask.shape)}, but maps "
            f"{tuple(maps.shape)} need (batch or 1, *lead or 1, *samples, axis) and the same without axis, with {ndim} "
            "axes of samples. Give one readout a first axis of length 1."
        )
    lengths = [(maps.shape[0], *maps.shape[2:-ndim]), places.shape[: -1 - ndim], mask.shape[:-ndim]]
    samples = [places.shape[-1 - ndim : -1], mask.shape[-ndim:]]
    if samples[0] != samples[1] or any(len({*sizes} - {1}) > 1 for sizes in zip(*lengths, strict=True)):
        raise ShapeError(
            f"maps {tuple(maps.shape)}, trajectory {tuple(places.shape)} and mask {tuple(mask.shape)} differ in batch, "
            "lead or samples. Pass equal lengths, or 1 to share."
        )


def _check_values(maps: Tensor, places: Tensor, mask: Tensor) -> None:
    if not bool(torch.isfinite(maps).all()) or not bool(maps.detach().abs().amax() > 0):
        raise DataError("maps hold NaN or infinite values, or are zero everywhere. Estimate them again.")
    if places.requires_grad:
        raise DataError("the trajectory requires a gradient, but none is computed for it. Pass trajectory.detach().")
    if not bool(torch.isfinite(places).all()):
        raise DataError("the trajectory holds NaN or infinite places. Export it again.")
    ndim = places.shape[-1]
    for axis, (n, reach) in enumerate(zip(maps.shape[-ndim:], places.abs().flatten(0, -2).amax(0), strict=True)):
        if reach > n / 2 + 0.5:
            raise DataError(
                f"the trajectory reaches {float(reach):.4g} cycles per field of view along axis {axis}, but {n} pixels "
                f"hold no more than {n / 2:g}. Pass maps of a larger matrix, or places in cycles per field of view."
            )
    if mask.is_complex() or not bool(((mask >= 0) & (mask <= 1)).all()) or not bool((mask > 0).any()):
        raise DataError("mask has values outside [0, 1], or only zeros. Pass 1 where a sample was measured, else 0.")
