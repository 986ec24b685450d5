"""Tables of a study: CSV and JSON with all numbers, and Markdown to include in a page."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from resolvent.data.io.output import to_json, whole
from resolvent.evaluate.store import Row

Cell = Callable[[Row], str]
"""Maps a row to the text of a cell."""


def write(folder: Path, found: dict[str, list[Row]], about: dict[str, Any]) -> list[Path]:
    """Write ``NAME.csv`` for every experiment, ``results.json`` for all, and ``NAME.inc`` for those shown on a page.

    Args:
        folder: the folder of the files.
        found: rows by experiment.
        about: information about the study for ``results.json``.

    Returns:
        The files, each written atomically.
    """
    texts = {f"{name}.csv": as_csv(rows) for name, rows in found.items() if rows}
    texts |= {f"{name}.inc": PAGES[name](found[name]) for name in PAGES if found.get(name)}
    texts["results.json"] = to_json({**about, **found})
    paths = []
    for name, content in texts.items():
        path = folder / name
        with whole(str(path), [str(path)]) as drafts:
            Path(drafts[0]).write_text(content, encoding="utf-8")
        paths.append(path)
    return paths


def as_csv(rows: list[Row]) -> str:
    """CSV of all columns of all rows, in order of appearance."""
    columns = dict.fromkeys(name for row in rows for name in row)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def markdown(rows: Sequence[Row], columns: dict[str, Cell]) -> str:
    """A Markdown table; the function of each column makes its cells."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(cell(row) for cell in columns.values()) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def number(name: str, form: str, *, times: float = 1.0, unit: str = "") -> Cell:
    """A formatted number, or nothing where there is none."""

    def cell(row: Row) -> str:
        value = row.get(name)
        return "" if value is None else format(times * value, form) + unit

    return cell


def two_digits(value: float) -> str:
    """Seconds with two digits: 0.035, 2.3, 150.

    >>> two_digits(0.0347), two_digits(147.3)
    ('0.035', '150')
    """
    return f"{float(f'{value:.2g}'):g}"


def seconds(name: str) -> Cell:
    """Seconds, or nothing where there are none."""
    return lambda row: "" if row.get(name) is None else two_digits(row[name])


def spread(name: str, form: str, best: str) -> Cell:
    """``mean ± deviation``, bold for the best."""

    def cell(row: Row) -> str:
        deviation = row.get(f"{name}_std")
        text = format(row[name], form) + ("" if deviation is None else f" ± {deviation:{form}}")
        return f"**{text}**" if row[best] else text

    return cell


def text(name: str) -> Cell:
    """The value as text."""
    return lambda row: "" if row.get(name) is None else str(row[name])


def sampling_text(row: Row) -> str:
    """Data and sampling of the scans: ``val.h5 · gaussian2d, R = 4 · 30 dB · 8 coils · 96 pixels``."""
    snr = "as measured" if row["snr"] is None else f"{row['snr']:g} dB"
    size = "" if row["size"] is None else f" · {row['size']} pixels"
    return f"{row['data']} · {row['mask']}, R = {row['acceleration']:g} · {snr} · {row['coils']} coils{size}"


def _p(row: Row) -> str:
    if row["best"]:
        return "best"
    return "" if row["p"] is None else f"{row['p']:.2g}"


def _gain(row: Row) -> str:
    """The mean gain, and the number of its scans if some failed."""
    gain, failed = number("gain", ".3g")(row), row.get("failed")
    return f"{gain} ({row['scans']} of {row['scans'] + failed} scans)".strip() if failed else gain


def _bound(row: Row) -> str:
    return "" if row.get("gain_bound") is None else f"{row['gain_bound']:.3g} ({row['gain_bound_kind']})"


def _accuracy(rows: list[Row]) -> str:
    columns: dict[str, Cell] = {
        "method": text("method"),
        "guarantee": text("tier"),
        "PSNR [dB]": spread("psnr", ".2f", "best"),
        "SSIM": spread("ssim", ".4f", "best_ssim"),
        "NMSE": number("nmse", ".4f"),
        "p": _p,
        "seconds": seconds("seconds"),
    }
    parts = []
    for heading, group in groupby(rows, key=sampling_text):
        of = list(group)
        parts.append(f"{heading} · subjects: {of[0]['subjects']}, scans: {of[0]['scans']}\n\n{markdown(of, columns)}")
    return "\n".join(parts)


