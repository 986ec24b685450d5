"""
Super-resolution
================

A camera has coarse pixels: the picture is blurred, and every second pixel is read out. ``@`` composes operators, and
their norms with them.
"""

import skimage.data
import torch

import resolvent as rv
from resolvent.data import metrics
from resolvent.figures import comparison
from resolvent.linop import Blur, Decimation

picture = torch.from_numpy(skimage.data.chelsea()[60:156, 90:186].mean(-1) / 255).to(
    torch.complex64
)[None]

rows, columns = torch.meshgrid(torch.arange(-3, 4), torch.arange(-3, 4), indexing="ij")
kernel = torch.exp(-(rows**2 + columns**2) / (2 * 0.9**2))
A = Decimation(2, (96, 96)) @ Blur(kernel / kernel.sum(), (96, 96))
print("|A| <=", round(A.norm_bound.item(), 6))

torch.manual_seed(0)
sigma = 0.01
y = A(picture)
y = y + sigma * torch.randn(y.shape)
print(y.shape)

# %%
# Each pixel that was read out has to determine four. Bicubic interpolation is the usual solution. Tikhonov prefers
# small values, so the pixels in between come out too dark and form a grid.

model = rv.load("photo")
recon = model.solve(y, A, noise=sigma)
print(recon)

bicubic = (
    torch.nn.functional.interpolate(y.real[None], (96, 96), mode="bicubic")[0] + 0j
)
images = {
    "Bicubic": bicubic,
    "Tikhonov": rv.sense(y, A, noise=sigma),
    "model": recon.image,
}
comparison(
    "out/super_resolution.png",
    images,
    reference=picture,
    scores={name: metrics(picture, image) for name, image in images.items()},
    residuals=recon.solution.residuals,
    title="Every second pixel, 1 % noise",
    caption=recon.certificate.text,
)
