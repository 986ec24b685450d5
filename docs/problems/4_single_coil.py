"""
Single-coil MRI
===============

One coil with uniform sensitivity, and a quarter of k-space. A is a Fourier transform and a mask. The model was trained
on photographs only, not on heads.
"""

from pathlib import Path

import torch
from torch.nn.functional import interpolate

import resolvent as rv
from resolvent.data import make_mask, metrics
from resolvent.figures import comparison
from resolvent.linop import fourier

# %%
# The magnitude of the demo scan at 96 x 80 pixels is the ground truth.

demo = rv.read(Path(rv.__file__).parent / "scans" / "demo.h5")
head = interpolate(demo.reference.abs()[None], (96, 80), mode="area")[0]
head = (head / head.max()).to(torch.complex64)

mask = make_mask("gaussian2d", (96, 80), 4, seed=0)
A = fourier(mask)

torch.manual_seed(0)
sigma = 0.02
y = A(head) + sigma * mask * torch.randn(1, 1, 96, 80, dtype=torch.complex64)

# %%
# Here the noise level is estimated from the outer samples of k-space, where there is hardly any signal, so you need
# not give it. On such a small matrix fine detail of the head reaches that far and is taken for noise: the estimate is
# somewhat too high.

model = rv.load("photo")
recon = model.solve(y, A)
print(recon)
print(f"noise as estimated {A.noise(y).item():.3f}, in truth {sigma}")
told = model.solve(y, A, noise=sigma)

images = {
    "zero_filled": A.adjoint(y),
    "Tikhonov": rv.sense(y, A),
    "model": recon.image,
    "Noise told": told.image,
}
comparison(
    "out/single_coil.png",
    images,
    reference=head,
    scores={name: metrics(head, image) for name, image in images.items()},
    residuals=recon.solution.residuals,
    title="One coil, R = 4",
    caption=recon.certificate.text,
)

# %%
# There is little to gain here, as a single coil has no other information on the samples that were left out: a quarter
# of a decibel over the zero-filled image, and 0.7 dB if the true noise level is given.
