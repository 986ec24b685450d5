"""Robustness: the effect of changes of the data on the image: white noise, the worst found by a search, empty data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from resolvent._errors import DataError, ResolventError
from resolvent.data import psnr
from resolvent.evaluate.methods import Method
from resolvent.evaluate.scans import Case
from resolvent.evaluate.store import Row, common, plain
from resolvent.mol.model import MOL
from resolvent.mol.targets import attack_model, attack_sense
from resolvent.mol.worst_case import Attack, attack, sampled_by
from resolvent.solve import lanczos, norm

LEVELS = (0.0025, 0.005, 0.01, 0.02, 0.025, 0.05, 0.08)
"""Norms of the perturbations, relative to that of the data."""
ACCELERATIONS = (2.0, 3.0, 4.0, 6.0, 8.0)
"""Accelerations at which every method is tested, including methods made for one acceleration."""
WINDOW, WINDOW_LEVEL = 15, 0.01
"""Side of the window, and level, of the search for a local artefact."""
SLACK = 0.2
"""Loss of PSNR, in dB, that is ignored when samples are added."""
ACCURACY = 0.02
"""Accuracy of images that are compared with each other, relative to the perturbation."""
LINEAR_STEPS = 100
"""Maximum number of Lanczos steps."""


@dataclass(frozen=True)
class Search:
    """Length of the search for the worst case; see `resolvent.mol.attack`."""

    steps: int = 200
    starts: int = 6
    methods: Sequence[str] = ("pgd", "adam")
    draws: int = 8

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of `attack`; one start at a time, which needs the memory of one image."""
        return {**vars(self), "together": 1}

    @property
    def about(self) -> Row:
        """Columns that describe the search."""
        return {**vars(self), "methods": "+".join(self.methods)}


def gaussian(method: Method, case: Case, epsilon: float, draws: int) -> list[Row]:
    """White noise on the measured samples, of norm ``epsilon |y|``: mean PSNR and gain ``|dx| / |d|`` over the draws.

    The noise level passed to the method stays that of the scan, as in the search for the worst case. An image that is
    not finite has no gain (`failed`).
    """
    told, method = case.level, method.precise(ACCURACY * epsilon)
    clean, facts = method.reconstruct(case.y, case.A, told)
    finite = [facts["finite"]]
    scores, gains, converged = [], [], []
    for seed in range(draws):
        d = _white(case, seed) * epsilon * norm(case.y)
        image, facts = method.reconstruct(case.y + d, case.A, told)
        scores.append(psnr(case.reference, image))
        gains.append(float(norm(image - clean) / norm(d)))
        converged.append(facts.get("converged", True))
        finite.append(facts["finite"])
    if not all(finite):
        return [{"gain": None, "failed": "an image is not finite"}]
    return [{"psnr": sum(scores) / draws, "gain": sum(gains) / draws, "converged": all(converged)}]


def worst(method: Method, case: Case, epsilon: float, search: Search) -> list[Row]:
    """The worst perturbation found: PSNR, gain, the gain of white noise, and the bound if one is known.

    A lower bound of the worst case, except for linear methods, whose worst case is a singular vector. If a search is
    not possible, because the method has no gradient or its solve does not converge, the row says why (`failed`).
    """
    if method.hold is not None:
        return [_linear(method, case, epsilon)]
    found = _attacked(method, case, epsilon, **search.options)
    if isinstance(found, str):
        return [{"gain": None, "failed": found}]
    row = _row(found) | {"psnr": psnr(case.reference, found.image), "exact": False}
    return [row | {"psnr_clean": psnr(case.reference, found.clean)}]


def local(method: Method, case: Case, epsilon: float, search: Search, side: int) -> list[Row]:
    """The largest error in a window found by a search, relative to the largest magnitude; or why there is none."""
    found = _attacked(method, case, epsilon, window=side, **search.options)
    if isinstance(found, str):
        return [{"gain": None, "failed": found}]
    return [{**_row(found), "largest_error": float(found.largest_error)}]


def honesty(method: Method, case: Case, epsilon: float, search: Search) -> list[Row]:
    """The gain that the search finds for SENSE divided by the exact gain, its largest singular value: at most 1.

    This shows how much a search of this length misses, where it can be known. No rows for other methods.
    """
    if method.name != "sense" or method.hold is None:
        return []
    exact = _linear(method, case, epsilon)["gain"]
    weight = method.weight
    found = attack_sense(case.y, case.A, epsilon, weight=weight, noise=case.level, **search.options)
    gain = float(found.gain_worst)
    return [{"gain": gain, "exact_gain": exact, "ratio": gain / exact}]


def empty(method: Method, case: Case) -> list[Row]:
    """Images of empty data: zeros, and noise of the level of the scan, in place of the data.

    `size` is ``|x|`` relative to the reference, `gain` is ``|x| / |y|``, `correlation` is that of ``|x|`` with the
    magnitude of the reference over the pixels. A method may refuse such data (`refused`).
    """
    sampled = sampled_by(case.A, case.y)
    noise = sampled * torch.randn(case.y.shape, dtype=case.y.dtype, generator=torch.Generator().manual_seed(0))
    rows: list[Row] = []
    for what, y in (("zeros", torch.zeros_like(case.y)), ("noise", case.level * noise)):
        try:
            image, facts = method.reconstruct(y, case.A, case.level)
        except ResolventError:
            rows.append({"what": what, "refused": True})
            continue
        size = float(norm(y))
        pair = torch.stack([image.abs().flatten(), case.reference.abs().flatten()])
        flat = not bool((pair[0] > 0).any())
        row: Row = {"what": what, "refused": False, "size": float(norm(image) / norm(case.reference))}
        row["gain"] = float(norm(image)) / size if size else None
        row["correlation"] = 0.0 if flat else float(torch.corrcoef(pair)[0, 1])
        rows.append(row | {"data_gain": facts.get("data_gain"), "data_gain_kind": facts.get("data_gain_kind")})
    return rows


