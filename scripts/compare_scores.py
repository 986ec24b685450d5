"""Train every score, and an unrolled network, at equal parameters and equal time, and compare what they reach.

    python scripts/compare_scores.py train --data FOLDER --out runs/scores --minutes 10 [NAME ...]
    python scripts/compare_scores.py score --data FOLDER --out runs/scores [NAME ...]
    python scripts/compare_scores.py linear --data FOLDER --out runs/scores
    python scripts/compare_scores.py table --out runs/scores --write docs/results

FOLDER holds the files that `train_brain_2d.py` describes. The scans are simulated: 96 x 96 pixels, 8 coils, a 2-D
variable-density mask of acceleration 6, 35 dB of SNR; T1 and T2 heads; validation on other subjects. Time is processor
time of one thread, so the runs of two entries can share a machine. One seed: differences of 0.1 to 0.2 dB mean little.
"""

from __future__ import annotations

import argparse
import csv
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
from resolvent.mol.attack import attack
from resolvent.mol.baselines import MoDL
from resolvent.mol.monotonicity import local_monotonicity
from resolvent.mol.targets import attack_model, attack_sense
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
from resolvent.monotone.estimates import lipschitz_penalty, local_lipschitz

SIZE, COILS, ACCELERATION, SNR_DB = 96, 6, 6, 35.0
LAM = 30.0
EPSILON = 0.01
"""Size of the perturbations, relative to the data."""
ATTACK = {"steps": 25, "starts": 1, "methods": ("pgd",)}
SENSE_WEIGHT = 100.0
"""The best of 30, 100, 200, 300, 600 and 1000 on the validation scans."""
PENALTY = 0.01
"""Weight of the log barrier that keeps the local Lipschitz estimate of the approximate score below 1 - m."""


def mol(score: MonotoneOperator, *, adapts: bool = False) -> rv.MOL:
    """A model with the tolerances of training; it adapts to the scan only by its score, or in units and lam, too."""
    model = rv.MOL(score, lam=LAM, normalise=adapts, noise_aware=adapts)
    model.tol, model.adjoint_tol, model.max_steps, model.linear_tol = 2e-2, 0.1, 30, 2e-3
    return model


def certified(m: float, *, adapts: bool = False) -> rv.MOL:
    """The conditioned stack with a certified trunk."""
    return mol(CertifiedStack(m=m, channels=24, layers=5, trunk_layers=4), adapts=adapts)


MARGINS = (0.02, 0.1, 0.2, 0.3)
"""m of the sweep."""

