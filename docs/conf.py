"""Sphinx configuration. Built with warnings as errors, every script of the galleries run: `make docs`."""

import re
import sys
from pathlib import Path

from docutils.nodes import SkipNode
from latex2mathml.converter import convert

import resolvent

sys.path.insert(0, str(Path(__file__).parent))  # galleries.py

project = "resolvent"
author = "The resolvent developers"
copyright = "2026, The resolvent developers"
release = resolvent.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
myst_enable_extensions = ["dollarmath", "amsmath", "substitution"]
homes = {"ResolventError": "resolvent._errors"}
homes |= {name: home for home, names in resolvent._HOMES.items() for name in names}
myst_substitutions = {"public_names": ", ".join(f"{{py:obj}}`{n} <{homes[n]}.{n}>`" for n in sorted(homes))}
myst_heading_anchors = 3
exclude_patterns = ["_build", "tutorials", "problems"]  # the galleries are made from the last two
nitpicky = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
default_role = "code"  # docstrings write `name`
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_attr_annotations = False  # an axis string such as "batch *image" is not markup

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"  # browsers draw it themselves: the pages need no script from elsewhere
html_title = f"resolvent {release}"

sphinx_gallery_conf = {
    "examples_dirs": ["tutorials", "problems"],
    "gallery_dirs": ["gallery/tutorials", "gallery/problems"],
    "filename_pattern": r"\.py$",  # all are run
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "image_scrapers": ("galleries.drawn_files", "matplotlib"),
    "reset_modules": ("galleries.prepare", "matplotlib"),
    "capture_repr": (),
    "default_thumb_file": str(Path(__file__).parent / "images" / "demo.png"),
    "reference_url": {},
    "doc_module": (),
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_signature": False,
    "write_computation_times": False,
}

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


def inline_math(translator, node) -> None:
    """A formula in the text, as MathML."""
    translator.body.append(convert(node.astext()))
    raise SkipNode


def display_math(translator, node) -> None:
    """A formula on a line of its own, its number at the right."""
    formula, *tag = re.split(r"\\tag\{(.*?)\}", node.astext())
    number = f"<span>({tag[0]})</span>" if tag else ""
    translator.body.append(f'<div class="formula">{convert(formula, display="block")}{number}</div>')
    raise SkipNode


def setup(app) -> None:
    """Docstrings before napoleon reads their sections; formulas without a script."""
    app.connect("autodoc-process-docstring", plain_signs, priority=400)
    app.add_html_math_renderer("mathml", (inline_math, None), (display_math, None))
