"""The page: images, certificate, solve, measurements and provenance in one HTML file that needs no network."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from torch import Tensor

from resolvent._errors import FormatError
from resolvent._titles import title_of
from resolvent._version import __version__
from resolvent.data.places import aspect_of
from resolvent.report.curve import curve
from resolvent.report.payload import affine_of, byte_planes, edges, payload, whole
from resolvent.report.planes import kept, packed, planes, sampled
from resolvent.report.words import certificate, doubts, number, provenance, warnings

if TYPE_CHECKING:
    from resolvent.data import Geometry

STATES = {"proved": "Proved", "held": "Proved with conditions", "estimated": "Estimated", "refused": "Refused"}
_HERE = Path(__file__).parent
_RESIDUAL = (
    "How far each step moved the image, over how far the first one did{lines}. The seconds are "
    "those of the iteration: coil maps, scale, what the network is told about the scan and the certificate come on top."
)
_SIGNS = {"proved": "✓", "held": "✓", "estimated": "≈", "refused": "✕"}


def page(
    images: dict[str, Tensor],
    record: dict[str, Any],
    *,
    title: str,
    ndim: int = 2,
    reference: Tensor | None = None,
    kspace: Tensor | None = None,
    mask: Tensor | None = None,
    geometry: Geometry | None = None,
    scale: float = 1.0,
) -> str:
    """One HTML page that shows images side by side, and what is known about them.

    Args:
        images: ``(batch, *lead, *spatial)`` by name: ``zero_filled``, ``sense``, ``model``, or ``image``.
        record: the JSON record of the image: `Reconstruction.record` with the additions of the program.
        title: the heading, such as the name of the input.
        ndim: number of spatial axes; pages of volumes contain the viewer NiiVue.
        reference: the reference image; with it there are error maps.
        kspace: the measurements ``(batch, coil, *lead, *spatial)``.
        mask: where they were measured.
        geometry: place in the patient; images whose orientation is not known have no letters for right and left.
        scale: the images times `scale` are in the units of the file.
    """
    shown = {name: planes(image, ndim) for name, image in images.items()}
    if reference is not None:
        shown["reference"] = planes(reference, ndim)
    keep = kept(list(shown.values()), ndim)
    metrics = record.get("metrics")
    scores = metrics if isinstance(metrics, dict) else {}
    content = payload(shown, scores, keep, aspect_of(geometry), scale)
    content["edges"] = edges(geometry)
    measured = ""
    if kspace is not None and mask is not None:
        lines, points, measured = sampled(kspace, mask, ndim)
        content |= {"kspace": byte_planes(lines, keep, ndim), "mask": byte_planes(points, keep, ndim)}
    volume = ndim == 3 and content["count"] > 1
    if volume:
        oriented = geometry is not None and geometry.oriented
        content |= {"affine": affine_of(geometry, keep).tolist(), "oriented": oriented}
    script = (_HERE / "viewer.js").read_text(encoding="utf-8")
    hashes, library = [_hash(script.encode())], ""
    if volume:
        zipped = (_HERE / "niivue.umd.js.gz").read_bytes()
        library = f'<script type="application/gzip" id="niivue">{packed(zipped)}</script>'
        script += (_HERE / "volume.js").read_text(encoding="utf-8")
        hashes = [_hash(script.encode()), _hash(gzip.decompress(zipped))]
    return Template((_HERE / "template.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        version=escape(__version__),
        hashes=" ".join(hashes),
        style=(_HERE / "style.css").read_text(encoding="utf-8"),
        facts=escape(_facts(content, record)),
        warnings=_warnings(record),
        summary=_summary(record),
        certificate=_certificate(record),
        solve=_solve(record, "slice" if ndim == 2 else "volume", len(next(iter(images.values())))),
        scores=_scores(scores, whole(content["of_slices"], content["of_frames"])),
        measured=escape(measured),
        rows=_rows(provenance(record)),
        stored=escape(_stored(content)),
        data=json.dumps(content, allow_nan=False).replace("<", "\\u003c"),
        library=library,
        script=script,
        phase="" if any(image["phase"] for image in content["images"]) else "hidden",
        error="" if content["truth"] is not None else "hidden",
        volume="" if volume else "hidden",
        sampling="" if measured else "hidden",
    )


def write_page(path: str | Path, images: dict[str, Tensor], record: dict[str, Any], **options: Any) -> None:
    """Write `page` to `path`; the file is written atomically.

    Raises:
        FormatError: `path` does not end in .html.
        OutputError: the file cannot be written.
    """
    from resolvent.data.io.output import check_place, whole

    path = str(path)
    if not path.lower().endswith(".html"):
        raise FormatError(f"{path} does not end in .html. Reports are HTML files.")
    check_place(path)
    text = page(images, record, **options)
    with whole(path, [path]) as drafts:
        Path(drafts[0]).write_text(text, encoding="utf-8")


def _hash(script: bytes) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"


def _facts(content: dict[str, Any], record: dict[str, Any]) -> str:
    matrix = f"{content['rows']} x {content['columns']}"
    many = [(content["of_slices"], "slices"), (content["of_frames"], "frames")]
    rate, model = number(record.get("acceleration")), record.get("model")
    name = model.get("name") if isinstance(model, dict) else None
    facts = [matrix, *(f"{n} {what}" for n, what in many if n > 1), f"R = {rate:.3g}" if rate else "", name]
    return " · ".join(fact for fact in facts if isinstance(fact, str) and fact)


def _stored(content: dict[str, Any]) -> str:
    """How the images are stored, and what was left out."""
    said = "Magnitudes are stored in 12 bits of the largest value in the page, phases in 8."
    for name in ("slices", "frames"):
        kept_, all_ = len(content[name]), content[f"of_{name}"]
        if kept_ < all_:
            said += f" {kept_} of {all_} {name} are in this page, evenly spaced, to keep it small."
    return said


def _warnings(record: dict[str, Any]) -> str:
    return "".join(
        f'<div class="warning" role="note"><strong>{escape(head)}</strong> <span>{escape(text)}</span></div>'
        for head, text in warnings(record)
    )


def _summary(record: dict[str, Any]) -> str:
    """Doubts, how the solve ended and the certificate, as marks below the warnings."""
    marks = [(one.state, f"{one.short}: {STATES[one.state].lower()}", "certificate") for one in certificate(record)]
    if len(marks) > 1:
        marks = marks[1:]  # the mark of a distance implies that of one solution
    steps, converged = number(record.get("steps")), record.get("converged")
    if steps is not None and isinstance(converged, bool):
        text = f"Converged in {steps:.0f} steps" if converged else "Not converged"
        marks.insert(0, ("proved" if converged else "refused", text, "solve"))
    marks = [("refused", title, "warnings") for title, _ in doubts(record.get("fit"))] + marks
    return "".join(
        f'<li class="mark {state}"><a href="#{link}">{_sign(state)} {escape(text)}</a></li>'
        for state, text, link in marks
    )


def _sign(state: str) -> str:
    return f'<span aria-hidden="true">{_SIGNS[state]}</span>'


def _certificate(record: dict[str, Any]) -> str:
    return "".join(
        f'<article class="statement {one.state}"><h3>{escape(one.title)}</h3>'
        f'<p class="state"><a href="#{one.link}">{_sign(one.state)} '
        f"{STATES[one.state]}<span class='unseen'>: what this means</span></a></p>"
        f"<p>{escape(one.text)}</p></article>"
        for one in certificate(record)
    )


def _solve(record: dict[str, Any], each: str, count: int) -> str:
    """Plots of the residual of each solve, relative to its first, over steps and seconds; with a table of numbers.

    Each of the `count` slices or volumes was solved by itself; if the number of solves differs, each is of one plane.
    """
    of = record.get("curve")
    of = of if isinstance(of, dict) else {}
    residuals, seconds = (_numbers(of.get(name)) for name in ("residuals", "seconds"))
    relative = [[r / line[0] for r in line] for line in residuals if line and line[0] > 0]
    if not relative:
        return "<p>No residuals are recorded.</p>"
    over_steps = curve([([float(n + 1) for n in range(len(line))], line) for line in relative], "step")
    over_time = curve(list(zip(seconds, relative, strict=False)), "seconds") if len(seconds) == len(relative) else ""
    drawn = "".join(f"<figure>{svg}</figure>" for svg in (over_steps, over_time) if svg)
    each = each if len(residuals) == count else "plane"
    slowest = max(range(len(relative)), key=lambda i: len(relative[i]))
    times = seconds[slowest] if slowest < len(seconds) else []
    rows = "".join(
        f"<tr><th scope='row'>{n + 1}</th><td>{r:.3g}</td><td>{f'{times[n]:.3g}' if n < len(times) else ''}</td></tr>"
        for n, r in enumerate(relative[slowest])
    )
    head = "<tr><th scope='col'>Step</th><th scope='col'>Residual</th><th scope='col'>Seconds</th></tr>"
    which = "" if len(relative) == 1 else f", {each} {slowest + 1}"
    said = _RESIDUAL.format(lines=f"; a line for each {each}" if which else "")
    table = f"<details><summary>The numbers{which}</summary><table>{head}{rows}</table></details>"
    return f'<div class="curves">{drawn}</div><p class="aside">{said}</p>{table}'


def _numbers(lines: object) -> list[list[float]]:
    if not isinstance(lines, list) or not all(isinstance(line, list) for line in lines):
        return []
    return [[n for n in map(number, line) if n is not None] for line in lines]


def _scores(scores: dict[str, Any], parts: str) -> str:
    rows = ""
    for name, of in scores.items():
        if isinstance(of, dict):
            values = [number(of.get(key)) for key in ("psnr", "ssim", "nmse")]
            cells = "".join(
                f"<td>{'' if v is None else format(v, f)}</td>"
                for v, f in zip(values, (".2f", ".4f", ".5f"), strict=True)
            )
            rows += f"<tr><th scope='row'>{escape(title_of(name))}</th>{cells}</tr>"
    if not rows:
        return ""
    head = "".join(f"<th scope='col'>{text}</th>" for text in ("Image", "PSNR, dB", "SSIM", "NMSE"))
    over = f", over {parts}" if parts else ""
    return f"<table class='scores'><caption>Against the reference{over}</caption><tr>{head}</tr>{rows}</table>"


def _rows(rows: list[tuple[str, str]]) -> str:
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in rows)