def _attacked(method: Method, case: Case, epsilon: float, **options: Any) -> Attack | str:
    """The result of a search, or why there is none."""
    try:
        if isinstance(method.model, MOL):
            return attack_model(method.model, case.y, case.A, epsilon, noise=case.level, **options)
        call, level = method.precise(ACCURACY * epsilon).call, case.level
        probe = case.y.detach().clone().requires_grad_()
        with torch.enable_grad():
            if not call(probe, case.A, level).requires_grad:
                return "the method has no gradient"
        return attack(lambda y, A: call(y, A, level), case.y, case.A, epsilon, **options)
    except DataError as error:
        return str(error)


def _linear(method: Method, case: Case, epsilon: float) -> Row:
    """The worst case of a linear method with its weight held fixed: the gain depends on neither epsilon nor y.

    A singular vector and its negative have the same gain; the PSNR is the lower of the two.
    """
    clean, change, gain, quiet = _singular(method, case)
    size = epsilon * norm(case.y)
    return {
        "gain": gain,
        "gain_gaussian": quiet,
        "gain_bound": gain,
        "gain_bound_kind": "exact",
        "change": float(size * gain / norm(clean)),
        "psnr": min(psnr(case.reference, clean + side * size * change) for side in (1, -1)),
        "psnr_clean": psnr(case.reference, clean),
        "exact": True,
    }


@lru_cache(maxsize=1)
def _singular(method: Method, case: Case) -> tuple[Tensor, Tensor, float, float]:
    """For a linear R: ``R y``, ``R v`` with the first singular vector v, ``|R v|``, and mean ``|R n|`` for noise n.

    v is the eigenvector of ``R^H R`` that Lanczos finds; the product with R^H is the gradient of R.
    """
    assert method.hold is not None
    R = method.hold(case.y, case.A, case.level)
    sampled = sampled_by(case.A, case.y)

    def normal(d: Tensor) -> Tensor:
        d = d.detach().requires_grad_()
        with torch.enable_grad():
            image = R(d * sampled, case.A, case.level)
            (back,) = torch.autograd.grad(image, d, image.detach())
        return back

    v = lanczos(normal, case.y, largest=True, steps=LINEAR_STEPS, tol=1e-5, start=_white(case, 0)).vector
    with torch.no_grad():
        clean, change = R(case.y, case.A, case.level), R(v, case.A, case.level)
        quiet = fmean(float(norm(R(_white(case, seed), case.A, case.level))) for seed in range(4))
    return clean, change, float(norm(change)), quiet


def _row(found: Attack) -> Row:
    error = float(found.error)
    return {
        "gain": float(found.gain_worst),
        "gain_gaussian": float(found.gain_gaussian),
        "gain_bound": found.gain_bound,
        "gain_bound_kind": found.gain_bound_kind,
        "error": error,
        "change": float(norm(found.change) / norm(found.clean)),
        "search": found.method[0],
    }


def _white(case: Case, seed: int) -> Tensor:
    """White noise of unit norm on the measured samples."""
    noise = torch.randn(case.y.shape, dtype=case.y.dtype, generator=torch.Generator().manual_seed(seed))
    noise = noise * sampled_by(case.A, case.y)
    return noise / norm(noise)


def summarise(rows: list[Row]) -> list[Row]:
    """Means over scans of `gaussian` or `worst` rows, and the largest gain; one row for each method and level.

    `below_bound` says whether every gain is below its bound, up to the error of its images; only a bound of kind
    "proved" claims that. `failed` counts the scans without a gain.
    """
    found = []
    for method, epsilon in dict.fromkeys((row["method"], row["epsilon"]) for row in rows):
        every = [row for row in rows if (row["method"], row["epsilon"]) == (method, epsilon)]
        own = [row for row in every if row["gain"] is not None]
        row: Row = {"method": method, "epsilon": epsilon, "psnr": None, "gain": None, "gain_max": None}
        row |= {"scans": len(own), "failed": len(every) - len(own)}
        if own:
            gains = [r["gain"] for r in own]
            row |= {"psnr": fmean(r["psnr"] for r in own), "gain": fmean(gains), "gain_max": max(gains)}
        if own and "converged" in own[0]:
            row["converged"] = all(r["converged"] for r in own)
        bounded = [r for r in own if r.get("gain_bound") is not None]
        if bounded:
            row["gain_bound"] = max(r["gain_bound"] for r in bounded)
            row["gain_bound_kind"] = bounded[0]["gain_bound_kind"]
            row["below_bound"] = all(r["gain"] <= r["gain_bound"] * (1 + (r.get("error") or 0)) for r in bounded)
        found.append(plain({**row, **common(every)}))
    return found


def by_acceleration(rows: list[Row]) -> list[Row]:
    """Mean PSNR of each method at each acceleration; `rises` if more samples never cost more than 0.2 dB."""
    found = []
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        accelerations = sorted({row["acceleration"] for row in own})
        means = [fmean(r["psnr"] for r in own if r["acceleration"] == R) for R in accelerations]
        rises = all(more >= fewer - SLACK for more, fewer in pairwise(means))
        for R, value in zip(accelerations, means, strict=True):
            row = {"method": method, "acceleration": R, "psnr": value, "rises": rises}
            found.append(plain({**row, **common([r for r in own if r["acceleration"] == R])}))
    return found
