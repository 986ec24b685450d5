"""Train the packaged model `brain-2d`: a conditioned residual stack on simulated multi-coil scans of real brains.

    python scripts/train_brain_2d.py --data FOLDER --out runs/brain-2d --minutes 60
    python scripts/train_brain_2d.py --data FOLDER --out runs/brain-2d --export src/resolvent/weights/brain-2d

FOLDER holds ``t1_brain_{train,val}.h5`` (groups ``subjectNN/magnitude``) and ``t2_head_complex_{train,val}.h5``
(``image_ri``), of different subjects. The second command scores what was trained on the validation files and writes it.
Every step simulates new scans: another coil array, phase, noise level, mask, acceleration, matrix and contrast. The
loss is the relative error of the complex image; the gradient is that of the equation. A checkpoint is written every two
minutes, and a run that was stopped goes on from it.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

import resolvent as rv
from resolvent.data import metrics
from resolvent.data.masks import MASK_KINDS, make_mask
from resolvent.data.simulate import add_noise, birdcage_maps, smooth_phase
from resolvent.linop import fft
from resolvent.monotone import ConditionedStack
from resolvent.solve.solution import norm

VALIDATION = [
    ("gaussian2d", 4, 30),
    ("gaussian2d", 6, 35),
    ("poisson2d", 8, 35),
    ("uniform1d", 4, 30),
    ("gaussian1d", 3, 20),
]
"""Mask, acceleration and SNR of the scans that a trained model is scored on."""


def read_images(folder: Path, part: str = "train") -> list[np.ndarray]:
    """Magnitude slices of both data sets, each scaled to a maximum of 1; empty slices left out."""
    images: list[np.ndarray] = []
    with h5py.File(folder / f"t1_brain_{part}.h5") as file:
        for subject in file.values():
            images += [s.astype(np.float32) for s in subject["magnitude"][()]]
    with h5py.File(folder / f"t2_head_complex_{part}.h5") as file:
        pairs = file["image_ri"][()].astype(np.float32)
        images += list(np.hypot(pairs[..., 0], pairs[..., 1]))
    return [image / image.max() for image in images if (image > 0.05 * image.max()).mean() > 0.05]


def draw_batch(
    images: list[np.ndarray], rng: np.random.Generator, size: int
) -> tuple[Tensor, rv.SENSE, Tensor, Tensor]:
    """`size` scans of one matrix and coil count: k-space, operator, noise level, reference."""
    ny, nx = (int(n) for n in rng.choice([72, 80, 84, 90, 96, 100, 108, 112, 120], 2))
    n_coils = int(rng.choice([4, 6, 8, 12, 16], p=[0.15, 0.25, 0.3, 0.2, 0.1]))
    x, maps, masks, sigmas = [], [], [], []
    for _ in range(size):
        image = augmented(images[rng.integers(len(images))], (ny, nx), rng)
        seed = int(rng.integers(2**31))
        phase = smooth_phase((ny, nx), seed=seed)
        x.append(image * torch.exp(1j * phase * rng.uniform(0, 1.5)))
        coils = birdcage_maps(n_coils, (ny, nx), seed=seed)
        if rng.random() < 0.6:  # as estimated maps are: zero where there is no signal
            near = torch.nn.functional.max_pool2d((image > 0.04)[None].float(), 9, stride=1, padding=4)[0]
            coils = coils * near
        maps.append(coils)
        kind = str(rng.choice(MASK_KINDS, p=[0.1, 0.1, 0.15, 0.35, 0.2, 0.1]))
        masks.append(make_mask(kind, (ny, nx), rng.uniform(2, 8), seed=seed)[0])
        signal = float(image[image > 0.05].square().mean().sqrt())
        sigmas.append(signal * 10 ** (-rng.uniform(13, 52) / 20))
    X, S, M = torch.stack(x), torch.stack(maps), torch.stack(masks)
    X = X * (S.abs().amax(1) > 0)
    sigma = torch.tensor(sigmas, dtype=torch.float32)
    noise = add_noise(torch.zeros_like(S), 1.0, int(rng.integers(2**31))) * sigma[:, None, None, None]
    return M[:, None] * (fft(S * X[:, None]) + noise), rv.SENSE(S, M), sigma, X


def augmented(image: np.ndarray, shape: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """Zoomed, turned, mirrored, cropped or padded to `shape`, with another contrast."""
    image = np.rot90(image, rng.integers(4))
    t = torch.from_numpy(np.ascontiguousarray(image[:, ::-1] if rng.random() < 0.5 else image))
    zoom = rng.uniform(0.4, 1.0)
    t = interpolate(t[None, None], scale_factor=zoom, mode="bilinear", antialias=True)[0, 0].clamp_min(0)
    out = torch.zeros(shape)
    corner = [int(rng.integers(min(0, a - b), max(0, a - b) + 1)) for a, b in zip(t.shape, shape, strict=True)]
    take = [slice(max(0, c), max(0, c) + b) for c, b in zip(corner, shape, strict=True)]
    piece = t[take[0], take[1]]
    put = [slice(max(0, -c), max(0, -c) + n) for c, n in zip(corner, piece.shape, strict=True)]
    out[put[0], put[1]] = piece
    if out.max() < 0.1:
        return augmented(image, shape, rng)
    return (out / out.max()) ** rng.uniform(0.6, 1.5)


def relative_error(x: Tensor, reference: Tensor) -> Tensor:
    """``|x - reference| / |reference|`` of each sample."""
    return norm(x - reference) / norm(reference)


def new_model(m: float) -> rv.MOL:
    """The model before training, with the tolerances of training."""
    model = rv.MOL(ConditionedStack(m=m), lam=600.0, normalise=True, noise_aware=True)
    model.tol, model.adjoint_tol, model.max_steps, model.linear_tol = 1e-2, 5e-2, 30, 1e-3
    return model


def validate(model: rv.MOL, images: list[np.ndarray]) -> list[dict[str, object]]:
    """Mean scores of every eighth validation slice, halved in resolution: one row a kind of sampling."""
    rows = []
    for kind, acceleration, snr_db in VALIDATION:
        scores: dict[str, list[dict[str, float]]] = {"zero_filled": [], "sense": [], "model": []}
        for seed, image in enumerate(images[::8]):
            small = interpolate(torch.from_numpy(image)[None, None], scale_factor=0.5, mode="area")[0, 0]
            scan = rv.simulate(small, acceleration=acceleration, mask_kind=kind, snr_db=snr_db, seed=seed)
            A = rv.SENSE(scan.maps, scan.mask)
            recon = model.solve(scan.kspace, A, noise=scan.noise)
            assert recon.solution.converged and recon.certificate.proved
            found = (A.adjoint(scan.kspace), rv.sense(scan.kspace, A, noise=scan.noise), recon.image)
            for name, x in zip(scores, found, strict=True):
                scores[name].append(metrics(scan.reference, x))
        row: dict[str, object] = {"mask": kind, "acceleration": acceleration, "snr_db": snr_db, "coils": 8}
        for name, of in scores.items():
            row[name] = {
                key: round(float(np.mean([score[key] for score in of])), 4) for key in ("psnr", "ssim", "nmse")
            }
        print(json.dumps(row), flush=True)
        rows.append(row)
    return rows


def export(args: argparse.Namespace) -> None:
    """Score the averaged weights on the validation subjects, and write them with their card."""
    model = new_model(args.m).eval()
    saved = torch.load(args.out / "state.pt", weights_only=True)
    model.load_state_dict(saved["average"])
    card = {
        "purpose": "Cartesian 2-D brain scans, several coils; research use only.",
        "training": {
            "script": "scripts/train_brain_2d.py",
            "steps": saved["step"],
            "minutes": round(saved["elapsed"] / 60, 1),
            "data": [
                "T1-weighted brains of 40 children, magnitude (stnava/ANTsTutorial, data/JLF; GPL-2.0 repository)",
                "T2-weighted heads, 150 slices (yqx7150/SIAT500data-singlecoil; no licence stated)",
            ],
            "simulation": "4 to 16 birdcage coils, smooth phase, 13 to 52 dB of SNR, acceleration 2 to 8, "
            "masks of every kind, 72 to 120 pixels",
        },
        "validation": {
            "subjects": "other than those trained on, half resolution",
            "rows": validate(model, read_images(args.data, "val")),
        },
        "limits": "Coils, phase and noise of the training were simulated; no pathology was shown on purpose.",
    }
    rv.save(model, args.export, card)


def train(args: argparse.Namespace) -> None:
    """Train for a number of minutes, or go on with it."""
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    images = read_images(args.data)
    model = new_model(args.m)
    average = copy.deepcopy(model)  # of the weights, over the last 500 steps or so
    weights = [p for p in model.parameters() if p.ndim > 0]
    scalars = [p for p in model.parameters() if p.ndim == 0]
    optimiser = torch.optim.Adam([{"params": weights}, {"params": scalars}])
    step, before, recent = 0, 0.0, []
    state = args.out / "state.pt"
    if state.exists():
        saved = torch.load(state, weights_only=True)
        model.load_state_dict(saved["model"])
        average.load_state_dict(saved["average"])
        optimiser.load_state_dict(saved["optimiser"])
        step, before = saved["step"], saved["elapsed"]
        rng = np.random.default_rng([args.seed, step])

    def save_state(elapsed: float) -> None:
        content = {"model": model.state_dict(), "average": average.state_dict(), "optimiser": optimiser.state_dict()}
        torch.save({**content, "step": step, "elapsed": elapsed}, args.out / "state.tmp")
        (args.out / "state.tmp").replace(state)

    began, last = time.monotonic(), before
    while (elapsed := before + time.monotonic() - began) < 60 * args.minutes:
        done = elapsed / (60 * args.minutes)
        rate = args.rate * min(1.0, (step + 1) / 100) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
        for group, factor in zip(optimiser.param_groups, (1.0, 3.0), strict=True):
            group["lr"] = rate * factor
        y, A, sigma, reference = draw_batch(images, rng, args.batch)
        loss = relative_error(model(y, A, sigma), reference).mean()
        optimiser.zero_grad()
        loss.backward()
        size = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if bool(torch.isfinite(size)):
            optimiser.step()
        keep = min(0.998, (1 + step) / (20 + step))
        with torch.no_grad():
            for a, p in zip(average.parameters(), model.parameters(), strict=True):
                a.lerp_(p, 1 - keep)
        recent = [*recent[-199:], float(loss)]
        step += 1
        if step % 50 == 0:
            line = {"step": step, "minutes": round(elapsed / 60, 2), "loss": round(float(np.mean(recent)), 4)}
            print(json.dumps(line | {"lam": round(float(model.lam), 1), "gradient": round(float(size), 3)}), flush=True)
        if elapsed - last > 120:
            last = elapsed
            save_state(elapsed)
    save_state(elapsed)


def main() -> None:
    """Train, or export what was trained."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--m", type=float, default=0.1, help="monotonicity constant")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--export", type=Path, help="write the model to this folder instead of training")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    export(args) if args.export else train(args)


if __name__ == "__main__":
    main()
