"""A penalty is no proof: a network that keeps its constraint where it was trained, and breaks it elsewhere.

F = I - H is m-monotone if H has a Lipschitz constant of at most 1 - m. A small CNN is trained to denoise four images,
with the log barrier on the local Lipschitz estimate at those images. There every search finds less than 1 - m, and the
Jacobian of F is positive. Then gradient descent on <F(u)-F(v), u-v> / |u-v|^2, from noise, finds a pair where that is
negative: F is not monotone at all, and for some A and b the equation lam A^H (A x - b) + F(x) = 0 has two solutions.
"""

import torch

from resolvent.mol.monotonicity import local_monotonicity
from resolvent.monotone import PlainCNN
from resolvent.monotone.estimates import lipschitz_penalty, local_lipschitz

torch.set_num_threads(1)
torch.manual_seed(0)
m, size = 0.1, 16

# Four images: three ellipses each, at most 1, real.
rows, columns = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
y, x = torch.rand(2, 4, 3, 1, 1) - 0.5
height, width, grey = 0.2 + 0.5 * torch.rand(3, 4, 3, 1, 1)
ellipses = grey * (((rows - y) / height) ** 2 + ((columns - x) / width) ** 2 < 1)
images = ellipses.sum(1).to(torch.complex64)
images = images / images.abs().amax((1, 2), keepdim=True)

# Train H to denoise them, with the penalty at them.
score = PlainCNN(m=m, channels=16, depth=3)
optimiser = torch.optim.Adam(score.parameters(), lr=5e-3)
for step in range(100):
    H = score.condition().H
    noisy = images + 0.1 * torch.randn(images.shape)
    error = (H(noisy) - images).abs().square().sum() / images.abs().square().sum()
    penalty = lipschitz_penalty(H, [images], t=0.8, e=0.05, steps=6, seed=step)
    optimiser.zero_grad()
    (20 * error + penalty).backward()
    optimiser.step()

# From here on in double precision, so that nothing below is rounding.
images, F = images.to(torch.complex128), score.double().condition()
trained = local_lipschitz(F.H, images, steps=50, starts=4).value.max()
slope = local_monotonicity(F, images, steps=100).value.min()
print(f"at the training images: |H(u)-H(v)|/|u-v| <= {trained:.3f} in every search, limit 1 - m = {1 - m}")
print(f"                        smallest slope of F {slope:.3f}, m = {m}")

# Search for a pair that breaks monotonicity, from noise.
pair = torch.randn(2, 4, size, size, dtype=torch.complex128)
pair[1] = pair[0] + 0.1 * pair[1]
pair.requires_grad_()
search = torch.optim.Adam([pair], lr=0.03)
for _ in range(100):
    u, v = pair
    inner = ((u - v).conj() * (F(u) - F(v))).real.sum((1, 2)) / (u - v).abs().square().sum((1, 2))
    search.zero_grad()
    inner.sum().backward()
    search.step()

u, v = pair.detach()
distance = (u - v).abs().square().sum((1, 2)).sqrt()
inner = ((u - v).conj() * (F(u) - F(v))).real.sum((1, 2)) / distance**2
worst = inner.argmin()
quotient = ((F.H(u) - F.H(v)).abs().square().sum((1, 2)).sqrt() / distance)[worst]
print(f"at a pair found from noise: |H(u)-H(v)|/|u-v| = {quotient:.3f}")
print(f"                            <F(u)-F(v), u-v>/|u-v|^2 = {inner[worst]:.3f}, not even positive")
