"""
Your first scan
===============

Read a scan, reconstruct it, and see what is known about the image. The scan comes with the package: one slice of a
head, 8 coils, a sixth of the samples. Your own scan is read in the same way, whatever its :doc:`format </formats>`.
"""

from pathlib import Path

import resolvent as rv

demo = Path(rv.__file__).parent / "scans" / "demo.h5"
scan = rv.read(demo)
print(scan.kspace.shape)  # batch, coil, y, x
print(f"{scan.mask.mean():.0%} of the samples were measured; noise {scan.noise:.2g}")

# %%
# A scan is an operator and its measurements
# ------------------------------------------
# ``A`` is the forward operator: coils, Fourier transform, sampling. If the file has no coil maps, ``scan.maps``
# estimates them from the centre of k-space.
#
# The model is a learned operator F. The image is the one solution of ``lam A^H (A x - b) + F(x) = 0``, and ``tol``
# says how close to it you want to be. The file states the noise level; without ``noise`` it is estimated from k-space.

A = scan.operator()
model = rv.load("brain-2d")
recon = model.solve(scan.kspace, A, noise=scan.noise, tol=1e-3)
print(recon)

# %%
# Two plain reconstructions for comparison
# ----------------------------------------
# The zero-filled image is ``A^H b``. SENSE has a quadratic regulariser in place of F.

from resolvent.data import metrics
from resolvent.figures import comparison

images = {
    "zero_filled": A.adjoint(scan.kspace),
    "sense": rv.sense(scan.kspace, A, noise=scan.noise),
    "model": recon.image,
}
scores = {name: metrics(scan.reference, image) for name, image in images.items()}
comparison(
    "out/first.png",
    images,
    reference=scan.reference,
    scores=scores,
    residuals=recon.solution.residuals,
    title="A first scan",
    caption=recon.certificate.text,
)

# %%
# What was spent, and what is known
# ---------------------------------
# The solution says how the solver ended, the certificate what is proved about the image: see :doc:`what the
# certificate means </gallery/tutorials/5_certificate>`.

print(recon.solution.status, recon.solution.evaluations, "evaluations of the network")
print("proved:", recon.certificate.proved, "· tier:", recon.certificate.tier)
print(f"at most {recon.certificate.distance:.1e} of |x| from the exact solution")

# %%
# Save it
# -------
# With ``like=scan`` the image keeps the position of the scan in the patient. ``write`` adds ``head.json`` beside it,
# with model, residual and certificate.

rv.write(recon, "out/head.nii.gz", like=scan)
print(sorted(file.name for file in Path("out").iterdir()))

# %%
# The same from the command line
# ------------------------------
# ``--report`` adds a :doc:`page to look at </report>`: one file, which needs no network connection.

from subprocess import check_output

rv.write(scan, "out/scan.h5")
command = "resolvent recon out/scan.h5 -o out/again.nii.gz --report out/again.html"
print(check_output(command.split(), text=True))
