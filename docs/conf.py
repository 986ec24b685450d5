"""Sphinx configuration. Built with warnings as errors: `make docs`."""

import re

import resolvent

project = "resolvent"
author = "The resolvent developers"
copyright = "2026, The resolvent developers"
release = resolvent.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["dollarmath", "amsmath", "substitution"]
myst_substitutions = {"public_names": ", ".join(f"`{name}`" for name in sorted(resolvent.__all__))}
myst_heading_anchors = 3
exclude_patterns = ["_build"]
nitpicky = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
default_role = "code"  # docstrings write `name`
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_attr_annotations = False  # an axis string such as "batch *image" is not markup

html_theme = "furo"
html_title = f"resolvent {release}"

_CODE = re.compile(r"(``.+?``|`[^`]+`)")


def plain_signs(app, what, name, obj, options, lines: list[str]) -> None:
    """Let docstrings write |x - x*| and *lead as they stand: outside code they are signs, not markup."""
    literal = False
    indent = 0
    for index, line in enumerate(lines):
        depth = len(line) - len(line.lstrip())
        if literal and line.strip() and depth <= indent:
            literal = False
        if literal or line.lstrip().startswith((">>>", "...", "..")):
            continue
        parts = _CODE.split(line)
        lines[index] = "".join(
            part if position % 2 else re.sub(r"([|*])", r"\\\1", part) for position, part in enumerate(parts)
        )
        if line.rstrip().endswith("::"):
            literal, indent = True, depth


def setup(app) -> None:
    """Before napoleon reads the sections."""
    app.connect("autodoc-process-docstring", plain_signs, priority=400)
