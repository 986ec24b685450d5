"""`Store`: results in a file, written as they come, from which an interrupted run continues."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

Row = dict[str, Any]
"""One result with everything it depends on: JSON types."""


class Store:
    """Rows of finished tasks, one line of JSON for each task, appended at once.

    A task is identified by everything its rows depend on. A task in the store is not done again; a line that an
    interruption cut off is ignored.

    Args:
        path: the file, created with the first result.
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
        """The path of a file for output of a task that is not a row, in a folder beside the results."""
        folder = self._path.parent / "images"
        folder.mkdir(exist_ok=True)
        return folder / (key(task) + suffix)

    def __contains__(self, task: Row) -> bool:
        return key(task) in self._found

    def __getitem__(self, task: Row) -> list[Row]:
        return self._found[key(task)]

    def add(self, task: Row, rows: list[Row]) -> None:
        """Store the rows of a task; each row starts with the columns of the task."""
        rows = [plain({**task, **row}) for row in rows]
        self._found[key(task)] = rows
        line = json.dumps({"key": key(task), "rows": rows}, allow_nan=False, ensure_ascii=False)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(("\n" if self._cut else "") + line + "\n")
        self._cut = False


def key(task: Row) -> str:
    """A short key of a task: the same for the same content."""
    return hashlib.sha256(json.dumps(plain(task), sort_keys=True).encode()).hexdigest()[:24]


def plain(row: Row) -> Row:
    """The row with numbers rounded to six significant digits, and None for those that are not finite."""
    return {name: _digits(value) for name, value in row.items()}


def common(rows: list[Row]) -> Row:
    """The columns that a summary repeats from its rows; where rows differ, all their values."""
    scan = ("acceleration", "mask", "snr", "coils", "size")
    names = (*scan, "weight", "tuned", "model_sha256", "version", "commit", "seed", "data", "data_sha256")
    said = {name: list(dict.fromkeys(row.get(name) for row in rows)) for name in names}
    return {name: of[0] if len(of) == 1 else ", ".join(map(str, of)) for name, of in said.items()}


def _digits(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None
