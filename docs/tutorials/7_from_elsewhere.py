"""
From BART, SigPy and deepinv
============================

You have code and files already. This page says what is called what here, and checks it where the other library is
installed.
"""

import sigpy as sp
import sigpy.mri as mr
import torch

import resolvent as rv

# %%
# Axes
# ----
# .. list-table::
#    :header-rows: 1
#    :widths: 16 50 34
#
#    * -
#      - k-space
#      - Fourier transform
#    * - here
#      - ``(batch, coil, *lead, y, x)``, ``(batch, coil, *lead, z, y, x)``
#      - centred, orthonormal
#    * - BART
#      - ``READ, PHASE1, PHASE2, COIL, MAPS, ...``: x, y, z, coil; sixteen axes, the first one runs fastest
#      - ``bart fft -u``: centred, orthonormal
#    * - SigPy
#      - ``(coil, y, x)``, ``(coil, z, y, x)``
#      - ``sigpy.fft``: centred, orthonormal
#    * - deepinv
#      - ``(batch, 2, coil, y, x)``: real and imaginary part as channels
#      - ``MultiCoilMRI``: centred, orthonormal
#
# SigPy
# -----
# A batch axis is all that is missing. SENSE of SigPy and SENSE of this library agree on the same maps:

scan = rv.simulate(torch.ones(48, 40), n_coils=4, acceleration=3, seed=0)
A = rv.SENSE(scan.maps, scan.mask)
theirs = mr.linop.Sense(scan.maps[0].numpy(), weights=scan.mask[0].numpy())
ours = A.adjoint(scan.kspace)[0]
other = torch.from_numpy(theirs.H(scan.kspace[0].numpy()))
print(f"A^H y differs by {((ours - other).norm() / ours.norm()).item():.0e}")

# %%
# What ``sigpy.mri.app.SenseRecon(y, maps, lamda=0.01).run()`` gives is ``rv.sense(y, A, weight=1 / 0.01)``.
# Wavelets (``L1WaveletRecon``) and total variation (``TotalVariationRecon``) are here, too, see :doc:`the
# comparison with them </evaluate>`. ESPIRiT maps (``EspiritCalib``) are estimated where a scan has none.

image = torch.from_numpy(
    mr.app.SenseRecon(scan.kspace[0].numpy(), scan.maps[0].numpy(), lamda=0.01, show_pbar=False).run()
)
mine = rv.sense(scan.kspace, A, weight=100.0)[0]
print(f"regularised SENSE differs by {((mine - image).norm() / mine.norm()).item():.0e}")

# %%
# Operators of SigPy are operators here after six lines; ``resolvent.testing`` checks such a class.

from resolvent.linop import LinearOperator


class FromSigPy(LinearOperator):
    """A linear operator of SigPy, one for each sample of the batch."""

    def __init__(self, linop: sp.linop.Linop, norm: float) -> None:
        super().__init__()
        self.linop, self.norm = linop, norm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.from_numpy(self.linop(one.numpy())) for one in x])

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.from_numpy(self.linop.H(one.numpy())) for one in y])

    @property
    def norm_bound(self) -> torch.Tensor:
        return torch.full((1,), self.norm, dtype=torch.float64)


model = rv.load("brain-2d")
B = FromSigPy(theirs, norm=1.0)
with_theirs = model.solve(scan.kspace, B, noise=scan.noise, tol=1e-4)
with_ours = model.solve(scan.kspace, A, noise=scan.noise, tol=1e-4)
print(f"the same image, to {((with_theirs.image - with_ours.image).norm() / with_ours.image.norm()).item():.0e}")

# %%
# BART
# ----
# ``.cfl`` files are read and written as they are; maps of ``bart ecalib`` are passed with ``--maps``.
#
# .. code-block:: text
#
#    bart ecalib -m1 kspace maps
#    resolvent recon kspace.cfl --maps maps.cfl -o image.cfl
#    bart toimg image image.png
#
# ``bart pics -l2 -r 0.01 kspace maps image`` is SENSE with a quadratic regulariser, as ``rv.sense``; ``bart pics -R
# W:3:0:0.01`` is the wavelet reconstruction that ``resolvent evaluate --baselines`` runs.

rv.write(scan, "out/kspace.cfl")
print(torch.equal(rv.read("out/kspace.cfl").kspace, scan.kspace))

# %%
# deepinv
# -------
# Complex images are two real channels there: ``torch.view_as_real(x).movedim(-1, 1)`` goes there,
# ``torch.view_as_complex(x.movedim(1, -1).contiguous())`` comes back. With that a ``LinearPhysics`` is an operator
# here, by its ``A`` and ``A_adjoint``:
#
# .. code-block:: python
#
#    class FromDeepinv(LinearOperator):
#        def __init__(self, physics, norm):
#            super().__init__()
#            self.physics, self.norm = physics, norm
#
#        def forward(self, x):
#            return joined(self.physics.A(split(x)))
#
#        def adjoint(self, y):
#            return joined(self.physics.A_adjoint(split(y)))
#
#        @property
#        def norm_bound(self):
#            return torch.full((1,), self.norm, dtype=torch.float64)
#
# A bound of the norm must be proved, since the certificate rests on it: 1 for a mask and an orthonormal transform
# with maps of unit sum of squares. What ``physics.compute_norm`` returns is an estimate from below.
