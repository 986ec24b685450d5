"""A record in plain words: what is proved, estimated or refused, warnings, and provenance.

A record is the JSON file beside an image. Only the entries named here are read, so nothing else in a record from
elsewhere (a patient's name) can reach a page.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from resolvent.mol.fit import percent

Record = dict[str, Any]
PROVED = ("all-data", "per-scan")
"""Tiers of models whose equation has one solution."""
DOUBTS = {
    "unexplained": (
        "The image does not explain the samples",
        " The certificate does not contradict this: it is about the solution of the equation, whatever maps are in it.",
    ),
    "noise": ("Almost no signal was measured", ""),
    "nothing": ("A part was not measured at all", ""),
}
"""Title of each kind of doubt (`resolvent.mol.fit.Fit`), and a sentence to add."""


@dataclass(frozen=True)
class Statement:
    """One line of the certificate.

    Attributes:
        state: "proved", "held" (proved with conditions), "estimated" or "refused".
        title: the subject.
        short: the subject with its number.
        text: what is known, in one or two sentences.
        link: anchor of the explanation in the page.
    """

    state: str
    title: str
    short: str
    text: str
    link: str


def certificate(record: Record) -> list[Statement]:
    """The statements on uniqueness, distance and stability; a single refusal where there is no certificate."""
    of = record.get("certificate")
    if not isinstance(of, dict):
        text = "There is no record of a certificate beside this image: nothing is known about how it was made."
        return [Statement("refused", "Certificate", "Certificate", text, "refused")]
    tier, kind, m = of.get("tier"), of.get("data_gain_kind"), number(of.get("m"))
    proved = of.get("proved") is True and tier in PROVED
    distance, gain = number(of.get("distance")), number(of.get("data_gain"))
    size = "" if m is None else f" (m = {m:.3g})"
    if tier == "estimated":
        one = Statement(
            "estimated",
            "One solution",
            "One solution",
            f"Not proved. The network was only trained to be monotone{size}; its equation may have other solutions.",
            "estimated",
        )
    elif tier not in PROVED:
        text = "The record does not say what kind of model made this image, so nothing is claimed."
        one = Statement("refused", "One solution", "One solution", text, "refused")
    else:
        one = Statement(
            "proved",
            "One solution",
            "One solution",
            "The equation of this scan has exactly one solution, because the network is monotone by construction"
            f"{size}. It does not depend on the solver, its start or its number of steps.",
            "proved",
        )
    return [one, _distance(distance, proved=proved), _stability(gain, kind)]


def _distance(distance: float | None, *, proved: bool) -> Statement:
    title = "Distance to the solution"
    if distance is None:
        text = "Refused: the residual of this image is not finite, so nothing can be said. Do not use the image."
        return Statement("refused", title, title, text, "refused")
    bound, short = f"at most {percent(distance)} of the image", f"Within {percent(distance)} of the solution"
    if proved:
        text = f"This image differs from the exact solution by {bound}, in the norm over all its pixels."
        return Statement("proved", title, short, text, "distance")
    text = f"If the network is as monotone as it was trained to be, the distance is {bound}. That was not proved."
    return Statement("estimated", title, short, text, "distance")


def _stability(gain: float | None, kind: object) -> Statement:
    title = "Stability"
    if gain is None:
        return Statement("refused", title, title, "No bound of the stability is recorded.", "gain")
    times, short = f"at most {gain:.3g} times as much", f"Data gain at most {gain:.3g}"
    if kind == "proved":
        text = (
            f"Any change of the data changes the image by {times}, both as norms in the units of the model, with coil "
            "maps and units held."
        )
        return Statement("proved", title, short, text, "gain")
    if kind == "conditioning held":
        text = (
            f"A change of the data changes the image by {times} while all that was derived from the data before the "
            "solve is held: coil maps, units, and what the network was told about the scan. How much these change with "
            "the data is not bounded."
        )
        return Statement("held", title, short, text, "gain")
    text = f"If the estimated constant holds, a change of the data changes the image by {times}. That was not proved."
    return Statement("estimated", title, short, text, "gain")


def warnings(record: Record) -> list[tuple[str, str]]:
    """The warnings that must not be overlooked: title and text."""
    found = []
    of = record.get("certificate")
    if record.get("converged") is False:
        status = str(record.get("status", "not converged")).removeprefix("not converged: ")
        found.append(("Not converged", f"The solve ended before its tolerance was reached: {status}."))
    if not isinstance(of, dict):
        found.append(("No certificate", "Nothing is known about how far this image is from any solution."))
    elif number(of.get("distance")) is None:
        found.append(("Certificate refused", "The residual is not finite. Do not use this image."))
    elif of.get("proved") is not True:
        found.append(("Nothing is proved", "All numbers of the certificate below are estimates."))
    found += doubts(record.get("fit"))
    cautions = record.get("cautions")
    told = [text for text in cautions if isinstance(text, str)] if isinstance(cautions, list) else []
    return found + [("About the scan", f"{text[:1].upper()}{text[1:]}.") for text in told]


def doubts(fit: object) -> list[tuple[str, str]]:
    """The doubts in the record of the fit; if it gives no reasons, only that there is a doubt."""
    told = fit.get("doubts") if isinstance(fit, dict) else None
    said = {kind: text for kind, text in told.items() if isinstance(text, str)} if isinstance(told, dict) else {}
    found = [
        (title, f"{said[kind][:1].upper()}{said[kind][1:]}.{more}")
        for kind, (title, more) in DOUBTS.items()
        if kind in said
    ]
    if not found and isinstance(fit, dict) and fit.get("doubtful") is True:
        found = [("The image is doubtful", "Its record says so, but not why.")]
    return found


def provenance(record: Record) -> list[tuple[str, str]]:
    """Name and value of everything that the image was made from, in the order shown."""
    of = record.get("model")
    model = of if isinstance(of, dict) else {}
    fit = record.get("fit")
    left = max(_numbers(fit.get("unexplained") if isinstance(fit, dict) else None), default=None)
    rows = [
        ("Input", _text(record.get("input"))),
        ("Input SHA-256", _text(record.get("input_sha256"))),
        ("Model", _text(model.get("name"))),
        ("Model SHA-256", _text(model.get("sha256"))),
        ("Weight of the data, lam", _several(record.get("lam"))),
        ("Noise level, relative to the image", _several(record.get("noise"))),
        ("Samples left unexplained, beyond noise", "" if left is None else percent(left)),
        ("Tolerance", _several(record.get("tol"))),
        ("How the solve ended", _text(record.get("status"))),
        ("Steps", _several(record.get("steps"))),
        ("Network evaluations", _several(record.get("evaluations"))),
        ("Applications of Aᴴ A", _several(record.get("applications"))),
        ("Seconds, from k-space to certificate", _several(record.get("seconds"))),
        ("Acceleration", _several(record.get("acceleration"))),
        ("Samples left out", _left_out(record.get("retrospective"))),
        ("Coil maps", _text(record.get("maps"))),
        ("Compared with", _text(record.get("reference"))),
        ("Version", _text(record.get("version"), "resolvent ")),
        ("Command", _text(record.get("command"))),
    ]
    return [(name, value) for name, value in rows if value]


def number(value: object) -> float | None:
    """A finite number, or None for anything else."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else None  # pyright: ignore[reportArgumentType]


def _numbers(value: object) -> list[float]:
    """All finite numbers of nested lists."""
    if isinstance(value, list):
        return [n for part in value for n in _numbers(part)]
    one = number(value)
    return [] if one is None else [one]


def _left_out(retro: object) -> str:
    """How a fully sampled scan was undersampled; empty if it was not."""
    if not isinstance(retro, dict):
        return ""
    return f"{_several(retro.get('acceleration'))}-fold, {_text(retro.get('kind'))}, seed {_several(retro.get('seed'))}"


def _text(value: object, before: str = "") -> str:
    return before + value if isinstance(value, str) and value else ""


def _several(value: object) -> str:
    """One number, or the range over several slices."""
    values = _numbers(value)
    if not values:
        return ""
    low, high = f"{min(values):.4g}", f"{max(values):.4g}"
    return low if low == high else f"{low} to {high}"
