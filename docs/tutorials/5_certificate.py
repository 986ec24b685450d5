r"""
What the certificate means
==========================

Every reconstruction comes with a line such as ``|x - x*| <= 0.00035 |x| (proved) · data gain <= 4.93 (conditioning
held)``. This page explains each part of it, and compares it with the truth. The proofs are in :doc:`/theory`, the
details in :doc:`/guarantees`.
"""

import matplotlib.pyplot as plt
import torch

import resolvent as rv

rows, columns = torch.meshgrid(
    torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij"
)
head = ((rows / 0.85) ** 2 + (columns / 0.7) ** 2 < 1) * (
    1 + 0.4 * torch.cos(9 * rows) * torch.cos(7 * columns)
)
scan = rv.simulate(head, n_coils=6, acceleration=4, seed=0)
A = scan.operator()
model = rv.load("brain-2d")

# %%
# The distance to the solution
# ----------------------------
# ``x*`` is the exact solution of the equation, ``x`` the image that you got. F is strongly monotone with a constant
# m, so ``|x - x*| <= |G(x)| / m``: the residual G, which can be measured, bounds the distance, which cannot.
# Nothing else about the network is needed. Here the exact solution is known, at the cost of a solve in double
# precision to ``1e-9``.

exact = rv.solve_reference(model, scan.kspace, A)
bounds, distances = [], []
for steps in range(1, 15):
    recon = model.solve(scan.kspace, A, tol=1e-5, max_steps=steps)
    bounds.append(recon.certificate.distance)
    distances.append(float((recon.image - exact).norm() / recon.image.norm()))

figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
axes.semilogy(range(1, 15), bounds, "o-", label="certificate: at most")
axes.semilogy(range(1, 15), distances, "s-", label="true distance")
axes.set(xlabel="steps of the solver", ylabel="relative distance to the solution")
axes.legend()
assert all(distance <= bound for distance, bound in zip(distances, bounds, strict=True))

# %%
# The bound is never below the true distance, at any step. A solve that is stopped early is certified as it is: its
# bound is large, but valid.
#
# One solution, wherever you start
# --------------------------------
# Two solves that start far apart end within the sum of their bounds. For a network that is only *trained* to contract,
# there is no such guarantee.

elsewhere = 1000 * torch.randn_like(recon.image)
first, second = (model.solve(scan.kspace, A, start=x0) for x0 in (None, elsewhere))
apart = float((first.image - second.image).norm() / first.image.norm())
print(
    f"{apart:.1e} apart, at most {first.certificate.distance + second.certificate.distance:.1e}"
)

# %%
# The data gain
# -------------
# How much can a change of the measurements change the image? The bound holds for the worst change, in any
# direction. White noise of the same norm has a much smaller effect; a search for the worst direction lies between.

recon = model.solve(scan.kspace, A, tol=1e-4)
noise = scan.mask * torch.randn_like(scan.kspace)
noise *= 0.01 * scan.kspace.norm() / noise.norm()
moved = model.solve(scan.kspace + noise, A, tol=1e-4)
print(f"white noise: {float((moved.image - recon.image).norm() / noise.norm()):.2f}")
print(
    f"bound:       {recon.certificate.data_gain:.2f} ({recon.certificate.data_gain_kind})"
)

# %%
# Three tiers
# -----------
# What is proved depends on the kind of model. The certificate says it in one word:
#
# - ``all-data``: everything is proved, for all measurements.
# - ``per-scan``: uniqueness and distance are proved for the scan at hand. The data gain holds as long as everything
#   that the model derived from the data before the solve is held fixed.
# - ``estimated``: nothing is proved, whatever the penalties in training were. An ordinary network is of this kind. The
#   printed bound would hold if the constant of the network were what it was trained for.

from resolvent.monotone import CertifiedStack, PlainCNN, ProductNetwork

torch.manual_seed(0)
for score, adapts in (
    (ProductNetwork(m=0.1), False),
    (CertifiedStack(m=0.1), True),
    (PlainCNN(m=0.1), False),
):
    certificate = (
        rv.MOL(score, normalise=adapts)
        .solve(scan.kspace, A, noise=scan.noise, max_steps=30)
        .certificate
    )
    print(
        f"{type(score).__name__:15} {certificate.tier:10} proved: {certificate.proved}"
    )

# %%
# And what it does not mean
# -------------------------
# It does not mean that the image is right. The solution of the equation depends on the data that the model was trained
# on, on the coil maps and on the sampling. The certificate excludes that the *solver* is to blame, and bounds what
# *noise* can do. It does not know the patient. More in :doc:`/limitations`.
