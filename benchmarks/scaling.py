"""How the cost grows with the matrix and with the batch, and whether a hard slice in a batch touches the others."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import conv2d

import resolvent as rv
from benchmarks.problem import Case, Clock, make_case, model, table
from resolvent.monotone import CertifiedStack
from resolvent.monotone.strict import rectified
from resolvent.solve import norm

SIZES, BATCHES = (64, 128, 256, 512), (1, 2, 4, 8)


def sizes(mol: rv.MOL, device: torch.device, matrices: tuple[int, ...], coils: int) -> str:
    """Time of the two things that a solve is made of, over what they cannot do without, and that over the voxels."""
    clock, rows = Clock(device), []
    for size in matrices:
        case = make_case(size, coils, device)
        equation, _, context = mol.pose(case.y, case.A, case.noise)
        x, each = context.sense, 1e9 / size**2
        fft, n = clock.by_turns(bare_transforms(case), lambda e=equation, x=x: e.A.normal(x), 21)
        conv, f = clock.by_turns(bare_convolutions(mol, case), lambda e=equation, x=x: e.score(x), 5)
        recon = mol.solve(case.y, case.A, noise=case.noise, tol=1e-3)
        work = recon.solution.evaluations, recon.solution.applications
        costs = f"{each * fft / coils:.1f}", f"{n:.2f}", f"{each * conv:.0f}", f"{f:.2f}"
        rows.append([f"{size} x {size}", *costs, *work])
    bare = ["bare FFT pair, ns a voxel and coil", "N over it", "bare convolutions, ns a voxel", "F over them"]
    return table(["matrix", *bare, "evaluations to 1e-3", "applications of N"], rows)


def bare_transforms(case: Case) -> Callable[[], object]:
    """The FFT pair of all coil images, which N cannot do without."""
    axes = (-2, -1)
    return lambda: torch.fft.ifftn(torch.fft.fftn(case.y, dim=axes), dim=axes)


def bare_convolutions(mol: rv.MOL, case: Case) -> Callable[[], object]:
    """The convolutions of F, each by itself on one tensor of features, without anything between them."""
    score = mol.score
    assert isinstance(score, CertifiedStack)
    kernels = [unit() for unit in score.convs][-score.layers :]
    layers = rectified(kernels, score.biases[-score.layers :], score.dilations)
    z = torch.randn(1, kernels[0].shape[1], *case.y.shape[-2:], device=case.y.device)
    z = z.contiguous(memory_format=torch.channels_last)

    def run() -> None:
        for kernel, _, _, apart in layers:
            conv2d(z, kernel, padding=apart, dilation=apart)
            conv2d(z, kernel.transpose(0, 1), padding=apart, dilation=apart)

    return run


def batches(mol: rv.MOL, device: torch.device, counts: tuple[int, ...], size: int, coils: int) -> str:
    """Seconds of a scan in a batch."""
    clock, rows = Clock(device), []
    for count in counts:
        case = make_case(size, coils, device, batch=count)
        seconds = clock.median(lambda c=case: mol.solve(c.y, c.A, noise=c.noise, tol=1e-3), 3)
        rows.append([count, f"{seconds:.2f}", f"{seconds / count:.3f}"])
    return table(["scans", "seconds", "seconds a scan"], rows)


def hard_neighbour(mol: rv.MOL, device: torch.device, size: int, coils: int) -> str:
    """A scan alone, and beside one of pure noise that is said to hold none: its image, steps and time."""
    easy, clock = make_case(size, coils, device), Clock(device)
    noise = torch.randn(easy.y.shape, dtype=easy.y.dtype, generator=torch.Generator().manual_seed(0)).to(device)
    noise = easy.A(easy.A.adjoint(noise))
    noise = noise * (norm(easy.y) / norm(noise)).reshape(1, 1, 1, 1)
    levels = easy.noise.reshape(1), torch.zeros(1, device=device)
    found, rows = {}, []
    for name, chosen in {"alone": [0], "the neighbour alone": [1], "both in a batch": [0, 1]}.items():
        y, sigma = (torch.cat([of[i] for i in chosen]) for of in ((easy.y, noise), levels))
        began = clock()
        found[name] = mol.solve(y, easy.A, noise=sigma, tol=1e-4)
        solution = found[name].solution
        steps = ", ".join(map(str, solution.sample_steps.tolist()))
        rows.append([name, steps, solution.applications, f"{clock() - began:.2f}"])
    alone, beside = found["alone"].image[0], found["both in a batch"].image[0]
    difference = float((alone - beside).norm() / alone.norm())
    head = ["scan", "steps", "applications of N", "seconds"]
    return f"{table(head, rows)}\n\nThe image beside the neighbour differs by {difference:.0e}."


@torch.no_grad()
def measure(
    device: torch.device,
    matrices: tuple[int, ...] = SIZES,
    counts: tuple[int, ...] = BATCHES,
    size: int = 64,
    coils: int = 8,
) -> str:
    """The tables."""
    mol = model("brain-2d", device)
    return "\n\n".join(
        [
            f"The packaged model, {coils} coils.\n\n{sizes(mol, device, matrices, coils)}",
            f"A batch of scans, {size} x {size}:\n\n{batches(mol, device, counts, size, coils)}",
            f"A scan beside one of pure noise that is said to hold none:\n\n{hard_neighbour(mol, device, size, coils)}",
        ]
    )
