"""Models as files: weights in safetensors, all else in JSON; everything that can be recomputed is checked."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save as tensors_to_bytes
from torch import nn

from resolvent import monotone
from resolvent._errors import ModelError, nearest
from resolvent._version import __version__
from resolvent.mol import baselines
from resolvent.mol.baselines import Baseline
from resolvent.mol.hub import fetched
from resolvent.mol.model import MOL
from resolvent.monotone import MonotoneOperator

PACKAGED = Path(__file__).parents[1] / "weights"
"""Folder of the models that come with the package, with one folder for each."""

WEIGHTS, CARD = "model.safetensors", "model.json"
_HUB = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_LARGEST = 2**30  # bytes of a weight file

_ABOUT_FILE = ("format", "version", "name", "claims", "sha256", "card")
_WRONG = (RuntimeError, KeyError, TypeError, ValueError, OverflowError)


def _public(package: ModuleType, base: type) -> dict[str, Any]:
    """The classes of a package that derive from `base`, by name: the kinds that a model file may name."""
    found = {name: getattr(package, name) for name in package.__all__}
    return {name: one for name, one in found.items() if isinstance(one, type) and issubclass(one, base) and one != base}


_SCORES: dict[str, type[MonotoneOperator]] = _public(monotone, MonotoneOperator)
_BASELINES: dict[str, type[Baseline]] = _public(baselines, Baseline)


def packaged_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(folder.name for folder in PACKAGED.glob("*") if (folder / CARD).is_file())


def build(description: dict[str, Any]) -> MOL | Baseline:
    """A new model with random weights, from JSON types; `describe` is the inverse.

    Args:
        description: for a `MOL` ``{"kind": "MOL", "score": {"kind": "CertifiedStack", "channels": 24, ...}, "ridge": 0,
            "normalise": true}``; for a baseline its kind with the arguments of its constructor, ``{"kind": "MoDL",
            "steps": 10, ...}``. Either may have ``"lam"``, the weight of the data at the start of training. Keys that
            are left out have the default of the constructor; the default kind is MOL.

    Raises:
        ModelError: a kind or key is unknown, or a number is out of range.

    >>> build({"kind": "MoDL", "channels": 8, "lam": 30}).config["channels"]
    8
    """
    try:
        return _build(description)
    except _WRONG as error:
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise ModelError(f"the description is of no model this version can build: {reason}. Correct it.") from None


def describe(model: MOL | Baseline) -> dict[str, Any]:
    """The description from which `build` makes the same model again, without the weights (lam is one of them)."""
    if isinstance(model, Baseline):
        return {"kind": type(model).__name__, **model.config}
    return {
        "kind": "MOL",
        "score": {"kind": type(model.score).__name__, **model.score.config},
        "ridge": model.ridge,
        "normalise": model.normalise,
        **({"adapted": True} if model.adapted else {}),
    }


def save(model: MOL | Baseline, folder: str | Path, card: dict[str, Any] | None = None) -> Path:
    """Write a model to `folder`: ``model.safetensors``, and ``model.json`` with its architecture, hash and card.

    Args:
        model: the model to save.
        folder: created if it does not exist; its name becomes the name of the model.
        card: data sources, licences, metrics: whatever a user should know. JSON types.

    Raises:
        TypeError, ValueError: the card is not JSON, or holds NaN; nothing is written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    content = tensors_to_bytes({name: t.detach().contiguous() for name, t in model.state_dict().items()})
    description = {
        "format": "resolvent-model/1",
        "version": __version__,
        "name": folder.name,
        **describe(model),
        "claims": _claims(model),
        "sha256": hashlib.sha256(content).hexdigest(),
        "card": card or {},
    }
    text = json.dumps(description, indent=2, allow_nan=False)  # before anything is written
    _replace(folder / WEIGHTS, content)
    _replace(folder / CARD, (text + "\n").encode())
    return folder


def load(name: str | Path) -> MOL | Baseline:
    """Load a model that comes with the package, a folder that `save` wrote, or one on the Hugging Face Hub.

    ``"owner/name"`` or ``"owner/name@revision"`` is fetched from the Hub (extra `hub`) unless there is a folder of that
    name, or a folder `owner` in which it could be.

    The constants of the certificate are recomputed from architecture and weights and compared with the claims of the
    file; a file that claims something else is refused.

    Raises:
        ModelError: the name is unknown; files are missing, damaged or do not match their hash; weights do not fit the
            architecture or are not finite; the weights do not support the claims.
    """
    folder = located(name)
    description = _description(folder / CARD)
    try:
        if (folder / WEIGHTS).stat().st_size > _LARGEST:
            raise ModelError(f"{folder / WEIGHTS} is larger than {_LARGEST >> 20} MiB, which no model is.")
        content = (folder / WEIGHTS).read_bytes()
    except OSError as error:
        raise ModelError(f"{folder / WEIGHTS} cannot be read ({error.strerror}). Save the model again.") from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != description.get("sha256"):
        raise ModelError(
            f"{folder / WEIGHTS} does not match the SHA-256 in {CARD}: the weights were damaged or changed. "
            "Get both files again from where they came."
        )
    architecture = {key: value for key, value in description.items() if key not in _ABOUT_FILE}
    try:
        tensors = read_tensors(content)
        if {t.dtype for t in tensors.values()} not in ({torch.float32}, {torch.float64}):
            raise ValueError("the weights are not all of single or all of double precision")
        with torch.device("meta"):  # shapes without memory: a card may describe a network of terabytes
            model = _build(architecture)
        if {name: t.shape for name, t in model.state_dict().items()} != {name: t.shape for name, t in tensors.items()}:
            raise ValueError("the weights are not those of the architecture")
        model.load_state_dict(tensors, assign=True)
    except (SafetensorError, *_WRONG) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"{folder} holds no model this version can build: {reason}. Save it again.") from None
    if not all(bool(torch.isfinite(t).all()) for t in (*tensors.values(), model.lam)):
        raise ModelError(f"{folder / WEIGHTS} holds NaN or infinite weights. Train or convert the model again.")
    actual, claimed = _claims(model), description.get("claims")
    if claimed != actual:
        raise ModelError(f"{folder / CARD} claims {claimed} but the weights give {actual}. Do not trust that file.")
    model.identity = {"name": str(description.get("name", folder.name)), "sha256": digest}
    model.card = description.get("card", {})
    return model.eval()


