"""`Store`: results as they come, in a file that an interrupted run goes on from."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

Row = dict[str, Any]
"""One result with everything it depends on: JSON types."""


class Store:
    """Rows of finished tasks, one line of JSON a task, appended at once.

    A task is known by what its rows depend on. One that is there is not done again; a line that was cut off by an
    interruption is left out.

    Args:
        path: the file, made with the first result.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[str, list[Row]] = {}
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else [""]
        for line in lines:
            try:
                task = json.loads(line)
                self._found[task["key"]] = task["rows"]
            except (ValueError, KeyError, TypeError):
                continue
        self._cut = bool(lines[-1])  # a line without an end

    def beside(self, task: Row, suffix: str) -> Path:
        """A file for what a task makes that is no row, in a folder beside the results."""
        folder = self._path.parent / "images"
        folder.mkdir(exist_ok=True)
        return folder / (key(task) + suffix)

    def __contains__(self, task: Row) -> bool:
        return key(task) in self._found

    def __getitem__(self, task: Row) -> list[Row]:
        return self._found[key(task)]

    def add(self, task: Row, rows: list[Row]) -> None:
        """Keep what a task found; each row gets what it depends on in front."""
        rows = [plain({**task, **row}) for row in rows]
        self._found[key(task)] = rows
        line = json.dumps({"key": key(task), "rows": rows}, allow_nan=False, ensure_ascii=False)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(("\n" if self._cut else "") + line + "\n")
        self._cut = False


def key(task: Row) -> str:
    """A short name of a task: the same for the same content."""
    return hashlib.sha256(json.dumps(plain(task), sort_keys=True).encode()).hexdigest()[:24]


def plain(row: Row) -> Row:
    """Six significant digits, and None for what is not finite."""
    return {name: _digits(value) for name, value in row.items()}


def common(rows: list[Row]) -> Row:
    """What a summary repeats of its rows; where they differ, everything that they say."""
    scan = ("acceleration", "mask", "snr", "coils", "size")
    names = (*scan, "weight", "tuned", "model_sha256", "version", "commit", "seed", "data", "data_sha256")
    said = {name: list(dict.fromkeys(row.get(name) for row in rows)) for name in names}
    return {name: of[0] if len(of) == 1 else ", ".join(map(str, of)) for name, of in said.items()}


def _digits(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None
