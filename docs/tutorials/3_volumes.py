"""
3-D
===

In a 3-D scan two axes are phase encoded, and both can be undersampled. The code stays the same: images have one
more spatial axis, ``(batch, z, y, x)``, and ``A`` has ``ndim=3``.
"""

import torch

import resolvent as rv
from resolvent.data import metrics
from resolvent.figures import comparison

# %%
# A volume
# --------
# Here ellipsoids stand for a head. Read your own with ``rv.read``, from any format that holds 3-D k-space.

z, y, x = torch.meshgrid(
    *(torch.linspace(-1, 1, n) for n in (12, 64, 56)), indexing="ij"
)
radius = (z / 1.3) ** 2 + (y / 0.85) ** 2 + (x / 0.75) ** 2
tissue = 0.7 + 0.3 * torch.cos(8 * y + 2 * z) * torch.cos(9 * x)
head = (radius < 1) * tissue * (1 + 0.4 * (radius > 0.8))
head[((z - 0.1) ** 2 + (y / 0.25) ** 2 + ((x.abs() - 0.2) / 0.1) ** 2) < 1] = 0.15

scan = rv.simulate(head[None], ndim=3, n_coils=8, acceleration=6, seed=0)
print(scan.kspace.shape)  # batch, coil, z, y, x

# %%
# Reconstruct
# -----------
# The packaged model convolves planes. The volume is still one equation: A couples all planes, F acts on
# each, and one certificate holds for the whole volume.

A = scan.operator()
model = rv.load("brain-2d")
recon = model.solve(scan.kspace, A, tol=1e-3)
print(recon)

# %%
# The figure shows the middle plane; the :doc:`report </report>` of a volume scrolls through all of them.

images = {
    "zero_filled": A.adjoint(scan.kspace),
    "sense": rv.sense(scan.kspace, A),
    "model": recon.image,
}
comparison(
    "out/volume.png",
    images,
    reference=scan.reference,
    scores={name: metrics(scan.reference, image) for name, image in images.items()},
    residuals=recon.solution.residuals,
    title="3-D, R = 6, middle plane",
    caption=recon.certificate.text,
)

# %%
# With a position in the patient, the file is a volume that any viewer opens:

import numpy as np

affine = np.diag([-2.0, -2.0, 3.0, 1.0])  # 2 x 2 x 3 mm
rv.write(recon, "out/volume.nii.gz", like=scan.replace(geometry=rv.Geometry(affine)))

# %%
# Planes in every direction
# -------------------------
# ``brain-3d`` applies a network like that of ``brain-2d`` to the planes across all three axes. F is the mean of the
# three, so it is strictly monotone with the same constants. Each voxel is seen in three planes, whose errors differ.
# This takes three times the evaluations of planes, and three times the features in memory.

planes = rv.load("brain-3d").solve(scan.kspace, A, tol=1e-3)
print(planes)
for name, image in (("brain-2d", recon.image), ("brain-3d", planes.image)):
    print(name, metrics(scan.reference, image))

# %%
# A network that convolves in 3-D
# -------------------------------
# ``ndim=3`` makes every score three-dimensional, with the same constants, proved in the same way. :doc:`/train` says
# how to train one.

from resolvent.monotone import CertifiedStack

torch.manual_seed(0)
volumes = rv.MOL(
    CertifiedStack(m=0.1, channels=8, layers=2, ndim=3),
    lam=100.0,
    normalise=True,
)
print(volumes.solve(scan.kspace, A))  # untrained: certified, and no good
