"""``resolvent doctor``: what this installation has and what it lacks: the first thing to send with a report."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from typing import Any

import typer

from resolvent._version import __version__
from resolvent.cli.output import FAULT, Debug, Json, emit, reporting

NEEDED = ("torch", "numpy", "scipy", "h5py", "safetensors", "nibabel", "scikit-image", "matplotlib", "pillow", "typer")
"""Packages that everything rests on; the versions matter for numbers and for reading files."""


def doctor(as_json: Json = False, debug: Debug = False) -> None:
    """Say what is installed, what the machine has, and whether the packaged models can be loaded.

    Exit code 1 if something that everything rests on is missing or damaged; an extra that is missing is only said.
    """
    with reporting(as_json=as_json, debug=debug):
        found = examined()
        if as_json:
            emit(found)
        else:
            _print(found)
        if found["problems"]:
            raise typer.Exit(FAULT)


def examined() -> dict[str, Any]:
    """Versions, machine, extras, models and problems, as JSON types."""
    packages = {name: _installed(name) for name in NEEDED}
    models, broken = _models()
    problems = [f"{name} is missing: pip install {name}" for name, version in packages.items() if version is None]
    return {
        "version": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": _machine(),
        "packages": packages,
        "extras": _extras(),
        "models": models,
        "problems": problems + broken,
    }


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _machine() -> dict[str, Any]:
    """Cores, threads, memory in GB, and the devices that torch sees."""
    import torch

    memory = None
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)
    devices = ["cpu", *(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return {"cores": os.cpu_count(), "threads": torch.get_num_threads(), "memory_gb": memory, "devices": devices}


def _extras() -> dict[str, dict[str, Any]]:
    """For each extra of the package whether all that it names is there, and what is not."""
    missing: dict[str, set[str]] = {}
    for line in metadata.requires("resolvent") or []:
        if need := re.match(r"([\w.-]+).*;.*extra == ['\"]([\w-]+)['\"]", line):
            name, extra = need.groups()
            missing.setdefault(extra, set()).update({name} if _installed(name) is None else ())
    return {extra: {"installed": not names, "missing": sorted(names)} for extra, names in sorted(missing.items())}


def _models() -> tuple[dict[str, str], list[str]]:
    """Packaged models with what their certificate holds for, and those that cannot be loaded."""
    from resolvent._errors import ModelError
    from resolvent.mol.weights import load, packaged_models

    models, broken = {}, []
    for name in packaged_models():
        try:
            models[name] = load(name).tier
        except ModelError as error:
            broken.append(f"model {name}: {error}")
    return models, broken


def _print(found: dict[str, Any]) -> None:
    machine = found["machine"]
    typer.echo(f"resolvent {found['version']} · Python {found['python']} · {found['platform']}\n")
    memory = f" · {machine['memory_gb']} GB of memory" if machine["memory_gb"] else ""
    typer.echo(f"  machine   {machine['cores']} cores, {machine['threads']} threads{memory}")
    typer.echo(f"  devices   {', '.join(machine['devices'])}")
    typer.echo(
        f"  packages  {', '.join(f'{name} {version or chr(8212)}' for name, version in found['packages'].items())}"
    )
    for extra, of in found["extras"].items():
        typer.echo(f"  [{extra}]".ljust(12) + ("installed" if of["installed"] else f"lacks {', '.join(of['missing'])}"))
    for name, tier in found["models"].items():
        typer.echo(f"  model     {name} ({tier})")
    typer.echo("")
    for problem in found["problems"]:
        typer.echo(f"  problem   {problem}")
    typer.echo("  no problems" if not found["problems"] else "")