ENTRIES: dict[str, Callable[[], nn.Module]] = {
    "modl": lambda: MoDL(channels=40, depth=5, steps=10, lam=LAM),
    "approximate": lambda: mol(PlainCNN(m=0.1, channels=40, depth=5)),
    "product": lambda: mol(ProductNetwork(m=0.1, channels=40, depth=5)),
    "stack": lambda: mol(ResidualStack(m=0.1, channels=25, layers=8)),
    "ridge": lambda: mol(ConvexRidge(m=0.1, channels=128, size=13)),
    "conditioned-ridge": lambda: mol(ConditionedRidge(m=0.1, channels=80, size=13, width=22)),
    "conditioned-stack": lambda: mol(ConditionedStack(m=0.1, channels=24, layers=2, width=34, passes=8)),
    "certified-scan": lambda: certified(0.1, adapts=True),
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
        if isinstance(model, rv.MOL) and isinstance(model.score, PlainCNN):
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
            line |= {"loss": round(float(np.mean(recent)), 4), "lam": round(float(model.log_lam.detach().exp()), 1)}
            print(json.dumps(line), flush=True)
    torch.save({"model": model.state_dict(), "steps": step, "minutes": args.minutes}, args.out / f"{name}.pt")


def score(name: str, args: argparse.Namespace) -> None:
    """Measure a trained entry on the validation scans, and attack it on four of them."""
    model = ENTRIES[name]().eval().requires_grad_(False)
    saved = torch.load(args.out / f"{name}.pt", weights_only=True)
    model.load_state_dict(saved["model"])
    model.linear_tol = 1e-3
    scans = validation_scans(args.data)
    rows = [measured(model, scan) for scan in scans]
    mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    found = {
        "name": name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": saved["steps"],
        "minutes": saved["minutes"],
        "seed": args.seed,
        "scans": len(scans),
        "lam": float(model.log_lam.exp()),
        **mean,
        **claims(model),
        **searched(model, few(scans)[:2]),
        **attacked(model, few(scans)),
    }
    found = {key: round(v, 5) if isinstance(v, float) else v for key, v in found.items()}
    print(json.dumps(found), flush=True)
    (args.out / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")


def few(scans: list[rv.Scan]) -> list[rv.Scan]:
    """Four of them, of both contrasts."""
    return scans[:: len(scans) // 4][:4]


def measured(model: nn.Module, scan: rv.Scan) -> dict[str, float]:
    """Scores of one scan, and of the anchor of a conditioned score (else SENSE) and one step on from it."""
    A = rv.SENSE(scan.maps, scan.mask)
    if isinstance(model, MoDL):
        return {"evaluations": model.steps, **quality(scan, model(scan.kspace, A, scan.noise))}
    recon = model.solve(scan.kspace, A, noise=scan.noise)
    row = {
        "evaluations": recon.solution.evaluations,
        "applications": recon.solution.applications,
        "converged": float(recon.solution.converged),
        "distance": recon.certificate.distance,
        "bound": recon.certificate.data_gain,
        **quality(scan, recon.image),
    }
    equation, scale, context = model.pose(scan.kspace, A, scan.noise)
    anchor = equation.score.own[0] if equation.score.own else context.sense
    for stage, image in (("psnr_offset", anchor), ("psnr_step", equation.step(anchor))):
        row[stage] = quality(scan, scale.reshape(-1, 1, 1) * image)["psnr"]
    return row


def searched(model: nn.Module, scans: list[rv.Scan]) -> dict[str, float]:
    """What searches at the solution say against the constants: ``|H|_Lip`` from below, the slope of G from above."""
    if isinstance(model, MoDL):
        return {}
    steepest, least = 0.0, math.inf
    for scan in scans:
        equation, _, context = model.pose(scan.kspace, rv.SENSE(scan.maps, scan.mask), scan.noise)
        exact = equation.to_double()
        x = exact.solve(context.sense.to(torch.complex128), tol=1e-4, max_steps=100).x
        steepest = max(steepest, float(local_lipschitz(exact.score.H, x, steps=30).value.max()))
        least = min(least, float(local_monotonicity(exact.residual, x, steps=30).value.min()))
    return {"lipschitz": steepest, "slope": least}


def quality(scan: rv.Scan, image: Tensor) -> dict[str, float]:
    """PSNR and SSIM."""
    return {key: value for key, value in metrics(scan.reference, image).items() if key != "nmse"}


def claims(model: nn.Module) -> dict[str, str | float]:
    """Tier and constants."""
    if isinstance(model, MoDL):
        return {"tier": "none"}
    return {"tier": model.tier, "m": model.m.value, "m_kind": model.m.kind}


def attacked(model: nn.Module | None, scans: list[rv.Scan]) -> dict[str, float]:
    """Gains of the worst perturbation found and of white noise, 1 % of the data: the largest over the scans."""
    y, maps, mask = (torch.cat([getattr(scan, name) for scan in scans]) for name in ("kspace", "maps", "mask"))
    A, noise, options = rv.SENSE(maps, mask), torch.tensor([scan.noise for scan in scans]), dict(ATTACK)
    if model is None:
        found = attack_sense(y, A, EPSILON, weight=SENSE_WEIGHT, **options)
    elif isinstance(model, MoDL):
        found = attack(model, y, A, EPSILON, **options)
    else:
        found = attack_model(model, y, A, EPSILON, noise=noise, **options)
    gains = {"gain_worst": float(found.gain_worst.max()), "gain_gaussian": float(found.gain_gaussian.max())}
    return gains | ({} if found.gain_bound is None else {"gain_bound": found.gain_bound})


def linear(args: argparse.Namespace) -> None:
    """The rows without a network: the zero-filled image and SENSE."""
    scans = validation_scans(args.data)
    for name in ("zero-filled", "sense"):
        rows = []
        for scan in scans:
            A = rv.SENSE(scan.maps, scan.mask)
            rows.append(
                quality(
                    scan, A.adjoint(scan.kspace) if name != "sense" else rv.sense(scan.kspace, A, weight=SENSE_WEIGHT)
                )
            )
        found = {"name": name, **{key: round(float(np.mean([row[key] for row in rows])), 5) for key in rows[0]}}
        found |= {"tier": "all-data", **(attacked(None, few(scans)) if name == "sense" else {})}
        print(json.dumps(found), flush=True)
        (args.out / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")


def table(args: argparse.Namespace) -> None:
    """Write what was measured as a page, as CSV, and the sweep of m as a figure."""
    found = {path.stem: json.loads(path.read_text()) for path in args.out.glob("*.json")}
    rows = [found[name] for name in ("zero-filled", "sense", *ENTRIES) if name in found]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    args.write.mkdir(parents=True, exist_ok=True)
    with (args.write / "scores.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    lines = [
        "| score | guarantee | steps | PSNR | SSIM | H | m | worst gain | noise | bound |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    lines += ["", "| score | offset | one step | solution |", "|---|---|---|---|"]
    for row in rows:
        if "psnr_offset" in row:
            stages = (row["psnr_offset"], row["psnr_step"], row["psnr"])
            lines.append(f"| {row['name']} | " + " | ".join(f"{v:.2f}" for v in stages) + " |")
    (args.write / "scores.inc").write_text("\n".join(lines) + "\n")
    sweep([found[f"certified-{m:g}"] for m in MARGINS], found["modl"], args.write / "sweep.png")


def cells(row: dict[str, object]) -> list[str]:
    """One line of the table."""

    def number(key: str, form: str) -> str:
        return format(row[key], form) if row.get(key) is not None else ""

    m = f"{1 - row['lipschitz']:.2f} (est.)" if row.get("m_kind") == "estimated" else number("m", "g")
    kind = {"per-scan": " (held)", "estimated": " (est.)"}.get(row["tier"], "")
    return [
        str(row["name"]),
        str(row["tier"]),
        number("steps", "d"),
        number("psnr", ".2f"),
        number("ssim", ".4f"),
        number("evaluations", ".1f"),
        m,
        number("gain_worst", ".2f"),
        number("gain_gaussian", ".2f"),
        number("gain_bound", ".1f") + (kind if "gain_bound" in row else ""),
    ]


def sweep(rows: list[dict[str, float]], unrolled: dict[str, float], path: Path) -> None:
    """PSNR against the worst gain found (with the unrolled network's) and against its bound, a point for each m."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for ax, key, what in (
        (axes[0], "gain_worst", "worst gain found at 1 % (estimated)"),
        (axes[1], "gain_bound", "bound of the data gain (proved)"),
    ):
        ax.plot([r[key] for r in rows], [r["psnr"] for r in rows], "o-", color="#1b6ca8")
        for r in rows:
            ax.annotate(f"m = {r['m']:g}", (r[key], r["psnr"]), textcoords="offset points", xytext=(8, -12))
        ax.set_xlabel(what)
        ax.margins(x=0.3, y=0.15)
        ax.grid(alpha=0.3)
    axes[0].plot(unrolled["gain_worst"], unrolled["psnr"], "s", color="#c0392b")
    axes[0].annotate("MoDL", (unrolled["gain_worst"], unrolled["psnr"]), textcoords="offset points", xytext=(-38, 6))
    axes[0].set_ylabel("PSNR [dB], validation")
    axes[1].set_xscale("log")
    axes[1].set_xticks([20, 50, 100, 200], ["20", "50", "100", "200"])
    axes[1].minorticks_off()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    """Train, score or tabulate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["train", "score", "linear", "table"])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(ENTRIES)}; all by default")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder of what was trained and measured")
    parser.add_argument("--write", type=Path, help="folder for table and figure")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_intermixed_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.action in ("linear", "table"):
        {"linear": linear, "table": table}[args.action](args)
    for name in (args.names or ENTRIES) if args.action in ("train", "score") else ():
        {"train": train, "score": score}[args.action](name, args)


if __name__ == "__main__":
    main()
