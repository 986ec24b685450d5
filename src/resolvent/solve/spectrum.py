"""The smallest or the largest eigenvalue of a real-symmetric operator, by the Lanczos method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from resolvent._errors import DataError
from resolvent.solve.vectors import along, as_images, as_real, inner, norm


@dataclass(frozen=True)
class Ritz:
    """An approximate eigenpair of each sample, and how good it is.

    Attributes:
        value: ``theta = <v, M v>``, ``(batch,)``. The smallest Ritz value is an UPPER bound of the smallest
            eigenvalue, the largest a lower bound of the largest.
        vector: v, of norm 1, ``(batch, ...)``.
        residual: ``|M v - theta v|``, ``(batch,)``: some eigenvalue lies within this distance of theta. That it is the
            extreme one is the aim of the method, but not proved. Infinite where M gave numbers that are not finite.
        steps: Lanczos steps each sample took, int64 ``(batch,)``.
    """

    value: Tensor
    vector: Tensor
    residual: Tensor
    steps: Tensor


def lanczos(
    matvec: Callable[[Tensor], Tensor],
    like: Tensor,
    *,
    largest: bool = False,
    steps: int = 50,
    tol: float = 1e-6,
    start: Tensor | None = None,
    seed: int = 0,
) -> Ritz:
    """An extreme eigenvalue of M for each sample, where ``<a, M b> = <M a, b>`` with ``<a, b> = Re a^H b``.

    Complex samples count as pairs of reals: M need only be real-linear. Step k applies M to ``q_k``, removes the
    components along ``q_1, ..., q_k`` (twice, so that the vectors stay orthonormal to rounding) and normalises the rest
    to ``q_k+1``. In that basis M is tridiagonal; v belongs to the extreme eigenvalue of that small matrix.

    A sample stops when ``|M v - theta v| <= tol |M|``, |M| the largest Ritz value in magnitude, or when the Krylov
    space of the start is exhausted; from then on its numbers do not depend on the other samples. A start without a
    component along the wanted eigenvector leads to another eigenvalue. Memory: `steps` images for each sample.

    Args:
        matvec: M applied to a batch ``(batch, ...)``.
        like: a tensor with the shape, dtype and device of the samples, real or complex.
        largest: the largest eigenvalue instead of the smallest.
        steps: maximum number of Lanczos steps; each applies M once, and the final residual once more.
        tol: requested accuracy, relative to the norm of M.
        start: ``(batch, ...)``; random by default.
        seed: of the random start.

    Raises:
        DataError: the start of a sample is zero or not finite.

    Source: C. Lanczos, J. Res. Nat. Bur. Stand. 45:255-282 (1950); B. N. Parlett, The Symmetric Eigenvalue Problem
    (SIAM 1998), chapters 11 and 13.

    >>> import torch
    >>> d = torch.tensor([3.0, -1.0, 2.0])
    >>> ritz = lanczos(lambda x: d * x, torch.zeros(1, 3))
    >>> round(ritz.value.item(), 4), ritz.steps.item()
    (-1.0, 3)
    """
    size = as_real(like).shape[1]
    with torch.no_grad():
        q = as_real(_random(like, seed) if start is None else start.detach())
        length = norm(q)
        if not bool(((length > 0) & torch.isfinite(length)).all()):
            raise DataError("the start of a sample is zero or not finite. Leave it out for a random one.")
        q = q / along(length, q)
        basis = q.unsqueeze(1)  # (batch, k, size)
        small = torch.zeros(len(q), 0, 0, dtype=torch.float64, device=q.device)
        vector, taken = q.clone(), torch.zeros(len(q), dtype=torch.int64, device=q.device)
        running = torch.ones(len(q), dtype=torch.bool, device=q.device)
        for step in range(1, min(steps, size) + 1):
            w = as_real(matvec(as_images(q, like)))
            diagonal = inner(q, w)
            for _ in range(2):
                w = w - (basis.mT @ (basis @ w.unsqueeze(2))).squeeze(2)
            beta = norm(w)
            small = _grown(small, diagonal)
            sound = torch.isfinite(small).flatten(1).all(1)
            values, vectors = torch.linalg.eigh(torch.where(along(sound, small), small, torch.zeros_like(small)))
            extreme = vectors[:, :, -1 if largest else 0]
            scale = values.abs().amax(1)
            # Once the basis spans an invariant subspace, the rest of w is rounding.
            exhausted = beta <= 10 * size**0.5 * torch.finfo(q.dtype).eps * torch.maximum(scale, diagonal.abs())
            accurate = beta * extreme[:, -1].abs() <= tol * scale
            ritz = (extreme.unsqueeze(1).to(q.dtype) @ basis).squeeze(1)
            vector = torch.where(along(running, q), ritz, vector)
            taken += running
            running = running & sound & torch.isfinite(beta) & ~exhausted & ~accurate
            if step == min(steps, size) or not bool(running.any()):
                break
            q = torch.where(along(running, w), w / along(torch.where(running, beta, 1), w), 0)
            basis = torch.cat([basis, q.unsqueeze(1)], 1)
            small = _coupled(small, torch.where(running, beta, 0))
        vector = vector / along(norm(vector), vector)
        image = as_real(matvec(as_images(vector, like)))
        value = inner(vector, image)
        residual = norm(image - along(value, image) * vector)
    return Ritz(value, as_images(vector, like), residual.where(torch.isfinite(residual), torch.inf), taken)


def _grown(small: Tensor, diagonal: Tensor) -> Tensor:
    """The tridiagonal matrix with its last diagonal entry; except for the first, `_coupled` has made room for it."""
    if not small.shape[1]:
        return diagonal.double().reshape(-1, 1, 1)
    small = small.clone()
    small[:, -1, -1] = diagonal
    return small


def _coupled(small: Tensor, beta: Tensor) -> Tensor:
    """The matrix with one more row and column, coupled to the last by beta."""
    small = torch.nn.functional.pad(small, (0, 1, 0, 1))
    small[:, -1, -2] = small[:, -2, -1] = beta.double()
    return small


def _random(like: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(like.shape, dtype=like.dtype, device="cpu", generator=generator).to(like.device)