def load_mol(name: str | Path) -> MOL:
    """`load` for callers that need a model with an equation to solve.

    Raises:
        ModelError: as `load`, or the model is a baseline.
    """
    model = load(name)
    if not isinstance(model, MOL):
        raise ModelError(
            f"{name} is a {type(model).__name__}: it solves no equation, so nothing can be certified. "
            "Use a MOL model here, or call it in Python: resolvent.load(name)(y, A)."
        )
    return model


def on_hub(name: str | Path) -> bool:
    """Whether a name not found here would be fetched from the Hub: ``owner/name``, without a folder ``owner``."""
    return _HUB.fullmatch(str(name)) is not None and not Path(name).parent.exists()


def located(name: str | Path) -> Path:
    """The folder of a model, given any of its names; a model on the Hub is fetched.

    Raises:
        ModelError: there is no model of that name.
    """
    path = Path(name)
    bare = path.name == str(name)
    if bare and (path / CARD).is_file() and (PACKAGED / path.name / CARD).is_file():
        raise ModelError(
            f"{str(name)!r} is a packaged model and a folder here. Rename the folder, or name it by its whole path: "
            f"{path.absolute()}."
        )
    if path.is_file() and path.name in (WEIGHTS, CARD):
        path = path.parent
    for folder in (path, PACKAGED / path.name if bare else path):
        if (folder / CARD).is_file():
            return folder
    if on_hub(name):
        return fetched(str(name), (WEIGHTS, CARD))
    packaged = packaged_models()
    meant = nearest(path.name, packaged) if bare else None
    raise ModelError(
        f"there is no model {str(name)!r}: neither a folder with {CARD} nor a packaged model. "
        + (f"Did you mean {meant!r}?" if meant else f"Packaged models: {', '.join(packaged) or 'none'}.")
    )


def _description(path: Path) -> dict[str, Any]:
    try:
        description = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        raise ModelError(f"{path} is no readable JSON. Save the model again.") from None
    if not isinstance(description, dict) or description.get("format") != "resolvent-model/1":
        raise ModelError(f"{path} is not of format resolvent-model/1. Save the model with this version.")
    return description


def _build(description: dict[str, Any]) -> MOL | Baseline:
    rest = dict(description)
    kind = rest.pop("kind", "MOL")
    flags = ("normalise", "adapted")
    options: dict[str, Any] = {key: bool(rest.pop(key)) for key in flags if key in rest}
    options |= {key: float(rest.pop(key)) for key in ("lam", "ridge") if key in rest}
    if kind != "MOL":
        if kind not in _BASELINES:
            raise ValueError(f"kind {kind!r} is unknown")
        return _BASELINES[kind](**_sizes(rest, _BASELINES[kind]), **options)
    score = dict(rest.pop("score"))
    if (kind := score.pop("kind")) not in _SCORES:
        raise ValueError(f"score kind {kind!r} is unknown")
    if rest:
        raise ValueError(f"{', '.join(map(repr, rest))} is no key of a MOL")
    return MOL(_SCORES[kind](**_sizes(score, _SCORES[kind])), **options)


def _sizes(config: dict[str, Any], kind: type[nn.Module]) -> dict[str, Any]:
    """Return `config` if its numbers have the types that `kind` takes and are not too large for the memory."""
    if not all(isinstance(v, bool) or (isinstance(v, (int, float)) and 0 < v <= 4096) for v in config.values()):
        raise ValueError("architecture numbers must lie in (0, 4096]")
    wanted = inspect.signature(kind).parameters
    if broken := [k for k, v in config.items() if k in wanted and wanted[k].annotation == "int" and v != int(v)]:
        raise ValueError(f"{', '.join(broken)} must be a whole number")
    return config


def _claims(model: MOL | Baseline) -> dict[str, Any]:
    """The constants in the certificates of this model, from architecture and weights."""
    if isinstance(model, Baseline):
        return {"tier": model.tier}
    lam = float(model.lam.detach())
    conditioning = model.score.conditioning(lam)
    return {
        "tier": model.tier,
        "m": round(model.m.value, 12),
        "c": round(model.c.value, 12),
        "r": round(model.r.value, 12),
        "kind": model.m.kind,
        "conditioning": _digits(conditioning.value) if conditioning.kind == "proved" else None,
        "lam": _digits(lam),
    }


def _digits(value: float) -> float:
    return float(f"{value:.5g}") if math.isfinite(value) else value


def _replace(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
