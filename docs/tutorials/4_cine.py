"""
Cine: 2-D and time
==================

A series of frames is one scan: time is an axis that A carries along, ``(batch, coil, time, y, x)``. Each frame has its
own mask, so that samples missing in one frame are measured in another.
"""

import matplotlib.pyplot as plt
import torch

import resolvent as rv
from resolvent.data import metrics
from resolvent.figures import comparison

# %%
# A beating ring
# --------------
# Six frames; the radius of the inner wall changes with time.

frames, rows, columns = torch.meshgrid(
    torch.arange(6) / 6,
    torch.linspace(-1, 1, 48),
    torch.linspace(-1, 1, 48),
    indexing="ij",
)
beat = torch.cos(2 * torch.pi * frames)
radius = (rows**2 + columns**2).sqrt()
chest = 0.35 * ((rows / 0.9) ** 2 + (columns / 0.8) ** 2 < 1)
heart = 0.5 * (radius < 0.55 + 0.03 * beat) + 0.3 * (radius < 0.32 + 0.09 * beat)
scan = rv.simulate(
    (chest + heart)[None], n_coils=8, acceleration=4, mask_kind="gaussian1d", seed=0
)
print(scan.kspace.shape)  # batch, coil, time, y, x

# %%
# Reconstruct
# -----------
# ``SENSE`` knows nothing of time: axes before the spatial ones are carried along. The packaged model ``cine``
# starts from a reconstruction of all frames together, and sees frames and the planes along time. ``brain-2d`` sees
# each frame by itself.

A = scan.operator()
recon = rv.load("cine").solve(scan.kspace, A, tol=1e-2)
print(recon)
by_frame = rv.load("brain-2d").solve(scan.kspace, A, tol=1e-2)
for name, image in {"cine": recon.image, "brain-2d": by_frame.image}.items():
    print(f"{name}: {metrics(scan.reference, image)['psnr']:.2f} dB")

images = {
    "zero_filled": A.adjoint(scan.kspace),
    "sense": rv.sense(scan.kspace, A),
    "model": recon.image,
}
comparison(
    "out/cine.png",
    images,
    reference=scan.reference,
    scores={name: metrics(scan.reference, image) for name, image in images.items()},
    residuals=recon.solution.residuals,
    title="Cine, 6 frames, R = 4, a frame in the middle",
    caption=recon.certificate.text,
)

# %%
# Follow one line through time
# ----------------------------
# The row through the middle, frame by frame: a moving wall appears as an edge in these images.

figure, panels = plt.subplots(1, 4, figsize=(10, 2.4), layout="constrained")
titles = ("Zero-filled", "SENSE", "Model", "Reference")
shown = (*images.values(), scan.reference)
for axes, title, image in zip(panels, titles, shown, strict=True):
    axes.imshow(image[0, :, 24].abs(), cmap="gray", vmin=0, vmax=1.2, aspect="auto")
    axes.set(title=title, xlabel="x", ylabel="frame")

# %%
# Files
# -----
# NIfTI keeps the frames as its fourth axis. The :doc:`report </report>` of ``resolvent recon --report`` plays them.

rv.write(recon, "out/cine.nii.gz", like=scan)
