"""
Blur
====

A photograph is out of focus, with a known blur kernel and a little noise. A is the convolution with the kernel.
"""

import skimage.data
import torch

import resolvent as rv
from resolvent.data import metrics
from resolvent.figures import comparison
from resolvent.linop import Blur

# %%
# The measurements
# ----------------
# A cat that the model was not trained on. Pictures are real, and are stored as complex numbers without an imaginary
# part.

picture = torch.from_numpy(skimage.data.chelsea()[60:156, 90:186].mean(-1) / 255).to(
    torch.complex64
)[None]
rows, columns = torch.meshgrid(torch.arange(-6, 7), torch.arange(-6, 7), indexing="ij")
kernel = torch.exp(-(rows**2 + columns**2) / (2 * 1.6**2))
A = Blur(kernel / kernel.sum(), (96, 96))

torch.manual_seed(0)
sigma = 0.01
y = A(picture) + sigma * torch.randn(picture.shape)

# %%
# The solution
# ------------
# The noise level cannot be estimated from such measurements, so you have to give it. Tikhonov is the same equation
# with a quadratic regulariser in place of F.

model = rv.load("photo")
recon = model.solve(y, A, noise=sigma)
print(recon)

images = {"Measured": y, "Tikhonov": rv.sense(y, A, noise=sigma), "model": recon.image}
comparison(
    "out/blur.png",
    images,
    reference=picture,
    scores={name: metrics(picture, image) for name, image in images.items()},
    residuals=recon.solution.residuals,
    title="Blur of 1.6 pixels, 1 % noise",
    caption=recon.certificate.text,
)

# %%
# At the border
# -------------
# The blur above wraps around, as the Fourier transform does. The blur of a camera does not: with ``boundary="zero"``
# nothing comes in from outside. A then has no fast inverse, and nothing else changes.

B = Blur(kernel / kernel.sum(), (96, 96), boundary="zero")
print(model.solve(B(picture) + sigma * torch.randn(picture.shape), B, noise=sigma))
