"""The provenance of results: version, commit, machine."""

from __future__ import annotations

import platform
import subprocess
from functools import lru_cache
from pathlib import Path

import torch

from resolvent._version import __version__


@lru_cache(maxsize=1)
def provenance() -> dict[str, str | None]:
    """Version of the package, and the commit if it runs from a git checkout; "+" marks uncommitted changes."""
    return {"version": __version__, "commit": commit(Path(__file__).parents[1])}


def commit(folder: Path) -> str | None:
    """The commit of a folder under version control, else None."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        if not git("ls-files", "--", "."):  # inside somebody else's repository, such as an environment in a checkout
            return None
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def machine() -> dict[str, str | int]:
    """The properties of the machine that timings depend on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "system": platform.system(),
    }
