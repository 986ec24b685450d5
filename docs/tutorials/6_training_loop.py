"""
Use it in your own training loop
================================

A model is a PyTorch module, and ``model(y, A)`` is differentiable with respect to its weights, ``lam``, the
measurements and the coil maps. The gradient is that of the *equation*, not of the iterations, so it takes the memory of
one pass through the network, however many steps the solve took.
"""

import matplotlib.pyplot as plt
import torch

import resolvent as rv
from resolvent.monotone import ResidualStack

torch.manual_seed(0)

# %%
# Data
# ----
# Any source of measurements, an operator and an image will do. Here: ellipses, drawn anew in each step.

rows, columns = torch.meshgrid(
    torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij"
)


def draw(seed: int) -> rv.Scan:
    """A scan of a few ellipses."""
    random = torch.Generator().manual_seed(seed)
    y, x = torch.rand(2, 6, 1, 1, generator=random) - 0.5
    height, width, grey = 0.15 + 0.5 * torch.rand(3, 6, 1, 1, generator=random)
    image = (
        grey * (((rows - y) / height) ** 2 + ((columns - x) / width) ** 2 < 1)
    ).sum(0)
    return rv.simulate(
        image / image.max(), n_coils=4, acceleration=4, snr_db=25, seed=seed
    )


# %%
# A model and a loop
# ------------------
# ``ResidualStack`` is strictly monotone by construction, before training and after each step of the optimiser. It
# needs no penalty and no projection. ``lam`` is learned with the weights.

model = rv.MOL(ResidualStack(m=0.1), lam=20.0)
model.tol, model.adjoint_tol = 1e-2, 1e-1  # loose is enough to begin with
optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
losses = []
for step in range(40):
    scan = draw(seed=step)
    A = scan.operator()
    x = model(scan.kspace, A)
    loss = (x - scan.reference).norm() / scan.reference.norm()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    losses.append(
        (
            loss
            / (
                (rv.sense(scan.kspace, A) - scan.reference).norm()
                / scan.reference.norm()
            )
        ).item()
    )

figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
axes.plot(losses)
axes.set(xlabel="step", ylabel="error over that of SENSE")
print(
    f"first five {sum(losses[:5]) / 5:.2f}, last five {sum(losses[-5:]) / 5:.2f}; lam is now {model.lam.item():.1f}"
)

# %%
# The constant still holds, by construction:

print(model.m)

# %%
# How good is the gradient?
# -------------------------
# The adjoint equation is also solved, to the tolerance ``adjoint_tol``. A ``Work`` records the cost, and bounds
# the error of the adjoint solution.

from resolvent.mol import Work

work = Work()
model(scan.kspace, A, work=work).abs().square().mean().backward()
print(
    work.evaluations,
    "evaluations of the network; adjoint solution wrong by at most",
    f"{work.adjoint_error:.1%}",
)

# %%
# Memory does not grow with the steps
# -----------------------------------
# This counts what autograd saves while the model runs, once with a loose tolerance and once with a tight one.

from torch.autograd.graph import saved_tensors_hooks


def saved_megabytes(tol: float) -> tuple[int, float]:
    """Steps of the solve, and what the graph of ``model(y, A)`` holds."""
    held = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage
        return tensor

    model.tol, work = tol, Work()
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        model(scan.kspace, A, work=work)
    return work.evaluations, sum(storage.nbytes() for storage in held.values()) / 1e6


for tol in (1e-1, 1e-4):
    evaluations, megabytes = saved_megabytes(tol)
    print(f"tol {tol:g}: {evaluations} evaluations, {megabytes:.1f} MB saved")
