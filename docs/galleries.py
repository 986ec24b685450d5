"""How the scripts of `tutorials/` and `problems/` run in the build of the documentation."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from sphinx_gallery.scrapers import figure_rst

HERE = Path(__file__).parent
FOLDERS = [HERE / "tutorials", HERE / "problems"]


def prepare(gallery: dict[str, Any], script: str) -> None:
    """Before and after each script: an empty folder ``out``; the program is on the path."""
    program = str(Path(sys.executable).parent)
    if program not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = program + os.pathsep + os.environ["PATH"]
    for folder in FOLDERS:
        shutil.rmtree(folder / "out", ignore_errors=True)
        (folder / "out").mkdir()


def drawn_files(block: object, run: dict[str, Any], gallery: dict[str, Any]) -> str:
    """The pictures that a block left in ``out``, shown below it: `resolvent.figures` draws files."""
    pictures = []
    for picture in sorted((Path(run["src_file"]).parent / "out").glob("*.png")):
        pictures.append(next(run["image_path_iterator"]))
        shutil.move(picture, pictures[-1])
    return figure_rst(pictures, gallery["src_dir"])
