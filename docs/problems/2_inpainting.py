"""
Missing pixels
==============

Two thirds of the pixels are unknown. A is a mask, and F has to fill in the rest.
"""

import skimage.data
import torch

import resolvent as rv
from resolvent.data import metrics
from resolvent.figures import comparison
from resolvent.linop import Sampling

picture = torch.from_numpy(skimage.data.chelsea()[60:156, 90:186].mean(-1) / 255).to(
    torch.complex64
)[None]

torch.manual_seed(0)
mask = (torch.rand(1, 96, 96) < 1 / 3).float()
A = Sampling(mask)
sigma = 0.01
y = A(picture + sigma * torch.randn(picture.shape))

# %%
# Total variation was the usual method before networks: a picture with few edges that matches the known pixels.

from resolvent.mol.baselines import total_variation

model = rv.load("photo")
recon = model.solve(y, A, noise=sigma)
print(recon)

images = {
    "Measured": y,
    "Total variation": total_variation(y, A, weight=0.02, noise=sigma),
    "model": recon.image,
}
comparison(
    "out/inpainting.png",
    images,
    reference=picture,
    scores={name: metrics(picture, image) for name, image in images.items()},
    residuals=recon.solution.residuals,
    title="A third of the pixels",
    caption=recon.certificate.text,
)
