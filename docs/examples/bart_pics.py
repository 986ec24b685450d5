"""Total variation and l1-wavelets by BART, of the samples and coil maps that the other methods have.

`bart pics` with each weight of a grid, and of these the best PSNR, as `resolvent evaluate --tune` chooses for its own
baselines. The mean over five masks (and noises) is printed.

    python bart_pics.py brain_16coil_kspace.h5
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from torch import Tensor

from resolvent.data import metrics
from resolvent.evaluate import Acquisition, Files
from resolvent.evaluate.scans import Case

TERMS = {
    "TV": ["-R", "T:3:0:{weight}", "-u", "0.1", "-i", "1000"],  # ADMM: other rho and fewer iterations are worse
    "wavelets": ["-R", "W:3:0:{weight}", "-i", "200"],
}


def write_cfl(path: Path, array: Tensor) -> None:
    """``(coil, y, x)`` in BART's order of axes."""
    values = array.numpy().transpose(2, 1, 0)[:, :, None]
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, values.shape)) + "\n")
    values.astype("<c8").ravel(order="F").tofile(path.with_suffix(".cfl"))


def pics(case: Case, term: list[str], weight: float) -> float:
    """PSNR of the image that BART makes, in dB."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cfl(folder / "y", case.y[0])
        write_cfl(folder / "maps", case.A.maps[0].resolve_conj())
        how = [part.format(weight=weight) for part in term]
        subprocess.run(["bart", "pics", "-S", *how, "y", "maps", "x"], cwd=folder, check=True, capture_output=True)
        image = np.fromfile(folder / "x.cfl", "<c8").reshape(case.y.shape[-2:])
    return float(metrics(case.reference, torch.from_numpy(image)[None])["psnr"])


for snr, first in ((None, -15), (16.8, -7)):
    for acceleration in (4, 6):
        best: dict[str, list[float]] = {name: [] for name in TERMS}
        for seed in range(5):
            (spec,) = Files((sys.argv[1],), seed=seed).specs(Acquisition(acceleration, "gaussian2d", snr=snr))
            case = spec.make()
            for name, term in TERMS.items():
                best[name].append(max(pics(case, term, 2.0 ** (first + k / 2)) for k in range(11)))
        noise = "no noise added" if snr is None else f"noise added, {snr} dB"
        print(f"R = {acceleration}, {noise}:", {name: f"{mean(of):.2f} dB" for name, of in best.items()}, flush=True)
