"""Accuracy: scores of the images against the reference, and significance tests between methods."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from itertools import groupby

from torch import Tensor

from resolvent.data import metrics
from resolvent.evaluate.methods import Method
from resolvent.evaluate.scans import Case
from resolvent.evaluate.store import Row, plain

MEASURES = ("psnr", "ssim", "nmse")
SAMPLING = ("acceleration", "mask", "snr", "coils", "size")
"""Columns that describe how a scan is sampled."""
PERFECT = 200.0
"""PSNR of an image without error, in dB."""
ALL = "all"
"""Stands for all data files together."""


def measure(method: Method, case: Case, keep: Callable[[Tensor], None] | None = None) -> list[Row]:
    """PSNR, SSIM and NMSE of one scan against `case.reference`, with seconds and the facts about the solve.

    `keep`, if there is one, is called with the image.
    """
    image, facts = method.reconstruct(case.y, case.A, case.noise)
    if keep is not None:
        keep(image)
    scores = metrics(case.reference, image)
    return [{**scores, "psnr": min(scores["psnr"], PERFECT), **facts}]


def summarise(rows: list[Row]) -> list[Row]:
    """One row for each method, sampling and data file, and for all files together if there are several.

    Scores are first averaged over the slices of a subject: mean, standard deviation and test are over subjects, since
    slices of one head are not independent. `p` and `p_ssim` are two-sided p-values of Wilcoxon's signed-rank test of
    the method against the one with the best mean (`best`, `best_ssim`), not corrected for multiple comparisons; with
    n subjects none is below ``2^(1 - n)``. `seconds` is the median over scans.
    """
    files = list(dict.fromkeys(row["data"] for row in rows))
    pooled = [{**row, "data": ALL} for row in rows] if len(files) > 1 else []
    found: list[Row] = []
    for _, group in groupby(_sorted([*rows, *pooled], files), key=_place):
        found += _compared(list(group))
    return [plain(row) for row in found]


def _compared(rows: list[Row]) -> list[Row]:
    """The rows of all methods on one set of scans."""
    first = rows[0]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    by_subject = {
        name: {method: subject_means([r for r in rows if r["method"] == method], name) for method in methods}
        for name in MEASURES
    }
    best = {name: max(methods, key=lambda m: _mean(by_subject[name][m].values())) for name in ("psnr", "ssim")}
    found = []
    for method in methods:
        own = [row for row in rows if row["method"] == method]
        row: Row = {name: first[name] for name in ("data", *SAMPLING)} | {"method": method, "tier": own[0]["tier"]}
        for name in MEASURES:
            values = list(by_subject[name][method].values())
            row |= {name: _mean(values), f"{name}_std": statistics.stdev(values) if len(values) > 1 else None}
        row |= {"seconds": statistics.median(r["seconds"] for r in own)}
        row |= {"subjects": len(by_subject["psnr"][method]), "scans": len(own)}
        for name, key in (("psnr", ""), ("ssim", "_ssim")):
            row["best" + key] = method == best[name]
            row["p" + key] = paired_p(by_subject[name][method], by_subject[name][best[name]])
        solves = [r for r in own if r.get("converged") is not None]
        if solves:
            row["converged"] = sum(r["converged"] for r in solves)
            row["evaluations"] = _mean([r["evaluations"] for r in solves])
            row["distance"] = max((math.inf if r["distance"] is None else r["distance"]) for r in solves)
        for name in ("weight", "tuned", "model_sha256", "version", "commit", "seed"):
            row[name] = own[0].get(name)
        row["data_sha256"] = ", ".join(dict.fromkeys(str(r["data_sha256"]) for r in own))
        found.append(row)
    return found


def subject_means(rows: list[Row], name: str) -> dict[tuple[str, str], float]:
    """The mean of a score over the scans of each subject."""
    scores: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        scores.setdefault((row["data_sha256"] or row["data"], row["subject"]), []).append(row[name])
    return {subject: _mean(values) for subject, values in scores.items()}


def paired_p(scores: dict[tuple[str, str], float], others: dict[tuple[str, str], float]) -> float | None:
    """Two-sided p-value of Wilcoxon's signed-rank test over subjects; None with fewer than two differences.

    Source: F. Wilcoxon, Biometrics Bulletin 1:80-83 (1945), in SciPy's `wilcoxon`.
    """
    from scipy.stats import wilcoxon  # half a second to import

    differences = [scores[subject] - others[subject] for subject in scores if subject in others]
    differences = [d for d in differences if d != 0]
    if len(differences) < 2:
        return None
    return float(wilcoxon(differences).pvalue)  # pyright: ignore[reportAttributeAccessIssue]


def _place(row: Row) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in ("data", *SAMPLING))


def _sorted(rows: list[Row], files: list[str]) -> list[Row]:
    """Sort by file in the given order, all files together last, then by sampling; methods keep their order."""
    order = {name: number for number, name in enumerate([*files, ALL])}
    return sorted(rows, key=lambda r: (order[r["data"]], r["mask"], r["acceleration"], _place(r)))


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)
