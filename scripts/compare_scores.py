"""Train every score, and an unrolled network, at equal parameters and equal time, and compare what they reach.

    python scripts/compare_scores.py train --data FOLDER --out runs/scores --minutes 10 [NAME ...]
    python scripts/compare_scores.py score --data FOLDER --out runs/scores [NAME ...]
    python scripts/compare_scores.py table --out runs/scores

FOLDER holds the files that `train_brain_2d.py` describes. The scans are simulated: 96 x 96 pixels, 8 coils, a 2-D
variable-density mask of acceleration 6, 35 dB of SNR; T1 and T2 heads; validation on other subjects. Time is processor
time of one thread, so the runs of two entries can share a machine. One seed: differences of 0.1 to 0.2 dB mean little.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad
from train_brain_2d import augmented, read_images, relative_error

import resolvent as rv
from resolvent.data import metrics
from resolvent.data.masks import make_mask
from resolvent.data.simulate import add_noise, birdcage_maps, smooth_phase
from resolvent.linop import fft
from resolvent.mol.baselines import MoDL
from resolvent.monotone import (
    CertifiedStack,
    ConditionedRidge,
    ConditionedStack,
    ConvexRidge,
    MonotoneOperator,
    PlainCNN,
    ProductNetwork,
    ResidualStack,
)
from resolvent.monotone.estimates import lipschitz_penalty

SIZE, COILS, ACCELERATION, SNR_DB = 96, 6, 6, 35.0
LAM = 30.0
PENALTY = 0.01
"""Weight of the log barrier that keeps the local Lipschitz estimate of the approximate score below 1 - m."""


def mol(score: MonotoneOperator) -> rv.MOL:
    """A model with the tolerances of training, in the units of the data: it adapts to the scan only by its score."""
    model = rv.MOL(score, lam=LAM)
    model.tol, model.adjoint_tol, model.max_steps, model.linear_tol = 2e-2, 0.1, 30, 2e-3
    return model


def certified(m: float) -> rv.MOL:
    """The conditioned stack with a certified trunk."""
    return mol(CertifiedStack(m=m, channels=24, layers=5, trunk_layers=4))


MARGINS = (0.02, 0.05, 0.1, 0.2, 0.3)
"""m of the sweep."""

ENTRIES: dict[str, Callable[[], nn.Module]] = {
    "modl": lambda: MoDL(PlainCNN(channels=40, depth=5), lam=LAM, steps=10),
    "approximate": lambda: mol(PlainCNN(m=0.1, channels=40, depth=5)),
    "product": lambda: mol(ProductNetwork(m=0.1, channels=40, depth=5)),
    "stack": lambda: mol(ResidualStack(m=0.1, channels=25, layers=8)),
    "ridge": lambda: mol(ConvexRidge(m=0.1, channels=128, size=13)),
    "conditioned-ridge": lambda: mol(ConditionedRidge(m=0.1, channels=80, size=13, width=22)),
    "conditioned-stack": lambda: mol(ConditionedStack(m=0.1, channels=24, layers=2, width=34, passes=8)),
    **{f"certified-{m:g}": lambda m=m: certified(m) for m in MARGINS},
}


def draw(images: list[np.ndarray], rng: np.random.Generator, size: int) -> tuple[Tensor, rv.SENSE, float, Tensor]:
    """`size` new scans: k-space, operator, noise level and reference."""
    shape = (SIZE, SIZE)
    x, maps, masks = [], [], []
    for _ in range(size):
        seed = int(rng.integers(2**31))
        image = augmented(images[rng.integers(len(images))], shape, rng)
        x.append(image * torch.exp(1j * smooth_phase(shape, seed=seed)))
        maps.append(birdcage_maps(COILS, shape, seed=seed))
        masks.append(make_mask("gaussian2d", shape, ACCELERATION, seed=seed)[0])
    X, S, M = torch.stack(x), torch.stack(maps), torch.stack(masks)
    sigma = 0.4 * 10 ** (-SNR_DB / 20)
    noise = add_noise(torch.zeros_like(S), sigma, int(rng.integers(2**31)))
    return M[:, None] * (fft(S * X[:, None]) + noise), rv.SENSE(S, M), sigma, X


def validation_scans(folder: Path, every: int = 4) -> list[rv.Scan]:
    """Scans of the validation subjects, the whole head in `SIZE` pixels."""
    scans = []
    for seed, image in enumerate(read_images(folder, "val")[::every]):
        t = torch.from_numpy(image)
        side = max(t.shape)
        rest = [side - n for n in t.shape]
        t = pad(t, (rest[1] // 2, rest[1] - rest[1] // 2, rest[0] // 2, rest[0] - rest[0] // 2))
        small = interpolate(t[None, None], (SIZE, SIZE), mode="area")[0, 0]
        options = {"n_coils": COILS, "acceleration": ACCELERATION, "snr_db": SNR_DB}
        scans.append(rv.simulate(small / small.max(), seed=seed, **options))
    return scans


def train(name: str, args: argparse.Namespace) -> None:
    """Adam on the relative error of the complex image, a cosine rate over the processor time allowed."""
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    images = read_images(args.data)
    model = ENTRIES[name]()
    weights = [p for p in model.parameters() if p.ndim > 0]
    scalars = [p for p in model.parameters() if p.ndim == 0]
    optimiser = torch.optim.Adam([{"params": weights}, {"params": scalars}])
    step, recent, last = 0, [], 0.0
    began = time.process_time()
    while (elapsed := time.process_time() - began) < 60 * args.minutes:
        done = elapsed / (60 * args.minutes)
        rate = args.rate * min(1.0, (step + 1) / 50) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
        for group, factor in zip(optimiser.param_groups, (1.0, 3.0), strict=True):
            group["lr"] = rate * factor
        y, A, sigma, reference = draw(images, rng, args.batch)
        x = model(y, A, sigma)
        loss = relative_error(x, reference).mean()
        if isinstance(model.score, PlainCNN) and isinstance(model, rv.MOL):
            noisy = x.detach() + 0.1 * torch.randn_like(x)
            loss = loss + PENALTY * lipschitz_penalty(
                model.score.condition().H, [x, noisy], t=1 - model.m.value, steps=3, seed=step
            )
        optimiser.zero_grad()
        loss.backward()
        size = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if bool(torch.isfinite(size)):
            optimiser.step()
        recent = [*recent[-99:], float(loss.detach())]
        step += 1
        if elapsed - last > 30:
            last = elapsed
            line = {"name": name, "step": step, "minutes": round(elapsed / 60, 2)}
            line |= {"loss": round(float(np.mean(recent)), 4), "lam": round(float(model.log_lam.exp()), 1)}
            print(json.dumps(line), flush=True)
    torch.save({"model": model.state_dict(), "steps": step, "minutes": args.minutes}, args.out / f"{name}.pt")


@torch.no_grad()
def score(name: str, args: argparse.Namespace) -> None:
    """Mean PSNR and SSIM of the validation scans."""
    model = ENTRIES[name]().eval()
    saved = torch.load(args.out / f"{name}.pt", weights_only=True)
    model.load_state_dict(saved["model"])
    rows = []
    for scan in validation_scans(args.data):
        A = rv.SENSE(scan.maps, scan.mask)
        row: dict[str, float] = {"sense": metrics(scan.reference, rv.sense(scan.kspace, A))["psnr"]}
        if isinstance(model, rv.MOL):
            recon = model.solve(scan.kspace, A, noise=scan.noise)
            image = recon.image
            row |= {"evaluations": recon.solution.evaluations, "applications": recon.solution.applications}
            row |= {"distance": recon.certificate.distance, "data_gain": recon.certificate.data_gain}
            row |= {"converged": float(recon.solution.converged)}
        else:
            image = model(scan.kspace, A)
            row |= {"evaluations": model.steps}
        rows.append(row | metrics(scan.reference, image))
    mean = {key: round(float(np.mean([row[key] for row in rows])), 4) for key in rows[0]}
    parameters = sum(p.numel() for p in model.parameters())
    lam = float(model.log_lam.exp())
    summary = {"name": name, "steps": saved["steps"], "parameters": parameters, "lam": round(lam, 1), **mean}
    print(json.dumps(summary), flush=True)
    (args.out / f"{name}.json").write_text(json.dumps(summary, indent=2))


def main() -> None:
    """Train, score or tabulate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["train", "score"])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(ENTRIES)}; all by default")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_intermixed_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.names or ENTRIES:
        {"train": train, "score": score}[args.action](name, args)


if __name__ == "__main__":
    main()
