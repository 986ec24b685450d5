"""Print constraints.txt: every installed package at its version, with the Python that the version asks for."""

import importlib.metadata
import re

OWN = {"resolvent", "pip", "setuptools", "wheel"}
HEADER = """\
# The versions that the tests ran with. Made by `make constraints`; not edited by hand.
# Where a version asks for a newer Python than 3.10, older Pythons take an older one.
"""


def floor(requires: str | None) -> str:
    """The marker for a package that does not run on Python 3.10."""
    found = re.search(r">=\s*3\.(\d+)", requires or "")
    return f' ; python_version >= "3.{found[1]}"' if found and int(found[1]) > 10 else ""


pins = {}
for package in importlib.metadata.distributions():
    name = package.metadata["Name"]
    if name.lower() not in OWN:
        version = package.version.split("+")[0]  # torch 2.13.0+cpu and 2.13.0 are the same release
        pins[name.lower()] = f"{name}=={version}{floor(package.metadata['Requires-Python'])}"
print(HEADER + "\n".join(pins[name] for name in sorted(pins)))
