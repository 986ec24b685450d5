"""DE-GRAD: the fixed point of gradient steps with an ordinary network."""

from __future__ import annotations

from torch import Tensor

from resolvent._types import Image
from resolvent.mol.baselines.network import Baseline, Denoiser, noise_level
from resolvent.mol.units import UnitScan
from resolvent.solve import along, fixed_point, implicit, tracked
from resolvent.solve.implicit import VectorJacobian


class DEGrad(Baseline):
    """Deep equilibrium of gradient steps: ``x = x - g (lam A^H (A x - b) + D(x))``, from SENSE.

    ``D(x) = x + cnn([x, noise])`` is an ordinary network: nothing is proved. There may be several fixed points or none,
    which one is found may depend on the start, and the image is returned even if the solve did not converge. The step
    ``g = 1 / (1 + lam)`` does not move the fixed points, so it has no gradient. The memory is that of one evaluation.

    Args:
        channels: width of the hidden layers.
        depth: number of convolutions.
        lam: weight of the data at the start of training, positive. The larger, the slower.
        normalise: work in the units of the scan, see `ScanUnits`.
        ndim: axes convolved, 2 or 3.

    Attributes:
        tol: length of the last step, relative to the image.
        max_steps: maximum number of evaluations, and of those for the gradient.
        adjoint_tol: the same as `tol` for the adjoint equation.

    Source: D. Gilton, G. Ongie, R. Willett, IEEE TCI 7:1123-1133 (2021), eq. 10.

    >>> import torch
    >>> from resolvent import SENSE
    >>> A = SENSE(torch.ones(1, 1, 8, 8, dtype=torch.complex64), torch.ones(8, 8))
    >>> y = torch.randn(1, 1, 8, 8, dtype=torch.complex64)
    >>> DEGrad(channels=4, depth=2)(y, A, noise=0.01).shape
    torch.Size([1, 8, 8])
    """

    def __init__(
        self,
        channels: int = 40,
        depth: int = 5,
        lam: float = 10.0,
        normalise: bool = False,
        ndim: int = 2,
    ) -> None:
        super().__init__(lam, normalise=normalise, ndim=ndim, channels=channels, depth=depth)
        self.network = Denoiser(channels, depth, ndim)
        self.tol, self.max_steps, self.adjoint_tol = 1e-4, 100, 1e-3

    def reconstruct(self, scan: UnitScan) -> Image:
        """The fixed point, with the gradient of the equation that it solves."""
        level = noise_level(scan, self.ndim)
        step = along((1 / (1 + scan.lam)).detach(), scan.data)

        def slope(x: Tensor) -> Tensor:
            return along(scan.lam, x) * scan.A.normal(x) - scan.data + scan.seen(x + self.network(x, level))

        start = scan.context.sense
        x = fixed_point(lambda x: x - step * slope(x), start, tol=self.tol, max_steps=self.max_steps).x
        if not tracked(scan.data, scan.lam, level, self, scan.A):
            return x

        def adjoint_solve(vector_jacobian: VectorJacobian, v: Tensor) -> Tensor:
            def adjoint_step(w: Tensor) -> Tensor:
                return w - step * (vector_jacobian(w) - v)

            return fixed_point(adjoint_step, v, tol=self.adjoint_tol, max_steps=self.max_steps).x

        return implicit(x, slope, adjoint_solve)
