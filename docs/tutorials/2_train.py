"""
Train on your data
==================

Two steps lead from a few image files to a model with a card: write a YAML file with the settings, and run one command.
Here the images are toys and the steps are few, so that this page is built in seconds; :doc:`/train` describes real
runs in full.
"""

from pathlib import Path
from subprocess import check_output

import matplotlib.pyplot as plt
import nibabel
import numpy as np

import resolvent as rv

# %%
# Images
# ------
# One NIfTI file for each subject, with its slices stacked. Fully sampled scans, in any format that ``resolvent
# recon`` reads, work equally well.

rows, columns = np.meshgrid(
    np.linspace(-1, 1, 48), np.linspace(-1, 1, 48), indexing="ij"
)
for subject in range(4):
    random = np.random.default_rng(subject)
    slices = []
    for _ in range(3):
        (y, x), (height, width, grey) = (
            random.uniform(-0.5, 0.5, (2, 6)),
            random.uniform(0.15, 0.6, (3, 6)),
        )
        parts = zip(y, x, height, width, grey, strict=True)
        slices.append(
            sum(
                g * (((rows - b) / h) ** 2 + ((columns - a) / w) ** 2 < 1)
                for b, a, h, w, g in parts
            )
        )
    nibabel.save(
        nibabel.Nifti1Image(np.stack(slices, -1), np.eye(4)),
        f"out/subject{subject}.nii.gz",
    )

# %%
# Settings
# --------
# Every setting that is left out has a default; ``resolvent train --schema`` prints all settings with their meanings.
# No subject may be in both lists. The learning rate and the network size are for a toy.

Path("out/toy.yaml").write_text(
    """\
name: toy
model:
  kind: MOL
  score: {kind: CertifiedStack, m: 0.1, channels: 8, layers: 3, trunk_layers: 2}
  lam: 100
  normalise: true
data:
  folder: out
  train: [subject0.nii.gz, subject1.nii.gz, subject2.nii.gz]
  validation: [subject3.nii.gz]
  scans: {matrix: [40, 48], coils: [4], acceleration: [2.0, 4.0]}
optimiser: {steps: 40, rate: 0.01, warmup: 5, average: 0.9}
validation: {every: 10, scans: 3}
"""
)

# %%
# Train
# -----
# A run that was killed continues where it stopped when the same command is given again.

print(check_output(["resolvent", "train", "out/toy.yaml", "-o", "out/run"], text=True))

# %%
# Every step and every validation is logged, as CSV and for TensorBoard. The best validation chooses the model.

(log,) = Path("out/run/log").rglob("metrics.csv")
table = np.genfromtxt(log, delimiter=",", names=True)
checks = table[np.isfinite(table["psnr"])]
figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
axes.plot(checks["step"] + 1, checks["psnr"], "o-", label="model")
axes.plot(checks["step"] + 1, checks["psnr_sense"], "--", label="SENSE, the same scans")
axes.set(xlabel="step", ylabel="PSNR of the validation scans, dB")
axes.legend()

# %%
# Use it
# ------
# Every command, and ``rv.load``, takes the folder of the model as its name. When a model is loaded, its constants
# are computed again from the weights; the claims of the file are not trusted.

print(check_output(["resolvent", "certify", "out/run/toy"], text=True))

# %%
# A scan that the model has not seen:

from resolvent.data import metrics
from resolvent.figures import comparison

scan = rv.simulate(
    rv.read("out/subject3.nii.gz").image[:1], n_coils=4, acceleration=3, seed=7
)
A = scan.operator()
recon = rv.load("out/run/toy").solve(scan.kspace, A)
images = {
    "zero_filled": A.adjoint(scan.kspace),
    "sense": rv.sense(scan.kspace, A),
    "model": recon.image,
}
comparison(
    "out/toy.png",
    images,
    reference=scan.reference,
    scores={name: metrics(scan.reference, image) for name, image in images.items()},
    residuals=recon.solution.residuals,
    title="After 40 steps on toys",
    caption=recon.certificate.text,
)
