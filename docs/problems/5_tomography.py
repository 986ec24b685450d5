"""
Computed tomography
===================

Parallel rays from 40 angles, where 150 would be needed for a picture of 96 pixels. A is a projector without a matrix,
whose adjoint is exact, and whose norm is bounded by a proof.
"""

import math

import matplotlib.pyplot as plt
import skimage.data
import torch
from skimage.transform import iradon, resize

import resolvent as rv
from resolvent.data import metrics
from resolvent.figures import comparison
from resolvent.linop import ParallelBeam

phantom = torch.from_numpy(resize(skimage.data.shepp_logan_phantom(), (96, 96), anti_aliasing=True))
phantom = phantom.to(torch.complex64)[None]
angles = torch.arange(40) * math.pi / 40
A = ParallelBeam(angles, (96, 96))

torch.manual_seed(0)
sigma = 0.005 * A(phantom).real.max().item()
y = A(phantom)
y = y + sigma * torch.randn(y.shape)

figure, axes = plt.subplots(figsize=(6, 2.6), layout="constrained")
axes.imshow(y[0].real, cmap="gray", aspect="auto")
axes.set(xlabel="detector", ylabel="angle", title="Measurements")

# %%
# Filtered back projection (scikit-image's) is the classical answer; it takes the gaps between the angles for
# measurements.

model = rv.load("photo")
recon = model.solve(y, A, noise=sigma)
print(recon)

sinogram = (y[0].real * A.size).T.double().numpy()
middle = (sinogram.shape[0] - 96) // 2
back = iradon(sinogram[middle : middle + 97][:96], theta=angles.rad2deg().numpy(), circle=True)
images = {"FBP": torch.from_numpy(back)[None] + 0j, "Tikhonov": rv.sense(y, A, noise=sigma), "model": recon.image}
comparison(
    "out/tomography.png",
    images,
    reference=phantom,
    scores={name: metrics(phantom, image) for name, image in images.items()},
    residuals=recon.solution.residuals,
    title="40 angles",
    caption=recon.certificate.text,
)
