"""Print constraints.txt: every installed package at its version, for the Pythons that it runs on.

A version that asks for a newer Python than the oldest supported one is pinned only there, and so is all that it
depends on: with an older Python pip chooses an older release of both.
"""

import importlib.metadata
import re

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OLDEST = 10  # Python 3.10
OWN = {"resolvent", "pip", "setuptools", "uv", "wheel"}
HEADER = """\
# The versions that the tests ran with. Made by `make constraints`; not edited by hand.
"""

packages = {canonicalize_name(package.metadata["Name"]): package for package in importlib.metadata.distributions()}
floors = {}
for name, package in packages.items():
    found = re.search(r">=\s*3\.(\d+)", package.metadata["Requires-Python"] or "")
    floors[name] = max(OLDEST, int(found[1])) if found else OLDEST


def dependencies(package: importlib.metadata.Distribution) -> set[str]:
    """Names of what the package needs, extras left out."""
    wanted = map(Requirement, package.requires or [])
    return {canonicalize_name(one.name) for one in wanted if not one.marker or one.marker.evaluate({"extra": ""})}


changed = True
while changed:
    changed = False
    for name in packages.keys() - OWN:
        for needed in (dependencies(packages[name]) & floors.keys()) - {"torch"}:
            if floors[needed] < floors[name]:
                floors[needed], changed = floors[name], True

print(HEADER, end="")
for name in sorted(packages.keys() - OWN):
    version = packages[name].version.split("+")[0]  # torch 2.13.0+cpu and 2.13.0 are one release
    marker = f' ; python_version >= "3.{floors[name]}"' if floors[name] > OLDEST else ""
    print(f"{name}=={version}{marker}")