def _samples(rows: list[Row]) -> str:
    accelerations = sorted({row["acceleration"] for row in rows})
    methods = list(dict.fromkeys(row["method"] for row in rows))
    lines = [{f"{r['acceleration']:g}": r["psnr"] for r in rows if r["method"] == m} | {"method": m} for m in methods]
    rising = {r["method"]: "yes" if r["rises"] else "no" for r in rows}
    columns: dict[str, Cell] = {"method": text("method")}
    columns |= {f"R = {R:g}": number(f"{R:g}", ".2f") for R in accelerations}
    columns["more samples, better image"] = lambda row: rising[row["method"]]
    return markdown(lines, columns)


def _shifts(rows: list[Row]) -> str:
    methods = list(dict.fromkeys(row["method"] for row in rows))
    lines: list[Row] = [
        {"shift": shift} | {r["method"]: f"{r['psnr']:.2f} ({r['change']:+.2f})" for r in rows if r["shift"] == shift}
        for shift in dict.fromkeys(row["shift"] for row in rows)
    ]
    return markdown(lines, {"difference": text("shift")} | {f"{m} [dB]": text(m) for m in methods})


def _percent(name: str, form: str) -> Cell:
    return number(name, form, times=100, unit=" %")


_GAINS: dict[str, Cell] = {
    "method": text("method"),
    "perturbation": _percent("epsilon", ".3g"),
    "PSNR [dB]": number("psnr", ".2f"),
    "gain": _gain,
    "largest gain": number("gain_max", ".3g"),
    "bound": _bound,
}
_COLUMNS: dict[str, dict[str, Cell]] = {
    "gaussian": _GAINS,
    "worst": _GAINS,
    "structures": {
        "method": text("method"),
        "R": number("acceleration", "g"),
        "structure": lambda row: row["shape"] if row["shape"] == "text" else f"{row['shape']} x {row['shape']}",
        "contrast": _percent("contrast", ".0f"),
        "places": text("places"),
        "recovered": _percent("recovery", ".0f"),
        "least": _percent("recovery_least", ".0f"),
        "false elsewhere": _percent("false", ".1f"),
    },
    "local": {
        "method": text("method"),
        "subject": text("subject"),
        "perturbation": _percent("epsilon", ".3g"),
        "window": text("side"),
        "largest error": _percent("largest_error", ".2g"),
        "gain": number("gain", ".3g"),
    },
    "empty": {
        "method": text("method"),
        "subject": text("subject"),
        "data": text("what"),
        "size of the image": lambda row: "refused" if row["refused"] else f"{row['size']:.2g}",
        "gain": number("gain", ".3g"),
        "correlation": number("correlation", ".2f"),
    },
    "honesty": {
        "subject": text("subject"),
        "found": number("gain", ".4g"),
        "exact": number("exact_gain", ".4g"),
        "share": _percent("ratio", ".1f"),
    },
    "starts": {
        "method": text("method"),
        "subject": text("subject"),
        "start": text("start"),
        "evaluations": text("evaluations"),
        "distance": number("distance", ".1e"),
        "certified": number("certified", ".1e"),
        "within": lambda row: {True: "yes", False: "no", None: ""}[row["within"]],
    },
    "iterations": {
        "method": text("method"),
        "subject": text("subject"),
        "iterations": text("iterations"),
        "change": number("change", ".1e"),
        "PSNR [dB]": number("psnr", ".2f"),
    },
    "cost": {
        "method": text("method"),
        "parameters": text("parameters"),
        "reconstruction [s]": seconds("recon_seconds"),
        "training step [s]": seconds("step_seconds"),
        "saved for the gradient [MB]": number("saved_bytes", ".1f", times=1e-6),
        "over unrolled: time": number("step_seconds_ratio", ".2f"),
        "memory": number("saved_bytes_ratio", ".2f"),
    },
}
"""Columns of the experiments whose table has one line for each row."""

PAGES: dict[str, Callable[[list[Row]], str]] = {
    "accuracy": _accuracy,
    "samples": _samples,
    "shifts": _shifts,
    **{name: partial(markdown, columns=columns) for name, columns in _COLUMNS.items()},
}
"""Experiments with a table for a page."""
