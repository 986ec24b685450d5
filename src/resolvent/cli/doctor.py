"""``resolvent doctor``: what this installation has and what it lacks; include its output in any bug report."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from typing import Any

import typer

from resolvent._version import __version__
from resolvent.cli.output import FAULT, Debug, Json, emit, reporting


def doctor(as_json: Json = False, debug: Debug = False) -> None:
    """Report what is installed, what the machine has, and whether the packaged models can be loaded.

    Exit code 1 if a required package or a packaged model is missing or damaged; a missing extra is only reported.
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
    needs = _needs()
    packages = {name: _installed(name) for name in needs.pop("", [])}
    models, broken = _models()
    problems = [f"{name} is missing: pip install {name}" for name, version in packages.items() if version is None]
    return {
        "version": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": _machine(),
        "packages": packages,
        "extras": {extra: _extra(names) for extra, names in sorted(needs.items())},
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
    memory = None
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)
    machine = {"cores": os.cpu_count(), "threads": None, "memory_gb": memory, "devices": ["cpu"]}
    try:
        import torch
    except ImportError:  # `problems` reports it
        return machine
    devices = ["cpu", *(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return machine | {"threads": torch.get_num_threads(), "devices": devices}


def _needs() -> dict[str, list[str]]:
    """Names of the packages that each extra needs, and under "" of those that are always required."""
    found: dict[str, list[str]] = {}
    for line in metadata.requires("resolvent") or []:
        name, extra = re.match(r"([\w.-]+)(?:.*;.*extra == ['\"]([\w-]+)['\"])?", line).groups("")  # pyright: ignore[reportOptionalMemberAccess]
        found.setdefault(extra, []).append(name)
    return found


def _extra(names: list[str]) -> dict[str, Any]:
    """Whether all packages of an extra are there, and which are missing."""
    missing = sorted({name for name in names if _installed(name) is None})
    return {"installed": not missing, "missing": missing}


def _models() -> tuple[dict[str, str], list[str]]:
    """Packaged models with their tier, and problems with those that cannot be loaded."""
    from resolvent._errors import ModelError

    try:
        from resolvent.mol.weights import load, packaged_models
    except ImportError as error:
        return {}, [f"models cannot be loaded ({error})"]
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
    threads = f", {machine['threads']} threads" if machine["threads"] else ""
    memory = f" · {machine['memory_gb']} GB of memory" if machine["memory_gb"] else ""
    typer.echo(f"  machine   {machine['cores']} cores{threads}{memory}")
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
