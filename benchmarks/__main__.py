"""Run the benchmarks and write them into RESULTS.md.

    python -m benchmarks                  # all of them
    python -m benchmarks accuracy scaling # some: the others keep their results

Each result says on what it was measured. On one thread (OMP_NUM_THREADS=1) seconds are those of the processor.
"""

from __future__ import annotations

import importlib
import os
import platform
import re
import sys
from pathlib import Path

import torch

import resolvent as rv
from benchmarks.problem import Clock

RESULTS = Path(__file__).parent / "RESULTS.md"
TITLES = {
    "accuracy": "Time and work until the image is near the solution",
    "choices": "What the choices within the solver are worth",
    "training": "A training step",
    "memory": "Memory of a training step on a volume",
    "scaling": "Growth with size and batch",
    "normal_operator": "The normal operator over the bare FFT pair",
}


def machine(device: torch.device) -> str:
    """What the seconds depend on."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}, resolvent {rv.__version__}"
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", info.read_text(encoding="utf-8")) if info.exists() else None
    threads = torch.get_num_threads()
    return (
        f"{found[1] if found else platform.processor()}, {threads} of {os.cpu_count()} cores, seconds of the "
        f"processor, torch {torch.__version__}, resolvent {rv.__version__}"
    )


def insert(page: str, title: str, text: str) -> str:
    """The page with the section of that title replaced, or added at the end."""
    section = f"## {title}\n\n{text}\n"
    parts = re.split(r"(?m)^(?=## )", page)
    places = [i for i, part in enumerate(parts) if part.startswith(f"## {title}\n")]
    if places:
        parts[places[0]] = section + "\n" * (places[0] < len(parts) - 1)
        return "".join(parts)
    return page.rstrip("\n") + "\n\n" + section


def main(names: list[str]) -> None:
    """Run the benchmarks of those names, all by default."""
    if unknown := set(names) - set(TITLES):
        sys.exit(f"There is no benchmark {', '.join(sorted(unknown))}. Name some of: {', '.join(TITLES)}.")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for name in names or TITLES:
        clock = Clock(device)
        began = clock()
        text = importlib.import_module(f"benchmarks.{name}").measure(device)
        text = f"{text}\n\n{machine(device)}; {clock() - began:.0f} s in all."
        RESULTS.write_text(insert(RESULTS.read_text(encoding="utf-8"), TITLES[name], text), encoding="utf-8")
        print(f"{TITLES[name]}\n\n{text}\n", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
