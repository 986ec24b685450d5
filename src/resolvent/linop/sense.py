"""`SENSE`: multi-coil Cartesian MRI in 2-D, 3-D and 2-D+time, with one or several map sets."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from resolvent._errors import ShapeError
from resolvent._types import Image, KSpace, Maps, Mask
from resolvent.linop.base import LinearOperator
from resolvent.linop.density import coil_energy, density
from resolvent.linop.fourier import centring_phase, grid_frequency, varying
from resolvent.linop.magnitude import magnitude_of
from resolvent.linop.noise import estimate_noise
from resolvent.linop.shapes import check_batch, check_maps_and_mask, fits, image_mask

_CACHE = 2**19
"""Size of a coil image, in bytes, from which coils are transformed one by one."""


class SENSE(LinearOperator):
    """``A = M F S``: coil maps, centred orthonormal Fourier transform, sampling mask.

    ``(A x)_c = mask * fft(sum_s maps_cs * x_s)``; the sum is over map sets (soft-SENSE; usually one set). The adjoint
    includes the mask, ``A^H y = sum_c conj(maps_c) ifft(mask * y_c)``, so values of y that were not measured are
    ignored.

    No array is ever shifted: the centring of image and k-space is a phase (see `centring_phase`) that is multiplied
    into the maps once, and cancels in `normal`. Along an axis on which the mask is constant (the readout) the two
    transforms of `normal` cancel exactly and are left out.

    Args:
        maps: coil sensitivities ``(batch, coil, *lead or 1, *spatial)``; with ``sets > 1``
            ``(batch, coil, set, *lead or 1, *spatial)``.
        mask: ``(batch or 1, *lead or 1, *spatial)``, or only ``spatial``, or with a coil axis of length 1; real
            weights in [0, 1], 1 where measured. Lead axes of length 1 in maps and mask fit a lead of any length.
        ndim: number of spatial axes, 2 or 3. It is required if the maps have three axes longer than 1 after the coils,
            which may be a volume or maps that change over time. Otherwise the default is 2.
        sets: number of map sets. The set is the first lead axis of the image.
        coil_chunk: number of coils transformed at once in `normal` and `adjoint`: fewer need less memory and give the
            same numbers. By default one if a coil image fills the cache of a core (also the fastest), else all.

    Raises:
        ShapeError: the axes of maps and mask do not agree, or leave `ndim` open.
        DataError: maps or mask are not finite or all zero, or the mask leaves [0, 1].

    Source: K. P. Pruessmann et al., SENSE, MRM 42:952-962 (1999); M. Uecker et al., ESPIRiT, MRM 71:990-1001 (2014)
    for several map sets.

    >>> import torch
    >>> A = SENSE(torch.ones(1, 1, 4, 4, dtype=torch.complex64), torch.ones(4, 4))
    >>> x = torch.randn(1, 4, 4, dtype=torch.complex64)
    >>> torch.allclose(A.normal(x), x)
    True
    """

    weighted_maps: Tensor
    encode: Tensor
    power: Tensor
    energy: Tensor
    diagonal: Tensor
    seen: Tensor
    unit: Tensor

    def __init__(
        self, maps: Maps, mask: Mask, *, ndim: int | None = None, sets: int = 1, coil_chunk: int | None = None
    ) -> None:
        super().__init__()
        first = 2 + (sets > 1)  # index of the first lead or spatial axis of the maps
        if ndim is None:
            if any(length > 1 for length in maps.shape[first:-2]):
                raise ShapeError(
                    f"maps {tuple(maps.shape)} may be those of a volume or of slices over time: the axes do not tell. "
                    "Pass ndim=3 for a volume, ndim=2 for slices over time, or take `Scan.operator`."
                )
            ndim = 2
        if ndim not in (2, 3) or maps.ndim < first + ndim:
            raise ShapeError(
                f"maps have {maps.ndim} axes {tuple(maps.shape)}, which leaves no 2 or 3 spatial axes after batch"
                f"{', coil and set' if sets > 1 else ' and coil'}. Pass (batch, coil, *lead or 1, *spatial) and ndim."
            )
        if sets > 1 and maps.shape[2] != sets:
            raise ShapeError(f"maps have {maps.shape[2]} sets (axis 2) but sets={sets}. Pass sets={maps.shape[2]}.")
        mask = image_mask(mask, maps, first, ndim)
        check_maps_and_mask(maps, mask)

        self.ndim, self.sets = ndim, sets
        self.n_coils = maps.shape[1]
        self.spatial = tuple(maps.shape[-ndim:])
        self.lead = tuple(max(a, b) for a, b in zip(maps.shape[first:-ndim], mask.shape[1:-ndim], strict=True))
        large = math.prod((*self.lead, *self.spatial)) * maps.element_size() >= _CACHE
        self.coil_chunk = coil_chunk or (1 if large else self.n_coils)
        phase, constant = centring_phase(self.spatial, like=maps)
        mask = mask.to(maps.real.dtype).unsqueeze(1)  # a coil axis of length 1
        self.register_buffer("weighted_maps", maps * phase)
        self.register_buffer("encode", constant * phase * mask)
        self.register_buffer("power", mask * mask)
        every = tuple(range(-ndim, 0))  # the gradient of a learned mask needs all axes, whatever its values
        self._normal_axes = every if mask.requires_grad else varying(mask, ndim)
        self.register_buffer("unit", magnitude_of(maps.detach()))
        self.register_buffer("seen", (maps.detach() != 0).any(1).to(self.power.dtype))
        self.register_buffer("energy", coil_energy(maps.detach(), self._normal_axes))
        self.register_buffer("diagonal", density(self.energy, self.power.detach(), self._normal_axes, sets))

    @property
    def batch(self) -> int:
        """Number of samples."""
        return max(self.weighted_maps.shape[0], self.encode.shape[0])

    @property
    def maps(self) -> Maps:
        """The coil maps, as passed."""
        return self.weighted_maps * centring_phase(self.spatial, like=self.weighted_maps)[0].conj()

    @property
    def mask(self) -> Tensor:
        """The mask with a coil axis of length 1, ``(batch or 1, 1, *lead or 1, *spatial)``."""
        return self.power.sqrt()

    def forward(self, x: Image) -> KSpace:
        """``A x``: image ``(batch, [set], *lead, *spatial)`` to k-space ``(batch, coil, *lead, *spatial)``."""
        self._check_image(x)
        axes = tuple(range(-self.ndim, 0))
        return torch.fft.fftn(_expand(self.weighted_maps, x, self.sets), dim=axes, norm="ortho") * self.encode

    def adjoint(self, y: KSpace) -> Image:
        """``A^H y``: k-space to image; the mask is applied to y."""
        self._check_kspace(y)
        axes = tuple(range(-self.ndim, 0))
        decode = self.encode.conj()
        return self._combined(lambda coils: torch.fft.ifftn(y[:, coils] * decode, dim=axes, norm="ortho"))

    def normal(self, x: Image) -> Image:
        """``A^H A x`` in one pass: no shift, and no transform along axes on which the mask is constant."""
        self._check_image(x)
        axes = self._normal_axes
        power = self.power.to(x.dtype)  # once: a product of mixed types would convert it for each chunk of coils

        def coil_images(coils: slice) -> Tensor:
            part = _expand(self.weighted_maps[:, coils], x, self.sets)
            return torch.fft.ifftn(torch.fft.fftn(part, dim=axes).mul_(power), dim=axes) if axes else part * power

        return self._combined(coil_images)

    def gradient(self, x: Image, y: KSpace) -> Image:
        """``A^H (A x - y)``, coil by coil like `normal`."""
        self._check_image(x)
        axes, decode = tuple(range(-self.ndim, 0)), self.encode.conj()

        def coil_images(coils: slice) -> Tensor:
            part = torch.fft.fftn(_expand(self.weighted_maps[:, coils], x, self.sets), dim=axes, norm="ortho")
            return torch.fft.ifftn(part.mul_(self.encode).sub_(y[:, coils]).mul_(decode), dim=axes, norm="ortho")

        return self._combined(coil_images)

    def preconditioner(self, shift: float, lam: Tensor) -> Callable[[Tensor], Tensor] | None:
        """``r -> F^H (F r / (sqrt(shift (shift + lam s^2)) + lam d))``, d the diagonal of ``F N F^H``, s `magnitude`.

        N is not diagonal in k-space, because the coils unfold aliasing: near a frequency of density d its eigenvalues
        spread from 0 to a few times d. So the geometric mean of the ends of the spectrum of ``shift I + lam N`` takes
        the place of its lower end, `shift`, with which nothing would be gained. It costs one pair of transforms; N
        needs one for each coil. Pixels that no coil sees are treated apart: there the matrix is ``shift I``.
        """
        if not self._normal_axes:
            return None
        weight, largest = (t.reshape(-1, *(1,) * (self.diagonal.ndim - 1)) for t in (lam, lam * self.unit**2))
        scale = 1 / ((shift * (shift + largest)).sqrt() + weight * self.diagonal)
        axes, complex_ = self._normal_axes, self.weighted_maps.dtype
        scale, seen, unseen = (t.to(complex_) for t in (scale, self.seen, (1 - self.seen) / shift))
        return lambda r: seen * torch.fft.ifftn(torch.fft.fftn(seen * r, dim=axes).mul_(scale), dim=axes) + unseen * r

    @property
    def norm_bound(self) -> Tensor:
        """``max mask * max over pixels of sigma_max(maps(pixel))``, a bound of ``|A|`` since F is unitary.

        Proved; exact when every sample is measured. Shape ``(batch or 1,)``.
        """
        maps = self.weighted_maps.detach()
        if self.sets == 1:
            energy = torch.zeros(maps.shape[0], *maps.shape[2:], dtype=torch.float64, device=maps.device)
            for one in maps.unbind(1):  # one coil in double precision at a time
                energy += one.real.double().square() + one.imag.double().square()
        else:
            maps = maps.to(torch.complex128)
            gram = torch.einsum("bcs...,bct...->b...st", maps.conj(), maps)
            energy = torch.linalg.eigvalsh(gram)[..., -1]
        encode = self.encode.detach().to(torch.complex128).abs()  # the mask, times the rounded phases
        largest = torch.maximum(encode.square(), self.power.detach()).flatten(1).amax(1) * energy.flatten(1).amax(1)
        return largest.sqrt() * (1 + 8 * torch.finfo(self.power.dtype).eps)

    @property
    def magnitude(self) -> Tensor:
        """See `magnitude_of`."""
        return self.unit

    @property
    def support(self) -> Tensor:
        """The pixels in which some map is not zero, ``(batch or 1, [set], *lead or 1, *spatial)``."""
        return self.seen

    def measured(self, y: KSpace) -> KSpace:
        """``y`` where the mask is not zero."""
        return (self.power != 0) * y

    @property
    def frequency(self) -> Tensor:
        """See `LinearOperator.frequency`: over the axes along which the mask varies; the others are of length 1."""
        return grid_frequency(self.power.detach(), self._normal_axes)

    def weighted(self, w: Tensor) -> SENSE:
        """``diag(w) A``, with the maps of A."""
        new = self._map(lambda t: t, lambda part: part)
        new._buffers["encode"], new._buffers["power"] = self.encode * w, self.power * w.square()
        new._buffers["diagonal"] = density(self.energy, new.power.detach(), self._normal_axes, self.sets)
        return new

    def by_frame(self, y: KSpace) -> Tensor:
        """See `LinearOperator.by_frame`: ``(batch, *lead, coil * samples)``."""
        return y.movedim(1, -1 - self.ndim).flatten(-1 - self.ndim)

    def noise(self, y: KSpace) -> Tensor:
        """`estimate_noise` of the outer k-space; values of y that were not measured are ignored."""
        self._check_kspace(y)
        return estimate_noise(self.measured(y), self.ndim)

    def _combined(self, coil_images: Callable[[slice], Tensor]) -> Tensor:
        """``sum_c conj(maps_c) v_c`` of coil images v that are computed chunk by chunk, and overwritten.

        Computed in place as ``conj(sum_c maps_c conj(v_c))``: a third of the time of the direct formula.
        """
        total: Tensor | None = None
        for coils in self._chunks():
            maps, v = self.weighted_maps[:, coils], coil_images(coils).conj_physical_()
            if total is not None and self.coil_chunk == self.sets == 1:
                total = total.addcmul_(maps[:, 0], v[:, 0])
            else:
                part = _weighted_sum(maps, v, self.sets)
                total = part if total is None else total + part
        assert total is not None
        return total.conj_physical()

    def _chunks(self) -> list[slice]:
        return [slice(first, first + self.coil_chunk) for first in range(0, self.n_coils, self.coil_chunk)]

    def _check_kspace(self, y: Tensor) -> None:
        if y.shape[1] != self.n_coils:
            raise ShapeError(
                f"k-space has {y.shape[1]} coils (axis 1) but the maps have {self.n_coils}. "
                "Pass k-space and maps of the same scan."
            )
        if not fits(y.shape[2:], self.lead, self.spatial):
            raise ShapeError(
                f"k-space has axes {tuple(y.shape[2:])} after batch and coil but the operator has "
                f"{(*self.lead, *self.spatial)} (lead, spatial). Pass k-space of the scan the maps belong to."
            )
        check_batch(self.batch, y, "k-space")

    def _check_image(self, x: Tensor) -> None:
        sets = (self.sets,) if self.sets > 1 else ()
        if tuple(x.shape[1 : 1 + len(sets)]) != sets or not fits(x.shape[1 + len(sets) :], self.lead, self.spatial):
            expected = sets + self.lead + self.spatial
            raise ShapeError(
                f"image has axes {tuple(x.shape[1:])} after the batch but the operator maps {expected} "
                f"({'set, ' if self.sets > 1 else ''}lead, spatial). Pass an image of that shape."
            )
        check_batch(self.batch, x, "image")


def _expand(maps: Tensor, x: Tensor, sets: int) -> Tensor:
    """``sum_s maps_cs x_s``: images to coil images."""
    return maps * x.unsqueeze(1) if sets == 1 else (maps * x.unsqueeze(1)).sum(2)


def _weighted_sum(maps: Tensor, v: Tensor, sets: int) -> Tensor:
    """``sum_c maps_cs v_c``, as a sum of reals (faster); overwrites v unless the gradient of the maps needs it."""
    if sets > 1:
        weighted = maps * v.unsqueeze(2)
    else:
        weighted = maps * v if maps.requires_grad else v.mul_(maps)
    return torch.view_as_complex(torch.view_as_real(weighted).sum(1))
